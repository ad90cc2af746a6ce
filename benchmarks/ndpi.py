"""Patches of an NDPI slide: OpenSlide, wsiprep's plain reader, and decoding each tile once with libjpeg-turbo.

The slide is made by the script, with the writer of the tests: 4:2:2, as many runs between restart markers in a row at
each level (2,048 px long at level 0 of a slide 51,200 px wide), their places listed. Each round starts with an empty
tile cache.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import openslide
import simplejpeg
from harness import Contestant, Measure, arguments, cpu, interleaved, quotients, report, results_of, show

from wsiprep.geometry import Box
from wsiprep.slides import open_slide
from wsiprep.slides.tiff_tables import read_header

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from vendor_slides import ndpi, tiff
from vendor_slides.made import jpeg

PATCH_PX = 512
FACTORS = (1, 4)
RUNS_PER_ROW = 8
QUALITY = 80


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--slide", type=Path, help="an NDPI slide to read instead")
    parser.add_argument("--side", type=int, default=16_384, help="width of the made slide in pixels")
    options = parser.parse_args()
    rounds, side = (1, 4096) if options.smoke else (options.rounds, options.side)
    with tempfile.TemporaryDirectory() as folder:
        path = options.slide or made(Path(folder) / "made.ndpi", side)
        with open_slide(path, "tiff") as slide:
            levels = [(v.index, v.factor, v.size) for v in slide.info.levels if v.factor and v.size.width_px >= 2048]
        measures = [compare(path, index, factor, rounds) for index, factor, _ in levels]
    report("ndpi", measures, libraries=("openslide-python", "openslide-bin", "simplejpeg"), rounds=rounds,
           results=results_of(options))  # fmt: skip


def compare(path: Path, index: int, factor: int, rounds: int) -> Measure:
    """Patches in rows over the middle of a level."""
    with open_slide(path, "tiff") as slide:
        size = slide.info.levels[index].size
    across, down = min(8, size.width_px // PATCH_PX), min(8, size.height_px // PATCH_PX)
    top = (size.height_px // PATCH_PX - down) // 2
    boxes = [Box(x * PATCH_PX, (top + y) * PATCH_PX, PATCH_PX, PATCH_PX) for y in range(down) for x in range(across)]

    def with_openslide() -> list[np.ndarray]:
        with openslide.OpenSlide(path) as theirs:
            level = theirs.level_dimensions.index((size.width_px, size.height_px))
            regions = (theirs.read_region((b.x * factor, b.y * factor), level, (PATCH_PX, PATCH_PX)) for b in boxes)
            return [np.asarray(region.convert("RGB")) for region in regions]

    def with_wsiprep() -> list[np.ndarray]:
        with open_slide(path, "tiff") as ours:
            return [ours.read_level(index, b) for b in boxes]

    for mine, other in zip(with_wsiprep(), with_openslide(), strict=True):
        if not np.array_equal(mine, other):
            raise SystemExit(f"level {index}: the pixels are not OpenSlide's")
    tiles = touched(path, index, boxes)
    contestants = [
        Contestant("OpenSlide", with_openslide),
        Contestant("wsiprep", with_wsiprep),
        Contestant("bare JPEG decode of the tiles", lambda: [simplejpeg.decode_jpeg(t, "RGB") for t in tiles]),
    ]
    runs = interleaved(contestants, rounds)
    megapixels = len(boxes) * PATCH_PX**2 / 1e6
    print(f"level {index}, {size.width_px} x {size.height_px} px")
    show(runs, megapixels, "MP", "OpenSlide")
    seconds = cpu(runs["wsiprep"])
    ratio = quotients(cpu(runs["OpenSlide"]), seconds)
    rate = megapixels / float(np.median(seconds))
    return Measure(f"NDPI level {index} / OpenSlide", rate, "MP/CPU s", ratio, subject=f"{len(boxes)} patches")


def touched(path: Path, index: int, boxes: list[Box]) -> list[bytes]:
    """The tiles under the boxes as JPEGs, each once."""
    table = read_header(path).tables[index]
    wanted = {
        row * table.columns + column
        for b in boxes
        for row in range(b.y // table.tile.height_px, -(-b.y_end // table.tile.height_px))
        for column in range(b.x // table.tile.width_px, -(-b.x_end // table.tile.width_px))
    }
    with path.open("rb") as stream:

        def fetch(offset: int, count: int) -> bytes:
            stream.seek(offset)
            return stream.read(count)

        return [table.stored(tile, fetch) for tile in sorted(wanted)]


def made(path: Path, side: int) -> Path:
    """A slide of ``side`` x ``side`` / 2 px with a level of a quarter."""
    rng = np.random.default_rng(0)
    tile = cv2.GaussianBlur(rng.integers(0, 256, (1024, 1024, 3), dtype=np.uint8), (0, 0), 2.5)
    tile = cv2.normalize(tile, None, 90, 255, cv2.NORM_MINMAX)
    image = np.tile(tile, (side // 2048, side // 1024, 1))
    pages = []
    for factor in FACTORS:
        level = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        height, width = level.shape[:2]
        data = jpeg(level, width // RUNS_PER_ROW // 16, "422", QUALITY)
        pages.append(ndpi.page(width, height, data, lens=40 / factor, starts=ndpi.run_starts(data)))
    return tiff.write_tiff(path, pages, "ndpi")


if __name__ == "__main__":
    main()

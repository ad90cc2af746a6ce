"""Patches of level 0 of a JPEG 2000 SVS: OpenSlide, wsiprep, and decoding each tile once with OpenJPEG.

The slide given is read as it is (TCGA's are compression 33005, RGB). A second one, YCbCr (33003), is made of its
pixels: there the conversion of colours is on top of the decode. Both start with an empty tile cache each round.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import tifffile
from harness import Contestant, Measure, arguments, cpu, interleaved, quotients, report, results_of, show

from wsiprep.geometry import Box
from wsiprep.slides import Plane, open_slide

PATCH_PX, TILE_PX = 512, 256
TARGET = 1.2
_TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("slide", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slides = {"33005 RGB": options.slide, "33003 YCbCr": as_ycbcr(options.slide, Path(folder) / "ycbcr.svs")}
        rounds = 1 if options.smoke else options.rounds
        measures = [compare(name, path, rounds, 4 if options.smoke else None) for name, path in slides.items()]
    report("jpeg2000", measures, libraries=("openslide-python", "openslide-bin", "imagecodecs"), rounds=rounds,
           results=results_of(options))  # fmt: skip


def compare(name: str, path: Path, rounds: int, most: int | None) -> Measure:
    with open_slide(path, "tiff") as slide:
        size = slide.info.size
    boxes = [
        Box(x, y, PATCH_PX, PATCH_PX)
        for y in range(0, size.height_px - PATCH_PX + 1, PATCH_PX)
        for x in range(0, size.width_px - PATCH_PX + 1, PATCH_PX)
    ][:most]

    def with_openslide() -> list[np.ndarray]:
        with openslide.OpenSlide(path) as theirs:
            return [np.asarray(theirs.read_region((b.x, b.y), 0, (PATCH_PX, PATCH_PX)).convert("RGB")) for b in boxes]

    def with_wsiprep() -> list[np.ndarray]:
        with open_slide(path, "tiff") as ours:
            plane = Plane(ours, 1, "stored")
            return [plane.read(b) for b in boxes]

    for mine, other in zip(with_wsiprep(), with_openslide(), strict=True):
        if not np.array_equal(mine, other):
            raise SystemExit(f"{name}: the pixels are not OpenSlide's")
    tiles = touched(path, boxes)
    contestants = [
        Contestant("OpenSlide", with_openslide),
        Contestant("wsiprep", with_wsiprep),
        Contestant("bare OpenJPEG decode", lambda: [imagecodecs.jpeg2k_decode(t, numthreads=1) for t in tiles]),
    ]
    runs = interleaved(contestants, rounds)
    megapixels = len(boxes) * PATCH_PX**2 / 1e6
    print(name)
    show(runs, megapixels, "MP", "OpenSlide")
    seconds = cpu(runs["wsiprep"])
    ratio = quotients(cpu(runs["OpenSlide"]), seconds)
    rate = megapixels / float(np.median(seconds))
    return Measure(f"{name} / OpenSlide", rate, "MP/CPU s", ratio, TARGET, subject=f"{len(boxes)} patches")


def touched(path: Path, boxes: list[Box]) -> list[bytes]:
    """The compressed tiles under the boxes, each once."""
    with tifffile.TiffFile(path) as tif, path.open("rb") as stream:
        page = tif.pages[0]
        columns = -(-page.imagewidth // TILE_PX)
        wanted = {
            row * columns + column
            for b in boxes
            for row in range(b.y // TILE_PX, -(-b.y_end // TILE_PX))
            for column in range(b.x // TILE_PX, -(-b.x_end // TILE_PX))
        }
        found = []
        for index in sorted(wanted):
            stream.seek(page.dataoffsets[index])
            found.append(stream.read(page.databytecounts[index]))
        return found


def as_ycbcr(source: Path, target: Path) -> Path:
    """The tiles of level 0 as compression 33003: YCbCr as it is in the codestream, about as many bytes."""
    with tifffile.TiffFile(source) as tif:
        page = tif.pages[0]
        image, description = page.asarray(), str(page.description)
    height, width = image.shape[:2]
    image = np.pad(image, ((0, -height % TILE_PX), (0, -width % TILE_PX), (0, 0)), mode="edge")
    tiles = []
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            ycc = image[y : y + TILE_PX, x : x + TILE_PX] @ _TO_YCBCR.T + (0, 128, 128)
            tile = np.clip(np.rint(ycc), 0, 255).astype(np.uint8)
            tiles.append(imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=36, mct=False))
    tifffile.imwrite(target, iter(tiles), shape=(height, width, 3), dtype=np.uint8, tile=(TILE_PX, TILE_PX),
                     photometric="ycbcr", compression="APERIO_JP2000_YCBC", description=description,
                     metadata=None)  # fmt: skip
    return target


if __name__ == "__main__":
    main()

"""All 512 px patches of striped TIFFs (strips of 16 rows): wsiprep, tifffile's zarr store, decoding the whole file.

A strip is as wide as the slide, so that reading patch by patch decodes it for every patch of a row; wsiprep is told
the patches before and decodes it once. The whole decode is the floor; its memory is that of the image.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import tifffile
import zarr
from harness import Contestant, Measure, arguments, cpu, interleaved, quotients, report, results_of, show

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader
from wsiprep.slides.tiff import TiledTiff

PATCH_PX = 512
CODECS: dict[str, dict[str, object]] = {
    "jpeg": {"compression": "jpeg", "photometric": "ycbcr", "compressionargs": {"level": 85}},
    "deflate": {"compression": "zlib", "photometric": "rgb", "predictor": True},
    "lzw": {"compression": "lzw", "photometric": "rgb", "predictor": True},
}


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--side", type=int, default=6144, help="of the slides in pixels")
    options = parser.parse_args()
    rounds, side = (1, 1024) if options.smoke else (options.rounds, options.side)
    measures = []
    with tempfile.TemporaryDirectory() as folder:
        for codec, how in CODECS.items():
            path = Path(folder) / f"{codec}.tif"
            tifffile.imwrite(path, picture(side), rowsperstrip=16, metadata=None, **how)
            measures += compare(codec, path, side, rounds)
    report("striped", measures, libraries=("tifffile", "zarr", "imagecodecs"), rounds=rounds,
           results=results_of(options))  # fmt: skip


def compare(codec: str, path: Path, side: int, rounds: int) -> list[Measure]:
    boxes = [
        Box(x, y, PATCH_PX, PATCH_PX)
        for y in range(0, side - PATCH_PX + 1, PATCH_PX)
        for x in range(0, side - PATCH_PX + 1, PATCH_PX)
    ]
    grids = [PixelGrid(box, PATCH_PX, PATCH_PX) for box in boxes]

    def with_wsiprep() -> int:
        with TiledTiff(path) as slide:
            reader = PatchReader(slide)
            reader.plan(grids)
            return sum(int(reader.read(grid)[0, 0, 0]) for grid in grids)

    def with_zarr() -> int:
        with tifffile.TiffFile(path) as tif:
            image = zarr.open_array(tif.aszarr(maxworkers=1), mode="r")
            parts = (np.asarray(image[b.y : b.y_end, b.x : b.x_end]) for b in boxes)
            return sum(int(part[0, 0, 0]) for part in parts)

    def whole() -> int:
        with tifffile.TiffFile(path) as tif:
            image = tif.pages[0].asarray(maxworkers=1)
        return sum(int(image[b.y, b.x, 0]) for b in boxes)

    if len({with_wsiprep(), with_zarr(), whole()}) != 1:
        raise SystemExit(f"{codec}: the pixels differ")
    runs = interleaved(
        [Contestant("tifffile, zarr", with_zarr), Contestant("wsiprep", with_wsiprep), Contestant("whole", whole)],
        rounds,
        warm_up=0,
    )
    megapixels = len(boxes) * PATCH_PX**2 / 1e6
    print(codec)
    show(runs, megapixels, "MP", "tifffile, zarr")
    seconds = cpu(runs["wsiprep"])
    rate = megapixels / float(np.median(seconds))
    return [
        Measure(f"{codec} strips / {name}", rate, "MP/CPU s", quotients(cpu(runs[name]), seconds))
        for name in ("tifffile, zarr", "whole")
    ]


def picture(side: int) -> np.ndarray:
    """Soft blotches with noise, compressible about as tissue is."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    soft = cv2.resize(cv2.GaussianBlur(noise, (0, 0), 2), (side, side), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(0, 8, soft.shape, dtype=np.uint8)
    return np.asarray(cv2.add(cv2.normalize(soft, None, 90, 240, cv2.NORM_MINMAX), grain), np.uint8)


if __name__ == "__main__":
    main()

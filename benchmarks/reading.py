"""Patches of level 0: bare JPEG decode of their tiles, wsiprep's reader, OpenSlide."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import openslide
import simplejpeg
import tifffile
from measure import interleaved, show

from wsiprep.geometry import Box
from wsiprep.slides import Plane, open_slide

PATCH_PX = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patches", type=int, default=64)
    options = parser.parse_args()
    ours = open_slide(options.slide, "tiff")
    size = ours.info.size
    columns = size.width_px // PATCH_PX
    count = min(options.patches, columns * (size.height_px // PATCH_PX))
    middle = (columns * (size.height_px // PATCH_PX) - count) // 2
    boxes = [
        Box(i % columns * PATCH_PX, i // columns * PATCH_PX, PATCH_PX, PATCH_PX) for i in range(middle, middle + count)
    ]
    theirs = openslide.OpenSlide(options.slide)

    def with_wsiprep() -> None:
        # A new slide each round, so that no tile is decoded beforehand.
        with open_slide(options.slide, "tiff") as slide:
            plane = Plane(slide, 1, "stored")
            for box in boxes:
                plane.read(box)

    def with_openslide() -> None:
        for box in boxes:
            np.asarray(theirs.read_region((box.x, box.y), 0, (PATCH_PX, PATCH_PX)).convert("RGB"))

    contestants = {"OpenSlide read_region": with_openslide, "wsiprep": with_wsiprep}
    floor = jpeg_floor(options.slide, boxes)
    if floor is not None:
        contestants["bare JPEG decode of the tiles"] = floor
    show(interleaved(contestants, options.rounds), len(boxes), "patches", "OpenSlide read_region")
    for box in boxes[:8]:
        region = np.asarray(theirs.read_region((box.x, box.y), 0, (PATCH_PX, PATCH_PX)).convert("RGB"))
        print("pixels equal OpenSlide's:", bool(np.array_equal(ours.read_level(0, box), region)))


def jpeg_floor(path: Path, boxes: list[Box]):
    """Decoding each compressed tile under the boxes once; None where they are not YCbCr JPEG."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.series[0].levels[0].pages[0]
        if page.compression != 7 or page.photometric != 6:
            return None
        across = -(-page.imagewidth // page.tilewidth)
        wanted = sorted(
            {
                row * across + column
                for box in boxes
                for row in range(box.y // page.tilelength, -(-box.y_end // page.tilelength))
                for column in range(box.x // page.tilewidth, -(-box.x_end // page.tilewidth))
            }
        )
        tables = page.jpegtables
        with path.open("rb") as stream:
            tiles = []
            for index in wanted:
                stream.seek(page.dataoffsets[index])
                data = stream.read(page.databytecounts[index])
                tiles.append(data if tables is None else tables[:-2] + data[2:])
    return lambda: [simplejpeg.decode_jpeg(tile, "RGB") for tile in tiles]


if __name__ == "__main__":
    main()

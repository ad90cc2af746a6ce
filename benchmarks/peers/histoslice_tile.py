"""One slide into JPEG patches with histoslice 0.6.0, by its own interface; run by the interpreter that has it.

    python histoslice_tile.py SLIDE OUT --level 2 --side-lv0 2048 [--tissue MASK]

Prints the CPU and wall seconds of the work part, from opening the slide on, without imports. Without a mask its own
Otsu looks for the tissue. One worker and no thumbnails, which is its fastest way (peers.md); JPEG quality 80, its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import cv2
from histoslice import SlideReader


def cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("slide")
    parser.add_argument("out")
    parser.add_argument("--level", type=int, required=True)
    parser.add_argument("--side-lv0", type=int, required=True)
    parser.add_argument("--tissue")
    options = parser.parse_args()
    cpu, wall = cpu_s(), time.perf_counter()
    reader = SlideReader(options.slide)
    if options.tissue:
        mask = (cv2.imread(options.tissue, cv2.IMREAD_GRAYSCALE) > 0).astype("uint8")
    else:
        _, mask = reader.get_tissue_mask()
    tiles = reader.get_tile_coordinates(mask, options.side_lv0, max_background=0.9, out_of_bounds=False)
    saved, failures = reader.save_regions(
        options.out, tiles, level=options.level, save_thumbnails=False, num_workers=1, verbose=False
    )
    print(
        json.dumps(
            {
                "patches": len(saved),
                "failures": len(failures),
                "cpu_s": cpu_s() - cpu,
                "wall_s": time.perf_counter() - wall,
            }
        )
    )


if __name__ == "__main__":
    main()

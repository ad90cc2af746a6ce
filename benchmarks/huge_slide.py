"""A slide of 100,000 x 100,000 px with level 0 alone: peak memory and time of overviews and patches.

    python benchmarks/huge_slide.py            # 5 % of the tiles are written, as a scanner leaves out glass
    python benchmarks/huge_slide.py --dense    # every tile decodes: 10 gigapixels, minutes
    python benchmarks/huge_slide.py --tile     # `wsiprep tile` of it at downsample 4, in a process of its own

The file is made in a temporary folder. Its table names the same few hundred JPEG tiles again and again, so
that it takes little disk; each of them is decoded anew, since the cache of decoded tiles is far smaller.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import open_slide, read_damaged_overview, read_grid, read_overview

SIDE_PX = 100_000
TILE_PX = 512
DISTINCT = 400


def write_huge(path: Path, *, dense: bool) -> Path:
    """The slide: columns of tissue-like noise between unwritten tiles, or everywhere."""
    columns = -(-SIDE_PX // TILE_PX)
    rng = np.random.default_rng(0)
    blank = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)

    def tiles() -> object:
        for index in range(columns * columns):
            if index < DISTINCT:
                coarse = rng.integers(90, 240, (TILE_PX // 16, TILE_PX // 16, 3), dtype=np.uint8)
                yield np.kron(coarse, np.ones((16, 16, 1), np.uint8)) + rng.integers(0, 15, blank.shape, dtype=np.uint8)
            else:
                yield None

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            tiles(),
            shape=(SIDE_PX, SIDE_PX, 3),
            dtype="uint8",
            tile=(TILE_PX, TILE_PX),
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": 80},
            metadata=None,
        )
    with tifffile.TiffFile(path, mode="r+b") as tif:
        page = tif.pages[0]
        offsets, counts = (np.array(v, np.int64) for v in (page.dataoffsets, page.databytecounts))
        source = rng.integers(0, DISTINCT, offsets.size)
        written = np.ones(offsets.size, bool) if dense else rng.random(offsets.size) < 0.05
        page.tags["TileOffsets"].overwrite(np.where(written, offsets[source], 0).tolist())
        page.tags["TileByteCounts"].overwrite(np.where(written, counts[source], 0).tolist())
    return path


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(name: str, work: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    print(
        f"{name:<58} {time.perf_counter() - wall:7.1f} s wall {time.process_time() - cpu:7.1f} s CPU   "
        f"peak RSS so far {peak_mb():6.0f} MB",
        flush=True,
    )


def tile_peak(path: Path, folder: Path) -> None:
    """Survey, plan and pack of the whole slide by the command line: wall, CPU and peak memory of that process."""
    words = ["tile", str(path), "-o", str(folder / "out"), "--downsample", "4", "--slide-spacing-um", "0.25"]
    words += ["--set", "keep.min_tissue=0"]  # noise is no tissue: pack every cell
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "wsiprep", *words, "--log-format", "text"], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter() - start
    cpu = used.ru_utime + used.ru_stime
    print(f"wsiprep tile: {wall:.1f} s wall, {cpu:.1f} s CPU, peak {used.ru_maxrss / 1024:.0f} MB")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dense", action="store_true", help="write every tile")
    arguments.add_argument("--tile", action="store_true", help="run wsiprep tile on it instead")
    asked = arguments.parse_args()
    dense = asked.dense
    with tempfile.TemporaryDirectory() as folder:
        path = write_huge(Path(folder) / "huge.tif", dense=dense)
        if asked.tile:
            tile_peak(path, Path(folder))
            return
        print(f"{SIDE_PX} x {SIDE_PX} px, one level, {path.stat().st_size / 1e6:.0f} MB, peak RSS {peak_mb():.0f} MB")
        with open_slide(path) as slide:
            whole = Box(0, 0, SIDE_PX, SIDE_PX)
            step("open", lambda: None)
            step("read_overview at 64", lambda: read_overview(slide, 64))
            if not dense:
                step("read_damaged_overview at 32", lambda: read_damaged_overview(slide, 32))
            step(
                "the whole slide as 1024 x 1024 px (fractional)", lambda: read_grid(slide, PixelGrid(whole, 1024, 1024))
            )
            step(
                "512 x 512 px at downsample 4",
                lambda: read_grid(slide, PixelGrid(Box(4096, 4096, 2048, 2048), 512, 512)),
            )
            step("512 x 512 px of 1126 x 1126", lambda: read_grid(slide, PixelGrid(Box(501, 77, 1126, 1126), 512, 512)))
            step(
                "512 x 512 px of 30,001 x 30,001",
                lambda: read_grid(slide, PixelGrid(Box(5, 7, 30001, 30001), 512, 512)),
            )


if __name__ == "__main__":
    main()

"""A slide of 100,000 x 100,000 px with level 0 alone: peak memory and time of `wsiprep tile`.

    python benchmarks/huge_slide.py            # 5 % of the tiles are written, as a scanner leaves out glass
    python benchmarks/huge_slide.py --dense    # every tile decodes: 10 gigapixels, minutes
    python benchmarks/huge_slide.py --parts    # overviews and patches one by one, in this process

The command surveys, plans and packs every cell at downsample 4 in a process of its own, with one and with four
threads; its peak memory is that of the worst of the three stages. The file is made in a temporary folder. Its table
names the same few hundred JPEG tiles again and again, so that it takes little disk; each of them is decoded anew,
since the cache of decoded tiles is far smaller.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from harness import Contestant, Measure, Spread, arguments, cpu, interleaved, report, results_of, show

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import open_slide, read_damaged_overview, read_grid, read_overview

SIDE_PX, SMOKE_SIDE_PX = 100_000, 4096
MOST_MB = 1000
TILE_PX = 512
DISTINCT = 400


def write_huge(path: Path, *, side_px: int, dense: bool) -> Path:
    """The slide: columns of tissue-like noise between unwritten tiles, or everywhere."""
    columns = -(-side_px // TILE_PX)
    distinct = min(DISTINCT, columns * columns)
    rng = np.random.default_rng(0)
    blank = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)

    def tiles() -> object:
        for index in range(columns * columns):
            if index < distinct:
                coarse = rng.integers(90, 240, (TILE_PX // 16, TILE_PX // 16, 3), dtype=np.uint8)
                yield np.kron(coarse, np.ones((16, 16, 1), np.uint8)) + rng.integers(0, 15, blank.shape, dtype=np.uint8)
            else:
                yield None

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            tiles(),
            shape=(side_px, side_px, 3),
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
        source = rng.integers(0, distinct, offsets.size)
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


def tile(path: Path, folder: Path, threads: int) -> Contestant:
    """Survey, plan and pack of the whole slide by the command line."""
    out = folder / f"out-{threads}"
    words = ["tile", str(path), "-o", str(out), "--downsample", "4", "--slide-spacing-um", "0.25"]
    words += ["--set", "keep.min_tissue=0"]  # noise is no tissue: pack every cell
    return Contestant(
        f"wsiprep tile, {threads} thread{'s' if threads > 1 else ''}",
        [sys.executable, "-m", "wsiprep", *words, "--threads", str(threads), "--log-format", "none"],
        before=lambda: shutil.rmtree(out, ignore_errors=True),
    )


def parts(path: Path, *, dense: bool) -> None:
    """Each part of reading once, in this process."""
    print(f"{SIDE_PX} x {SIDE_PX} px, one level, {path.stat().st_size / 1e6:.0f} MB, peak RSS {peak_mb():.0f} MB")
    with open_slide(path) as slide:
        whole = Box(0, 0, SIDE_PX, SIDE_PX)
        step("open", lambda: None)
        step("read_overview at 64", lambda: read_overview(slide, 64))
        if not dense:
            step("read_damaged_overview at 32", lambda: read_damaged_overview(slide, 32))
        step("the whole slide as 1024 x 1024 px (fractional)", lambda: read_grid(slide, PixelGrid(whole, 1024, 1024)))
        step(
            "512 x 512 px at downsample 4",
            lambda: read_grid(slide, PixelGrid(Box(4096, 4096, 2048, 2048), 512, 512)),
        )
        step("512 x 512 px of 1126 x 1126", lambda: read_grid(slide, PixelGrid(Box(501, 77, 1126, 1126), 512, 512)))
        step("512 x 512 px of 30,001 x 30,001", lambda: read_grid(slide, PixelGrid(Box(5, 7, 30001, 30001), 512, 512)))


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--dense", action="store_true", help="write every tile")
    parser.add_argument("--parts", action="store_true", help="the parts of reading in this process instead")
    options = parser.parse_args(words)
    side_px = SMOKE_SIDE_PX if options.smoke else SIDE_PX
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_huge(folder / "huge.tif", side_px=side_px, dense=options.dense)
        if options.parts:
            parts(path, dense=options.dense)
            return
        runs = interleaved([tile(path, folder, threads) for threads in (1, 4)], options.rounds, warm_up=0)
    first = next(iter(runs))
    show(runs, side_px**2 / 1e6, "MP of level 0", first)
    subject = f"{side_px} x {side_px} px, level 0 alone, {'all' if options.dense else '5 %'} of its tiles written"
    found = [
        Measure(f"{way}: peak memory", max(used.peak_mb for used in took), "MB", None, MOST_MB, "at most", subject)
        for way, took in runs.items()
    ]
    found.append(Measure(f"{first}: CPU", Spread.of(cpu(runs[first])).median, "s", subject=subject))
    report("huge_slide", found, libraries=("simplejpeg",), results=results_of(options), rounds=options.rounds)


if __name__ == "__main__":
    main()

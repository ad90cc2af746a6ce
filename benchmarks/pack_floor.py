"""How near is ``pack`` to what decoding alone costs, and how far from the loops that people write?

    python benchmarks/pack_floor.py                 # 157 patches of the 4x level
    python benchmarks/pack_floor.py --level0        # 2,106 patches
    python benchmarks/pack_floor.py --profile       # where pack's time goes, instead

``pack`` runs in this process with its imports warm, and all that it does counts: opening, reading, masks, encoding,
checksums, fsync, the preview and the receipt. The floor decodes exactly the compressed tiles under the kept cells with
libjpeg-turbo, each once, from memory, and drops the pixels. Ratios are of CPU seconds for the same patches.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import shutil
import statistics
import tempfile
from pathlib import Path

from bench_slide import BenchSlide, add_slide, slide_of
from harness import Contestant, Measure, arguments, cpu, interleaved, quotients, report, results_of, show
from plain_loops import to_png, to_zarr
from planned import Planned, of_slide
from tile_floor import touched

CODEC = "blosc-lz4"
FLOOR, PNG, ZARR = "decode of the touched tiles", "OpenSlide + PNG", "OpenSlide + zarr lz4"
PLAIN, STAINED = f"pack, {CODEC}", f"pack, {CODEC}, vahadane"
LEAST = {(PLAIN, FLOOR): 0.70, (PLAIN, PNG): 20.0, (PLAIN, ZARR): 5.0, (STAINED, FLOOR): 0.45}


def ready(subject: BenchSlide, folder: Path, options: argparse.Namespace) -> dict[str, Planned]:
    """The ways to pack the slide, surveyed and planned."""
    ways = {
        name: of_slide(subject, folder / f"dataset-{stain}", level0=options.level0, codec=CODEC, stain=stain)
        for name, stain in ((PLAIN, "none"), (STAINED, "vahadane"))
    }
    for way in ways.values():
        way.survey()
        way.plan()
    return ways


def contestants(subject: BenchSlide, folder: Path, ways: dict[str, Planned], *, loops: bool) -> list[Contestant]:
    cells = ways[PLAIN].cells()
    side = subject.patch_size_px
    tiles = touched(subject.slide, cells, cells[0].width_px // side)
    print(f"{len(cells)} patches, {len(tiles.tiles)} tiles of {tiles.area_px / 1e6:.1f} MP", flush=True)
    found = [Contestant(FLOOR, tiles.decode)]
    found += [Contestant(name, way.pack, before=way.unpack) for name, way in ways.items()]
    if loops:
        png, array = folder / "png", folder / "array"
        found += [
            Contestant(PNG, lambda: to_png(subject.slide, cells, side, png), lambda: remove(png)),
            Contestant(ZARR, lambda: to_zarr(subject.slide, cells, side, array), lambda: remove(array)),
        ]
    return found


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__)
    add_slide(parser)
    parser.add_argument("--level0", action="store_true", help="patches of level 0")
    parser.add_argument("--no-loops", action="store_true", help="leave out the slow OpenSlide loops")
    parser.add_argument("--profile", action="store_true", help="profile one pack of each kind instead")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = slide_of(options, folder)
        ways = ready(subject, folder, options)
        if options.profile:
            profile(ways)
            return
        runs = interleaved(contestants(subject, folder, ways, loops=not options.no_loops), options.rounds)
        megapixels = ways[PLAIN].output_mp()
    show(runs, megapixels, "MP", FLOOR)
    subject_text = f"{subject.slide.name}, {megapixels:.1f} MP of patches"
    found = [
        Measure(
            f"{way} / {other}", megapixels / statistics.median(cpu(runs[way])), "MP/s per core",
            quotients(cpu(runs[other]), cpu(runs[way])), least, subject=subject_text,
        )
        for (way, other), least in LEAST.items()
        if other in runs
    ]  # fmt: skip
    libraries = ("simplejpeg", "openslide-python", "openslide-bin", "pillow", "zarr", "imagecodecs", "numcodecs")
    report("pack_floor", found, libraries=libraries, results=results_of(options), rounds=options.rounds)


def profile(ways: dict[str, Planned]) -> None:
    """Where one pack of each kind spends its time, functions by their own time."""
    for name, way in ways.items():
        way.pack()
        way.unpack()
        recorder = cProfile.Profile()
        recorder.runcall(way.pack)
        print(name)
        pstats.Stats(recorder).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()

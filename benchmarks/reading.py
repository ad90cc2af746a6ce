"""Reading patches by a plan, against decoding exactly the touched tiles and against OpenSlide.

    python benchmarks/reading.py                    # ../shared/data/slides/granular_20x.tif, or the benchmark slide
    python benchmarks/reading.py SLIDE.tif ... --cases aligned "2x from level 0"
    python benchmarks/reading.py --profile aligned  # where wsiprep's time goes, instead

Every case reads a block of 512 px patches from the middle of the slide, row by row. OpenSlide reads the stored level
where there is one, else level 0 and ``cv2.resize`` with INTER_AREA. The floor is ``simplejpeg`` on each touched
tile once, from memory, pixels dropped. Slides are opened anew for each round, outside of what is measured.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import openslide
from bench_slide import smoke_slide
from harness import Contestant, Measure, arguments, cpu, interleaved, quotients, report, results_of, show
from tile_floor import touched

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader
from wsiprep.slides.tiff import TiledTiff

PATCH_PX = 512
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "slides" / "granular_20x.tif"
FLOOR, PEER, OURS, UNPLANNED = "decode of the touched tiles", "OpenSlide", "wsiprep", "wsiprep, no plan"


@dataclass(frozen=True, slots=True)
class Case:
    """One way of reading.

    Attributes:
        length_lv0: side of a patch in level-0 pixels.
        columns, rows: patches.
        offset_lv0: of the first patch beside a corner of the tiles.
        level: downsample of the level that the floor and OpenSlide read.
        floor: least ratio of the floor's time to wsiprep's, if one is asked for.
        peer: least ratio of OpenSlide's time to wsiprep's, if one is asked for.
    """

    length_lv0: int
    columns: int
    rows: int
    offset_lv0: int = 0
    level: int = 1
    decode: Literal["exact", "dct"] = "exact"
    floor: float | None = None
    peer: float | None = None

    @property
    def pixels(self) -> Literal["stored", "level0"]:
        return "stored" if self.level * PATCH_PX == self.length_lv0 else "level0"


CASES = {
    "aligned": Case(512, 10, 16, floor=1 / 1.08),
    "unaligned": Case(512, 10, 16, offset_lv0=77, floor=1 / 1.08),
    "stored 4x, aligned": Case(2048, 9, 7, level=4, floor=1 / 1.08),
    "stored 4x, unaligned": Case(2048, 9, 7, offset_lv0=300, level=4, floor=1 / 1.08),
    "2x from level 0": Case(1024, 6, 8, peer=5.0),
    "2x from level 0, unaligned": Case(1024, 6, 8, offset_lv0=78, peer=5.0),
    "2x from level 0, dct": Case(1024, 5, 4, decode="dct"),
    "4x from level 0": Case(2048, 3, 3),
    "4x from level 0, dct": Case(2048, 3, 3, decode="dct"),
    "2x off the grid": Case(1024, 5, 4, offset_lv0=77),
    "2.06x": Case(1055, 5, 4, offset_lv0=77),
    "4.115x": Case(2107, 3, 3, offset_lv0=77),
    "6.5x": Case(3328, 2, 2, offset_lv0=77),
    "6.5x, dct": Case(3328, 2, 2, offset_lv0=77, decode="dct"),
}


class Reading:
    """One case on one slide: what each contestant does."""

    def __init__(self, path: Path, case: Case) -> None:
        self._path, self._case = path, case
        with TiledTiff(path) as slide:
            size = slide.info.size
        columns, rows = (
            max(1, min(n, (side - case.offset_lv0) // case.length_lv0))
            for n, side in ((case.columns, size.width_px), (case.rows, size.height_px))
        )
        # Corners of tiles of the level at hand, in the middle.
        step = PATCH_PX * case.level
        x, y = (
            max(0, side - n * case.length_lv0 - case.offset_lv0) // 2 // step * step + case.offset_lv0
            for n, side in ((columns, size.width_px), (rows, size.height_px))
        )
        side = case.length_lv0
        self.boxes = [Box(x + side * i, y + side * j, side, side) for j in range(rows) for i in range(columns)]
        self.grids = [PixelGrid(box, PATCH_PX, PATCH_PX) for box in self.boxes]
        self.tiles = touched(path, self.boxes, case.level)
        self.open()

    def open(self) -> None:
        """Fresh handles, so that no tile is decoded beforehand."""
        self.slide, self._theirs = TiledTiff(self._path), openslide.OpenSlide(self._path)
        self._reader = PatchReader(self.slide, self._case.pixels, self._case.decode)

    def ours(self) -> None:
        self._reader.plan(self.grids)
        for grid in self.grids:
            self._reader.read(grid)

    def ours_unplanned(self) -> None:
        for grid in self.grids:
            self._reader.read(grid)

    def theirs(self) -> None:
        for box in self.boxes:
            self.their_patch(box)

    def their_patch(self, box: Box) -> np.ndarray:
        level = self._theirs.get_best_level_for_downsample(self._case.level + 0.01)
        side = box.width_px // self._case.level
        region = np.asarray(self._theirs.read_region((box.x, box.y), level, (side, side)).convert("RGB"))
        if side == PATCH_PX:
            return region
        return cv2.resize(region, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_AREA)

    def checked(self) -> str:
        """What was decoded, and how far the pixels are from OpenSlide's."""
        self.open()
        difference = max(
            int(np.abs(self._reader.read(grid).astype(int) - self.their_patch(box)).max())
            for grid, box in zip(self.grids[:4], self.boxes[:4], strict=True)
        )
        self.open()
        self.ours()
        counts, source = self.slide.tile_counts, self._reader.source_of(self.grids[0])
        if counts.redecoded or counts.decoded != len(self.tiles.tiles):
            raise SystemExit(f"{counts} where {len(self.tiles.tiles)} tiles are touched")
        return (
            f"{len(self.grids)} patches, {counts.decoded} tiles decoded once each, level {source.source_level}, "
            f"dct {source.dct_factor}, at most {difference} grey levels from OpenSlide's"
        )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("slides", type=Path, nargs="*")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--profile", choices=list(CASES), metavar="CASE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slides = options.slides
        if options.smoke:
            slides = slides or [smoke_slide(Path(folder)).slide]
        slides = slides or [SHARED]
        if options.profile:
            profile(slides[0], CASES[options.profile])
            return
        measures: list[Measure] = []
        for path in slides:
            for name in options.cases:
                measures += compare(path, name, options)
    report("reading", measures, libraries=("simplejpeg", "openslide-python", "openslide-bin", "opencv-python-headless"),
           rounds=options.rounds, results=results_of(options))  # fmt: skip


def compare(path: Path, name: str, options: argparse.Namespace) -> list[Measure]:
    case = CASES[name]
    with TiledTiff(path) as slide:
        least = case.offset_lv0 + case.length_lv0
        if min(slide.info.size.width_px, slide.info.size.height_px) < least:
            print(f"{path.name}, {name}: smaller than a patch")
            return []
    reading = Reading(path, case)
    checked = reading.checked()
    contestants = [
        Contestant(PEER, reading.theirs, reading.open),
        Contestant(OURS, reading.ours, reading.open),
        Contestant(FLOOR, reading.tiles.decode),
        Contestant(UNPLANNED, reading.ours_unplanned, reading.open),
    ]
    runs = interleaved(contestants, 1 if options.smoke else options.rounds, warm_up=0 if options.smoke else 1)
    print(f"{path.name}, {name}: {checked}")
    output_mp = len(reading.grids) * PATCH_PX**2 / 1e6
    show(runs, output_mp, "MP", FLOOR)
    seconds = cpu(runs[OURS])
    rate = output_mp / float(np.median(seconds))
    return [
        Measure(f"{name} / {other}", rate, "MP/CPU s", quotients(cpu(runs[other]), seconds), target, subject=path.name)
        for other, target in ((FLOOR, case.floor), (PEER, case.peer))
    ]


def profile(path: Path, case: Case) -> None:
    reading = Reading(path, case)
    reading.ours()
    profiler = cProfile.Profile()
    for _ in range(5):
        reading.open()
        profiler.runcall(reading.ours)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()

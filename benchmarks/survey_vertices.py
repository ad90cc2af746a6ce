"""Survey of a slide of 100,000 x 200,000 px with 70,000 vertices and 150 holes: time, memory, and what masks cost.

    python benchmarks/survey_vertices.py                       # 3 rounds
    python benchmarks/survey_vertices.py --single-level        # tissue is then found by decoding all of level 0
    python benchmarks/survey_vertices.py --vertices 700000     # ten times as many

The slide (5 % of its tiles written, some 20 MB, and a level at 1:16) and the ASAP file are made in a temporary folder.
Then, at 512 px and 4x:

- ``survey`` in a process of its own, against the same slide without annotations: what the outlines add. Wall
  time, CPU time and peak memory are the child's own (wait4).
- exact shares of all cells, against shapely's ``clip_by_rect`` and ``intersection`` of the same union with each
  cell (on a sample of the cells, per cell).
- masks of patches on outlines with all vertices in the table and with a hundredth of them, against ``cv2.fillPoly``
  of the same rings moved to the patch: no centre rule, vertices rounded.

Measured on 2 shared cores (load 1.6 to 2.5), 5 rounds, median [min, max]: survey 6.45 [6.21, 6.52] s of wall time
against 3.76 [3.58, 4.38] s without outlines, peak memory 368 MB against 358 MB. The outlines cost 2.6 s of CPU time:
the file 0.7 s, the union with its holes 1.8 s, 4656 cells 0.05 s (289 [250, 291] times shapely's intersection for a
cell). A mask takes 3.7 ms with 70,188 vertices and 1.5 ms with 2,214: 2.9 [2.7, 3.0] and 7.1 [6.8, 7.1] times
fillPoly of all rings. With ``--single-level`` (3 rounds) survey takes 41 s, 44 s without outlines: they are decoding
and averaging 20 gigapixels of level 0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import shapely
import tifffile
from harness import Contestant, interleaved, show

from wsiprep.annotations import LabelMap, Region, SlideFrame, read_annotations
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.geometry import Box, PixelGrid, Size

SIZE = Size(100_000, 200_000)
TILE_PX = 512
DISTINCT = 200
LOW = 16
HOLES = 150
POLYGONS = 60
PATCH_PX, DOWNSAMPLE = 512, 4
CELL_PX = PATCH_PX * DOWNSAMPLE

RECIPE = {
    "name": "vertices",
    "labels": ["tumour"],
    "downsample": DOWNSAMPLE,
    "split": {"kind": "none"},
    "sampling": {"patch_size_px": PATCH_PX},
    "annotations": {"groups": {"Tumor": "tumour", "Exclusion": "background"}},
}

CHILD = """
import json, sys
from pathlib import Path
from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.stages.survey import survey
slide, annotation, out, recipe = sys.argv[1:]
row = SlideRow(
    slide_id="slide", raw_id="slide", slide=slide, slide_ref="slide.tif", annotation=annotation or None,
    annotation_ref=annotation or None, annotation_state="exhaustive" if annotation else "normal",
)
record = survey(row, recipe_from_mapping(json.loads(recipe)), DatasetTree(Path(out)), NullReporter())
print(json.dumps({"cells": record["cells"]["count"], **record["annotation"]["counts"]}))
"""


def write_slide(path: Path, *, single_level: bool, share: float = 0.05) -> None:
    """Its table of level 0 names the same few tiles again and again, most places are unwritten; 1:16 is noise."""
    rng = np.random.default_rng(0)
    across, down = -(-SIZE.width_px // TILE_PX), -(-SIZE.height_px // TILE_PX)

    def tiles() -> object:
        for index in range(across * down):
            if index >= DISTINCT:
                yield None
                continue
            coarse = rng.integers(90, 240, (TILE_PX // 16, TILE_PX // 16, 3), dtype=np.uint8)
            fine = rng.integers(0, 15, (TILE_PX, TILE_PX, 3), dtype=np.uint8)
            yield np.kron(coarse, np.ones((16, 16, 1), np.uint8)) + fine

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            tiles(), shape=(SIZE.height_px, SIZE.width_px, 3), dtype="uint8", tile=(TILE_PX, TILE_PX),
            photometric="rgb", compression="jpeg", metadata=None, resolution=(40_000, 40_000),
            resolutionunit="CENTIMETER",
        )  # fmt: skip
        if not single_level:
            low = rng.integers(90, 240, (SIZE.height_px // 160, -(-SIZE.width_px // 160), 3), dtype=np.uint8)
            low = cv2.resize(low, (SIZE.width_px // LOW, SIZE.height_px // LOW), interpolation=cv2.INTER_CUBIC)
            writer.write(
                low, tile=(TILE_PX, TILE_PX), photometric="rgb", compression="jpeg", metadata=None, subfiletype=1
            )
    with tifffile.TiffFile(path, mode="r+b") as tif:
        page = tif.pages[0]
        offsets, counts = (np.array(v, np.int64) for v in (page.dataoffsets, page.databytecounts))
        source = rng.integers(0, DISTINCT, offsets.size)
        written = rng.random(offsets.size) < share
        page.tags["TileOffsets"].overwrite(np.where(written, offsets[source], 0).tolist())
        page.tags["TileByteCounts"].overwrite(np.where(written, counts[source], 0).tolist())


def wavy_ring(rng: np.random.Generator, x: float, y: float, radius: float, points: int) -> npt.NDArray[np.float64]:
    """A ring that goes around (x, y) once, within 0.6 and 1 of the radius; one decimal, as ASAP writes."""
    angle = np.sort(rng.random(points)) * 2 * np.pi
    wave = sum(np.cos(k * angle + rng.random() * 6.3) / k for k in (3, 7, 19, 53))
    r = radius * (0.8 + 0.12 * wave / 1.6 + 0.01 * rng.standard_normal(points).clip(-3, 3))
    return np.round(np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], axis=1), 1)


def rings_of(vertices: int) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Three huge outlines with half of the vertices, small ones with the rest; 150 holes among them."""
    rng = np.random.default_rng(1)
    found = [
        ("Tumor", wavy_ring(rng, 50_000, y, 45_000 if y < 1e5 else 30_000, vertices // 6))
        for y in (48_000, 125_000, 165_000)
    ]
    left = vertices // 2
    hole_points = max(8, left // 4 // HOLES)
    for _ in range(HOLES):
        y = rng.choice([48_000, 125_000, 165_000]) + rng.uniform(-15_000, 15_000)
        found.append(("Exclusion", wavy_ring(rng, 50_000 + rng.uniform(-15_000, 15_000), y, 900, hole_points)))
    points = max(8, (left - hole_points * HOLES) // (POLYGONS - 3))
    for _ in range(POLYGONS - 3):
        place = rng.uniform(4_000, 96_000), rng.uniform(4_000, 196_000)
        found.append(("Tumor", wavy_ring(rng, *place, rng.uniform(500, 4_000), points)))
    return found


def write_asap(path: Path, rings: list[tuple[str, npt.NDArray[np.float64]]]) -> None:
    parts = ["<ASAP_Annotations><Annotations>"]
    for i, (group, ring) in enumerate(rings):
        points = "".join(f'<Coordinate Order="{k}" X="{x}" Y="{y}" />\n' for k, (x, y) in enumerate(ring.tolist()))
        parts.append(
            f'<Annotation Name="Annotation {i}" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">'
            f"<Coordinates>{points}</Coordinates></Annotation>"
        )
    groups = "".join(
        f'<Group Name="{g}" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group>' for g in ("Tumor", "Exclusion")
    )
    path.write_text(
        "".join([*parts, f"</Annotations><AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>"])
    )


def child(slide: Path, annotation: Path | None, out: Path) -> tuple[float, float, float, str]:
    """Wall seconds, CPU seconds, peak RSS in MB and the output of one survey in a fresh process."""
    command = [sys.executable, "-c", CHILD, str(slide), str(annotation or ""), str(out), json.dumps(RECIPE)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the survey failed with exit code {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text.strip()


def surveys(slide: Path, annotation: Path, folder: Path, rounds: int) -> None:
    ways: dict[str, Path | None] = {"without outlines": None, "with outlines": annotation}
    found: dict[str, list[tuple[float, float, float, str]]] = {name: [] for name in ways}
    for k in range(rounds + 1):
        for name, file in ways.items():
            measured = child(slide, file, folder / f"{name}-{k}")
            if k:  # the first round warms the page cache
                found[name].append(measured)
    print(f"survey, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, median of {rounds} rounds [min, max]")
    for name, values in found.items():
        wall, cpu, peak = (_spread([value[i] for value in values]) for i in range(3))
        print(f"  {name:<18} wall {wall} s   CPU {cpu} s   peak RSS {peak} MB   {values[0][3]}")
    pairs = list(zip(found["with outlines"], found["without outlines"], strict=True))
    print(f"  ratio              CPU {_spread([a[1] / b[1] for a, b in pairs])}")
    print(f"  outlines add       CPU {_spread([a[1] - b[1] for a, b in pairs])} s")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def steps(annotation: Path, recipe: Recipe) -> LabelMap:
    """The parts of what survey does with outlines, once each."""
    frame = SlideFrame(SIZE)

    def timed(name: str, work: Callable[[], object]) -> object:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        print(f"  {name:<34} {time.perf_counter() - wall:6.2f} s wall {time.process_time() - cpu:6.2f} s CPU")
        return result

    print("parts, once each")
    regions = timed("read the file", lambda: read_annotations(annotation, recipe, frame).regions)
    assert isinstance(regions, tuple)
    labels = timed("LabelMap", lambda: LabelMap(regions, recipe.labels, "exhaustive", SIZE))
    assert isinstance(labels, LabelMap)
    timed("union, holes cut", lambda: labels.geometries)
    cells = grid()
    timed(f"shares of {len(cells)} cells", lambda: labels.fractions(cells[:, 0], cells[:, 1], CELL_PX, CELL_PX))
    timed("areas", lambda: labels.areas_px)
    return labels


def grid() -> npt.NDArray[np.int64]:
    """Corners of the full cells, (n, 2) int64 level-0."""
    x, y = (np.arange(0, side - CELL_PX + 1, CELL_PX) for side in (SIZE.width_px, SIZE.height_px))
    return np.stack([v.ravel() for v in np.meshgrid(x, y)], axis=1).astype(np.int64)


def shares(labels: LabelMap, rounds: int) -> None:
    cells = grid()
    every = cells[np.linspace(0, len(cells) - 1, 80).astype(int)]
    whole = labels.geometries["tumour"]
    shapely.prepare(whole)

    def ours() -> npt.NDArray[np.float64]:
        # All cells: in one call the bands of rows are shared, as in survey.
        return labels.fractions(cells[:, 0], cells[:, 1], CELL_PX, CELL_PX).per_label["tumour"]

    def clipped() -> list[float]:
        return [shapely.clip_by_rect(whole, x, y, x + CELL_PX, y + CELL_PX).area for x, y in every.tolist()]

    def intersected() -> npt.NDArray[np.float64]:
        boxes = shapely.box(every[:, 0], every[:, 1], every[:, 0] + CELL_PX, every[:, 1] + CELL_PX)
        return np.asarray(shapely.area(shapely.intersection(whole, boxes)))

    ways: dict[str, Callable[[], object]] = {
        "shapely intersection": intersected, "shapely clip_by_rect": clipped, "wsiprep": ours
    }  # fmt: skip
    runs = interleaved([Contestant(name, work) for name, work in ways.items()], rounds)
    print("shares of cells, CPU per cell")
    share = len(every) / len(cells)
    runs["wsiprep"] = [replace(used, cpu_s=used.cpu_s * share, wall_s=used.wall_s * share) for used in runs["wsiprep"]]
    show(runs, len(every), "cells", "shapely intersection")
    sample = labels.fractions(every[:, 0], every[:, 1], CELL_PX, CELL_PX).per_label["tumour"]
    worst = float(np.abs(sample - np.asarray(intersected()) / CELL_PX**2).max())
    print(f"  largest difference from shapely: {worst:.1e} of a cell")


def masks(labels: LabelMap, few: LabelMap, rounds: int) -> None:
    """On cells that an outline crosses."""
    cells = grid()
    share = labels.fractions(cells[:, 0], cells[:, 1], CELL_PX, CELL_PX).per_label["tumour"]
    crossed = cells[(share > 0.05) & (share < 0.995)]
    chosen = crossed[np.linspace(0, len(crossed) - 1, min(100, len(crossed))).astype(int)]
    grids = [PixelGrid(Box(x, y, CELL_PX, CELL_PX), PATCH_PX, PATCH_PX) for x, y in chosen.tolist()]
    rings = [
        (int(region.label == "tumour"), shapely.get_coordinates(ring))
        for region in sorted(labels.regions, key=lambda region: region.label != "tumour")
        for ring in shapely.get_rings(region.geometry)
    ]

    def painted() -> None:
        for x, y in chosen.tolist():
            mask = np.zeros((PATCH_PX, PATCH_PX), np.uint8)
            for value, points in rings:
                cv2.fillPoly(mask, [np.round((points - (x, y)) / DOWNSAMPLE).astype(np.int32)], value)

    ways: dict[str, Callable[[], object]] = {
        "cv2.fillPoly of all rings": painted,
        f"wsiprep, {_count(labels)} vertices": lambda: [labels.mask(g) for g in grids],
        f"wsiprep, {_count(few)} vertices": lambda: [few.mask(g) for g in grids],
    }
    print(f"masks of {PATCH_PX} px, cells that an outline crosses")
    contestants = [Contestant(name, work) for name, work in ways.items()]
    show(interleaved(contestants, rounds), len(grids), "patches", "cv2.fillPoly of all rings")


def _count(labels: LabelMap) -> int:
    return int(sum(shapely.count_coordinates(region.geometry) for region in labels.regions))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vertices", type=int, default=70_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--single-level", action="store_true", help="a slide without the level at 1:16")
    parser.add_argument("--parts-only", action="store_true", help="no survey in processes of their own")
    options = parser.parse_args()
    recipe = recipe_from_mapping(RECIPE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rings = rings_of(options.vertices)
        write_asap(folder / "slide.xml", rings)
        count = sum(len(ring) for _, ring in rings)
        print(f"{SIZE.width_px} x {SIZE.height_px} px, {count} vertices in {len(rings)} outlines, {HOLES} holes")
        if not options.parts_only:
            write_slide(folder / "slide.tif", single_level=options.single_level)
            surveys(folder / "slide.tif", folder / "slide.xml", folder, options.rounds)
        labels = steps(folder / "slide.xml", recipe)
        shares(labels, options.rounds)
        few = [
            Region("tumour" if group == "Tumor" else "background", shapely.make_valid(shapely.Polygon(ring)))
            for group, ring in rings_of(options.vertices // 100)
        ]
        masks(labels, LabelMap([r for r in few if r.geometry.area], recipe.labels, "exhaustive", SIZE), options.rounds)


if __name__ == "__main__":
    main()

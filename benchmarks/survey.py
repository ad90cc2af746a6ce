"""Survey of a slide of 40,000 x 40,000 px with 20 outlines of 5,000 vertices each: CPU seconds and memory.

    python benchmarks/survey.py                      # 5 rounds
    python benchmarks/survey.py --format geojson     # the same outlines from a GeoJSON file
    python benchmarks/survey.py --profile            # what takes the time, by function

The slide is made in a temporary folder: levels 1:1, 1:4 and 1:16 in 512 px JPEG tiles; the two finer ones name the
same few tiles again and again, the coarsest is blotches of tissue on glass. Outlines overlap, some of them cut out of
others. Cells: 512 px at 4x, 361 of them, all with exact shares.

Each contestant runs in a process of its own, which tells its CPU seconds and its memory after its imports, and then
after the work: what is compared is the work alone. The floor does what cannot be left out, with the libraries alone
and no record written: parse the file, unite the outlines with shapely, clip the union to each cell that it meets
(STRtree and ``clip_by_rect``), decode the coarsest level with tifffile, Otsu on its saturation with OpenCV.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from harness import Measure, Spread, arguments, quotients, report, results_of
from survey_vertices import write_asap

SIDE_PX = 40_000
TILE_PX = 512
DISTINCT = 100
OUTLINES = 20
HOLES = 4
PATCH_PX, DOWNSAMPLE = 512, 4

WSIPREP = """
import json, resource, sys, time
from pathlib import Path
from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.stages.survey import survey

def work(slide, annotation, out, cell_px):
    recipe = recipe_from_mapping({
        "name": "survey", "labels": ["tumour"], "downsample": 4, "split": {"kind": "none"},
        "annotations": {"groups": {"Tumor": "tumour", "Exclusion": "background"}},
    })
    row = SlideRow(slide_id="slide", raw_id="slide", slide=slide, slide_ref="slide.tif", annotation=annotation,
                   annotation_ref=annotation, annotation_state="exhaustive")
    record = survey(row, recipe, DatasetTree(Path(out)), NullReporter())
    return record["annotation"]["area_px"]["tumour"]
"""

FLOOR = """
import json, re, resource, sys, time
from pathlib import Path
from xml.etree import ElementTree
import cv2, numpy as np, shapely, tifffile

def read(path):
    if path.endswith("json"):
        for feature in json.loads(Path(path).read_bytes())["features"]:
            yield feature["properties"]["classification"]["name"], feature["geometry"]["coordinates"][0]
        return
    for element in ElementTree.parse(path).iter("Annotation"):
        yield element.get("PartOfGroup"), [(float(c.get("X")), float(c.get("Y"))) for c in element.iter("Coordinate")]

def work(slide, annotation, out, cell_px):
    found = {"Tumor": [], "Exclusion": []}
    for group, points in read(annotation):
        found[group].append(shapely.Polygon(points))
    whole = shapely.difference(shapely.union_all(found["Tumor"]), shapely.union_all(found["Exclusion"]))
    parts = shapely.get_parts(whole)
    side = 40_000 // cell_px * cell_px
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, side, cell_px), np.arange(0, side, cell_px)))
    cell, part = shapely.STRtree(parts).query(shapely.box(x, y, x + cell_px, y + cell_px))
    share = np.zeros(len(x))
    for c, p in zip(cell.tolist(), part.tolist()):
        share[c] += shapely.clip_by_rect(parts[p], x[c], y[c], x[c] + cell_px, y[c] + cell_px).area
    with tifffile.TiffFile(slide) as tif:
        low = tif.pages[2].asarray()
    saturation = cv2.medianBlur(cv2.cvtColor(low, cv2.COLOR_RGB2HSV)[..., 1], 7)
    cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(whole.area)
"""

AROUND = """
def memory(name):
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in text.splitlines() if line.startswith(name))

imported = time.process_time(), memory("VmRSS:")
if len(sys.argv) > 5:
    import cProfile, pstats
    profile = cProfile.Profile()
    area = profile.runcall(work, *sys.argv[1:4], int(sys.argv[4]))
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)
else:
    area = work(*sys.argv[1:4], int(sys.argv[4]))
print(json.dumps({
    "import_cpu_s": imported[0], "cpu_s": time.process_time() - imported[0], "after_imports_mb": imported[1],
    "peak_mb": memory("VmHWM:"), "area_px": area,
}))
"""


def write_slide(path: Path, side_px: int) -> None:
    """Levels 1, 4 and 16; all tiles of the first two are written, as pointers to the same few."""
    rng = np.random.default_rng(0)
    common = {"photometric": "rgb", "compression": "jpeg", "metadata": None, "tile": (TILE_PX, TILE_PX)}
    low_px = side_px // 16
    blotches = cv2.resize(rng.random((20, 20), np.float32), (low_px, low_px), interpolation=cv2.INTER_CUBIC)
    glass = np.full((low_px, low_px, 3), 240, np.uint8)
    stained = rng.integers(0, 60, (low_px, low_px, 1)) + np.array([150, 60, 130])
    low = np.where((blotches > 0.6)[..., None], stained, glass).astype(np.uint8)

    def tiles(count: int) -> object:
        for index in range(count):
            if index >= DISTINCT:
                yield None
                continue
            coarse = rng.integers(90, 240, (TILE_PX // 16, TILE_PX // 16, 3), dtype=np.uint8)
            yield np.kron(coarse, np.ones((16, 16, 1), np.uint8))

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for factor in (1, 4):
            size = side_px // factor
            kind = (
                {"subfiletype": 1} if factor > 1 else {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
            )
            writer.write(tiles((-(-size // TILE_PX)) ** 2), shape=(size, size, 3), dtype="uint8", **kind, **common)
        writer.write(low, subfiletype=1, **common)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for page in list(tif.pages)[:2]:
            offsets, counts = (np.array(v, np.int64) for v in (page.dataoffsets, page.databytecounts))
            source = rng.integers(0, min(DISTINCT, offsets.size), offsets.size)
            page.tags["TileOffsets"].overwrite(offsets[source].tolist())
            page.tags["TileByteCounts"].overwrite(counts[source].tolist())


def rings_of(side_px: int, vertices: int) -> list[tuple[str, npt.NDArray[np.float64]]]:
    rng = np.random.default_rng(1)
    found = []
    for number in range(OUTLINES):
        group = "Exclusion" if number >= OUTLINES - HOLES else "Tumor"
        place = rng.uniform(0.12, 0.88, 2) * side_px
        found.append((group, wavy_ring(rng, *place, rng.uniform(0.03, 0.11) * side_px, vertices)))
    return found


def wavy_ring(rng: np.random.Generator, x: float, y: float, radius: float, points: int) -> npt.NDArray[np.float64]:
    """A ring without crossings, turning evenly around (x, y) within 0.6 and 1 of the radius, drawn with a trembling
    hand (2 px); one decimal, as ASAP writes."""
    angle = (np.arange(points) + rng.uniform(0.3, 0.7, points)) / points * 2 * np.pi
    wave = sum(np.cos(k * angle + rng.random() * 6.3) / k for k in (3, 7, 19, 53))
    r = radius * (0.8 + 0.12 * wave / 1.6) + 2 * rng.standard_normal(points).clip(-3, 3)
    return np.round(np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], axis=1), 1)


def write_geojson(path: Path, rings: list[tuple[str, npt.NDArray[np.float64]]]) -> None:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]},
            "properties": {"objectType": "annotation", "classification": {"name": group, "color": [200, 0, 0]}},
        }
        for group, ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def child(code: str, slide: Path, annotation: Path, out: Path, *more: str) -> dict[str, float]:
    command = [sys.executable, "-c", code + AROUND, slide, annotation, out, str(PATCH_PX * DOWNSAMPLE), *more]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a contestant failed with exit code {done.returncode}")
    text = done.stdout
    *printed, last = text.strip().splitlines()
    if printed:
        print("\n".join(printed))
    found: dict[str, float] = json.loads(last)
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--format", choices=["asap", "geojson"], default="asap")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    side_px, vertices = (8_192, 200) if options.smoke else (SIDE_PX, 5_000)
    rounds = 1 if options.smoke else options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide, rings = folder / "slide.tif", rings_of(side_px, vertices)
        annotation = folder / ("slide.xml" if options.format == "asap" else "slide.geojson")
        write_slide(slide, side_px)
        (write_asap if options.format == "asap" else write_geojson)(annotation, rings)
        if options.profile:
            child(WSIPREP, slide, annotation, folder / "out", "profile")
            return
        contestants = {"wsiprep": WSIPREP, "floor": FLOOR}
        runs: dict[str, list[dict[str, float]]] = {who: [] for who in contestants}
        for number in range(-1, rounds):  # the first round warms the page cache and the bytecode
            for who, code in contestants.items():
                found = child(code, slide, annotation, folder / f"{who}{number}")
                if number >= 0:
                    runs[who].append(found)
    _report(options, runs, rounds, f"{side_px} px a side, {OUTLINES} x {vertices} vertices, {options.format}")


def _report(options: argparse.Namespace, runs: dict[str, list[dict[str, float]]], rounds: int, subject: str) -> None:
    ours, floor = runs["wsiprep"], runs["floor"]
    areas = [found["area_px"] for found in (*ours, *floor)]
    if max(areas) - min(areas) > 1e-6 * max(areas):
        raise SystemExit(f"the areas differ: {areas}")

    def all_of(found: list[dict[str, float]], key: str) -> list[float]:
        return [item[key] for item in found]

    cpu = all_of(ours, "cpu_s")
    beyond = [item["peak_mb"] - item["after_imports_mb"] for item in ours]
    above = Spread.of([item["peak_mb"] - item["after_imports_mb"] for item in floor])
    print(f"floor: CPU {Spread.of(all_of(floor, 'cpu_s'))} s, imports {Spread.of(all_of(floor, 'import_cpu_s'))} s,"
          f" {above} MB beyond imports")  # fmt: skip
    measures = [
        Measure("survey, CPU s beyond imports", statistics.median(cpu), "s", None, 2.0, "at most", subject),
        Measure("survey against the floor, CPU", statistics.median(cpu), "s",
                quotients(cpu, all_of(floor, "cpu_s")), subject=subject),
        Measure("imports, CPU s", statistics.median(all_of(ours, "import_cpu_s")), "s", subject=subject),
        Measure("peak memory beyond imports", max(beyond), "MB", None, 300.0, "at most", subject),
    ]  # fmt: skip
    report("survey", measures, libraries=("shapely", "tifffile", "opencv-python-headless"),
           results=results_of(options), rounds=rounds)  # fmt: skip


if __name__ == "__main__":
    main()

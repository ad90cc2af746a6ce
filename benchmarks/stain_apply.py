"""How fast each way of the stain transform maps pixels, one core, and what it costs before the first one.

    python benchmarks/stain_apply.py                       # a patch of 512 px of each shared slide
    python benchmarks/stain_apply.py picture.png --rounds 15
    python benchmarks/stain_apply.py --whole slide.svs     # all its tissue patches in turn: what a table pays

``oracle`` is ``stain.normalise``, the float64 definition; ``numpy`` is the way ``plain``. ``table`` is measured when
it has seen the patch: ``--whole`` shows what the first sight of each colour costs. All give the same pixels, within
one level of the oracle's, which is checked.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from harness import Contestant, Measure, arguments, cpu, interleaved, quotients, report, results_of, show

from wsiprep.stain import REFERENCE, StainFit, fit, histogram, normalise, normaliser

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PICTURES = (
    "stain/instanseg_HE_example.tif",
    "slides_svs/cmu-1-small-region.svs",
    "slides_svs/tcga-cr-7395-01a-01-ts1.svs",
)
SIDE, CORNER = 512, 700
MEASURED = {"numpy": "plain", "fused": "fused", "table": "table"}
LEAST = {"numpy": 20.0, "fused": 70.0}
Rgb = npt.NDArray[np.uint8]
_START = """
import time, numpy, cv2
from wsiprep.stain import REFERENCE, normaliser
start, target = time.process_time(), REFERENCE["vahadane"]
normaliser(target, target, method="vahadane", way="fused")
print(time.process_time() - start)
"""


def picture(path: Path) -> Rgb:
    """uint8 (h, w, 3) of a TIFF's first page or of any other picture."""
    if path.suffix in {".svs", ".tif", ".tiff"}:
        return np.asarray(tifffile.imread(path, key=0))[..., :3]
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def one_patch(name: str, rgb: Rgb, rounds: int) -> list[Measure]:
    """A patch that was fitted by itself, Vahadane's stains."""
    side = min(SIDE, *rgb.shape[:2])
    y, x = (max(0, min(CORNER, length - side)) for length in rgb.shape[:2])
    patch = np.ascontiguousarray(rgb[y : y + side, x : x + side])
    source, target = fit(histogram(patch), "vahadane", 1000), REFERENCE["vahadane"]
    expected = normalise(patch, source, target)
    maps = {name: normaliser(source, target, method="vahadane", way=way) for name, way in MEASURED.items()}
    found = maps["numpy"](patch)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert all(np.array_equal(mapped(patch), found) for mapped in maps.values())
    print(f"{name}: {np.mean(found != expected):.2%} of the values are one level off the oracle's")
    contestants = [Contestant("oracle", lambda: _often(lambda: normalise(patch, source, target)))]
    contestants += [
        Contestant(way, lambda mapped=mapped: _often(lambda: mapped(patch))) for way, mapped in maps.items()
    ]
    runs = interleaved(contestants, rounds)
    megapixels = REPEATS * patch.shape[0] * patch.shape[1] / 1e6
    show(runs, megapixels, "MP", "oracle")
    measures = []
    for way in maps:
        rate = megapixels / float(np.median(cpu(runs[way])))
        ratio = quotients(cpu(runs["oracle"]), cpu(runs[way]))
        measures.append(Measure(f"{way} / oracle", rate, "MP/s per core", ratio, subject=name))
        if way in LEAST:
            measures.append(Measure(way, rate, "MP/s per core", target=LEAST[way], subject=name))
    return measures


REPEATS = 4


def _often(work: Callable[[], object]) -> None:
    for _ in range(REPEATS):
        work()


def whole(name: str, rgb: Rgb) -> None:
    """Every tissue patch once, in reading order, by each way with its own start."""
    tiles = [
        np.ascontiguousarray(rgb[y : y + SIDE, x : x + SIDE])
        for y in range(0, rgb.shape[0] - SIDE + 1, SIDE)
        for x in range(0, rgb.shape[1] - SIDE + 1, SIDE)
    ]
    tiles = [tile for tile in tiles if (tile.mean(axis=2) < 220).mean() > 0.2][:500]
    source = fit(histogram(np.concatenate(tiles[:12])), "vahadane", 1000)
    print(f"{name}: {len(tiles)} patches; CPU ms a patch, the first five, median of the last half; sum")
    for way in MEASURED.values():
        taken, mapped = _taken(source, way, tiles)
        rest = float(np.median(taken[len(taken) // 2 :]))
        first = " ".join(f"{value:.1f}" for value in taken[:5])
        colours = f"; {mapped.n_filled} colours" if way == "table" else ""
        print(f"  {way:<6} {first}  ...  {rest:.2f}   {sum(taken):.0f} ms{colours}")


def _taken(source: StainFit, way: str, tiles: list[Rgb]) -> tuple[list[float], object]:
    mapped = normaliser(source, REFERENCE["vahadane"], method="vahadane", way=way)
    taken = []
    for tile in tiles:
        start = time.process_time()
        mapped(tile)
        taken.append(1000 * (time.process_time() - start))
    return taken, mapped._map


def start_of_the_kernel() -> float:
    """CPU seconds of importing llvmlite, compiling and making tables in a process that has numpy and OpenCV."""
    words = [sys.executable, "-c", _START]
    return float(
        np.median([float(subprocess.run(words, capture_output=True, text=True, check=True).stdout) for _ in range(5)])
    )


def main() -> int:
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("pictures", nargs="*", type=Path, help="H&E (default: three shared ones)")
    parser.add_argument("--whole", type=Path, action="append", default=[], help="a slide to map patch by patch")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    for path in options.whole:
        whole(path.name, picture(path))
    if options.whole:
        return 0
    paths = options.pictures or [DATA / name for name in PICTURES]
    rounds = 2 if options.smoke else options.rounds
    measures = [
        m for path in (paths[:1] if options.smoke else paths) for m in one_patch(path.name, picture(path), rounds)
    ]
    measures.append(Measure("llvmlite imported and the kernel compiled", start_of_the_kernel(), "CPU s"))
    report(
        "stain_apply",
        measures,
        libraries=("llvmlite", "numpy", "opencv-python-headless"),
        results=results_of(options),
        rounds=rounds,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

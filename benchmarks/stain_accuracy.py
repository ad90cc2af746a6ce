"""How near wsiprep's stain fits are to the optimum and to staintools, image by image.

    python -m venv venv-staintools && venv-staintools/bin/pip install staintools spams-bin
    python benchmarks/stain_accuracy.py --staintools venv-staintools/bin/python

For every image: the angle of Vahadane's and Macenko's vectors to the optimum over all pixels in float64, found
without a histogram; Vahadane's objective over all tissue pixels, ours and staintools' (one second of SPAMS); the
angle of Macenko's vectors to staintools', and the largest and mean difference of the output when both normalise
the image to the same target, each with its own fits; and the largest difference when both have staintools' fits,
of pixels with any stain (``same``) and without (``glass``, which we leave as it is and staintools makes 255).
``gain`` is staintools' objective less ours on the same pixels: on what our fit is of, and with ink on both sides.
staintools runs in its own interpreter; without it those columns are empty.

Ink is left out of our fits and not of staintools': its share is shown, for slides that have it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from harness import Measure, arguments, report, results_of

from wsiprep.errors import StainError
from wsiprep.stain import REFERENCE, WHITE, StainFit, fit, fit_patch, histogram, normalise, normaliser
from wsiprep.stain.counted import Counted, is_ink
from wsiprep.stain.density import optical_density
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.vahadane import PENALTY, START, vahadane_matrix

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SIDE = 512
Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

STAINTOOLS = """
import sys, numpy as np, staintools
from staintools.stain_extraction.macenko_stain_extractor import MacenkoStainExtractor as M
from staintools.stain_extraction.vahadane_stain_extractor import VahadaneStainExtractor as V
from staintools.miscellaneous.get_concentrations import get_concentrations
given = np.load(sys.argv[1])
target, found = given["target"], {}
normaliser = staintools.StainNormalizer("macenko")
normaliser.fit(target)
for name in given.files:
    if name != "target":
        rgb = given[name]
        found["v:" + name] = V.get_stain_matrix(rgb.copy())
        found["m:" + name] = M.get_stain_matrix(rgb.copy())
        found["o:" + name] = normaliser.transform(rgb.copy())
        found["c:" + name] = np.percentile(get_concentrations(rgb.copy(), found["m:" + name]), 99, axis=0)
found["matrix"], found["largest"] = normaliser.stain_matrix_target, normaliser.maxC_target.ravel()
np.savez(sys.argv[2], **found)
"""


def images() -> Iterator[tuple[str, Rgb]]:
    """The shared test images, crops of the shared slides, and one that was made."""
    yield "histo", cv2.imread(str(DATA / "stain" / "histo.jpg"))[..., ::-1]
    yield "instanseg", tifffile.imread(DATA / "stain" / "instanseg_HE_example.tif")[:SIDE, :SIDE]
    yield "ihc", cv2.imread(str(DATA / "stain" / "ihc.png"))[..., ::-1]
    for path, name in (
        ("slides/granular_20x.tif", "granular"), ("slides/mesothelioma_10x.tif", "mesothelioma"),
        ("slides/celiac_10x.tif", "celiac"), ("slides_svs/cmu-1-small-region.svs", "cmu"),
        ("slides_svs/tcga-cr-7395-01a-01-ts1.svs", "tcga"),
    ):  # fmt: skip
        level = tifffile.imread(DATA / path, key=0)
        for number, (y, x) in enumerate(_crops(level)):
            yield f"{name}-{number}", level[y : y + SIDE, x : x + SIDE]
    for path in sorted((DATA / "dsb2018_he" / "images").glob("*.png"))[::15]:
        yield f"dsb-{path.stem[:4]}", cv2.imread(str(path))[..., ::-1]
    rng = np.random.default_rng(0)
    amounts = rng.gamma(1, 0.5, (SIDE, SIDE, 2))
    yield "made", np.clip(255 * np.exp(-amounts @ START) + rng.normal(0, 2, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def _crops(level: Rgb, count: int = 2) -> list[tuple[int, int]]:
    """Corners of the crops with the darkest means, on a coarse grid: tissue."""
    small = cv2.resize(level, (level.shape[1] // SIDE, level.shape[0] // SIDE), interpolation=cv2.INTER_AREA)
    order = np.argsort(small.mean(axis=2).ravel(), kind="stable")[:: max(1, small.shape[0] * small.shape[1] // 8)]
    return [(int(i // small.shape[1]) * SIDE, int(i % small.shape[1]) * SIDE) for i in order[:count]]


def tissue(rgb: Rgb, *, ink: bool) -> Floats:
    """Densities of every tissue pixel, with or without ink: float64 (3, n)."""
    lightness = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)[..., 0].ravel()
    density = optical_density(rgb.reshape(-1, 3).T)
    kept = lightness < 0.8 * 255
    if not ink:
        kept &= ~is_ink(density)
    return density[:, kept]


def objective(density: Floats, atoms: Floats) -> float:
    """Mean of 1/2 ||x - D a||^2 + lambda ||a||_1 with the best codes."""
    codes = concentrations(density, atoms, PENALTY)
    return float((((density - atoms.T @ codes) ** 2).sum(axis=0) / 2 + PENALTY * codes.sum(axis=0)).mean())


def optimum(density: Floats) -> Floats:
    """Vahadane's dictionary of all pixels: plain alternation to 1e-9, the dictionary step solved to its end."""
    atoms = START.copy()
    for _ in range(3000):
        codes = concentrations(density, atoms, PENALTY)
        second, cross = codes @ codes.T / codes.shape[1], codes @ density.T / codes.shape[1]
        moved = atoms.copy()
        for _ in range(100):
            for k in range(2):
                free = np.maximum((cross[k] - second[k] @ moved) / max(second[k, k], 1e-12) + moved[k], 0)
                moved[k] = free / max(float(np.linalg.norm(free)), 1.0)
        if np.abs(moved - atoms).max() < 1e-9:
            break
        atoms = moved
    return _rows(moved)


def macenko(density: Floats) -> Floats:
    """Macenko's vectors of all pixels, by the definition."""
    _, vectors = np.linalg.eigh(np.cov(density))
    plane = vectors[:, [2, 1]] * np.where(vectors[:, [2, 1]].T @ density.mean(axis=1) < 0, -1, 1)
    along, across = plane.T @ density
    ends = np.percentile(np.arctan2(across, along), [1, 99])
    return _rows(np.array([plane @ [np.cos(a), np.sin(a)] for a in ends]))


def _rows(atoms: Floats) -> Floats:
    ordered = atoms if atoms[0, 0] > atoms[1, 0] else atoms[::-1]
    result: Floats = ordered / np.linalg.norm(ordered, axis=1, keepdims=True)
    return result


def angle(first: Floats, second: Floats) -> float:
    """The larger of the two rows' angles, degrees."""
    return float(np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1, 1))).max())


Found = dict[str, list[float]]
"""What the CSV tells the worst of, by name: a value an image."""
LIMITS: dict[str, tuple[str, float, Literal["at least", "at most"]]] = {
    "vahadane to the optimum, colours of a slide": ("degrees", 0.3, "at most"),
    "vahadane to the optimum, a patch of its own": ("degrees", 0.3, "at most"),
    "macenko to the optimum, colours of a slide": ("degrees", 0.3, "at most"),
    "macenko to the optimum, a patch of its own": ("degrees", 0.3, "at most"),
    "vahadane's objective: staintools less wsiprep, same pixels": ("", 0.0, "at least"),
    "macenko's output beside staintools with its parameters": ("grey levels", 1, "at most"),
    "compiled map beside the float64 definition": ("grey levels", 1, "at most"),
}


def measure(name: str, rgb: Rgb, target: StainFit, peer: dict[str, Any], figures: Found) -> str:
    """One row of the table, and more for ``figures``."""

    def note(what: str, value: float) -> None:
        figures.setdefault(what, []).append(value)

    hist = histogram(rgb)
    counted = Counted.of(hist, WHITE)
    ink = counted.total(counted.ink) / max(counted.total(counted.tissue), 1)
    row = f"{name:14s} {ink:7.2%}"
    plain, everything = tissue(rgb, ink=False), tissue(rgb, ink=True)
    for method, best in (("vahadane", optimum(plain)), ("macenko", macenko(plain))):
        try:
            found = fit(hist, method, 1000)
        except StainError as error:
            row += f" {error.message.split('(')[-1].rstrip(')'):>9.9s}" + (" " * 24 if method == "vahadane" else "")
            continue
        assert isinstance(found, StainFit)
        row += f" {angle(found.matrix, best):9.4f}"
        note(f"{method} to the optimum, colours of a slide", angle(found.matrix, best))
        own = fit_patch(rgb, method, REFERENCE[method], 1000)
        assert isinstance(own, StainFit)
        if own.origin == "patch":
            note(f"{method} to the optimum, a patch of its own", angle(own.matrix, best))
        mapped = normaliser(found, REFERENCE[method], method=method, way="fused")(rgb).astype(int)
        note(
            "compiled map beside the float64 definition",
            np.abs(mapped - normalise(rgb, found, REFERENCE[method])).max(),
        )
        if method == "vahadane":
            row += f" {objective(everything, found.matrix):.7f}"
            row += f" {objective(everything, peer['v:' + name]):.7f}" if peer else " " * 10
            if peer:
                with_ink = vahadane_matrix(everything, np.ones(everything.shape[1], np.int64)).matrix
                for part, ours in ((plain, found.matrix), (everything, with_ink)):
                    gain = objective(part, peer["v:" + name]) - objective(part, ours)
                    note("vahadane's objective: staintools less wsiprep, same pixels", gain)
                    row += f" {gain:+.1e}"
                row += f" {angle(peer['v:' + name], best):6.3f}"
        elif peer:
            difference = np.abs(normalise(rgb, found, target).astype(int) - peer["o:" + name])
            row += f" {angle(found.matrix, peer['m:' + name]):7.4f} {difference.max():4d} {difference.mean():7.3f}"
            theirs = StainFit("macenko", peer["m:" + name], peer["c:" + name])
            look = StainFit("macenko", peer["matrix"], peer["largest"])
            stained = concentrations(optical_density(rgb.reshape(-1, 3).T), theirs.matrix).sum(axis=0) > 0
            apart = np.abs(normalise(rgb, theirs, look).astype(int) - peer["o:" + name]).reshape(-1, 3)
            note("macenko's output beside staintools with its parameters", apart[stained].max())
            row += f" {apart[stained].max():4d} {apart[~stained].max(initial=0):4d}"
    return row


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--staintools", help="interpreter that has staintools and spams")
    options = parser.parse_args()
    pictures = {name: np.ascontiguousarray(rgb) for name, rgb in images()}
    if options.smoke:
        pictures = {name: pictures[name] for name in ("histo", "instanseg")}
    target_rgb = pictures["instanseg"]
    found = fit(histogram(target_rgb), "macenko", 1000)
    assert isinstance(found, StainFit)
    peer: dict[str, Any] = {}
    if options.staintools:
        with tempfile.TemporaryDirectory() as folder:
            given, answer = Path(folder) / "in.npz", Path(folder) / "out.npz"
            np.savez(given, **pictures, target=target_rgb)
            subprocess.run([options.staintools, "-c", STAINTOOLS, given, answer], check=True, stderr=sys.stderr)
            with np.load(answer) as arrays:
                peer = {name: arrays[name] for name in arrays.files}
    searched = "  V angle V ours    V st.     gain     with ink st. deg"
    print("image              ink" + searched + "  M angle  M to st.  max   mean same glass")
    figures: Found = {}
    for name, rgb in pictures.items():
        print(measure(name, rgb, found, peer, figures), flush=True)
    measures = [
        Measure(
            f"{what}, worst of {len(values)}", (max if sense == "at most" else min)(values), unit, None, limit, sense
        )
        for what, (unit, limit, sense) in LIMITS.items()
        for values in [figures.get(what, [])]
        if values
    ]
    report("stain_accuracy", measures, libraries=("llvmlite",), results=results_of(options), rounds=1)


if __name__ == "__main__":
    main()

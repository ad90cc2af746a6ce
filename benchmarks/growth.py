"""Does the work grow with the patches and with the slides, and with nothing else? CPU seconds of survey and pack.

    python benchmarks/growth.py

Two lines are fitted by least squares through the median of each size: survey and pack of one slide against its kept
patches (an eighth to all of them, chosen by ``sampling.max_per_slide``), and survey and pack of 1, 4 and 16
script-made slides against their number. What is left at zero is the cost of opening, of the overview and the
records; it is reported. The rounds are interleaved over all sizes; plan, which is one job for all slides, is left out.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_slide import BenchSlide, add_slide, slide_of
from harness import Contestant, Measure, Runs, arguments, cpu, interleaved, report, results_of, show
from planned import Planned, of_slide

from wsiprep.synthetic import write_pyramid

LEAST_R2 = 0.99
SLIDES, SIDE_PX = (1, 4, 16), 4096
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds = ``intercept`` + ``slope`` * size, and how much of the variance that explains."""

    intercept: float
    slope: float
    r2: float

    @classmethod
    def through(cls, sizes: Sequence[float], seconds: Sequence[float]) -> Line:
        """Least squares.

        Raises:
            ValueError: fewer than two different sizes.
        """
        x, y = np.asarray(sizes, np.float64), np.asarray(seconds, np.float64)
        if len(set(sizes)) < 2:
            raise ValueError("a line needs two different sizes")
        slope, intercept = np.polyfit(x, y, 1)
        left, spread = ((y - intercept - slope * x) ** 2).sum(), ((y - y.mean()) ** 2).sum()
        return cls(float(intercept), float(slope), 1.0 if spread == 0 else float(1 - left / spread))


def by_patches(subject: BenchSlide, folder: Path) -> dict[int, Callable[[], None]]:
    """Kept patches -> survey and pack with so many."""

    def way(most: int | None) -> Planned:
        sampling = {"patch_size_px": subject.patch_size_px, "max_per_slide": most}
        made = of_slide(subject, folder / f"patches-{most}", overrides={"sampling": sampling})
        made.survey()
        made.plan()
        return made

    every = len(way(None).cells())
    return {n: _work([way(n)]) for n in sorted({max(1, round(every * share)) for share in SHARES})}


def by_slides(folder: Path, counts: Sequence[int], side_px: int) -> dict[int, Callable[[], None]]:
    """Number of slides -> survey and pack of so many different ones, level-0 patches."""
    ways = []
    for number in range(max(counts)):
        place = folder / f"slide-{number}"
        place.mkdir()
        rng = np.random.default_rng(number)
        coarse = rng.integers(90, 240, (side_px // 32, side_px // 32, 3), dtype=np.uint8)
        fine = rng.integers(0, 15, (side_px, side_px, 1), dtype=np.uint8)
        write_pyramid(place / "slide.tif", np.kron(coarse, np.ones((32, 32, 1), np.uint8)) + fine, spacing_um=0.25)
        subject = BenchSlide(place / "slide.tif", None, None, patch_size_px=min(512, side_px // 4))
        made = of_slide(
            subject, place / "dataset", level0=True, name=f"slide-{number}", overrides={"keep": {"min_tissue": 0.0}}
        )
        made.survey()
        made.plan()
        ways.append(made)
    return {count: _work(ways[:count]) for count in counts}


def _work(ways: Sequence[Planned]) -> Callable[[], None]:
    def survey_and_pack() -> None:
        for way in ways:
            way.unpack()
            way.survey()
            way.pack()

    return survey_and_pack


def fitted(runs: Runs, names: Mapping[int, str]) -> Line:
    return Line.through(list(names), [statistics.median(cpu(runs[name])) for name in names.values()])


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=3)
    add_slide(parser)
    options = parser.parse_args(words)
    found: list[Measure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = slide_of(options, folder)
        patches = by_patches(subject, folder)
        slides = by_slides(folder, SLIDES[:2] if options.smoke else SLIDES, 512 if options.smoke else SIDE_PX)
        names = {unit: {n: f"{n} {unit}" for n in sizes} for unit, sizes in (("patches", patches), ("slides", slides))}
        contestants = [Contestant(names["patches"][n], work) for n, work in patches.items()]
        contestants += [Contestant(names["slides"][n], work) for n, work in slides.items()]
        runs = interleaved(contestants, options.rounds)
    show(runs, 1, "run", contestants[0].name)
    for unit, of in (("patches", subject.slide.name), ("slides", "script-made slides")):
        line, about = fitted(runs, names[unit]), f"{', '.join(map(str, names[unit]))} {unit} of {of}"
        found += [
            Measure(f"CPU against {unit}: R2 of a line", line.r2, "", target=LEAST_R2, subject=about),
            Measure(f"CPU against {unit}: slope", 1e3 * line.slope, f"ms for each of the {unit}", subject=about),
            Measure(f"CPU against {unit}: intercept", 1e3 * line.intercept, "ms", subject=about),
        ]
    report("growth", found, results=results_of(options), rounds=options.rounds)


if __name__ == "__main__":
    main()

"""What every benchmark is made of: contestants run in turn, their ratios pair by pair, a table and a CSV file.

A contestant is a function of this process or a command. They run A B C, A B C, ..., so that a drift of the machine
hits all alike, and what is quoted is the median of the ratios of each round with the smallest and the largest: on a
shared machine a ratio means something and seconds do not.

    runs = interleaved([Contestant("floor", decode), Contestant("pack", pack_it, before=remove_shard)], rounds=5)
    show(runs, units=41.2, unit="MP", baseline="floor")
    report("pack_floor", [Measure("pack / floor", rate, "MP/s", quotients(cpu(runs["floor"]), cpu(runs["pack"])), 0.7)])
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circumstances import circumstances, machine_line
from processes import Used, of_call, of_command

__all__ = [
    "RESULTS",
    "Contestant",
    "Measure",
    "Runs",
    "Spread",
    "Used",
    "arguments",
    "cpu",
    "differences",
    "interleaved",
    "of_call",
    "of_command",
    "quotients",
    "report",
    "results_of",
    "show",
    "table",
    "wall",
]

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One of those compared.

    Attributes:
        name: in the tables.
        work: a function of this process, or the words of a command.
        before: called before every run and not measured; empties an output folder, say.
        environment: what a command finds in its environment beside this process's own.
        log: a command's output is appended here; it is shown only if the command fails.
    """

    name: str
    work: Callable[[], object] | Sequence[str]
    before: Callable[[], object] | None = None
    environment: Mapping[str, str] | None = None
    log: Path | None = None

    def run(self) -> Used:
        """Raises: SystemExit where a command fails."""
        if self.before is not None:
            self.before()
        return of_call(self.work) if callable(self.work) else of_command(self.work, self.environment, self.log)


Runs = dict[str, list[Used]]
"""The counted runs of each contestant, by its name and in the order of the rounds."""


def interleaved(contestants: Iterable[Contestant], rounds: int, warm_up: int = 1) -> Runs:
    """``warm_up`` rounds that do not count, then ``rounds`` of A B C, A B C, ..."""
    contestants = list(contestants)
    runs: Runs = {contestant.name: [] for contestant in contestants}
    if len(runs) != len(contestants):
        raise ValueError("two contestants have the same name")
    for number in range(-warm_up, rounds):
        for contestant in contestants:
            used = contestant.run()
            if number >= 0:
                runs[contestant.name].append(used)
    return runs


def cpu(runs: Iterable[Used]) -> list[float]:
    """The CPU seconds of each run."""
    return [used.cpu_s for used in runs]


def wall(runs: Iterable[Used]) -> list[float]:
    """The wall seconds of each run."""
    return [used.wall_s for used in runs]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the smallest and the largest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{_short(self.median)} [{_short(self.low)}, {_short(self.high)}]"


def quotients(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The ratios of each round, ``above[i] / below[i]``.

    Raises:
        ValueError: not the same number of rounds.
    """
    return Spread.of(a / b for a, b in zip(above, below, strict=True))


def differences(whole: Sequence[float], less: Sequence[float]) -> list[float]:
    """Round by round ``whole[i] - less[i]``: a run less a run that does nothing."""
    return [a - b for a, b in zip(whole, less, strict=True)]


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of a result.

    Attributes:
        name: what was measured, against what.
        value: the project's own figure in ``unit``, a median; NaN where it could not be measured.
        ratio: to the peer or the floor, with its spread; None where the value itself is judged.
        target: what ratio (or value) must be at least, or at most; None where it is only reported.
        sense: whether ``target`` is the least or the most that is good, or must be met exactly.
        subject: on what: the slide and the patches.
    """

    name: str
    value: float
    unit: str
    ratio: Spread | None = None
    target: float | None = None
    sense: Literal["at least", "at most", "exactly"] = "at least"
    subject: str = ""

    @property
    def met(self) -> bool | None:
        judged = self.ratio.median if self.ratio else self.value
        if self.target is None or math.isnan(judged):
            return None
        if self.sense == "exactly":
            return judged == self.target
        return judged >= self.target if self.sense == "at least" else judged <= self.target

    @property
    def target_text(self) -> str:
        signs = {"at least": ">=", "at most": "<=", "exactly": "="}
        return "" if self.target is None else f"{signs[self.sense]} {self.target:g}"

    @property
    def verdict(self) -> str:
        return {True: "yes", False: "no", None: ""}[self.met]


def show(runs: Runs, units: float, unit: str, baseline: str) -> None:
    """One line a contestant: seconds, memory, rate per CPU second and ratio to the baseline (above 1 is faster)."""
    rows = [["", "CPU s", "wall s", "peak MB", f"{unit} / CPU s", f"x {baseline}"]]
    for name, found in runs.items():
        peak = max(used.peak_mb for used in found)
        rate = units / statistics.median(cpu(found))
        ratio = quotients(cpu(runs[baseline]), cpu(found))
        rows.append(
            [name, str(Spread.of(cpu(found))), str(Spread.of(wall(found))), _short(peak), _short(rate), str(ratio)]
        )
    print(f"{machine_line()}; {units:g} {unit}; median of {len(runs[baseline])} rounds [min, max]")
    print(table(rows))


def report(
    name: str,
    measures: Sequence[Measure],
    *,
    libraries: Iterable[str] = (),
    others: Iterable[str] = (),
    results: Path | None = RESULTS,
    rounds: int,
) -> None:
    """Print the measures with their targets, and append them to ``results/<name>.csv``.

    Args:
        name: of the benchmark.
        measures: its lines.
        libraries: distributions whose versions the file tells, beside numpy and wsiprep.
        others: "name=version" of what was measured in other environments.
        results: the folder of the file; None writes nothing.
        rounds: how many rounds the medians are of.
    """
    rows = [["measure", "value", "unit", "ratio", "target", "met"]]
    rows += [
        [m.name, _short(m.value), m.unit, "" if m.ratio is None else str(m.ratio), m.target_text, m.verdict]
        for m in measures
    ]
    print(table(rows), flush=True)
    if results is not None:
        _append(results / f"{name}.csv", measures, circumstances(libraries, others, rounds))


def _append(path: Path, measures: Sequence[Measure], circumstances: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="") as stream:
        writer: csv.DictWriter[str] | None = None
        for m in measures:
            ratio = (
                ("", "", "")
                if m.ratio is None
                else tuple(f"{v:.4g}" for v in (m.ratio.median, m.ratio.low, m.ratio.high))
            )
            row = dict(circumstances) | {
                "measure": m.name, "subject": m.subject, "value": f"{m.value:.6g}", "unit": m.unit, "ratio": ratio[0],
                "low": ratio[1], "high": ratio[2], "target": m.target_text, "met": m.verdict,
            }  # fmt: skip
            if writer is None:
                writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                if fresh:
                    writer.writeheader()
            writer.writerow(row)


def arguments(text: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """What every benchmark takes: ``--rounds``, ``--results`` and ``--smoke``."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="counted rounds (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files (default: beside this)")
    parser.add_argument("--smoke", action="store_true", help="the smallest run that still goes through it all; no CSV")
    return parser


def results_of(options: argparse.Namespace) -> Path | None:
    """The folder for ``report``: none for a smoke run."""
    return None if options.smoke else options.results


def _short(value: float) -> str:
    """Three digits that mean something; whole numbers in full."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )

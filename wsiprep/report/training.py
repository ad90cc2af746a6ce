"""Training curves and the benchmark table, as far as there are runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from wsiprep.report.charts import SERIES, Line, line_chart
from wsiprep.report.figures import Table, count, is_number
from wsiprep.report.inputs import Curves, Inputs

MAX_CHARTS = 6
MAX_BENCHMARK_ROWS = 300
SHOWN = (
    "kind", "title", "data", "split", "seed", "fold", "runs", "acc", "mpa", "miou", "fwiou", "label_iou", "n_trainable",
    "epochs", "train_seconds",
)  # fmt: skip
"""Columns of the benchmark that the page has room for, in this order."""

_NOT_SCORES = ("epoch", "step", "seconds", "images", "lr")


@dataclass(frozen=True, slots=True)
class CurvesView:
    """Charts of the training's metrics; one colour a model."""

    charts: tuple[tuple[str, Markup], ...]
    legend: tuple[tuple[str, str, int], ...]
    left_out: tuple[str, ...]


def curves_view(inputs: Inputs) -> CurvesView | None:
    """A chart a metric with a curve a run; None without runs."""
    if not inputs.curves:
        return None
    runs = Counter(run.model for run in inputs.curves)
    colours = {model: SERIES[i % len(SERIES)] for i, model in enumerate(sorted(runs))}
    charts: list[tuple[str, Markup]] = []
    left_out: list[str] = []
    for name in _metrics(inputs.curves):
        lines = [Line(run.model, points) for run in inputs.curves if (points := _points(run, name))]
        if not lines:
            continue
        if len(charts) == MAX_CHARTS:
            left_out.append(name)
            continue
        charts.append((name, line_chart(lines, "epoch", name.replace("_", " "), colours)))
    return CurvesView(tuple(charts), tuple((m, colours[m], runs[m]) for m in sorted(runs)), tuple(left_out))


def _metrics(curves: tuple[Curves, ...]) -> list[str]:
    """Names of the scores: losses, then IoUs, then the rest, each in the order of the files."""
    names = list(dict.fromkeys(name for run in curves for name in run.rows[0]))
    scores = [n for n in names if not any(part in n.split("_") for part in _NOT_SCORES)]
    return sorted(scores, key=lambda n: 0 if "loss" in n else 1 if "iou" in n else 2)


def _points(run: Curves, name: str) -> tuple[tuple[float, float], ...]:
    points = []
    for number, row in enumerate(run.rows):
        value, place = row.get(name, ""), row.get("epoch") or row.get("step") or str(number)
        try:
            points.append((float(place), float(value)))
        except ValueError:
            continue  # not logged in this row
    return tuple(points)


def benchmark_table(inputs: Inputs) -> Table | None:
    """``benchmark.csv`` with its numbers shortened, the columns of ``SHOWN`` where it has them; None without one."""
    if not inputs.benchmark:
        return None
    present = tuple(inputs.benchmark[0])
    notes = benchmark_notes(inputs)
    columns = tuple(name for name in SHOWN if name in present) if {"kind", "title"} <= set(present) else present
    rows = [tuple(_cell(row, name, notes) for name in columns) for row in inputs.benchmark]
    used = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    shown = [tuple(row[i] for i in used) for row in rows]
    return Table.of([columns[i].replace("_", " ") for i in used], shown, limit=MAX_BENCHMARK_ROWS)


def benchmark_notes(inputs: Inputs) -> tuple[str, ...]:
    """The different notes of the benchmark's rows, in order: the footnotes of its table."""
    return tuple(dict.fromkeys(row["note"] for row in inputs.benchmark if row.get("note")))


def _cell(row: Mapping[str, str], name: str, notes: tuple[str, ...]) -> str:
    """A cell as it is shown: a title carries the model's options and the number of its footnote."""
    text = row.get(name, "")
    if name != "title":
        return _short(text)
    options = f" ({row['options']})" if row.get("options") else ""
    number = f" [{notes.index(row['note']) + 1}]" if row.get("note") else ""
    return f"{text}{options}{number}"


def _short(text: str) -> str:
    if text.isdecimal() and len(text) > 4:
        return count(int(text))
    if not is_number(text) or "." not in text or "%" in text or "," in text:
        return text
    value = float(text)
    if abs(value) < 1e-3:
        return f"{value:.2g}"
    # A fixed number of decimals, so that scores stand under each other.
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"

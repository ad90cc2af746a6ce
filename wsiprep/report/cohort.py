"""The whole dataset in figures: totals, the keep rules' effect, what is lost, and the split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from wsiprep.report.charts import BLUE, GREEN, ORANGE, SERIES, share_chart, stacked_bars
from wsiprep.report.figures import Table, area, count, data_size, number, percent, words
from wsiprep.report.inputs import Inputs, Record
from wsiprep.report.slides import state_of

LISTED_LESIONS = 200
LISTED_PATIENTS = 500
SPLIT_COLOURS = {"train": BLUE, "val": GREEN, "test": ORANGE}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of one source before and after the rule, and what is not in the bars."""

    source: str
    chart: Markup
    tumour_free_before: str
    tumour_free_after: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SplitView:
    """The split: bars, table per split, table per fold (or None), table per patient."""

    chart: Markup
    legend: tuple[tuple[str, str], ...]
    splits: Table
    folds: Table | None
    patients: Table | None


def totals(inputs: Inputs) -> list[tuple[str, str]]:
    """The tiles at the top of the page: (figure, what of)."""
    plan = (inputs.plan or {}).get("plan", {})
    dataset = inputs.dataset or {}
    counts = dataset.get("counts", {})
    patients = counts.get("patients") or len({_patient(inputs, s) for s in inputs.slide_ids})
    tiles = [(count(len(inputs.slide_ids)), "slides"), (count(patients), "patients")]
    if plan:
        tiles += [(count(plan["cells"]), "cells looked at"), (count(plan["kept"]), "cells kept")]
    if counts:
        tiles += [(count(counts["patches"]), "patches sealed"), (data_size(dataset["bytes"]["total"]), "on disk")]
    return tiles


def states(inputs: Inputs) -> list[tuple[str, int]]:
    """State -> slides, the common ones first."""
    return Counter(state_of(inputs, slide_id)[0] for slide_id in inputs.slide_ids).most_common()


def histograms(inputs: Inputs) -> list[Histogram]:
    """One histogram a source; slides without a source are one."""
    plan = inputs.plan or {}
    sources = plan.get("sources", {})
    grouped: dict[str, list[Record]] = defaultdict(list)
    for row in plan.get("plan", {}).get("slides", ()):
        if row.get("annotated"):
            grouped[sources.get(row["slide_id"], "")].append(row)
    return [_histogram(source, rows, _bounds(inputs)) for source, rows in sorted(grouped.items())]


def _histogram(source: str, rows: Sequence[Record], bounds: Sequence[float]) -> Histogram:
    bins, free = {}, {}
    for when in ("shares_before", "shares_after"):
        bins[when] = [sum(column) for column in zip(*(row[when]["bins"] for row in rows), strict=True)]
        free[when] = sum(row[when]["tumour_free"] for row in rows)
    title = f"cells by their share of kept labels{f', source {source}' if source else ''}"
    return Histogram(
        source=source,
        chart=share_chart(bins["shares_before"], bins["shares_after"], bounds, title),
        tumour_free_before=count(free["shares_before"]),
        tumour_free_after=count(free["shares_after"]),
        before=count(sum(bins["shares_before"])),
        after=count(sum(bins["shares_after"])),
    )


def _bounds(inputs: Inputs) -> list[float]:
    rules = ((inputs.recipe or {}).get("keep") or {}).get("rules") or ()
    return sorted({float(rule[name]) for rule in rules for name in ("min", "max")})


def decisions_table(inputs: Inputs) -> Table | None:
    """How many cells each decision took, in all and per source."""
    plan = inputs.plan or {}
    rows = plan.get("plan", {}).get("slides", ())
    if not rows:
        return None
    sources = plan.get("sources", {})
    names = sorted({sources.get(row["slide_id"], "") for row in rows})
    total = plan["plan"]["cells"] or 1
    table = []
    counts = sorted(plan["plan"]["counts"].items(), key=lambda item: (item[0] != "kept", -item[1], item[0]))
    for code, n in ((code, n) for code, n in counts if n):
        per_source = [sum(r["counts"][code] for r in rows if sources.get(r["slide_id"], "") == name) for name in names]
        table.append((words(code), count(n), percent(n / total), *(map(count, per_source) if len(names) > 1 else ())))
    return Table.of(("decision", "cells", "share", *(names if len(names) > 1 else ())), table)


def keep_nothing(inputs: Inputs) -> Table | None:
    """Slides that keep nothing, with the reason and their best cell; None before the plan."""
    plan = (inputs.plan or {}).get("plan")
    if plan is None:
        return None
    rows = [
        (row["slide_id"], words(row["reason"]), percent(row.get("best_share"), 2), _patient(inputs, row["slide_id"]))
        for row in plan["keep_nothing"]
    ]
    return Table.of(("slide", "most cells are", "best share of a cell", "patient"), rows, limit=LISTED_PATIENTS)


def lost_lesions(inputs: Inputs) -> Table | None:
    """Annotated regions that no kept cell meets; None before the plan."""
    plan = (inputs.plan or {}).get("plan")
    if plan is None:
        return None
    rows = []
    for lesion in sorted(plan["lost_lesions"], key=lambda row: -row["area_px"]):
        spacing = inputs.slides.get(lesion["slide_id"], {}).get("spacing_um", {}).get("used")
        size = area(lesion["area_px"] * spacing**2) if spacing else ""
        place = f"{lesion['x_lv0']:.0f}, {lesion['y_lv0']:.0f}"
        rows.append((lesion["slide_id"], str(lesion["index"]), lesion["label"], size, count(lesion["area_px"]), place))
    columns = ("slide", "region", "label", "area, mm2", "area, level-0 px", "at (level-0 x, y)")
    return Table.of(columns, rows, limit=LISTED_LESIONS)


def split_view(inputs: Inputs) -> SplitView | None:
    """The split by patients, slides, patches and label area, from the index; None before sealing."""
    index = inputs.index
    if index is None or index.num_rows == 0:
        return None
    rows = _index_rows(index, inputs.labels)
    names = sorted(
        {row["split"] for row in rows}, key=lambda n: (list(SPLIT_COLOURS).index(n) if n in SPLIT_COLOURS else 9, n)
    )
    spare = iter([c for c in SERIES if c not in SPLIT_COLOURS.values()] * (1 + len(names)))
    colours = {name: SPLIT_COLOURS.get(name) or next(spare) for name in names}
    summary = {name: _sums([r for r in rows if r["split"] == name], inputs.labels) for name in names}
    folds = sorted({row["fold"] for row in rows if row["fold"] is not None})
    per_fold = {str(f): _sums([r for r in rows if r["fold"] == f], inputs.labels) for f in folds}
    return SplitView(
        chart=stacked_bars(_bar_rows(inputs, summary), colours, "shares of each split"),
        legend=tuple(colours.items()),
        splits=_sums_table("split", summary, inputs.labels),
        folds=_sums_table("fold", per_fold, inputs.labels) if folds else None,
        patients=_patients_table(rows, inputs.labels),
    )


def planned_split(inputs: Inputs) -> Table | None:
    """The split as planned, while there is no index; None without one."""
    shares = ((inputs.plan or {}).get("split") or {}).get("shares")
    if not shares:
        return None
    rows = [
        (row["key"], count(row["groups"]), count(row["slides"]), count(row["weight"]), percent(row["share_of_weight"]),
         percent(row["asked"]))
        for row in shares
    ]  # fmt: skip
    return Table.of(("split", "groups", "slides", "patches", "share of patches", "asked"), rows)


def _index_rows(index: pa.Table, labels: Sequence[str]) -> list[Record]:
    wanted = ["slide_id", "patient", "centre", "split", "fold", "spacing_um", *(f"{name}_px" for name in labels)]
    present = [name for name in wanted if name in index.column_names]
    blank = dict.fromkeys(wanted)
    rows: list[Record] = [blank | row for row in index.select(present).to_pylist()]
    return rows


def _sums(rows: Sequence[Record], labels: Sequence[str]) -> dict[str, float]:
    sums: dict[str, float] = {
        "patients": len({row["patient"] for row in rows}),
        "slides": len({row["slide_id"] for row in rows}),
        "patches": len(rows),
    }
    for label in labels:
        sums[label] = sum((row[f"{label}_px"] or 0) * (row["spacing_um"] or 0) ** 2 for row in rows)
    return sums


def _bar_rows(inputs: Inputs, summary: Mapping[str, Mapping[str, float]]) -> list[tuple[str, dict[str, float]]]:
    asked = {r["key"]: r["asked"] for r in ((inputs.plan or {}).get("split") or {}).get("shares", ()) if r["asked"]}
    kinds = ["patients", "slides", "patches", *inputs.labels]
    bars = [(f"{kind} area" if kind in inputs.labels else kind, {name: sums[kind] for name, sums in summary.items()})
            for kind in kinds]  # fmt: skip
    if asked.keys() & summary.keys():
        bars.insert(0, ("asked for", {name: asked.get(name, 0.0) for name in summary}))
    return bars


def _sums_table(key: str, summary: Mapping[str, Mapping[str, float]], labels: Sequence[str]) -> Table:
    kinds = ("patients", "slides", "patches")
    rows = [
        (name, *(count(sums[kind]) for kind in kinds), *(area(sums[label]) for label in labels))
        for name, sums in summary.items()
    ]
    return Table.of((key, *kinds, *(f"{label}, mm2" for label in labels)), rows)


def _patients_table(rows: Sequence[Record], labels: Sequence[str]) -> Table:
    grouped: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        grouped[str(row["patient"])].append(row)
    table = []
    for patient, part in sorted(grouped.items()):
        sums = _sums(part, labels)
        places = sorted(
            {row["split"] if row["fold"] is None else f"{row['split']} (fold {row['fold']})" for row in part}
        )
        centres = sorted({str(row["centre"]) for row in part if row["centre"]})
        table.append(
            (patient, ", ".join(centres), ", ".join(places), count(sums["slides"]), count(sums["patches"]),
             *(area(sums[label]) for label in labels))
        )  # fmt: skip
    columns = ("patient", "centre", "split", "slides", "patches", *(f"{label}, mm2" for label in labels))
    return Table.of(columns, table, limit=LISTED_PATIENTS)


def _patient(inputs: Inputs, slide_id: str) -> str:
    row: Mapping[str, Any] = inputs.slides.get(slide_id, {}).get("row", {})
    return str(row.get("patient") or slide_id)


def digests(inputs: Inputs) -> list[tuple[str, str]]:
    """What identifies the dataset, for the head of the page."""
    dataset = inputs.dataset or {}
    found = [
        ("dataset digest", dataset.get("dataset_digest")),
        ("pixels digest", dataset.get("pixels_digest")),
        ("recipe digest", dataset.get("recipe_digest")),
        ("wsiprep", (dataset.get("versions") or {}).get("wsiprep")),
        ("licence of the data", dataset.get("licence") or (inputs.recipe or {}).get("licence")),
        ("patches", _patches(inputs)),
        ("images", _packing(dataset.get("codec"))),
    ]
    return [(name, str(value)) for name, value in found if value]


def _packing(codec: Mapping[str, Any] | None) -> str:
    if codec is None:
        return ""
    notes = [f"JPEG of quality {codec['quality']}, not the pixels that were read"] if codec["lossy"] else []
    notes += [] if codec["plain_zarr"] else ["readers need wsiprep's codec"]
    return f"{codec['codec']}" + (f" ({'; '.join(notes)})" if notes else "")


def _patches(inputs: Inputs) -> str:
    recipe = inputs.recipe or {}
    size = (recipe.get("sampling") or {}).get("patch_size_px")
    if not size:
        return ""
    spacing = recipe.get("spacing_um")
    scale = f"{number(spacing)} um/px" if spacing else f"downsample {recipe.get('downsample')}"
    return f"{size} x {size} px at {scale}, pixels: {recipe.get('pixels')}"

"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsiprep.artifacts import DatasetTree, write_bytes
from wsiprep.progress import NullReporter, Reporter
from wsiprep.report import cohort, findings, slides, stains, training
from wsiprep.report.inputs import Inputs, read_inputs
from wsiprep.report.pictures import Picture, embed

MAX_PREVIEWS = 16
PREVIEW_SIDE_PX = 1320


@dataclass(frozen=True, slots=True)
class Preview:
    """The sheet of patches of one slide."""

    slide_id: str
    picture: Picture


def render_report(tree: DatasetTree, reporter: Reporter | None = None) -> Path:
    """Write ``report/index.html`` from whatever the stages have written so far; returns its path.

    The page loads nothing from elsewhere. A section whose input is absent says so; a damaged input is
    listed under problems. The same inputs give the same bytes.

    Raises:
        StoreError: there is no such dataset.
        StorageError: the page cannot be written.
    """
    reporter = reporter or NullReporter()
    inputs = read_inputs(tree)
    views, hidden = slides.slide_views(inputs)
    damaged = (*inputs.damaged, *(problem for view in views for problem in view.damaged))
    html = _render(inputs, views, hidden, damaged)
    write_bytes(tree.report, html.encode())
    reporter.say("report", slides=len(inputs.slide_ids), kilobytes=len(html) // 1000)
    for problem in damaged:
        reporter.say(f"the report could not read {problem}", level="warning")
    return tree.report


def _render(inputs: Inputs, views: list[slides.SlideView], hidden: int, damaged: tuple[str, ...]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wsiprep.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    recipe, dataset = inputs.recipe or {}, inputs.dataset or {}
    previews, previews_left_out = _previews(inputs)
    name = str(recipe.get("name") or dataset.get("name") or inputs.tree.root.name)
    return environment.get_template("report.html.j2").render(
        name=name,
        title=str(recipe.get("title") or dataset.get("title") or name),
        synthetic=bool(recipe.get("synthetic") or dataset.get("synthetic")),
        leaking=bool(
            (dataset.get("split") or {}).get("leaks") or ((inputs.plan or {}).get("split") or {}).get("leaking")
        ),
        sealed=inputs.dataset is not None,
        planned=inputs.plan is not None,
        stained=(recipe.get("stain") or {}).get("method", "none"),
        totals=cohort.totals(inputs),
        states=cohort.states(inputs),
        digests=cohort.digests(inputs),
        damaged=damaged,
        failures=slides.failures(inputs),
        slides=views,
        hidden_slides=hidden,
        slides_open=len(views) <= slides.OPEN_SLIDES,
        slides_table=slides.slides_table(inputs),
        histograms=cohort.histograms(inputs),
        decisions=cohort.decisions_table(inputs),
        keep_nothing=cohort.keep_nothing(inputs),
        lost_lesions=cohort.lost_lesions(inputs),
        collections=findings.collections(inputs),
        duplicates=findings.duplicates(inputs),
        undecodable=findings.undecodable(inputs),
        agreement=findings.agreement(inputs),
        split=cohort.split_view(inputs),
        planned_split=cohort.planned_split(inputs),
        stains=stains.stain_view(inputs),
        previews=previews,
        previews_left_out=previews_left_out,
        curves=training.curves_view(inputs),
        benchmark=training.benchmark_table(inputs),
        benchmark_notes=training.benchmark_notes(inputs),
    )


def _previews(inputs: Inputs) -> tuple[list[Preview], int]:
    """At most ``MAX_PREVIEWS`` sheets, spread evenly over the slides that have one, and how many are left out."""
    ids = [slide_id for slide_id in inputs.slide_ids if inputs.tree.preview(slide_id).exists()]
    count = min(len(ids), MAX_PREVIEWS)
    chosen = [ids[i * len(ids) // count] for i in range(count)]
    found = [(slide_id, embed(inputs.tree.preview(slide_id), PREVIEW_SIDE_PX)) for slide_id in chosen]
    shown = [Preview(slide_id, picture) for slide_id, picture in found if picture is not None]
    return shown, len(ids) - len(shown)

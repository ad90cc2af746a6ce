"""dataset: the published datasets that recipes describe; a folder checked against one, and its manifest written."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsiprep.artifacts import write_bytes
from wsiprep.config import Recipe, load_recipe, recipe_from_mapping
from wsiprep.config.dataset import DatasetSpec
from wsiprep.datasets import CheckResult, DatasetRow, DigestCache, Finding, Options, check_listing, list_folder
from wsiprep.datasets.known import read_facts
from wsiprep.errors import RecipeError, UsageError
from wsiprep.manifest import slug
from wsiprep.progress import Reporter
from wsiprep.stages.workflow import workflow_home

WRITTEN = ("manifest.csv", "recipe.yaml", "exclude.csv", "facts.csv")
ALWAYS = ("slide_id", "slide", "annotation", "annotation_state", "patient")
BLAMED = ("missing-annotation", "contradiction", "truncated", "checksum", "ambiguous-annotation", "twice",
          "unknown-class", "name", "missing-tiles", "missing-labels", "bad-stack")  # fmt: skip
"""Findings that leave their slide out of the written manifest's dataset until they are resolved."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A recipe with a dataset section, and where it came from."""

    recipe: Recipe
    spec: DatasetSpec
    path: Path

    @property
    def facts_path(self) -> Path | None:
        return None if self.spec.facts is None else self.path.parent / self.spec.facts


def datasets() -> tuple[Dataset, ...]:
    """Every dataset that ships with wsiprep, by name."""
    found = []
    for path in sorted((workflow_home() / "manifests").glob("*.yaml")):
        recipe = load_recipe(path)
        if recipe.dataset is not None:
            found.append(Dataset(recipe, recipe.dataset, path))
    return tuple(found)


def dataset(name: str) -> Dataset:
    """A dataset by name, or by the path of a recipe of one's own.

    Raises:
        UsageError: there is none of that name.
        RecipeError: the recipe has no dataset section.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = workflow_home() / "manifests" / f"{name}.yaml"
        if "/" in name or "\\" in name or not path.is_file():
            raise UsageError(
                "there is no such dataset", got=name, expected=", ".join(d.recipe.name for d in datasets()),
                fix="wsiprep dataset list names them; a recipe of your own is named by its path",
            )  # fmt: skip
    recipe = load_recipe(path)
    if recipe.dataset is None:
        raise RecipeError("this recipe describes no published dataset", file=path, expected="a section dataset")
    return Dataset(recipe, recipe.dataset, path)


def check_dataset(
    name: str,
    folder: Path,
    options: Options,
    reporter: Reporter,
    cache: Path | None = None,
) -> tuple[Dataset, CheckResult]:
    """Check a folder against a dataset; nothing is written but the cache of digests."""
    found = dataset(name)
    digests = DigestCache((cache or default_cache()) if options.checksums else None)
    if found.spec.parts:
        return found, _check_parts(found, folder, options, digests, reporter)
    return found, _check(found, folder, options, digests, reporter)


def default_cache() -> Path:
    """Where digests are remembered: ``$XDG_CACHE_HOME/wsiprep/digests.json``."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "wsiprep" / "digests.json"


def _check(found: Dataset, folder: Path, options: Options, cache: DigestCache, reporter: Reporter) -> CheckResult:
    facts = read_facts(found.facts_path, found.spec.slides)
    collections = {
        name: _with_keys(found.recipe, layout.recipe).collection.model_dump(mode="json")
        for name, layout in found.spec.layouts.items()
    }
    return check_listing(found.spec, collections, facts, list_folder(folder), options, cache, reporter)


def _check_parts(whole: Dataset, folder: Path, options: Options, cache: DigestCache, reporter: Reporter) -> CheckResult:
    if options.layout is not None:
        raise UsageError("a dataset of parts has no layout of its own", got=options.layout)
    if not folder.is_dir():
        raise UsageError("there is no such folder", got=str(folder), fix="name the folder that holds the parts")
    results: dict[str, CheckResult] = {}
    findings: list[Finding] = []
    for source, part in whole.spec.parts.items():
        there = next((name for name in part.folders if (folder / name).is_dir()), None)
        if there is None:
            message = f"part {source} is missing: none of the folders {', '.join(part.folders)} is here"
            findings.append(Finding("missing-part", "error", part.folders[0], message))
            continue
        own = dataset(part.dataset)
        result = _check(own, folder / there, options, cache, reporter)
        if result.recipe_keys:
            raise RecipeError(
                f"layout {result.layout} of {part.dataset} changes the recipe, which a part cannot",
                got=", ".join(result.recipe_keys), file=whole.path, fix="say it under sources, and use another layout",
            )  # fmt: skip
        results[source] = _as_part(result, source, there)
    return _joined(whole.spec, results, findings)


def _as_part(result: CheckResult, source: str, folder: str) -> CheckResult:
    """The result with paths from the folder above, and rows of a source."""
    rows = tuple(replace(row, cells=_below(row.cells, source, folder)) for row in result.rows)
    findings = tuple(replace(f, path=f"{folder}/{f.path}" if f.path else folder) for f in result.findings)
    return replace(result, rows=rows, findings=findings)


def _below(cells: Mapping[str, str], source: str, folder: str) -> dict[str, str]:
    """The cells of a part's row; its official split is not the whole's."""
    moved = {k: f"{folder}/{cells[k]}" if cells[k] else "" for k in ("slide", "annotation", "tissue")}
    return {**cells, **moved, "source": source, "split": "", "fold": ""}


def _joined(spec: DatasetSpec, results: Mapping[str, CheckResult], findings: list[Finding]) -> CheckResult:
    every = [*findings, *(f for r in results.values() for f in r.findings)]
    seen: dict[str, DatasetRow] = {}
    for result in results.values():
        for row in result.rows:
            other = seen.setdefault(slug(row.id), row)
            if other is not row:
                message = f"has the id of {other.cells['slide']}"
                every.append(Finding("twice", "error", row.cells["slide"], message))
    return CheckResult(
        layout=" + ".join(f"{s}: {r.layout or 'none'}" for s, r in results.items()) if results else None,
        rows=tuple(row for result in results.values() for row in result.rows),
        counts=tuple(
            replace(count, name=f"{source}: {count.name}") for source, r in results.items() for count in r.counts
        ),
        findings=tuple(every),
        tiles={k: v for r in results.values() for k, v in r.tiles.items()},
        n_files=sum(r.n_files for r in results.values()),
        n_junk=sum(r.n_junk for r in results.values()),
        n_verified=sum(r.n_verified for r in results.values()),
        n_rois=sum(r.n_rois for r in results.values()),
        expected_layouts={s: tuple(p.folders) for s, p in spec.parts.items()},
    )


def write_dataset(
    found: Dataset, result: CheckResult, folder: Path, out: Path, *, force: bool = False
) -> tuple[Path, ...]:
    """Write manifest, recipe and exclusions for a checked folder; returns the files.

    Paths in the manifest are relative to the dataset's folder, which stands in the recipe as
    ``data_root`` (in no digest, so the data may move). Slides with an error of their own are in
    exclude.csv until it is resolved.

    Raises:
        UsageError: there are no slides to write, or files are there and ``force`` is off.
    """
    if not result.rows:
        raise UsageError("nothing to write: no slide was found", got=str(folder))
    present = [str(out / name) for name in WRITTEN if (out / name).exists()]
    if present and not force:
        raise UsageError("files are there already", got=", ".join(present), fix="another --out, or --force")
    blamed = {f.path: f.message for f in result.findings if f.severity == "error" and f.kind in BLAMED}
    excluded = {row.id: row.exclude for row in result.rows if row.exclude is not None}
    for row in result.rows:
        if row.cells["slide"] in blamed:
            excluded.setdefault(row.id, f"check: {blamed[row.cells['slide']]}")
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "manifest.csv", out / "recipe.yaml", out / "exclude.csv"]
    # Of several slides with one id, which all are in exclude.csv, a manifest can hold one.
    first: dict[str, DatasetRow] = {}
    for row in result.rows:
        first.setdefault(slug(row.id), row)
    write_bytes(written[0], _manifest(first.values()))
    reasons = [{"slide_id": slide_id, "reason": why} for slide_id, why in sorted(excluded.items())]
    write_bytes(written[2], _csv(("slide_id", "reason"), reasons))
    facts = found.facts_path
    if facts is not None:
        written.append(out / "facts.csv")
        write_bytes(written[3], facts.read_bytes())
    write_bytes(written[1], _recipe(found, result, folder, copied_facts=facts is not None))
    return tuple(written)


def _manifest(rows: Iterable[DatasetRow]) -> bytes:
    every = [row.cells for row in rows]
    names = dict.fromkeys(c for cells in every for c in cells)
    columns = [c for c in names if c in ALWAYS or any(cells.get(c) for cells in every)]
    return _csv(columns, every)


def _csv(columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _recipe(found: Dataset, result: CheckResult, folder: Path, *, copied_facts: bool) -> bytes:
    """The recipe's own text with its comments, the layout's keys merged in, and where the data are."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.width = 10_000
    tree = yaml.load(found.path.read_text(encoding="utf-8"))
    _merge(tree, result.recipe_keys)
    if copied_facts:
        tree["dataset"]["facts"] = "facts.csv"
    tree["manifest"] = "manifest.csv"
    tree["data_root"] = str(folder.resolve())
    stream = io.StringIO()
    yaml.dump(tree, stream)
    text = stream.getvalue()
    return text.encode()


def _with_keys(recipe: Recipe, keys: Mapping[str, Any]) -> Recipe:
    if not keys:
        return recipe
    plain = recipe.model_dump(mode="json", exclude={"dataset"}, exclude_unset=True)
    _merge(plain, keys)
    return recipe_from_mapping(plain)


def _merge(tree: Any, keys: Mapping[str, Any]) -> None:
    """Keys of a layout over a recipe's: sections are merged, everything else is replaced; null removes."""
    for key, value in keys.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), Mapping):
            _merge(tree[key], value)
        elif value is None:
            tree.pop(key, None)
        else:
            tree[key] = value


def dataset_list() -> list[dict[str, object]]:
    """name, title, licence, slides and labels of every dataset."""
    rows: list[dict[str, object]] = []
    for found in datasets():
        own = [e for e in found.spec.expect if e.slide_class is None and e.match is None] or list(found.spec.expect)
        parts = " + ".join(part.dataset for part in found.spec.parts.values())
        rows.append(
            {
                "name": found.recipe.name,
                "title": found.recipe.title,
                "licence": found.spec.licence.spdx,
                "slides": f"{own[0].count} {own[0].what}" if own else parts or "?",
                "labels": ", ".join(found.recipe.labels),
            }
        )
    return rows


def check_record(found: Dataset, result: CheckResult) -> dict[str, object]:
    """A check's result as JSON holds it."""
    return {
        "dataset": found.recipe.name,
        "ok": result.ok,
        "layout": result.layout,
        "n_files": result.n_files,
        "classes": result.classes,
        "states": result.states,
        "tiles": dict(result.tiles),
        "counts": [count.to_dict() for count in result.counts],
        "findings": [finding.to_dict() for finding in result.findings],
        "checksums_agree": result.n_verified,
        "expected_layouts": {k: list(v) for k, v in result.expected_layouts.items()},
        "unverified": list(found.spec.unverified_facts),
        "licence": found.spec.licence.model_dump(mode="json") | {"limits": list(found.spec.licence.limits)},
    }

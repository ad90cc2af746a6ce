"""Which slides a command is about: from a manifest, or from what ``tile`` surveyed before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from wsiprep.artifacts import DatasetTree, json_bytes, read_json, write_bytes_if_changed
from wsiprep.config import Recipe, load_recipe, recipe_digest, recipe_from_mapping
from wsiprep.errors import ManifestError, UsageError
from wsiprep.manifest import SlideRow, read_manifest


def rows_of(
    recipe: Recipe, recipe_path: Path | None, manifest: Path | None, *, only: str | None = None
) -> tuple[SlideRow, ...]:
    """The manifest's rows; the manifest is the one given, else the recipe's, else those of its sources.

    With ``only``, the rows of that slide id alone.

    Raises:
        UsageError: there is none.
        ManifestError: a bad one, a source that the recipe does not have, or one id in two manifests.
    """
    base = recipe_path.parent if recipe_path is not None else Path()
    own = {name: source for name, source in recipe.sources.items() if source.manifest is not None}
    rows: list[SlideRow] = []
    if manifest is not None or recipe.manifest is not None:
        path = manifest if manifest is not None else base / str(recipe.manifest)
        rows += _with_known_sources(read_manifest(path, recipe.data_root, recipe.confined, only=only), recipe, path)
    elif not own:
        raise UsageError("no manifest", fix="name one with --manifest, or in the recipe as manifest: FILE.csv")
    if manifest is None:
        for name, source in own.items():
            path = base / str(source.manifest)
            found = read_manifest(path, source.data_root or recipe.data_root, recipe.confined, only=only)
            rows += [_of_source(row, name, path) for row in found]
    _require_different_ids(rows)
    return tuple(rows)


def _with_known_sources(rows: Iterable[SlideRow], recipe: Recipe, manifest: Path) -> list[SlideRow]:
    found = list(rows)
    for row in found:
        if recipe.sources and row.source is not None and row.source not in recipe.sources:
            raise ManifestError(
                "the manifest names a source that the recipe does not have", got=row.source, file=manifest,
                line=row.line, expected=", ".join(recipe.sources), fix="correct it, or add it to the recipe's sources",
            )  # fmt: skip
    return found


def _of_source(row: SlideRow, name: str, manifest: Path) -> SlideRow:
    if row.source not in (None, name):
        raise ManifestError(
            "the manifest of one source names another", got=row.source, expected=name, file=manifest, line=row.line,
            fix="leave the source column out of a source's own manifest",
        )  # fmt: skip
    return replace(row, source=name)


def _require_different_ids(rows: Sequence[SlideRow]) -> None:
    seen: dict[str, SlideRow] = {}
    for row in rows:
        other = seen.setdefault(row.slide_id, row)
        if other is not row:
            raise ManifestError(
                f"two manifests have the slide id {row.slide_id!r}", got=f"sources {other.source} and {row.source}",
                fix="give one of them another slide_id",
            )  # fmt: skip


def slide_row(recipe: Recipe, recipe_path: Path | None, manifest: Path | None, slide_id: str) -> SlideRow:
    """The row of one slide, by its id or its raw id, without checking those of the others.

    Raises:
        UsageError: there is no manifest.
        ManifestError: a bad one, or none of its rows is this slide's.
    """
    found = rows_of(recipe, recipe_path, manifest, only=slide_id)
    return row_of(found or rows_of(recipe, recipe_path, manifest), slide_id)


def row_of(rows: tuple[SlideRow, ...], slide_id: str) -> SlideRow:
    """The row of one slide, by its id or its raw id."""
    for row in rows:
        if slide_id in (row.slide_id, row.raw_id):
            return row.located()
    raise ManifestError(
        "the manifest has no such slide", got=slide_id,
        expected=", ".join(r.slide_id for r in rows[:8]) + (", ..." if len(rows) > 8 else ""),
    )  # fmt: skip


def rows_from_tree(tree: DatasetTree) -> tuple[SlideRow, ...]:
    """The rows that ``survey`` recorded: what a tree made by ``tile`` consists of."""
    rows = []
    for slide_id in tree.slide_ids():
        record = read_json(tree.slide(slide_id).record)
        row = record["row"]
        rows.append(
            SlideRow(
                slide_id=slide_id,
                raw_id=record["raw_id"],
                slide=row["slide"],
                slide_ref=row["slide"],
                annotation=row["annotation"],
                annotation_ref=row["annotation"],
                annotation_state=row["annotation_state"],
                patient=row["patient"],
                centre=row["centre"],
                split=row["split"],
                fold=row["fold"],
                source=row["source"],
                spacing_um=row["spacing_um"],
                spacing_y_um=row["spacing_y_um"],
                stain_type=row["stain_type"],
                tissue=row["tissue"],
                tissue_ref=row["tissue"],
                corrections=tuple(row["corrections"]),
                correction_refs=tuple(row["corrections"]),
                annotators=tuple((name, path) for name, path in row["annotators"]),
                annotator_refs=tuple((name, path) for name, path in row["annotators"]),
                extra=row["extra"],
            )
        )
    return tuple(rows)


def recipe_of_tree(tree: DatasetTree) -> Recipe:
    """The resolved recipe that the tree was made with."""
    if not tree.recipe.exists():
        raise UsageError(
            "this folder has no recipe.json, so it is no dataset of wsiprep", got=str(tree.root),
            fix="name the folder that tile, plan or snakemake wrote, or give --recipe",
        )  # fmt: skip
    return recipe_from_mapping(read_json(tree.recipe))


def recipe_for(path: Path | None, overrides: tuple[str, ...], tree: DatasetTree | None) -> Recipe:
    """The recipe of a command: the file given, else the tree's own."""
    if path is not None:
        return load_recipe(path, overrides)
    if tree is None:
        raise UsageError("no recipe", fix="name one with --recipe")
    recipe = recipe_of_tree(tree)
    return recipe_from_mapping(recipe.model_dump(mode="json"), overrides) if overrides else recipe


def record_recipe(tree: DatasetTree, recipe: Recipe) -> None:
    """Write the resolved recipe beside the dataset (no paths of this machine)."""
    value = recipe.model_dump(mode="json", exclude={"manifest", "data_root"})
    write_bytes_if_changed(tree.recipe, json_bytes(value))


def require_same_recipe(tree: DatasetTree, recipe: Recipe) -> None:
    """Refuse to add a slide to a tree that was made with another recipe."""
    if not tree.recipe.exists():
        return
    present = recipe_of_tree(tree)
    if recipe_digest(present) != recipe_digest(recipe):
        raise UsageError(
            "this folder was made with another recipe", got=f"recipe {recipe_digest(recipe)[:12]}",
            expected=f"recipe {recipe_digest(present)[:12]} ({tree.recipe})",
            fix="use another output folder, or the same options as before",
        )  # fmt: skip

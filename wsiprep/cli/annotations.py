"""wsiprep annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

from wsiprep.cli import options

_STATES = click.Choice(["exhaustive", "partial"])


@click.group("annotations", short_help="Look into annotation files, and compare them.")
def command() -> None:
    """What an annotation file has, and which areas change from one state of it to the next.

    \b
    Example:
      wsiprep annotations show tumor_001.xml
      wsiprep annotations compare old.xml new.xml --slide tumor_001.tif -r recipe.yaml
      wsiprep annotations compare --dataset dataset -r recipe.yaml
    """


@command.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--slide", type=click.Path(path_type=Path), help="its slide: for areas in um2 and points outside it")
@click.option("--size", metavar="WxH", help="the slide's level-0 size, where there is no slide")
@options.recipe_option
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
def show_file(
    file: Path,
    slide: Path | None,
    size: str | None,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what FILE has: its format, its groups with counts and areas, and what was repaired or left out.

    With a recipe, also what each group becomes; a group that it does not map is then an error, as in survey.
    Areas are sums over annotations, so overlaps count twice.

    \b
    Example:
      wsiprep annotations show tumor_001.xml --slide tumor_001.tif
    """
    from wsiprep.stages import annotations
    from wsiprep.stages.rows import recipe_for

    recipe = recipe_for(recipe_path, overrides, None) if recipe_path is not None or overrides else None
    frame = annotations.frame_for(slide, annotations.read_size(size) if size else None, recipe)
    facts = annotations.show(annotations.require_outlines(file), frame, recipe)
    click.echo(annotations.as_json(facts) if as_json else "\n".join(annotations.lines_of(facts)))


@command.command("compare")
@click.argument("what", nargs=-1, metavar="[OLD NEW | SLIDE_ID...]")
@click.option("--dataset", type=options.OUT, help="compare what was surveyed there with the manifest's files of now")
@click.option("--slide", type=click.Path(path_type=Path), help="the slide of OLD and NEW")
@click.option("--size", metavar="WxH", help="its level-0 size, where there is no slide")
@click.option("--state", type=_STATES, default="exhaustive", show_default=True, help="of OLD and NEW")
@options.recipe_option
@options.manifest_option
@click.option("--exit-code", is_flag=True, help="exit with 2 where anything changes")
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
def compare(
    what: tuple[str, ...],
    dataset: Path | None,
    slide: Path | None,
    size: str | None,
    state: str,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    manifest: Path | None,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Show the area that goes from each class to each other: between two files, or since a dataset's survey.

    Areas are exact, in level-0 pixels. Nothing is written. Exit code 0, whatever changes, unless --exit-code.

    \b
    Example:
      wsiprep annotations compare old.xml new.xml --slide tumor_001.tif -r recipe.yaml
      wsiprep annotations compare --dataset dataset -r recipe.yaml tumor_001
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.errors import FindingsError, UsageError
    from wsiprep.stages import annotations
    from wsiprep.stages.rows import recipe_for, row_of, rows_of

    tree = None if dataset is None else DatasetTree(dataset)
    recipe = recipe_for(recipe_path, overrides, tree)
    found: dict[str, dict[str, object]] = {}
    if tree is None:
        if len(what) != 2:
            raise UsageError("compare takes an old and a new file, or --dataset", got=" ".join(what) or "nothing")
        old, new = (annotations.require_outlines(Path(name)) for name in what)
        frame = annotations.frame_for(slide, annotations.read_size(size) if size else None, recipe)
        outside = cast(Literal["exhaustive", "partial"], state)
        changes = annotations.compare_files(old, new, recipe, annotations.require_frame(frame), (outside, outside))
        found[f"{old.name} -> {new.name}"] = annotations.facts_of(changes)
    else:
        if slide is not None or size is not None:
            raise UsageError("a dataset knows its slides", fix="leave --slide and --size out, or name two files")
        rows = rows_of(recipe, recipe_path, manifest)
        chosen = [row_of(rows, name) for name in what] if what else rows
        for slide_id, changed, why in annotations.compare_dataset(chosen, recipe, tree):
            found[slide_id] = {"compared": f"no, {why}"} if changed is None else annotations.facts_of(changed)
    if as_json:
        click.echo(annotations.as_json(found))
    else:
        for name, facts in found.items():
            click.echo("\n".join([f"== {name}", *annotations.lines_of(facts)]))
    moved = [name for name, facts in found.items() if facts.get("changes")]
    if exit_code and moved:
        raise FindingsError(f"the annotations of {len(moved)} slide(s) change", got=", ".join(moved[:8]))

"""wsiprep seal."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("seal", short_help="Join the shards into a dataset: index, split, statistics, card.")
@options.out_argument
@options.recipe_option
@options.manifest_option
@options.log_option
def command(
    out: Path, recipe_path: Path | None, overrides: tuple[str, ...], manifest: Path | None, log_format: str
) -> None:
    """Check the receipts in OUT and write index.parquet, slides.parquet, dataset.json, README.md and croissant.json.

    A dataset is sealed when dataset.json exists; training refuses any other. A folder that was made by tile is
    planned and split here from what tile recorded.

    \b
    Example:
      wsiprep tile a.tif -o dataset && wsiprep tile b.tif -o dataset && wsiprep seal dataset
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.rows import recipe_for, rows_of
    from wsiprep.stages.seal import seal, seal_tiles

    tree = DatasetTree(out)
    recipe = recipe_for(recipe_path, overrides, tree)
    reporter = options.reporter(log_format, stage="seal")
    if recipe_path is None and manifest is None:
        seal_tiles(recipe, tree, reporter)
    else:
        seal(rows_of(recipe, recipe_path, manifest), recipe, tree, reporter)
    click.echo(f"sealed: {tree.dataset_record}")

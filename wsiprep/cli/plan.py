"""wsiprep plan."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("plan", short_help="Decide which cells are kept, and who trains.")
@options.out_option
@options.recipe_option
@options.manifest_option
@options.log_option
def command(
    out: Path, recipe_path: Path | None, overrides: tuple[str, ...], manifest: Path | None, log_format: str
) -> None:
    """Apply the recipe's keep rules and split to all surveyed slides; no pixel is read.

    Writes plan.parquet (every cell and its decision), plan/SLIDE.parquet (kept cells), split.parquet, splits.csv
    (the frozen assignment of patients) and plan.json (counts, what keeps nothing, forecast of bytes).

    \b
    Example:
      wsiprep plan -r recipe.yaml -o dataset
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.plan import plan
    from wsiprep.stages.rows import recipe_for, rows_of

    tree = DatasetTree(out)
    recipe = recipe_for(recipe_path, overrides, tree)
    rows = rows_of(recipe, recipe_path, manifest)
    plan(rows, recipe, tree, options.reporter(log_format, stage="plan"), recipe_path=recipe_path)

"""wsiprep survey."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("survey", short_help="Look at one slide: tissue, annotations, cells.")
@click.argument("slide_id")
@options.out_option
@options.recipe_option
@options.manifest_option
@options.stage_option
@click.option("--strict", is_flag=True, help="fail on bad data instead of recording the slide as failed")
@options.log_option
def command(
    slide_id: str,
    out: Path,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    manifest: Path | None,
    stage: Path | None,
    strict: bool,
    log_format: str,
) -> None:
    """Survey SLIDE_ID of the manifest: header, tissue, annotations and the fractions of every cell.

    No full-resolution pixel is kept. Bad data is recorded as state "failed" in slides/SLIDE_ID/slide.json and
    the command succeeds, so that a workflow goes on; --strict makes it fail with exit code 65 instead.

    \b
    Example:
      wsiprep survey tumor_001 -r recipe.yaml -o dataset
      wsiprep survey tumor_001 -r recipe.yaml -o dataset --stage '$TMPDIR'
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.rows import recipe_for, slide_row
    from wsiprep.stages.survey import survey, survey_or_record

    tree = DatasetTree(out)
    recipe = recipe_for(recipe_path, overrides, tree)
    row = slide_row(recipe, recipe_path, manifest, slide_id)
    run = survey if strict else survey_or_record
    run(row, recipe, tree, options.reporter(log_format, stage="survey"), stage=stage)

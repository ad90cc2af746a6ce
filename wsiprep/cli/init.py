"""wsiprep init."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("init", short_help="Write a manifest and a recipe for your own slides.")
@click.argument("slides", type=click.Path(path_type=Path))
@click.option("-a", "--annotations", type=click.Path(path_type=Path), help="folder of annotation files")
@click.option("-o", "--out", type=options.OUT, required=True, help="folder for manifest.csv and recipe.yaml")
@click.option("--force", is_flag=True, help="replace files that are there")
@options.log_option
def command(slides: Path, annotations: Path | None, out: Path, force: bool, log_format: str) -> None:
    """Pair the slides in SLIDES with annotation files by stem and write manifest.csv and recipe.yaml into OUT.

    Lists what has no partner, the spacings, and the annotation groups with their counts, so that the recipe can
    be checked before anything is computed. Slides without a file are marked "none" (nobody looked): change that
    to "normal" where you know that there is nothing.

    \b
    Example:
      wsiprep init slides/ --annotations xml/ -o cohort
    """
    from wsiprep.stages.init import init_cohort

    click.echo(init_cohort(slides, annotations, out, options.reporter(log_format, stage="init"), force=force))

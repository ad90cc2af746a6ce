"""wsiprep workflow."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("workflow", short_help="Copy the Snakemake workflow out of the package.")
def command() -> None:
    """The Snakefile, its rules and the example recipes ship with the package.

    \b
    Example:
      wsiprep workflow init .
    """


@command.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="replace files that are there")
def init(folder: Path, force: bool) -> None:
    """Copy Snakefile, pipelines/ and manifests/ into FOLDER.

    \b
    Example:
      wsiprep workflow init . && snakemake --cores 8 --config recipe=cohort/recipe.yaml out=dataset
    """
    from wsiprep.stages.workflow import copy_workflow

    for path in copy_workflow(folder, force=force):
        click.echo(f"wrote {path}")

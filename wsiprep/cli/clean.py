"""wsiprep clean."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("clean", short_help="Remove temporaries and shards that no receipt names.")
@options.out_argument
@click.option("-n", "--dry-run", is_flag=True, help="say what would go, remove nothing")
@options.log_option
def command(out: Path, dry_run: bool, log_format: str) -> None:
    """Remove what killed jobs and earlier versions left in OUT. Run it while no job writes there.

    \b
    Example:
      wsiprep clean dataset --dry-run
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.upkeep import tidy

    removed = tidy(DatasetTree(out), options.reporter(log_format, stage="clean"), dry_run=dry_run)
    for path in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {path}")
    click.echo(f"{len(removed)} item(s)")

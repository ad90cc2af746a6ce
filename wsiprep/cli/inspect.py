"""wsiprep inspect."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("inspect", short_help="Show a slide's header or a dataset's summary.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--backend", type=click.Choice(["auto", "tiff", "openslide", "tiffslide"]), default="auto")
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
def command(path: Path, backend: str, as_json: bool) -> None:
    """Show what wsiprep sees in PATH: a slide (levels, spacing, backend) or a dataset folder (counts, digests).

    \b
    Example:
      wsiprep inspect slide.tif
      wsiprep inspect dataset --json
    """
    from wsiprep.stages.inspect import inspect_path, show

    facts = inspect_path(path, backend)
    click.echo(show(facts, as_json=as_json))

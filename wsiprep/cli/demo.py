"""wsiprep demo."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("demo", short_help="Render a synthetic cohort: slides, ASAP XML, manifest.")
@click.argument("folder", type=options.OUT)
@click.option("--slides", "n_slides", type=click.IntRange(4, 200), default=12, show_default=True)
@click.option("--side-px", type=click.IntRange(1024, 65536), default=8192, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="processes")
@options.log_option
def command(folder: Path, n_slides: int, side_px: int, seed: int, jobs: int, log_format: str) -> None:
    """Render script-made slides with tumour, stroma, holes and two stain styles into FOLDER. Nothing is real.

    \b
    Example:
      wsiprep demo demo-slides
    """
    from wsiprep.synthetic import render_cohort

    files = render_cohort(
        folder, seed=seed, n_slides=n_slides, side_px=side_px, jobs=jobs,
        reporter=options.reporter(log_format, stage="demo"),
    )  # fmt: skip
    click.echo(f"synthetic cohort: {files.manifest}")

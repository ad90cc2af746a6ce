"""wsiprep report."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("report", short_help="Write one HTML page to look at.")
@options.out_argument
@options.log_option
def command(out: Path, log_format: str) -> None:
    """Write report/index.html in OUT: slides with tissue, annotations and kept cells, histograms, split, patches,
    training curves and benchmark, in one file that needs no network.

    \b
    Example:
      wsiprep report dataset
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.report import render_report

    path = render_report(DatasetTree(out), options.reporter(log_format, stage="report"))
    click.echo(f"report: {path}")

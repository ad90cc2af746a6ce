"""wsiprep benchmark."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("benchmark", short_help="Gather the runs into a table beside published numbers.")
@options.out_argument
@options.log_option
def command(out: Path, log_format: str) -> None:
    """Write benchmark.csv and benchmark.html in OUT: trivial predictors, our runs, and the published numbers with
    what differs.

    \b
    Example:
      wsiprep benchmark dataset
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.training import write_benchmark

    tree = DatasetTree(out)
    options.reporter(log_format, stage="benchmark").say(f"benchmark {out}")
    write_benchmark(tree)
    click.echo(f"benchmark: {tree.benchmark_table} and {tree.benchmark_page}")

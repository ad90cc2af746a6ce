"""wsiprep verify."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("verify", short_help="Check a dataset's files against its receipts and digests.")
@options.out_argument
@click.option("--deep", is_flag=True, help="decode every chunk and recompute every digest")
@click.option(
    "--repair", is_flag=True, help="drop the receipts of damaged shards, so that the workflow packs them again"
)
@options.log_option
def command(out: Path, deep: bool, repair: bool, log_format: str) -> None:
    """Compare the files in OUT with what the receipts and the seal say; exit code 2 if anything differs.

    \b
    Example:
      wsiprep verify dataset --deep
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.errors import FindingsError
    from wsiprep.stages.upkeep import check

    findings = check(DatasetTree(out), options.reporter(log_format, stage="verify"), deep=deep, repair=repair)
    for finding in findings.items:
        click.echo(f"{finding.kind}: {finding.path}: {finding.message}")
    if not findings.ok:
        raise FindingsError(
            f"{len(findings.faults)} fault(s) in {out}",
            fix="run snakemake again: damaged shards are packed anew" if repair else "verify --repair, then snakemake",
        )
    click.echo(f"no faults in {findings.n_files} files, {findings.n_patches} patches")

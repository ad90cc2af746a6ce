"""wsiprep dataset."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wsiprep.cli import options


def _json_option(function: options.F) -> options.F:
    return click.option("--json", "as_json", is_flag=True, help="one JSON document instead of text")(function)


@click.group("dataset", short_help="Published datasets: what is known of them, and whether a copy is whole.")
def command() -> None:
    """Datasets that recipes describe: layouts, counts, checksums, groups, exclusions, licences.

    \b
    Example:
      wsiprep dataset list
      wsiprep dataset check camelyon16 /data/CAMELYON16 --out camelyon16
    """


@command.command("list")
@_json_option
def list_datasets(as_json: bool) -> None:
    """One line a dataset: name, slides, licence, labels, title.

    \b
    Example:
      wsiprep dataset list
    """
    from wsiprep.stages.dataset import dataset_list

    rows = dataset_list()
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    columns = ("name", "slides", "licence", "labels", "title")
    table = [columns, *(tuple(str(row[c]) for c in columns) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@command.command("show")
@click.argument("name")
@_json_option
def show_dataset(name: str, as_json: bool) -> None:
    """Layouts, expected counts with their sources, group rules, unverified facts, citation and licence of NAME.

    NAME is one of the list, or the path of a recipe with a section dataset.

    \b
    Example:
      wsiprep dataset show camelyon16
    """
    from wsiprep.datasets.text import show_text
    from wsiprep.stages.dataset import dataset

    found = dataset(name)
    if as_json:
        click.echo(json.dumps(found.recipe.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False))
        return
    click.echo(show_text(found.recipe, found.spec))


@command.command("check")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--layout", help="the layout's name; default: the first that matches")
@click.option("--checksums", is_flag=True, help="compare digests with the release's list (reads every file once)")
@click.option("--cache", type=options.FILE, help="file that remembers digests; default: in the user's cache folder")
@click.option("--no-headers", is_flag=True, help="do not look for slides that end too early")
@click.option("--drop-disputed", is_flag=True, help="also leave out the slides that sources disagree about")
@click.option("-o", "--out", type=options.OUT, help="write manifest.csv, recipe.yaml and exclude.csv there")
@click.option("--force", is_flag=True, help="replace files that are there")
@_json_option
@options.log_option
def check_dataset(
    name: str,
    folder: Path,
    layout: str | None,
    checksums: bool,
    cache: Path | None,
    no_headers: bool,
    drop_disputed: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
    log_format: str,
) -> None:
    """Compare FOLDER with what is known of NAME; exit code 2 if anything differs.

    Finds the layout, pairs slides and annotations by exact name, and prints found against expected: counts,
    missing and orphan annotations, unexpected and half-downloaded files. With --out it writes a manifest, a recipe
    and the exclusions with their reasons, ready for snakemake.

    \b
    Example:
      wsiprep dataset check camelyon16 /data/CAMELYON16 --checksums --out camelyon16
      snakemake --cores 8 --config recipe=camelyon16/recipe.yaml out=camelyon16
    """
    from wsiprep.datasets import Options
    from wsiprep.datasets.text import check_text
    from wsiprep.errors import FindingsError
    from wsiprep.stages.dataset import check_dataset, check_record, write_dataset

    how = Options(layout=layout, checksums=checksums, headers=not no_headers, drop_disputed=drop_disputed)
    found, result = check_dataset(name, folder, how, options.reporter(log_format, stage="dataset"), cache)
    written = write_dataset(found, result, folder, out, force=force) if out is not None and result.rows else ()
    if as_json:
        click.echo(json.dumps(check_record(found, result), indent=2, ensure_ascii=False))
    else:
        click.echo(check_text(found.recipe.name, found.spec, result))
        for path in written:
            click.echo(f"wrote {path}")
    if not result.ok:
        n_errors = sum(f.severity == "error" for f in result.findings)
        raise FindingsError(
            f"{folder} differs from {found.recipe.name} in {n_errors} place(s)",
            fix="what to do stands with each; slides with an error of their own are in exclude.csv"
            if written
            else None,
        )


@command.command("compare")
@click.argument("out", type=click.Path(path_type=Path))
@_json_option
def compare_dataset(out: Path, as_json: bool) -> None:
    """Patches of the sealed dataset OUT, split by split, beside those that the paper of its recipe reports.

    A difference is no error: which slides a paper took, and how, is rarely known in full.

    \b
    Example:
      wsiprep dataset compare hinet
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.published import compare_published

    rows = compare_published(DatasetTree(out))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    click.echo("split   published   found  source")
    for row in rows:
        found = "none" if row["found"] is None else row["found"]
        click.echo(f"{row['split']:<6}{row['published']:>11}{found:>8}  {row['source']}")

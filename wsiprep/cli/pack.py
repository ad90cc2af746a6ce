"""wsiprep pack."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("pack", short_help="Write the shard of one slide.")
@click.argument("slide_id")
@options.out_option
@options.recipe_option
@options.manifest_option
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="reading threads")
@options.stage_option
@click.option("--strict", is_flag=True, help="fail on bad data instead of recording the slide as failed")
@options.log_option
def command(
    slide_id: str,
    out: Path,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    manifest: Path | None,
    threads: int,
    stage: Path | None,
    strict: bool,
    log_format: str,
) -> None:
    """Decode, normalise and mask the kept cells of SLIDE_ID and publish them as one Zarr shard.

    The shard appears complete or not at all; the receipt (receipts/SLIDE_ID.json) is written last. The bytes do
    not depend on --threads.

    \b
    Example:
      wsiprep pack tumor_001 -r recipe.yaml -o dataset --threads 4 --stage '$TMPDIR'
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.pack import pack, pack_or_record
    from wsiprep.stages.rows import recipe_for, slide_row

    tree = DatasetTree(out)
    recipe = recipe_for(recipe_path, overrides, tree)
    row = slide_row(recipe, recipe_path, manifest, slide_id)
    run = pack if strict else pack_or_record
    run(row, recipe, tree, options.reporter(log_format, stage="pack", slide=slide_id), threads=threads, stage=stage)

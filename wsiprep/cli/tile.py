"""wsiprep tile."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("tile", short_help="Survey, plan and pack one slide.")
@click.argument("slide", type=click.Path(path_type=str))
@options.out_option
@click.option("-a", "--annotations", type=options.FILE, help="annotation file (ASAP XML)")
@click.option("--patch-size-px", type=click.IntRange(16, 8192), help="side of a patch [default: 512]")
@click.option("--spacing-um", type=float, help="um/px of the patches [default: the file's own, --downsample 1]")
@click.option("--downsample", type=click.IntRange(1), help="patches at N x the file's spacing")
@click.option("--slide-spacing-um", type=float, help="um/px of the slide, where the file does not say or is wrong")
@click.option("--tissue", type=options.FILE, help="tissue mask of the whole slide (PNG, TIFF, GeoJSON) to be taken")
@click.option("--patient", default="", help="patient of the slide, for the split")
@options.recipe_option
@options.stage_option
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="reading threads")
@options.log_option
def command(
    slide: str,
    out: Path,
    annotations: Path | None,
    patch_size_px: int | None,
    spacing_um: float | None,
    downsample: int | None,
    slide_spacing_um: float | None,
    tissue: Path | None,
    patient: str,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    stage: Path | None,
    threads: int,
    log_format: str,
) -> None:
    """Cut one SLIDE into patches: tissue cells without annotations, or the recipe's keep rules with them.

    Without --recipe every cell with at least 10 % tissue is kept; with --annotations each group of the file is a
    label and the cells carry masks. With --tissue the tissue is what the mask says (not 0, or inside a polygon) and
    none is looked for. Several slides may go into one folder; wsiprep seal then makes it a dataset.

    \b
    Example:
      wsiprep tile slide.tif -o dataset
      wsiprep tile slide.tif -o dataset --annotations slide.xml --spacing-um 1.0 --patch-size-px 256
      wsiprep tile slide.tif -o dataset --tissue mask.png
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.tile import TileRequest, tile

    request = TileRequest(
        slide=slide,
        annotations=annotations,
        patch_size_px=patch_size_px,
        spacing_um=spacing_um,
        downsample=downsample,
        slide_spacing_um=slide_spacing_um,
        tissue=tissue,
        patient=patient,
        recipe_path=recipe_path,
        overrides=overrides,
    )
    receipt = tile(request, DatasetTree(out), options.reporter(log_format, stage="tile"), threads=threads, stage=stage)
    click.echo(f"{receipt.slide_id}: {receipt.n_patches} patches in {out / receipt.shard if receipt.shard else out}")

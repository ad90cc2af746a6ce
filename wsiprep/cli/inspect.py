"""wsiprep inspect."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("inspect", short_help="Show a slide's header or a dataset's summary; draw annotations over pixels.")
@click.argument("path", type=click.Path(path_type=str))
@click.option("--backend", type=click.Choice(["auto", "tiff", "openslide", "tiffslide"]), default="auto")
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
@click.option("--overlay", type=options.FILE, help="write a picture of the annotations over the pixels (.png, .jpg)")
@click.option("-a", "--annotations", type=options.FILE, help="annotation file or label raster of the slide")
@click.option("--slide", "slide_id", help="which slide of the dataset")
@click.option("--spacing-um", type=float, help="um/px of the window [default: the recipe's, else the file's own]")
@click.option("--downsample", type=click.IntRange(1), help="window at N x the file's spacing")
@click.option("--slide-spacing-um", type=float, help="um/px of the slide, where the file does not say or is wrong")
@click.option("--at", metavar="X,Y", help="centre of a window, level-0 pixels [default: the whole slide]")
@click.option("--size-px", metavar="W,H", help="size of the window in its own pixels [default: 512,512]")
@click.option("--grid-lv0", type=click.IntRange(1), help="step of the grid, level-0 pixels [default: a round number]")
@options.recipe_option
@options.manifest_option
def command(
    path: str,
    backend: str,
    as_json: bool,
    overlay: Path | None,
    annotations: Path | None,
    slide_id: str | None,
    spacing_um: float | None,
    downsample: int | None,
    slide_spacing_um: float | None,
    at: str | None,
    size_px: str | None,
    grid_lv0: int | None,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    manifest: Path | None,
) -> None:
    """Show what wsiprep sees in PATH: a slide (levels, spacing, backend) or a dataset folder (counts, digests).

    With --overlay, draw annotation outlines and labels over the pixels, with a grid of level-0 coordinates: the whole
    slide, or a window at the working spacing around --at. Without a recipe each group of the file has its own colour.

    \b
    Example:
      wsiprep inspect slide.tif
      wsiprep inspect dataset --json
      wsiprep inspect slide.tif --overlay whole.png -a slide.xml -r recipe.yaml
      wsiprep inspect slide.tif --overlay corner.png -a slide.xml --spacing-um 1.0 --at 61440,90112
      wsiprep inspect dataset --slide tumor_001 --overlay whole.png
    """
    from wsiprep.stages.inspect import OverlayOptions, draw_overlay, inspect_path, show

    asked = OverlayOptions(
        annotations=annotations, slide_id=slide_id, spacing_um=spacing_um, downsample=downsample,
        slide_spacing_um=slide_spacing_um, at=at, size_px=size_px, grid_lv0=grid_lv0, recipe_path=recipe_path,
        overrides=overrides, manifest=manifest, backend=backend,
    )  # fmt: skip
    if overlay is None:
        asked.require_none()
        facts = inspect_path(path, backend)
    else:
        facts = draw_overlay(path, overlay, asked)
    click.echo(show(facts, as_json=as_json))

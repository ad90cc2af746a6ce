"""wsiprep export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

from wsiprep.cli import options


@click.command("export", short_help="Write annotations for QuPath or ASAP.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--slide", help="of a dataset: the slide's id (default: all of them); of a file: its slide")
@click.option("--size", metavar="WxH", help="of a file: level-0 size of its slide, where there is no slide")
@click.option("-f", "--format", "wanted", type=click.Choice(["geojson", "asap"]), default="geojson", show_default=True)
@click.option("--patches", is_flag=True, help="add the outlines of the patches that the plan keeps (datasets only)")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="file, or folder for all slides")
@options.recipe_option
@options.log_option
def command(
    source: Path,
    slide: str | None,
    size: str | None,
    wanted: str,
    patches: bool,
    output: Path,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    log_format: str,
) -> None:
    """Export annotations of SOURCE, a dataset's folder or one annotation file, in another program's format.

    Of a dataset, the regions are those that survey understood: repaired, corrected, of all annotators. A file
    is read by a recipe (-r), which says what its groups mean.

    \b
    Example:
      wsiprep export dataset --slide tumor_001 --patches -o tumor_001.geojson
      wsiprep export dataset --format asap -o xml
      wsiprep export tumor_001.xml -r recipe.yaml --slide tumor_001.tif -o tumor_001.geojson
    """
    from wsiprep.artifacts import DatasetTree, write_bytes
    from wsiprep.errors import UsageError
    from wsiprep.stages import export
    from wsiprep.stages.annotations import frame_for, read_size, require_frame, require_outlines
    from wsiprep.stages.rows import recipe_for

    kind = cast(Literal["geojson", "asap"], wanted)
    if source.is_dir():
        if size is not None or recipe_path is not None or overrides:
            raise UsageError("a dataset has its own sizes and recipe", fix="leave --size, --recipe and --set out")
        tree = DatasetTree(source)
        if slide is None:
            files = export.export_dataset(tree, output, kind, options.reporter(log_format), patches=patches)
            click.echo(f"{len(files)} files in {output}")
            return
        data = export.export_slide(tree, slide, kind, patches=patches)
    else:
        if patches:
            raise UsageError("only a dataset has patches", got=str(source), fix="name the dataset's folder")
        recipe = recipe_for(recipe_path, overrides, None)
        frame = frame_for(Path(slide) if slide else None, read_size(size) if size else None, recipe)
        data = export.export_file(require_outlines(source), recipe, require_frame(frame), kind)
    write_bytes(output, data)
    click.echo(str(output))

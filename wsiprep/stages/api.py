"""The Python face of ``wsiprep tile``."""

from __future__ import annotations

from pathlib import Path

from wsiprep.artifacts import DatasetTree
from wsiprep.progress import NullReporter, Reporter
from wsiprep.stages.tile import TileRequest
from wsiprep.stages.tile import tile as tile_request
from wsiprep.store import Receipt


def tile(
    slide: str | Path,
    out: str | Path,
    *,
    annotations: str | Path | None = None,
    patch_size_px: int | None = None,
    spacing_um: float | None = None,
    downsample: int | None = None,
    tissue: str | Path | None = None,
    threads: int = 1,
    reporter: Reporter | None = None,
) -> Receipt:
    """Cut one slide into patches, as ``wsiprep tile`` does; returns the receipt of its shard.

    Args:
        slide: path or URL.
        out: the dataset's folder; several slides may go into one.
        annotations: annotation file, or None.
        patch_size_px: side of a patch, 512 by default.
        spacing_um: um/px of the patches; or
        downsample: N x the slide's own spacing (default 1).
        tissue: tissue mask of the whole slide (PNG, TIFF or GeoJSON); None finds the tissue.
        threads: reading threads; the bytes do not depend on it.
        reporter: hears progress; silent by default.

    Raises:
        WsiprepError: see ``wsiprep.errors``.
    """
    request = TileRequest(
        slide=str(slide),
        annotations=None if annotations is None else Path(annotations),
        patch_size_px=patch_size_px,
        spacing_um=spacing_um,
        downsample=downsample,
        tissue=None if tissue is None else Path(tissue),
    )
    return tile_request(request, DatasetTree(Path(out)), reporter or NullReporter(), threads=threads)

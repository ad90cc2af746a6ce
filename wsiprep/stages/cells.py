"""The cells of one slide by the recipe's kind of sampling, with what the outlines and the tissue say of each."""

from __future__ import annotations

from collections.abc import Sequence

from wsiprep.annotations import Region
from wsiprep.annotations.regions import ROI_REGION
from wsiprep.config import Recipe
from wsiprep.errors import PlanError, SpacingError
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.patches import Bounds, Cells, CellScale, anchored_cells, box_cells, grid_cells, roi_cells


def cells_of(
    size: Size,
    bounds: Box | None,
    scale: CellScale | None,
    regions: Sequence[Region],
    recipe: Recipe,
    *,
    tile: int | None = None,
    name: str = "",
) -> Cells:
    """The candidate cells of a slide or tile, in row order.

    Args:
        size: of level 0.
        bounds: its scanned part, where the file names one.
        scale: level-0 pixels per pixel; None for boxes and whole slides, which are scaled to the patch.
        regions: its outlines.
        recipe: of its source.
        tile: number of the tile, None for slides. Ready-cut tiles get no cells centred on lesions: they were cut
            around something already.
        name: of the slide or tile, for messages.

    Raises:
        PlanError: regions or boxes are asked for and the slide has none.
        SpacingError: a box is smaller than the patch that it is to be scaled to, and enlarging was not asked for.
    """
    sampling = recipe.sampling
    if scale is None:
        boxes = [(0.0, 0.0, float(size.width_px), float(size.height_px))] if sampling.kind == "whole" else None
        cells = box_cells(boxes or _required(regions, recipe, name), sampling, tile=tile or 0)
        _refuse_enlarged(cells, recipe, name)
        return cells
    if sampling.kind == "roi":
        return roi_cells(_required(regions, recipe, name), scale, sampling, tile=tile or 0)
    origin, extent = _extent(size, bounds, scale, recipe)
    grid = grid_cells(extent, scale, sampling, origin=origin, tile=tile or 0)
    if sampling.anchor == "none" or tile is not None:
        return grid
    small = [(i, r) for i, r in enumerate(regions) if r.label in recipe.labels]
    anchored = anchored_cells([r.geometry.bounds for _, r in small], [i for i, _ in small], size, scale, sampling)
    return Cells.joined([grid, anchored], sampling.patch_size_px)


def grid_of(x: int, y: int, width: int, height: int, patch_size_px: int) -> PixelGrid:
    """The pixels of one cell's patch."""
    return PixelGrid(Box(x, y, width, height), patch_size_px, patch_size_px)


def grid_at(cells: Cells, i: int) -> PixelGrid:
    """The pixels of the i-th cell's patch."""
    return grid_of(
        int(cells.x_lv0[i]), int(cells.y_lv0[i]), int(cells.width_lv0[i]), int(cells.height_lv0[i]),
        cells.patch_size_px,
    )  # fmt: skip


def _required(regions: Sequence[Region], recipe: Recipe, name: str) -> list[Bounds]:
    """Bounds of the regions of interest, or, for boxes without any, of the labelled regions."""
    found: list[Bounds] = [r.geometry.bounds for r in regions if r.label == ROI_REGION]
    if not found and recipe.sampling.kind == "box":
        found = [r.geometry.bounds for r in regions if r.label in recipe.labels]
    if not found:
        kind = recipe.sampling.kind
        raise PlanError(
            f"sampling.kind {kind} needs regions, and the slide has none", got=name,
            expected="an annotation whose group is mapped to roi" + (", or to a label" if kind == "box" else ""),
            fix="map the group in annotations.groups, use sampling.kind: grid, or leave the slide out",
        )  # fmt: skip
    return found


def _extent(size: Size, bounds: Box | None, scale: CellScale, recipe: Recipe) -> tuple[tuple[int, int], Size]:
    """Where the grid begins, and what it covers."""
    if recipe.sampling.origin == "slide" or bounds is None:
        return (0, 0), size
    n = scale.downsample or 1
    x, y = bounds.x // n * n, bounds.y // n * n
    x_end, y_end = min(size.width_px, bounds.x_end), min(size.height_px, bounds.y_end)
    return (x, y), Size(max(0, x_end - x), max(0, y_end - y))


def _refuse_enlarged(cells: Cells, recipe: Recipe, name: str) -> None:
    if recipe.resample == "zoom" or len(cells) == 0:
        return
    smallest = int(min(cells.width_lv0.min(), cells.height_lv0.min()))
    if smallest < recipe.sampling.patch_size_px:
        raise SpacingError(
            "a box is smaller than the patch that it is to be scaled to",
            got=f"{smallest} px for {recipe.sampling.patch_size_px} px, in {name}",
            expected="at least as many pixels", fix="resample: zoom enlarges it, or choose a smaller patch_size_px",
        )  # fmt: skip

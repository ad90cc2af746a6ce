"""Spacing of a slide's file and scale of its patches, by the recipe's rules; never guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from wsiprep.config import Recipe
from wsiprep.errors import SpacingError
from wsiprep.geometry import Spacing, scale_for, spacing_matches
from wsiprep.manifest import SlideRow
from wsiprep.patches import CellScale


@dataclass(frozen=True, slots=True)
class SlideScale:
    """How a slide's pixels relate to the patches'.

    Attributes:
        file: spacing as the file says, None where it says nothing.
        override: spacing of the manifest, None where it has none.
        used: the one of the two that counts.
        cells: level-0 pixels per pixel of a patch; None where each cell has its own (boxes, whole slides).
    """

    file: Spacing | None
    override: Spacing | None
    used: Spacing
    cells: CellScale | None

    @property
    def patch_um(self) -> float | None:
        """um/px of the patches along x; None where each has its own."""
        return None if self.cells is None else self.used.x_um * float(self.cells.x)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: um/px of level 0 and of the patches; both axes where they differ."""
        return {
            "file": _plain(self.file),
            "override": _plain(self.override),
            "used": self.used.x_um,
            "used_y": self.used.y_um,
            "patch": self.patch_um,
            "patch_y": None if self.cells is None else self.used.y_um * float(self.cells.y),
        }


def _plain(spacing: Spacing | None) -> float | list[float] | None:
    if spacing is None:
        return None
    return spacing.x_um if spacing.x_um == spacing.y_um else [spacing.x_um, spacing.y_um]


def slide_scale(found: Spacing | None, row: SlideRow, recipe: Recipe, *, collection: bool = False) -> SlideScale:
    """The scale of one slide, or of the tiles of a collection.

    Args:
        found: um/px in the file.
        row: its row, whose spacing wins.
        recipe: of the slide's source.
        collection: ready-cut tiles, which may be enlarged where the recipe says so.

    Raises:
        SpacingError: no spacing anywhere, not square without resampling, or more than 2 % off what the recipe expects.
    """
    override = None
    if row.spacing_um is not None:
        override = Spacing(row.spacing_um, row.spacing_y_um or row.spacing_um)
    used = override or found
    if used is None:
        raise SpacingError(
            "the slide does not say how large its pixels are", got="no um/px in the file", file=row.slide,
            expected="a resolution tag, or a spacing_um in the manifest",
            fix="add a spacing_um column to the manifest (or --slide-spacing-um with tile)",
        )  # fmt: skip
    expected = recipe.expect_um
    if override is None and expected and not any(spacing_matches(used.mean_um, e) for e in expected):
        raise SpacingError(
            "the slide's spacing is not what the recipe expects", got=f"{used.mean_um:g} um/px", file=row.slide,
            expected=" or ".join(f"{e:g}" for e in expected) + " um/px within 2 %",
            fix="correct expect_um, or give this slide a spacing_um in the manifest",
        )  # fmt: skip
    return SlideScale(found, override, used, _cell_scale(used, row, recipe, collection=collection))


def _cell_scale(used: Spacing, row: SlideRow, recipe: Recipe, *, collection: bool) -> CellScale | None:
    if recipe.sampling.kind in ("box", "whole"):
        return None
    resample = recipe.resample != "none"
    if not used.is_square and not resample:
        raise SpacingError(
            "the pixels are not square", got=f"{used.x_um:g} x {used.y_um:g} um/px", file=row.slide,
            expected="sides within 2 %",
            fix="resample: area makes square patches of them; give spacing_um in the manifest if the file is wrong",
        )  # fmt: skip
    common = math.gcd(recipe.sampling.patch_size_px, recipe.sampling.stride)
    enlarge = recipe.resample == "zoom" and collection
    try:
        if used.is_square:
            scale = scale_for(
                used.mean_um, downsample=recipe.downsample, spacing_um=recipe.spacing_um, common_px=common,
                resample=resample, enlarge=enlarge,
            )  # fmt: skip
            return CellScale(scale, scale)
        wanted = recipe.spacing_um if recipe.downsample is None else recipe.downsample * used.x_um
        x, y = (
            scale_for(um, spacing_um=wanted, common_px=common, resample=True, enlarge=enlarge)
            for um in (used.x_um, used.y_um)
        )
        return CellScale(x, y)
    except SpacingError as error:
        raise SpacingError(
            error.message, got=error.got, expected=error.expected, fix=error.fix, file=row.slide
        ) from error

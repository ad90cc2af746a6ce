"""What pack does to the colours of a patch, as the recipe's ``stain`` section says."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wsiprep.config import Recipe
from wsiprep.stain import Fit, fit_from_dict, fit_patch, normaliser, way_of_own_fits

RGB = npt.NDArray[np.uint8]


class PatchColours(Protocol):
    """Colours of one slide's patches. Thread-safe."""

    def of(self, raw: RGB) -> tuple[RGB, str | None]:
        """The pixels to store of uint8 (H, W, 3), and whose stains they were taken to have; None: as scanned."""
        ...


def patch_colours(recipe: Recipe, stain: dict[str, Any] | None, n_patches: int) -> PatchColours:
    """What to do with the patches of one slide.

    Args:
        recipe: of its source.
        stain: ``source`` and ``target`` of its slice of the plan; None without normalisation.
        n_patches: how many there are; decides how the colours are computed and not what they become.
    """
    section, side = recipe.stain, recipe.sampling.patch_size_px
    if stain is None or section.when == "load":
        return _AsScanned()
    source, target = fit_from_dict(stain["source"]), fit_from_dict(stain["target"])
    if section.backend == "staintools":
        return _ByStaintools(target, section.method)
    if section.per == "patch":
        return _OfPatches(recipe, source, target, n_patches)
    if source.origin == "reference":
        # A slide whose stains are nobody's own is kept as it is; its receipt and the report say so.
        return _AsScanned()
    return _OfSlide(recipe, source, target, n_patches, side)


class _AsScanned:
    def of(self, raw: RGB) -> tuple[RGB, str | None]:
        return raw, None


class _OfSlide:
    """One map for all patches."""

    def __init__(self, recipe: Recipe, source: Fit, target: Fit, n_patches: int, side_px: int) -> None:
        self._map = normaliser(source, target, method=recipe.stain.method, n_patches=n_patches, patch_size_px=side_px)
        self._origin = source.origin

    def of(self, raw: RGB) -> tuple[RGB, str | None]:
        return self._map(raw), self._origin


class _OfPatches:
    """A fit for every patch; where there is none the slide's, or what stands in for that."""

    def __init__(self, recipe: Recipe, source: Fit, target: Fit, n_patches: int) -> None:
        self._section, self._source, self._target = recipe.stain, source, target
        self._way = way_of_own_fits(n_patches, recipe.sampling.patch_size_px)

    def of(self, raw: RGB) -> tuple[RGB, str | None]:
        own = fit_patch(raw, self._section.method, self._source, self._section.min_tissue_px)
        if own.origin == "reference":
            return raw, None
        return normaliser(own, self._target, method=self._section.method, way=self._way)(raw), own.origin


class _ByStaintools:
    """That library's own fit of every patch; what it cannot fit stays as it was scanned."""

    def __init__(self, target: Fit, method: str) -> None:
        from wsiprep.stain.staintools_backend import StaintoolsNormaliser

        self._map = StaintoolsNormaliser(target, method)

    def of(self, raw: RGB) -> tuple[RGB, str | None]:
        done = self._map.mapped(raw)
        return done.rgb, "patch" if done.status == "ok" else None

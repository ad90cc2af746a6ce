"""The look that slides are normalised to: built in, a cohort's, a picture's or one slide's; told by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.config import Recipe
from wsiprep.errors import DataError, SlideError, StainError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader, open_slide
from wsiprep.stages.colours import colours_of, white_of
from wsiprep.stain import REFERENCE, Fit, fit, fit_from_dict, histogram

MAX_IMAGE_PX = 1 << 26
"""Pixels of a picture that is a target (67 million, 200 MB decoded)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A fit to normalise to.

    Attributes:
        fit: its stains or moments.
        kind: ``reference``, ``cohort``, ``image`` or ``slide``.
        digest: sha256 of the image, the identity of the slide, else the digest of the fit.
        name: the recipe's word for the image or slide, else empty.
    """

    fit: Fit
    kind: str
    digest: str
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Where the look is from: what is recorded beside the fit."""
        return {"kind": self.kind, "digest": self.digest, "name": self.name}


def target_inputs(recipe: Recipe, recipe_path: Path | None) -> list[str]:
    """The image that plan reads beside what survey wrote, if there is one: an input of the rule."""
    if recipe.stain.method == "none" or recipe.stain.target_image is None:
        return []
    return [str(_image_path(recipe.stain.target_image, recipe_path))]


def reference_target(method: str) -> Target:
    """The built-in look."""
    found = REFERENCE[method]
    return Target(found, "reference", found.digest())


def cohort_target(cohort: Fit) -> Target:
    """The look of the train split."""
    return Target(cohort, "cohort", cohort.digest())


def image_target(recipe: Recipe, recipe_path: Path | None) -> Target:
    """The look of the recipe's ``target_image``, whose path is relative to the recipe's folder.

    Raises:
        StainError: it is no picture, too large, or has no two stains.
    """
    name = str(recipe.stain.target_image)
    path = _image_path(name, recipe_path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with open_slide(path) as slide:
            size = slide.info.size
            if size.width_px * size.height_px > MAX_IMAGE_PX:
                raise StainError(
                    "the target image is very large", got=f"{size.width_px} x {size.height_px} px", file=path,
                    expected=f"at most {MAX_IMAGE_PX} px", fix="crop it, or use stain.target: slide",
                )  # fmt: skip
            whole = PixelGrid(Box(0, 0, size.width_px, size.height_px), size.width_px, size.height_px)
            rgb = PatchReader(slide, "level0").read(whole)
    except OSError as error:
        raise StainError(
            "the target image cannot be read", got=str(error), file=path,
            fix="its path is relative to the recipe; plan without --recipe takes it from this folder",
        ) from error  # fmt: skip
    except SlideError as error:
        raise StainError(
            "the target image cannot be read", got=str(error.got or error.message), file=path,
            expected="a PNG, JPEG or TIFF in 8-bit RGB",
        ) from error  # fmt: skip
    try:
        found = fit(histogram(rgb), recipe.stain.method, recipe.stain.min_tissue_px)
    except StainError as error:
        raise StainError(
            f"the target image has no stains to take: {error.message}", got=error.got, expected=error.expected,
            file=path, fix="choose a picture of tissue stained with haematoxylin and eosin, without pen",
        ) from error  # fmt: skip
    return Target(replace(found, origin="image"), "image", digest, name)


def slide_target(recipe: Recipe, tree: DatasetTree, slide_ids: Mapping[str, str]) -> Target:
    """The look of the recipe's ``target_slide``: its own fit.

    Args:
        recipe: the recipe.
        tree: where the slide was surveyed.
        slide_ids: ids of the manifest, by id and by raw id.

    Raises:
        StainError: the manifest has no such slide, it could not be surveyed, or it has no fit of its own.
        StoreError: it was not surveyed yet, or without colours.
    """
    name = str(recipe.stain.target_slide)
    slide_id = slide_ids.get(name)
    if slide_id is None:
        raise StainError(
            "the manifest has no slide that is the stain target", got=name, fix="correct stain.target_slide"
        )
    record = read_json(tree.slide(slide_id).record)
    if record["state"] == "failed":
        raise StainError(
            "the slide that is the stain target could not be surveyed", got=record["error"]["message"],
            file=tree.slide(slide_id).record, fix="mend it, or choose another stain.target_slide",
        )  # fmt: skip
    method, least = recipe.stain.method, recipe.stain.min_tissue_px
    try:
        found = fit(colours_of(slide_id, tree), method, least, white_of(record))
    except StainError as error:
        raise StainError(
            f"{slide_id} cannot be the stain target: {error.message}", got=error.got, expected=error.expected,
            fix="choose another stain.target_slide",
        ) from error  # fmt: skip
    return Target(found, "slide", str(record["identity"]), name)


def recorded_target(stain: Mapping[str, Any] | None) -> Target | None:
    """The target in the metadata of a slice of the plan, or in the attributes of a shard."""
    if stain is None:
        return None
    try:
        origin = stain["target_from"]
        return Target(fit_from_dict(stain["target"]), origin["kind"], origin["digest"], origin["name"])
    except (KeyError, TypeError, DataError):
        return None


def _image_path(name: str, recipe_path: Path | None) -> Path:
    return (recipe_path.parent if recipe_path is not None else Path()) / name

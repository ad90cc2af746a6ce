"""Canonical JSON and digests of configuration: which stage has to be done again after a change."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from wsiprep.config.recipe import Recipe

_PLACES = {"manifest", "data_root", "confined"}
_TEXTS = {"title", "dataset"}


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def recipe_digest(recipe: Recipe) -> str:
    """Digest of what decides a dataset's contents: no paths, no titles, no training section."""
    plain = recipe.model_dump(mode="json", exclude=_PLACES | _TEXTS | {"training", "sources"})
    return digest_of(plain | {"sources": _sources(recipe)})


def _sources(recipe: Recipe) -> dict[str, Any]:
    """The overrides of the sources, without where their files lie."""
    return {name: source.model_dump(mode="json", exclude=_PLACES) for name, source in sorted(recipe.sources.items())}


def survey_digest(recipe: Recipe) -> str:
    """Digest of the parts that ``survey`` reads, so that a new split or keep rule surveys nothing again."""
    parts = {
        "labels", "downsample", "spacing_um", "expect_um", "pixels", "resample", "icc", "decode", "backend",
        "annotations", "collection", "tissue",
    }  # fmt: skip
    cells = {"kind", "patch_size_px", "stride_px", "edge", "origin", "aspect", "anchor"}
    sampling = recipe.sampling.model_dump(mode="json", include=cells)
    stain = {"fit": recipe.stain.method != "none", "sample_cells": recipe.stain.sample_cells}
    return digest_of([recipe.model_dump(mode="json", include=parts), _sources(recipe), sampling, stain])


def plan_digest(recipe: Recipe) -> str:
    """Digest of the parts that ``plan`` reads."""
    parts = {"sampling", "keep", "stain", "split", "max_failed", "mix_pixels", "labels", "store"}
    return digest_of([recipe.model_dump(mode="json", include=parts), _sources(recipe)])


def pack_digest(recipe: Recipe) -> str:
    """Digest of the parts that ``pack`` reads beside its slice of the plan."""
    parts = {
        "labels", "pixels", "resample", "icc", "decode", "backend", "stain", "store", "synthetic", "max_damaged",
        "collection",
    }  # fmt: skip
    size = recipe.sampling.model_dump(mode="json", include={"patch_size_px", "edge", "pad", "outside_roi"})
    size["instances"] = recipe.annotations.instances
    return digest_of([recipe.model_dump(mode="json", include=parts), _sources(recipe), size])

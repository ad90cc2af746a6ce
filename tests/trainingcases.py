"""A tiny sealed dataset that a small network learns in a few epochs: dark discs on a light ground."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.store import PatchRecord, ShardSpec, by_slide, seal, write_shard

SIDE = 48
LABELS = ("tumour",)
COUNTS = {"a": 4, "b": 3, "c": 2, "d": 3}
SPLIT: Mapping[str, tuple[str | None, int | None]] = {
    "a": ("train", None),
    "b": ("train", None),
    "c": ("val", None),
    "d": ("test", None),
}
FOLDS: Mapping[str, tuple[str | None, int | None]] = {s: ("all", i % 3) for i, s in enumerate(COUNTS)}
FOLD_SPLIT = {"split": {"kind": "folds", "folds": 3}}
"""Changes of the recipe that go with ``FOLDS``: a and d are fold 0, b is 1, c is 2."""
SMALL_UNET = {"base": 4, "depth": 3}


def patches(count: int, seed: int, *, annotated: bool = True) -> Iterator[PatchRecord]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        cy, cx, radius = rng.integers(12, SIDE - 12), rng.integers(12, SIDE - 12), rng.integers(8, 14)
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
        ground = np.where(inside[..., None], (110, 60, 130), (225, 180, 205))
        image = np.clip(ground + rng.normal(0, 8, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        mask = inside.astype(np.uint8)
        mask[:2] = 255
        if not annotated:
            mask[:] = 255
        row = {
            "x_lv0": number * SIDE * 4,
            "y_lv0": 0,
            "width_lv0": 1,
            "height_lv0": 1,
            "tile": None,
            "scale": 4.0,
            "scale_y": 4.0,
            "spacing_um": 0.972,
            "source_level": 2,
            "from_stored": True,
            "dct_factor": 1,
            "stain_origin": None,
            "tumour_fraction": float(inside.mean()),
            "annotated_fraction": 1.0,
            "tissue_fraction": 1.0,
        }
        yield PatchRecord(image, mask, row)


def write_dataset(
    root: Path,
    places: Mapping[str, tuple[str | None, int | None]] = SPLIT,
    *,
    unannotated: tuple[str, ...] = (),
    **changes: Any,
) -> Path:
    """Write and seal; the folder."""
    tree = DatasetTree(root)
    fields = {
        "name": "discs",
        "labels": list(LABELS),
        "downsample": 4,
        "synthetic": True,
        "sampling": {"patch_size_px": SIDE},
    }
    recipe = recipe_from_mapping(fields | changes)
    for seed, (slide_id, count) in enumerate(COUNTS.items()):
        spec = ShardSpec(slide_id, recipe.labels, SIDE, recipe.store)
        write_shard(tree, spec, patches(count, seed, annotated=slide_id not in unannotated), count)
    slides = [{"slide_id": s, "patient": s} for s in COUNTS]
    seal(tree, recipe=recipe, slides=slides, assignment=by_slide(places))
    return root

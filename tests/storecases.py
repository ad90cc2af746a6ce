"""Small datasets for the tests of the store, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.store import PatchRecord, Receipt, ShardSpec, by_slide, seal, write_shard

LABELS = ("tumour", "stroma")
SIDE = 16


def recipe(**changes: Any) -> Recipe:
    base: dict[str, Any] = {
        "name": "tiny",
        "title": "Tiny",
        "labels": list(LABELS),
        "downsample": 4,
        "licence": "CC0-1.0",
        "synthetic": True,
        "sampling": {"patch_size_px": SIDE},
        "store": {"patches_per_shard_file": 4},
    }
    return recipe_from_mapping(base | changes)


def spec(slide_id: str = "slide_a", **changes: Any) -> ShardSpec:
    made = recipe()
    store = made.store.model_copy(update=changes.pop("store", {}))
    fields: dict[str, Any] = {
        "slide_id": slide_id,
        "labels": LABELS,
        "patch_size_px": SIDE,
        "store": store,
        "attributes": {"spacing_um": 0.972, "downsample": 4},
        "provenance": {"backend": {"requested": "auto", "used": "tiff", "note": ""}, "plan_digest": "0" * 64},
    }
    return ShardSpec(**(fields | changes))


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "x_lv0": (number % 3) * SIDE * 4,
        "y_lv0": (number // 3) * SIDE * 4,
        "width_lv0": SIDE * 4,
        "height_lv0": SIDE * 4,
        "tile": None,
        "scale": 4,
        "scale_y": 4,
        "spacing_um": 0.972,
        "source_level": 2,
        "from_stored": True,
        "dct_factor": 1,
        "stain_origin": None,
        "tumour_fraction": 0.25,
        "stroma_fraction": 0.125,
        "annotated_fraction": 1.0,
        "tissue_fraction": 0.5,
    } | changes


def patches(count: int, seed: int = 0, side: int = SIDE) -> Iterator[PatchRecord]:
    """Patches whose bytes follow from integer arithmetic alone."""
    y, x = np.mgrid[:side, :side].astype(np.int64)
    for number in range(count):
        salt = seed * 1009 + number * 31
        image = np.stack([(x * 7 + y * (3 + c) + salt * (c + 1) + (x * y * 13) % 29) % 256 for c in range(3)], axis=-1)
        values = np.array([0, 1, 2, 255], dtype=np.uint8)
        mask = values[(x // 4 + y // 4 + salt) % 4]
        yield PatchRecord(image.astype(np.uint8), mask, row(number))


def write(root: Path, slide_id: str = "slide_a", count: int = 6, seed: int = 0, **changes: Any) -> Receipt:
    return write_shard(DatasetTree(root), spec(slide_id, **changes), patches(count, seed), count)


SLIDES: tuple[dict[str, Any], ...] = (
    {"slide_id": "slide_a", "patient": "p1", "centre": "c1", "scanner": "x"},
    {"slide_id": "slide_b", "patient": "p2", "centre": "c1", "scanner": "y"},
    {"slide_id": "slide_c", "patient": "p3", "centre": "c2", "scanner": "y"},
    {"slide_id": "slide_d", "patient": "p4", "centre": "c2", "scanner": "x"},
)
PLACES: Mapping[str, tuple[str | None, int | None]] = {
    "slide_a": ("train", None),
    "slide_b": ("train", None),
    "slide_c": ("val", None),
    "slide_d": ("test", None),
}


def pack_all(root: Path) -> None:
    """Three shards of different lengths and one empty slide."""
    for number, (slide_id, count) in enumerate((("slide_a", 6), ("slide_b", 4), ("slide_c", 1), ("slide_d", 0))):
        write(root, slide_id, count, seed=number)


def sealed(root: Path, places: Mapping[str, tuple[str | None, int | None]] = PLACES, **changes: Any) -> dict[str, Any]:
    """The dataset of ``pack_all``, sealed; its record."""
    tree = DatasetTree(root)
    if not tree.receipt_ids():
        pack_all(root)
    return seal(tree, recipe=recipe(**changes), slides=SLIDES, assignment=by_slide(places))


def tree_bytes(root: Path) -> dict[str, bytes]:
    """path -> bytes of every file below a folder."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

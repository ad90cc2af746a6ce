"""A dataset's folder, written by hand: two sources, two slides with cells, one empty, one failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsiprep.artifacts import DatasetTree
from wsiprep.tissue import TissueMask, write_mask

SIDE_LV0 = 1000
GRID = 5
PATCH_LV0 = 200
MESSAGE = "the slide does not say how large its pixels are\n  got: <nothing>"


def write(path: Path, data: bytes | str | dict[str, Any] | pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, pa.Table):
        pq.write_table(data, path)
    elif isinstance(data, bytes):
        path.write_bytes(data)
    else:
        path.write_text(data if isinstance(data, str) else json.dumps(data))


def picture(suffix: str, width: int = 100, height: int = 100) -> bytes:
    image = np.full((height, width, 3), 200, np.uint8)
    image[height // 4 : height // 2] = (120, 60, 180)
    return cv2.imencode(suffix, image)[1].tobytes()


def region(label: str, ring: list[list[float]]) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": label}}}


def survey(tree: DatasetTree, slide_id: str, *, source: str, patient: str) -> None:
    folder = tree.slide(slide_id)
    record = {
        "slide_id": slide_id, "raw_id": slide_id, "state": "surveyed", "error": None, "source": source,
        "row": {"patient": patient, "centre": "centre_a", "source": source},
        "size": {"width_px": SIDE_LV0, "height_px": SIDE_LV0},
        "spacing_um": {"file": 0.25, "override": None, "used": 0.25, "patch": 0.5}, "scale": [2.0, 2.0],
        "backend": {"requested": "auto", "used": "tiff", "note": ""},
        "pixels": {"from_stored": True, "source_level": 1},
        "overview": {"downsample": 10, "width_px": 100, "height_px": 100},
        "tissue": {"method": "hsv", "share": 0.5, "thresholds": {}},
        "annotation": {
            "state": "exhaustive", "regions": 2, "counts": {"repaired_rings": 3}, "area_px": {"tumour": 90000},
        },
    }  # fmt: skip
    write(folder.record, record)
    write(folder.overview, picture(".jpg"))
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    write(folder.tissue, write_mask(TissueMask.of(mask, 10, "hsv", {"saturation": 0.1})))
    square = [[200.0, 200.0], [500.0, 200.0], [500.0, 500.0], [200.0, 500.0], [200.0, 200.0]]
    hole = [[300.0, 300.0], [350.0, 300.0], [350.0, 350.0], [300.0, 300.0]]
    features = [region("tumour", square), region("background", hole)]
    write(folder.regions, {"type": "FeatureCollection", "features": features})


def slide_plan(slide_id: str, kept: int, bins: dict[int, int], after: dict[int, int]) -> dict[str, Any]:
    def shares(values: dict[int, int], free: int) -> dict[str, Any]:
        return {"tumour_free": free, "bins": [values.get(k, 0) for k in range(20)]}

    rest = GRID * GRID - kept
    return {
        "slide_id": slide_id, "annotated": True, "cells": GRID * GRID, "kept": kept, "tissue_cells": 20,
        "counts": {"kept": kept, "under_min": rest, "over_max": 0},
        "shares_before": shares(bins, 10), "shares_after": shares(after, 0),
        "best_share": 0.7 if kept else 0.0123, "lost_lesions": 0,
    }  # fmt: skip


def plan_record() -> dict[str, Any]:
    slides = [
        slide_plan("alpha", 3, {1: 5, 6: 4, 19: 2}, {1: 1, 6: 2}),
        slide_plan("beta", 2, {2: 3}, {2: 2}),
        slide_plan("gamma", 0, {0: 4}, {}),
    ]
    lesion = {"slide_id": "gamma", "index": 4, "label": "tumour", "area_px": 1234.0, "x_lv0": 10.0, "y_lv0": 20.0}
    share = {"groups": 1, "slides": 1, "share_of_groups": 0.5, "share_of_slides": 0.5}
    return {
        "recipe_digest": "ab" * 32,
        "plan": {
            "slides": slides, "cells": 75, "kept": 5, "counts": {"kept": 5, "under_min": 70, "over_max": 0},
            "keep_nothing": [{"slide_id": "gamma", "reason": "under_min", "best_share": 0.0123}],
            "lost_lesions": [lesion],
        },
        "states": {
            "alpha": {"state": "planned", "reason": ""}, "beta": {"state": "planned", "reason": ""},
            "gamma": {"state": "empty", "reason": "under_min"},
            "delta": {"state": "failed", "reason": "no um/px in the file"},
            "omega": {"state": "excluded", "reason": "pen all over"},
        },
        "kept_slides": ["alpha", "beta"],
        "sources": {"alpha": "camelyon", "beta": "bach", "gamma": "camelyon", "delta": "bach"},
        "split": {
            "leaking": False,
            "shares": [
                {"key": "train", "weight": 3.0, "share_of_weight": 0.6, "asked": 0.5} | share,
                {"key": "test", "weight": 2.0, "share_of_weight": 0.4, "asked": 0.5} | share,
            ],
        },
    }  # fmt: skip


def cells_table() -> pa.Table:
    rows = []
    for slide_id, kept in (("alpha", 3), ("beta", 2), ("gamma", 0)):
        for k in range(GRID * GRID):
            place = {"x_lv0": k % GRID * PATCH_LV0, "y_lv0": k // GRID * PATCH_LV0, "width_lv0": PATCH_LV0,
                     "height_lv0": PATCH_LV0}  # fmt: skip
            decision = "kept" if k < kept else "under_min"
            rows.append({"slide_id": slide_id, "source": "s", "decision": decision, "tumour_fraction": 0.3} | place)
    return pa.Table.from_pylist(rows)


def index_table(*, folds: bool = False) -> pa.Table:
    rows = [
        {"slide_id": s, "patient": p, "centre": "centre_a", "split": split, "fold": fold if folds else None,
         "spacing_um": 0.5, "tumour_px": 4_000_000}
        for s, p, split, n, fold in (("alpha", "p1", "train", 3, 0), ("beta", "p2", "test", 2, 1))
        for _ in range(n)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


@pytest.fixture
def tree(tmp_path: Path) -> DatasetTree:
    """Surveyed and planned, with previews; not sealed, nothing trained."""
    tree = DatasetTree(tmp_path / "dataset")
    recipe = {
        "name": "trial", "title": "A trial & error <dataset>", "synthetic": True, "labels": ["tumour"], "downsample": 2,
        "pixels": "stored", "licence": "CC0-1.0", "stain": {"method": "macenko"}, "sampling": {"patch_size_px": 100},
        "keep": {"rules": [{"labels": ["tumour"], "min": 0.05, "max": 0.995}]},
    }  # fmt: skip
    write(tree.recipe, recipe)
    survey(tree, "alpha", source="camelyon", patient="p1")
    survey(tree, "beta", source="bach", patient="p2")
    survey(tree, "gamma", source="camelyon", patient="p3")
    failed = {
        "slide_id": "delta", "raw_id": "delta", "state": "failed", "row": {"patient": "p4"}, "source": "bach",
        "error": {"code": "bad-spacing", "message": MESSAGE},
    }  # fmt: skip
    write(tree.slide("delta").record, failed)
    write(tree.plan_record, plan_record())
    write(tree.plan, cells_table())
    for slide_id in ("alpha", "beta"):
        write(tree.preview(slide_id), picture(".png", 400, 200))
    return tree


@pytest.fixture
def sealed(tree: DatasetTree) -> DatasetTree:
    """As ``tree``, sealed, with two training runs and a benchmark."""
    write(tree.index, index_table())
    states = [("alpha", "done", ""), ("beta", "done", ""), ("gamma", "empty", "under_min"), ("delta", "failed", "x")]
    write(tree.slides_table, pa.Table.from_pylist([{"slide_id": s, "state": t, "reason": r} for s, t, r in states]))
    dataset = {
        "name": "trial", "title": "A trial", "synthetic": True, "labels": ["tumour"], "licence": "CC0-1.0",
        "dataset_digest": "cd" * 32, "pixels_digest": "ef" * 32, "recipe_digest": "ab" * 32,
        "versions": {"wsiprep": "0.1.0"}, "split": {"kind": "ratio", "by": "patient", "leaks": False},
        "counts": {"patches": 5, "patients": 2}, "bytes": {"total": 123_456},
    }  # fmt: skip
    write(tree.dataset_record, dataset)
    header = "epoch,train_loss,val_acc,val_miou,train_seconds,images\n"
    for seed in (0, 1):
        rows = "".join(f"{e},{1 / e},{0.5 + 0.02 * e},{'' if e % 2 else 0.4 + 0.03 * e},1.5,10\n" for e in range(1, 9))
        write(tree.runs / "unet" / f"seed{seed}" / "metrics.csv", header + rows)
    write(tree.benchmark_table, "model,kind,miou,note\nall background,trivial,0.3512345,\nunet,ours,0.8,median of 3\n")
    return tree


@pytest.fixture
def put() -> Callable[[Path, Any], None]:
    """Write bytes, text, JSON or a table, folders included."""
    return write


@pytest.fixture
def folded(sealed: DatasetTree) -> DatasetTree:
    """As ``sealed``, split into two folds."""
    write(sealed.index, index_table(folds=True))
    return sealed

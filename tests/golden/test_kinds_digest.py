"""Digests of pixels, masks and objects of every kind of sampling: bytes that must not change unnoticed.

They say nothing about right and wrong, which the integration tests do with oracles; they say that a dataset
made by one version is made again by the next. Where one changes on purpose, bump a revision in
``wsiprep/stages/revisions.py`` and write the new digest here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collection_files import nuclei, write_png
from slide_files import texture
from stagecases import Case, asap, box, case, write_slide

SHAPES = [
    ("Tumor", [(30.5, 20.25), (210, 40), (180.5, 170), (60, 150.75)]),
    ("Tumor", box(260, 200, 300, 240)),
    ("roi", [(20, 100), (160, 10), (310, 120), (170, 230)]),
]
GROUPS = {"groups": {"Tumor": "tumour", "roi": "roi"}, "instances": True}
NO_ROI = {"groups": {"Tumor": "tumour", "roi": "drop"}, "instances": True}

CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "fractional": (
        {"spacing_um": 1.0, "resample": "area", "annotations": NO_ROI,
         "sampling": {"patch_size_px": 32, "edge": "pad"}},
        6, "affa7e7a22008d911abbe317311a62e57028526327435af611d2386c03a11b42",
    ),
    "roi": (
        {"downsample": 2, "annotations": GROUPS,
         "sampling": {"kind": "roi", "patch_size_px": 32, "edge": "pad", "pad": "black", "outside_roi": "pad"}},
        9, "ff27dd423e0599082475a5d9994bb8cec8989c22ead7ac866f13a7f24f1dbac6",
    ),
    "box": (
        {"downsample": None, "resample": "zoom", "annotations": GROUPS,
         "sampling": {"kind": "box", "patch_size_px": 64}, "keep": {"min_annotated": 0.0}},
        1, "0a92dc7ca0e049b257c1573ac70490952473351c26a54e5fb4bb9cd1c2045e46",
    ),
    "stride": (
        {"downsample": 1, "annotations": NO_ROI,
         "sampling": {"patch_size_px": 64, "stride_px": 48, "max_per_slide": 9}},
        9, "bb8b1f393ea7215992eb46d5cd89f05f1a674a1114da3eb9628e4b4f818d5d46",
    ),
}  # fmt: skip


def slide_case(folder: Path, recipe: dict[str, Any]) -> Case:
    write_slide(folder / "s.tif", texture(330, 250, seed=11), 0.243)
    asap(folder / "s.xml", SHAPES)
    return case(folder, [{"slide_id": "s", "slide": "s.tif", "annotation": "s.xml"}], **recipe)


def collection_case(folder: Path) -> Case:
    for k, name in enumerate(("a", "b", "c")):
        write_png(folder / "c" / "images" / f"{name}.png", texture(100, 80, seed=k))
        ids = nuclei(100, 40 + k)[:80].astype(np.uint16)
        write_png(folder / "c" / "labels" / f"{name}.png", ids)
    rows: list[dict[str, object]] = [{"slide_id": "c", "slide": "c", "annotation": "c", "spacing_um": 0.5}]
    return case(
        folder, rows, spacing_um=0.3, resample="zoom",
        annotations={"instances": True, "raster": {"instances": True, "label": "tumour"}},
        collection={"images": "images/{tile}.png", "labels": "labels/{tile}.png"},
        sampling={"patch_size_px": 50, "edge": "pad"},
    )  # fmt: skip


def contents(made: Case) -> tuple[int, str]:
    """Number of patches, and sha256 over places, images, masks and objects in order."""
    dataset = made.build()
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        image, mask, row = dataset.read(i)
        digest.update(repr([row[k] for k in ("tile", "x_lv0", "y_lv0", "width_lv0", "height_lv0")]).encode())
        for array in (image, mask, dataset.read_instance(i)):
            digest.update(array.tobytes())
    return len(dataset), digest.hexdigest()


@pytest.mark.parametrize("kind", CASES)
def test_the_contents_of_each_kind_are_known(tmp_path: Path, kind: str) -> None:
    recipe, *expected = CASES[kind]
    assert contents(slide_case(tmp_path, recipe)) == tuple(expected)


def test_the_contents_of_a_collection_are_known(tmp_path: Path) -> None:
    assert contents(collection_case(tmp_path)) == (
        36, "f72f7b483fcf13984e8ebcc0178ed84a0b3e724641618d8ed365ad2b78936e05",
    )  # fmt: skip

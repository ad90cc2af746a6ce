"""Stains of a dataset packed with ``stain.when: load``: what pack would have made, or a clear refusal."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trainingcases as cases

from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import StainError, UsageError
from wsiprep.stain import REFERENCE, ReinhardFit, StainFit, normalise, stain_of
from wsiprep.store import PatchRecord, ShardSpec, by_slide, seal, write_shard
from wsiprep.training.batch import collate_patches
from wsiprep.training.data import PatchDataset
from wsiprep.training.stain import StainAugment
from wsiprep.training.stain_at_load import NOBODYS
from wsiprep.training.stain_draws import StainSpread, varied

MATRIX = np.array([[0.55, 0.76, 0.34], [0.1, 0.9, 0.3]])
OWN = StainFit("vahadane", MATRIX / np.linalg.norm(MATRIX, axis=1, keepdims=True), np.array([1.2, 0.9]))
TARGET = REFERENCE["vahadane"]
MOMENTS = ReinhardFit(means=np.array([150.0, 150.0, 120.0]), deviations=np.array([40.0, 10.0, 8.0]))
PLACES = dict.fromkeys("ab", ("train", None))


def fits(source: Any, target: Any = TARGET) -> dict[str, Any]:
    return {"stain": {"source": source.to_dict(), "target": target.to_dict()}}


def with_origin(patches: Iterator[PatchRecord], origin: str | None) -> Iterator[PatchRecord]:
    return (replace(patch, row={**patch.row, "stain_origin": origin}) for patch in patches)


def dataset(root: Path, attributes: Mapping[str, Mapping[str, Any]], origin: str | None = None) -> Path:
    """Two slides of three patches; what their shards say of their stains."""
    recipe = recipe_from_mapping(
        {"name": "stains", "labels": ["tumour"], "downsample": 4, "sampling": {"patch_size_px": cases.SIDE}}
    )
    tree = DatasetTree(root)
    for seed, slide in enumerate("ab"):
        spec = ShardSpec(slide, recipe.labels, cases.SIDE, recipe.store, attributes[slide])
        write_shard(tree, spec, with_origin(cases.patches(3, seed), origin if slide == "b" else None), 3)
    slides = [{"slide_id": slide, "patient": slide} for slide in "ab"]
    seal(tree, recipe=recipe, slides=slides, assignment=by_slide(PLACES))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slide a has stains of its own, slide b nobody's."""
    nobodys = replace(TARGET, status="too little tissue")
    return dataset(tmp_path_factory.mktemp("stains"), {"a": fits(OWN), "b": fits(nobodys)})


def hwc(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("stain", ["fit", "vahadane"])
def test_what_is_loaded_is_what_pack_would_have_written(root: Path, stain: str) -> None:
    stained, raw = PatchDataset(root, "train", stain=stain), PatchDataset(root, "train")
    for place in range(6):
        item, plain = stained[place], raw[place]
        wanted = normalise(hwc(plain["image"]), OWN, TARGET) if place < 3 else hwc(plain["image"])
        assert np.abs(hwc(item["image"]).astype(int) - wanted).max() <= (1 if place < 3 else 0)
        assert torch.equal(item["mask"], plain["mask"])
        assert item["stain_origin"] == ("slide" if place < 3 else NOBODYS)
        assert "stain_origin" not in plain
    assert not np.array_equal(hwc(stained[0]["image"]), hwc(raw[0]["image"]))


@pytest.mark.parametrize("stain", ["fit", "hematoxylin", "augment"])
def test_batches_crops_flips_and_pickles_are_stained_alike(root: Path, stain: str) -> None:
    data = PatchDataset(root, "train", stain=stain, crop_px=20, augmentation="flips", seed=4)
    positions = [(3, place) for place in (5, 1, 0)]
    batch = collate_patches(data.__getitems__(positions))
    again = pickle.loads(pickle.dumps(data))
    for k, position in enumerate(positions):
        assert torch.equal(batch["image"][k], data[position]["image"])
        assert torch.equal(batch["image"][k], again[position]["image"])
    assert batch["stain_origin"] == [NOBODYS, "slide", "slide"]
    # The map is pixel by pixel: of the crop it is the crop of the map.
    whole = PatchDataset(root, "train", stain=stain, seed=4)[(3, 1)]["image"]
    rows = {tuple(pixel) for pixel in hwc(whole).reshape(-1, 3).tolist()}
    assert {tuple(pixel) for pixel in hwc(batch["image"][1]).reshape(-1, 3).tolist()} <= rows


def test_augment_depends_on_seed_epoch_and_row_alone(root: Path) -> None:
    data = PatchDataset(root, "train", stain="augment", seed=1)
    first = data[(0, 0)]["image"]
    assert torch.equal(first, PatchDataset(root, "train", stain="augment", seed=1)[(0, 0)]["image"])
    assert not torch.equal(first, data[(1, 0)]["image"])
    assert not torch.equal(first, PatchDataset(root, "train", stain="augment", seed=2)[(0, 0)]["image"])
    raw = hwc(PatchDataset(root, "train")[0]["image"])
    wanted = varied(raw, OWN, StainSpread().draw(1, 0, int(data.rows[0])))
    assert np.abs(hwc(first).astype(int) - wanted).max() <= 1


def test_augment_on_the_device_is_that_of_the_dataset(root: Path) -> None:
    stained, raw = PatchDataset(root, "train", stain="augment", seed=5), PatchDataset(root, "train", seed=5)
    positions = [(2, place) for place in range(6)]
    batch = collate_patches(raw.__getitems__(positions))
    fits = [stain_of(raw.dataset.attributes_of(row)) for row in batch["row"].tolist()]
    found = StainAugment(5)(batch["image"], [f and f[0] for f in fits], batch["epoch"], batch["row"])
    wanted = collate_patches(stained.__getitems__(positions))["image"]
    assert torch.equal(found, wanted)
    assert not torch.equal(found, batch["image"])


def test_moments_are_loaded_too_and_have_no_amounts(tmp_path: Path) -> None:
    target = replace(MOMENTS, means=MOMENTS.means + 5)
    root = dataset(tmp_path, {slide: fits(MOMENTS, target) for slide in "ab"})
    assert PatchDataset(root, "train", stain="reinhard")[0]["stain_origin"] == "slide"
    with pytest.raises(StainError, match="no fit of that method"):
        PatchDataset(root, "train", stain="augment")  # moments have no amounts to vary
    with pytest.raises(StainError, match="no fit of that method"):
        PatchDataset(root, "train", stain="vahadane")


def test_what_cannot_be_stained_is_refused_before_it_is_read(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown stain"):
        PatchDataset(root, "train", stain="henna")
    with pytest.raises(StainError, match="no fit of that method"):
        PatchDataset(root, "train", stain="macenko")
    without = dataset(tmp_path / "without", {"a": fits(OWN), "b": {"stain": None}})
    with pytest.raises(StainError, match="no stain fit"):
        PatchDataset(without, "train", stain="fit")
    done = dataset(tmp_path / "done", {slide: fits(OWN) for slide in "ab"}, origin="slide")
    with pytest.raises(StainError, match="normalised when it was packed") as caught:
        PatchDataset(done, "train", stain="fit")
    assert "3 of 6 patches" in str(caught.value)
    assert PatchDataset(done, "train")[0]["image"].shape == (3, cases.SIDE, cases.SIDE)

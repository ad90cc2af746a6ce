from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import trainingcases as cases

from wsiprep.errors import StoreError, UsageError
from wsiprep.store import Dataset
from wsiprep.training.data import PatchDataset
from wsiprep.training.loader import make_loader
from wsiprep.training.pixels import class_pixels, normalisation_of
from wsiprep.training.sampler import EpochSampler
from wsiprep.training.variation import dihedral


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return cases.write_dataset(tmp_path_factory.mktemp("discs"))


def test_items_are_the_stores_pixels(root):
    data, store = PatchDataset(root, "train"), Dataset(root)
    assert len(data) == 7
    for place in (0, 6, -1):
        item = data[place]
        image, mask, meta = store.read(item["row"])
        assert item["image"].dtype == item["mask"].dtype == torch.uint8
        np.testing.assert_array_equal(item["image"].permute(1, 2, 0).numpy(), image)
        np.testing.assert_array_equal(item["mask"].numpy(), mask)
        assert (item["slide_id"], item["x_lv0"], item["y_lv0"]) == (meta["slide_id"], meta["x_lv0"], meta["y_lv0"])


def test_crops_are_windows_and_repeat_only_with_seed_epoch_and_row(root):
    data = PatchDataset(root, "train", crop_px=16, seed=3)
    whole = PatchDataset(root, "train")[2]["image"]
    first = data[(0, 2)]
    assert first["image"].shape == (3, 16, 16)
    assert first["mask"].shape == (16, 16)
    windows = whole.unfold(1, 16, 1).unfold(2, 16, 1)
    assert (windows == first["image"][:, None, None]).all(dim=(0, 3, 4)).sum() == 1
    assert torch.equal(first["image"], PatchDataset(root, "train", crop_px=16, seed=3)[(0, 2)]["image"])
    epochs = {data[(epoch, 2)]["image"].numpy().tobytes() for epoch in range(6)}
    seeds = {PatchDataset(root, "train", crop_px=16, seed=s)[2]["image"].numpy().tobytes() for s in range(6)}
    assert len(epochs) > 3
    assert len(seeds) > 3


def test_image_and_mask_are_flipped_together(root):
    data = PatchDataset(root, "train", augmentation="flips")
    plain = PatchDataset(root, "train")[1]
    image, mask = plain["image"].permute(1, 2, 0).numpy(), plain["mask"].numpy()
    ways = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
    seen = set()
    for epoch in range(80):
        item = data[(epoch, 1)]
        turned = item["image"].permute(1, 2, 0).numpy()
        matching = [way for way in ways if np.array_equal(dihedral(image, *way), turned)]
        assert len(matching) == 1
        np.testing.assert_array_equal(item["mask"].numpy(), dihedral(mask, *matching[0]))
        seen.add(matching[0])
    assert len(seen) == 8


def test_oblong_patches_are_not_turned():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert dihedral(array, True, False, True).shape == (2, 3)


def test_the_sampler_visits_each_once_in_an_order_of_its_epoch():
    sampler = EpochSampler(20, seed=1)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        pairs = list(sampler)
        assert {e for e, _ in pairs} == {epoch}
        orders.append([place for _, place in pairs])
        assert sorted(orders[-1]) == list(range(20))
    assert orders[0] != orders[1] != orders[2]
    assert list(EpochSampler(20, seed=1, first_epoch=2)) == [(2, place) for place in orders[2]]
    assert len(sampler) == 20


def batches(root, workers: int, epochs: int = 2) -> list[bytes]:
    data = PatchDataset(root, "train", crop_px=32, augmentation="flips", seed=5)
    sampler = EpochSampler(len(data), 5)
    loader = make_loader(data, 3, sampler=sampler, num_workers=workers)
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found += [batch["image"].numpy().tobytes() + batch["mask"].numpy().tobytes() for batch in loader]
    return found


def test_the_batches_do_not_depend_on_the_workers(root):
    alone = batches(root, 0)
    assert len(alone) == 2 * 3
    assert batches(root, 2) == alone


@pytest.mark.long
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_batches_do_not_depend_on_how_workers_start(root, method):
    data = PatchDataset(root, "train", crop_px=32, augmentation="flips", seed=5)
    loader = torch.utils.data.DataLoader(
        data, batch_size=3, sampler=EpochSampler(len(data), 5), num_workers=1, multiprocessing_context=method
    )
    found = [batch["image"].numpy().tobytes() + batch["mask"].numpy().tobytes() for batch in loader]
    assert found == batches(root, 0, epochs=1)


def test_it_pickles(root):
    data = PatchDataset(root, "val", crop_px=20, seed=2)
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[(4, 1)]["image"], data[(4, 1)]["image"])


def test_counts_and_normalisation_are_those_of_the_pixels(root):
    dataset = Dataset(root)
    rows = dataset.split("train")
    images, masks = zip(*(dataset.read_pixels(int(i)) for i in rows), strict=True)
    mask = np.stack(masks)
    assert class_pixels(dataset, rows) == [np.count_nonzero(mask == 0), np.count_nonzero(mask == 1)]
    found = normalisation_of(dataset, rows)
    pixels = np.stack(images).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0))
    np.testing.assert_allclose(found.std, pixels.std(axis=0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"augmentation": "elastic"}, "unknown augmentation"),
        ({"crop_px": 49}, "do not fit"),
        ({"split": "nowhere"}, "no patch"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(root, options, says):
    with pytest.raises(UsageError, match=says):
        PatchDataset(root, **({"split": "train"} | options))


def test_positions_beyond_the_end_and_unsealed_folders_are_refused(root, tmp_path):
    with pytest.raises(IndexError):
        PatchDataset(root, "val")[2]
    with pytest.raises(StoreError, match="not sealed"):
        PatchDataset(tmp_path, "train")

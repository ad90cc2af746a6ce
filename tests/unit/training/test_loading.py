"""Batches, loaders and what is done on the device: fast paths against plain ones, and resuming in an epoch's middle."""

from __future__ import annotations

import csv
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import trainingcases as cases
from torch.utils.data import DataLoader, Subset, default_collate

from wsiprep.errors import TrainingError, UsageError
from wsiprep.store import Dataset
from wsiprep.training import TrainingRun, fit_model
from wsiprep.training.batch import PatchBatch, collate_patches
from wsiprep.training.callbacks import HISTORY, LAST
from wsiprep.training.checkpoint import load_checkpoint
from wsiprep.training.data import PatchDataset
from wsiprep.training.loader import StatefulLoader, make_loader
from wsiprep.training.on_device import DeviceAugmentation, jittered, turned
from wsiprep.training.sampler import EpochSampler, ShardSampler
from wsiprep.training.variation import Variation, dihedral


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # other tests share the machine
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return cases.write_dataset(tmp_path_factory.mktemp("discs"), store={"patches_per_shard_file": 2})


def flat(batch) -> dict[str, object]:
    return {k: v.tolist() if isinstance(v, torch.Tensor) else list(v) for k, v in batch.items()}


VARIATIONS = [{}, {"crop_px": 20}, {"augmentation": "flips"}, {"crop_px": 17, "augmentation": "flips"}]


@pytest.mark.parametrize("options", VARIATIONS, ids=str)
def test_a_batch_is_its_items(root, options):
    data = PatchDataset(root, "train", seed=3, **options)
    positions = [(2, 4), (2, 0), (2, 6), (2, -1), (2, 0)]
    batch = data.__getitems__(positions)
    one_by_one = [data[position] for position in positions]
    assert flat(collate_patches(batch)) == flat(default_collate(one_by_one)) == flat(default_collate(batch))
    assert batch[1:3][0]["row"] == one_by_one[1]["row"]
    assert [item["slide_id"] for item in batch] == [item["slide_id"] for item in one_by_one]
    stacked = collate_patches(one_by_one)
    assert flat(stacked) == flat(collate_patches(batch))
    assert stacked["image"].is_contiguous(memory_format=torch.channels_last)


def test_images_are_channels_last_and_nothing_is_copied(root):
    data = PatchDataset(root, "train")
    batch = data.__getitems__([0, 1, 2])
    tensors = collate_patches(batch)
    assert tensors["image"] is batch.tensors["image"]
    assert tensors["image"].dtype == tensors["mask"].dtype == torch.uint8
    assert tensors["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch[2]["image"].data_ptr() == tensors["image"][2].data_ptr()
    assert data[0]["image"].permute(1, 2, 0).is_contiguous()


def test_items_do_not_share_memory_with_later_ones(root):
    data = PatchDataset(root, "train", augmentation="flips", crop_px=20)
    first = data[(0, 1)]
    before = first["image"].clone()
    for place in range(len(data)):
        data[(1, place)]
    assert torch.equal(first["image"], before)


@pytest.mark.parametrize("shape", [(24, 24, 3), (24, 24), (16, 24, 3), (16, 24)], ids=str)
def test_turning_is_the_plain_symmetry(shape):
    array = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    window = np.random.default_rng(1).integers(256, size=(40, 40, *shape[2:]), dtype=np.uint8)[3 : 3 + shape[0], 5:29]
    for source in (array, window):
        for way in np.ndindex(2, 2, 2):
            mirror, down, turn = (bool(bit) for bit in way)
            kept, out = source.copy(), np.zeros(shape, np.uint8)
            Variation(0, 0, mirror, down, turn).oriented(source, out)
            assert np.array_equal(out, dihedral(source, mirror, down, turn)), way
            assert np.array_equal(source, kept)


@pytest.mark.parametrize("crop_px", [None, 20])
def test_flips_on_the_device_are_those_of_the_dataset(root, crop_px):
    options = {"crop_px": crop_px, "seed": 7}
    there = PatchDataset(root, "train", augmentation="flips", **options)
    here = PatchDataset(root, "train", **options)
    turn = DeviceAugmentation(7, cases.SIDE, crop_px, flips=True)
    for epoch in range(4):
        positions = [(epoch, place) for place in range(len(there))]
        wanted = collate_patches(there.__getitems__(positions))
        found = turn(collate_patches(here.__getitems__(positions)))
        assert torch.equal(found["image"], wanted["image"])
        assert torch.equal(found["mask"], wanted["mask"])
        assert found["image"].is_contiguous(memory_format=torch.channels_last)


def test_oblong_batches_are_mirrored_and_not_turned():
    pixels = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    ways = torch.tensor([[True, False, True], [False, True, True]])
    found = turned(pixels, ways)
    assert torch.equal(found[0], pixels[0].flip(-1))
    assert torch.equal(found[1], pixels[1].flip(-2))


def plain_jitter(image: np.ndarray, brightness: float, contrast: float, saturation: float, angle: float) -> np.ndarray:
    """One image (H, W, 3) step by step in float64."""
    luma = np.array([0.299, 0.587, 0.114])
    pixels = image.astype(np.float64) * brightness
    grey = (pixels @ luma).mean()
    pixels = grey + contrast * (pixels - grey)
    own = (pixels @ luma)[..., None]
    pixels = own + saturation * (pixels - own)
    to_yiq = np.array([luma, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    y, i, q = np.moveaxis(pixels @ to_yiq.T, -1, 0)
    turned_iq = (i + 1j * q) * np.exp(1j * angle)
    back = np.stack([y, turned_iq.real, turned_iq.imag], axis=-1) @ np.linalg.inv(to_yiq).T
    return np.clip(np.round(back), 0, 255)


def test_jitter_is_its_four_steps_one_after_the_other():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(5, 12, 9, 3), dtype=np.uint8)
    factors = rng.uniform([0.7, 0.7, 0.7, -0.5], [1.3, 1.3, 1.3, 0.5], size=(5, 4)).astype(np.float32)
    factors[0] = (1, 1, 1, 0)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    found = jittered(batch, torch.from_numpy(factors))
    assert torch.equal(found[0], batch[0])
    assert found.is_contiguous(memory_format=torch.channels_last)
    for image, factor, result in zip(images, factors, found, strict=True):
        wanted = plain_jitter(image, *factor.astype(np.float64))
        assert np.abs(result.permute(1, 2, 0).numpy() - wanted).max() <= 1


def test_jitter_depends_on_seed_epoch_and_row_alone(root):
    data = PatchDataset(root, "train")
    jitter = DeviceAugmentation(3, cases.SIDE, jitter=0.3)
    whole = jitter(collate_patches(data.__getitems__([(1, 0), (1, 1), (1, 2)])))
    alone = jitter(collate_patches(data.__getitems__([(1, 2)])))
    assert torch.equal(whole["image"][2], alone["image"][0])
    other = jitter(collate_patches(data.__getitems__([(2, 2)])))
    assert not torch.equal(other["image"], alone["image"])
    assert torch.equal(whole["mask"], collate_patches(data.__getitems__([0, 1, 2]))["mask"])
    with pytest.raises(UsageError, match="a share"):
        DeviceAugmentation(3, cases.SIDE, jitter=1.5)


def test_other_datasets_around_it_work(root):
    data = PatchDataset(root, "train", crop_px=20, seed=1)
    part = Subset(data, [4, 1, 5])
    (batch,) = DataLoader(part, batch_size=3)
    assert batch["row"].tolist() == data.rows[[4, 1, 5]].tolist()
    again = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 1500
    assert flat(collate_patches(again.__getitems__([(3, 1)]))) == flat(collate_patches(data.__getitems__([(3, 1)])))


def rows_of(batches) -> list[list[int]]:
    return [batch["row"].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [EpochSampler, ShardSampler])
def test_a_loader_goes_on_after_the_batches_that_were_handed_out(root, workers, kind):
    data = PatchDataset(root, "train", augmentation="flips", seed=2)

    def loader() -> StatefulLoader:
        files = data.dataset.shard_files(data.rows)
        sampler = EpochSampler(len(data), 2) if kind is EpochSampler else ShardSampler(files, 2, window_files=2)
        found = make_loader(data, 2, sampler=sampler, num_workers=workers)
        assert isinstance(found, StatefulLoader)
        return found

    whole = loader()
    whole.sampler.set_epoch(5)
    wanted = [flat(batch) for batch in whole]
    for done in range(len(wanted) + 1):
        first = loader()
        first.sampler.set_epoch(5)
        found, batches = [], iter(first)
        found = [flat(next(batches)) for _ in range(done)]
        # Workers are ahead of what was handed out.
        state = first.state_dict()
        second = loader()
        second.load_state_dict(pickle.loads(pickle.dumps(state)))
        if done == len(wanted):
            assert (state["epoch"], state["consumed"]) == (6, 0)
            continue
        second.sampler.set_epoch(5)  # as Lightning does
        found += [flat(batch) for batch in second]
        assert found == wanted
        if done == 1:
            second.sampler.set_epoch(6)
            whole.sampler.set_epoch(6)
            assert rows_of(second) == rows_of(whole)


def test_a_state_says_where_it_is_whenever_it_is_asked(root):
    data = PatchDataset(root, "train")
    loader = make_loader(data, 3, sampler=EpochSampler(len(data), 0, first_epoch=4))
    assert loader.state_dict()["consumed"] == 0
    batches = iter(loader)
    assert loader.state_dict()["epoch"] == 4
    loader.sampler.set_epoch(8)  # the trainer says so after it asked for the iterator
    next(batches)
    assert (loader.state_dict()["epoch"], loader.state_dict()["consumed"]) == (8, 3)


def test_states_of_another_order_are_refused(root):
    data = PatchDataset(root, "train")

    def loader(**changes) -> StatefulLoader:
        options = {"n": len(data), "seed": 1} | changes
        return make_loader(data, 2, sampler=EpochSampler(options.pop("n"), options.pop("seed"), **options))

    state = loader().state_dict()
    for changes in ({"seed": 2}, {"n": 6}, {"world_size": 2}, {"uneven": "drop"}):
        with pytest.raises(TrainingError, match="another order"):
            loader(**changes).load_state_dict(state)
    for damage in ({"consumed": 100}, {"consumed": None}, {"identity": 3}):
        with pytest.raises(TrainingError, match="damaged"):
            loader().load_state_dict(state | damage)
    with pytest.raises(TrainingError, match="middle of a batch"):
        loader().load_state_dict(state | {"consumed": 3})
    files = data.dataset.shard_files(data.rows)
    streamed = make_loader(data, 2, sampler=ShardSampler(files, 1))
    with pytest.raises(TrainingError, match="kind=EpochSampler"):
        streamed.load_state_dict(state)
    with pytest.raises(UsageError, match="takes a sampler"):
        StatefulLoader(data, EpochSampler(7, 0), shuffle=True)


def test_workers_give_shared_memory_and_read_files_of_their_own(root):
    data = PatchDataset(root, "train")
    data[0]  # the parent has files open when it forks
    loader = make_loader(data, 4, num_workers=1)
    batch = next(iter(loader))
    assert batch["image"].is_shared()
    wanted = Dataset(root).read_batch(data.rows[:4])[0]
    assert np.array_equal(batch["image"].permute(0, 2, 3, 1).numpy(), wanted)


def run_of(root, out, **changes) -> TrainingRun:
    base = TrainingRun(
        root, "unet", cases.SMALL_UNET, epochs=2, batch_size=2, learning_rate=1e-2, crop_px=32,
        augmentation="flips", device="cpu", out=out,
    )  # fmt: skip
    return replace(base, **changes)


class StopError(Exception):
    pass


def stop_after(monkeypatch, steps: int) -> None:
    """A training that is killed after so many steps."""
    from wsiprep.training.task import SegmentationTask

    step, done = SegmentationTask.training_step, iter(range(steps))

    def counting(self, batch, batch_idx):
        if next(done, None) is None:
            raise StopError
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", counting)


def table(folder) -> list[dict[str, str]]:
    rows = csv.DictReader((folder / HISTORY).open())
    return [{k: v for k, v in row.items() if k != "train_seconds"} for row in rows]


@pytest.mark.parametrize(("order", "workers"), [("random", 0), ("stream", 1)])
def test_a_run_killed_in_an_epochs_middle_goes_on_with_the_same_batches(root, tmp_path, monkeypatch, order, workers):
    run = run_of(root, tmp_path / "whole", order=order, window_files=2, num_workers=workers, save_every_steps=1)
    whole = fit_model(run)
    run = replace(run, out=tmp_path / "parts")
    with monkeypatch.context() as patch:
        stop_after(patch, 6)  # four steps an epoch: two of the second
        with pytest.raises(StopError):
            fit_model(run)
    assert load_checkpoint(run.folder / LAST)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] == 2
    parts = fit_model(replace(run, resume=True))
    first, second = (load_checkpoint(folder / LAST)["state_dict"] for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert table(parts) == table(whole)
    seconds = [float(row["train_seconds"]) for row in csv.DictReader((parts / HISTORY).open())]
    assert max(seconds) < 60


def test_flips_on_the_device_train_the_same_weights(root, tmp_path):
    here = fit_model(run_of(root, tmp_path / "loader", epochs=1))
    run = run_of(root, tmp_path / "device", epochs=1, augment_on="device")
    assert run.digest == run_of(root, tmp_path, epochs=1).digest
    there = fit_model(run)
    first, second = (load_checkpoint(folder / LAST)["state_dict"] for folder in (here, there))
    assert all(torch.equal(first[name], second[name]) for name in first)
    jittered_run = fit_model(run_of(root, tmp_path / "jitter", epochs=1, jitter=0.2))
    third = load_checkpoint(jittered_run / LAST)["state_dict"]
    assert not all(torch.equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize("changes", [{"order": "sorted"}, {"augment_on": "moon"}, {"jitter": 1.0}, {"window_files": 0}])
def test_settings_of_loading_out_of_range_are_refused(root, changes):
    with pytest.raises(UsageError):
        run_of(root, None, **changes)


def test_a_batch_is_a_sequence(root):
    batch = PatchDataset(root, "train").__getitems__([1, 2])
    assert isinstance(batch, PatchBatch)
    assert len(batch) == 2
    assert isinstance(batch[0]["row"], int)
    with pytest.raises(IndexError):
        PatchDataset(root, "train").__getitems__([7])

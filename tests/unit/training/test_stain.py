"""Stains of batches in torch against float64, image by image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from wsiprep.errors import UsageError
from wsiprep.stain import REFERENCE, ReinhardFit, StainFit, fit, histogram, normalise, normaliser
from wsiprep.training.stain import StainAugment, StainTransform
from wsiprep.training.stain_draws import StainDraw, StainSpread, varied

TWO_STAINS = ("macenko", "vahadane", "ramakrishnan", "hematoxylin")
TARGET = REFERENCE["vahadane"]


def two_stains(rows, amounts, **more):
    rows = np.array(rows, dtype=float)
    return StainFit("vahadane", rows / np.linalg.norm(rows, axis=1, keepdims=True), np.array(amounts), **more)


SOURCES = [
    two_stains([[0.6, 0.7, 0.38], [0.2, 0.9, 0.38]], [1.5, 1.0]),
    two_stains([[0.6, 0.7, 0.38], [0.2, 0.9, 0.38]], [1.5, 1.0], white=(240.5, 231.0, 236.0)),
    two_stains([[0.55, 0.72, 0.42], [0.46, 0.77, 0.44]], [0.7, 2.2]),
    two_stains([[1.0, 0.0, 0.05], [-0.04, 1.0, 0.0]], [1.0, 1.3]),
]


def colours(stride):
    """Every ``stride``-th of the 2^24 colours, uint8 (1, n, 3)."""
    codes = np.arange(0, 1 << 24, stride, dtype=np.uint32)
    return np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=1).astype(np.uint8)[None]


def batch_of(images):
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())


def images_of(batch):
    return list(batch.permute(0, 2, 3, 1).numpy())


def one_level_at_most(found, expected):
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 2e-3


@pytest.fixture(scope="module")
def histo(shared_data):
    return cv2.imread(str(shared_data / "stain" / "histo.jpg"))[..., ::-1].copy()


@pytest.mark.parametrize("method", TWO_STAINS)
def test_each_image_is_mapped_from_its_own_stains(method):
    rgb = colours(331)
    found = StainTransform(TARGET, method)(batch_of([rgb] * 4), SOURCES)
    assert found.dtype == torch.uint8
    for one, source in zip(images_of(found), SOURCES, strict=True):
        one_level_at_most(one, normalise(rgb, source, TARGET, method))


@pytest.mark.long
@pytest.mark.parametrize("method", TWO_STAINS)
def test_every_colour_is_within_a_level(method):
    transform = StainTransform(TARGET, method)
    for part in np.array_split(colours(1), 32, axis=1):
        found = transform(batch_of([part] * 4), SOURCES)
        for one, source in zip(images_of(found), SOURCES, strict=True):
            one_level_at_most(one, normalise(part, source, TARGET, method))


def test_reinhard_is_exact(histo):
    source = ReinhardFit(np.array([170.0, 150.0, 112.0]), np.array([50.0, 9.0, 8.0]))
    dim = ReinhardFit(np.array([150.0, 160.0, 100.0]), np.array([40.0, 9.0, 8.0]), white=(230.0, 231.0, 229.0))
    target = ReinhardFit(np.array([150.0, 160.0, 110.0]), np.array([40.0, 6.0, 5.0]))
    rgb = np.concatenate([histo, np.full((4, 500, 3), 252, np.uint8)])
    transform = StainTransform(target, "reinhard")
    found = images_of(transform(batch_of([rgb] * 3), [source, dim, None]))
    assert np.array_equal(found[0], normaliser(source, target, method="reinhard")(rgb))
    assert np.array_equal(found[1], normaliser(dim, target, method="reinhard")(rgb))
    assert np.array_equal(found[2], rgb)
    assert not list(transform.state_dict())  # tables are no part of a checkpoint


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_batches_keep_their_layout_and_the_input_is_left_alone(histo, memory):
    batch = batch_of([histo, histo[::-1]]).contiguous(memory_format=memory)
    before = batch.clone()
    sources = [SOURCES[0], None]
    for found in (
        StainTransform(TARGET, "vahadane")(batch, sources),
        StainAugment(3)(batch, sources, [0, 0], [4, 5]),
    ):
        assert torch.equal(batch, before)
        assert found.is_contiguous(memory_format=memory)
        assert torch.equal(found[1], before[1])
        assert not torch.equal(found[0], before[0])


def test_numbers_can_be_made_before(histo):
    transform = StainTransform(TARGET, "vahadane")
    batch, sources = batch_of([histo] * 3), [SOURCES[1], None, SOURCES[2]]
    numbers = torch.from_numpy(np.stack([transform.numbers(source) for source in sources]))
    assert torch.equal(transform(batch, numbers), transform(batch, sources))


def test_autocast_cuts_no_digits(histo):
    transform, batch = StainTransform(TARGET, "vahadane"), batch_of([histo])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = transform(batch, [SOURCES[0]])
    assert torch.equal(found, transform(batch, [SOURCES[0]]))


@pytest.mark.parametrize("batch", [torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_other_batches_are_refused(batch):
    with pytest.raises(UsageError, match="uint8"):
        StainTransform(TARGET, "vahadane")(batch, [SOURCES[0]] * len(batch))


def test_what_does_not_fit_together_is_refused(histo):
    transform, lab = StainTransform(TARGET, "vahadane"), ReinhardFit(np.full(3, 100.0), np.ones(3))
    with pytest.raises(UsageError, match="one fit an image"):
        transform(batch_of([histo]), SOURCES[:2])
    with pytest.raises(UsageError, match="another kind"):
        transform(batch_of([histo]), [lab])
    with pytest.raises(UsageError, match="its own kind"):
        StainTransform(lab, "vahadane")
    with pytest.raises(UsageError, match="unknown stain method"):
        StainTransform(TARGET, "none")


SPREAD = StainSpread(sigma=(0.4, 0.3), bias=(0.2, 0.3))


def test_augmentation_is_its_definition():
    rgb = colours(331)
    found = StainAugment(7, SPREAD)(batch_of([rgb] * 4), SOURCES, torch.tensor([2] * 4), torch.arange(4))
    for row, (one, source) in enumerate(zip(images_of(found), SOURCES, strict=True)):
        one_level_at_most(one, varied(rgb, source, SPREAD.draw(7, 2, row)))


def test_draws_depend_on_seed_epoch_and_row_alone(histo):
    augment, batch = StainAugment(7, SPREAD), batch_of([histo] * 3)
    found = augment(batch, [SOURCES[0]] * 3, [0, 0, 1], [10, 11, 10])
    again = augment(batch[:2], [SOURCES[0]] * 2, [1, 0], [10, 11])
    assert torch.equal(found[1], again[1])
    assert torch.equal(found[2], again[0])
    assert len({SPREAD.draw(*place) for place in ((7, 0, 10), (7, 1, 10), (7, 0, 11), (8, 0, 10))}) == 4


def test_draws_lie_in_their_spread():
    drawn = [SPREAD.draw(1, 0, row) for row in range(500)]
    factors, biases = np.array([d.factors for d in drawn]), np.array([d.biases for d in drawn])
    for k in range(2):
        assert 0.9 * SPREAD.sigma[k] < np.abs(factors[:, k] - 1).max() <= SPREAD.sigma[k]
        assert 0.9 * SPREAD.bias[k] < np.abs(biases[:, k]).max() <= SPREAD.bias[k]
    assert np.abs(np.corrcoef(np.concatenate([factors, biases], axis=1).T) - np.eye(4)).max() < 0.15


def test_no_change_changes_nothing(histo):
    assert np.array_equal(varied(histo, SOURCES[0], StainDraw()), histo)
    still = StainAugment(0, StainSpread((0, 0), (0, 0)))(batch_of([histo]), [SOURCES[0]], [0], [0])
    assert np.array_equal(images_of(still)[0], histo)


def test_each_stain_is_varied_by_itself(histo):
    source = fit(histogram(histo), "vahadane", 1000)
    more_eosin = varied(histo, source, StainDraw(factors=(1.0, 1.5)))
    found = fit(histogram(more_eosin), "vahadane", 1000)
    ratio = found.max_concentrations / source.max_concentrations
    assert ratio == pytest.approx([1, 1.5], rel=0.12)
    darker = varied(histo, source, StainDraw(biases=(0.2, 0.0)))
    assert darker.mean() < histo.mean() - 5


def test_glass_and_its_rim_are_not_painted():
    source = SOURCES[1]
    glass = np.array([[(241, 231, 236), (255, 255, 255), (237, 228, 233)]], np.uint8)
    draw = StainDraw(factors=(1.5, 1.5), biases=(0.5, 0.5))
    assert np.array_equal(varied(glass, source, draw), glass)
    ramp = np.array(source.white) * np.exp(-np.linspace(0, 0.3, 60)[:, None] * source.matrix[1])
    steps = np.diff(varied(np.rint(ramp).astype(np.uint8)[None], source, draw)[0].astype(int), axis=0)
    assert np.abs(steps).max() <= 8  # the whole bias at once would be 60


@pytest.mark.parametrize("spread", [{"sigma": (1.0, 0.1)}, {"bias": (-0.1, 0.1)}, {"sigma": (0.1,)}])
def test_spreads_are_shares(spread):
    with pytest.raises(UsageError, match="share"):
        StainSpread(**spread)

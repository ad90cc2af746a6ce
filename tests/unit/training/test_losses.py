from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from wsiprep.errors import UsageError
from wsiprep.training.losses import LOSSES, cross_entropy, dice, dice_cross_entropy, loss_function
from wsiprep.training.spec import LOSS_NAMES


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 9, generator=generator)
    target = torch.randint(0, 3, (2, 8, 9), generator=generator).to(torch.uint8)
    target[0, :2] = 255
    return logits, target


def test_cross_entropy_is_torchs_over_the_annotated_pixels(case):
    logits, target = case
    expected = functional.cross_entropy(logits, target.long(), ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, target), expected)


def test_one_logit_is_two_logits_of_which_one_is_zero(case):
    logits, target = case
    target = torch.where(target == 2, 1, target)
    two = torch.stack([torch.zeros_like(logits[:, 0]), logits[:, 0]], dim=1)
    for loss in LOSSES.values():
        torch.testing.assert_close(loss(logits[:, :1], target), loss(two, target))


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("classes", [1, 3])
def test_pixels_that_nobody_annotated_have_no_gradient(case, name, classes):
    logits, target = case
    target = torch.where(target == 2, 1, target)
    logits = logits[:, :classes].clone().requires_grad_()
    LOSSES[name](logits, target).backward()
    assert (logits.grad[0, :, :2] == 0).all()
    assert (logits.grad[1] != 0).any()


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("classes", [1, 2])
def test_nothing_annotated_is_no_nan(name, classes):
    logits = torch.randn(1, classes, 4, 4, requires_grad=True)
    loss = LOSSES[name](logits, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == pytest.approx(0.0)
    assert (logits.grad == 0).all()


def test_dice_of_hand_counted_masks():
    target = torch.tensor([[[1, 1, 0, 255]]])
    sure = 100 * torch.tensor([[[[1.0, -1.0, 1.0, 1.0]]]])
    # predicted 2 (the unannotated one does not count), true 2, common 1
    assert dice(sure, target).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_perfection_costs_nothing_and_error_costs_more(case, name):
    _, target = case
    right = torch.where(target == 255, 0, target).long()
    perfect = 200.0 * functional.one_hot(right, 3).permute(0, 3, 1, 2)
    loss = LOSSES[name]
    assert loss(perfect, target).item() == pytest.approx(0.0, abs=1e-6)
    assert loss(-perfect, target) > 0.5


def test_the_sum_is_a_sum_and_all_is_float32(case):
    logits, target = case
    total = cross_entropy(logits, target) + dice(logits, target)
    torch.testing.assert_close(dice_cross_entropy(logits, target), total)
    assert all(loss(logits.bfloat16(), target).dtype == torch.float32 for loss in LOSSES.values())


def test_losses_by_name():
    assert tuple(LOSSES) == LOSS_NAMES
    assert loss_function("dice") is dice
    with pytest.raises(UsageError, match="dice_ce"):
        loss_function("focal")

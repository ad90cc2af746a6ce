"""HI-Net: the switches change only their own module, the attentions are gates, the paper's G fails."""

from __future__ import annotations

import urllib.error

import pytest
import torch
from torch import nn

from wsiprep.errors import TemporaryError, UsageError
from wsiprep.models import create_model
from wsiprep.models.base import count_parameters
from wsiprep.models.hinet import READINGS, ChainBranch, HINet, ShortcutBranch, TopDownAttention


def meta(**options) -> HINet:
    with torch.device("meta"):
        return create_model("hinet", **options)


def part_shapes(model: nn.Module) -> dict[str, list[tuple[int, ...]]]:
    return {name: [tuple(p.shape) for p in part.parameters()] for name, part in model.named_children()}


@pytest.mark.parametrize(
    ("switch", "parts"),
    [
        ({"tda": False}, {"attention"}),
        ({"shortcut": False}, {"branches"}),
        ({"dropout": 0.2}, set()),
        ({"n_classes": 3}, {"classifier"}),
        ({"trunk": "resnet50"}, {"trunk"}),
    ],
    ids=str,
)
def test_a_switch_changes_only_its_module(switch, parts):
    full, ablated = part_shapes(meta()), part_shapes(meta(**switch))
    assert {name for name in full if full[name] != ablated.get(name)} == parts


@pytest.mark.parametrize("reading", READINGS)
def test_ablations_add_up(reading):
    def count(**switches) -> int:
        return count_parameters(meta(reading=reading, **switches)).trainable

    both, none = count(), count(tda=False, shortcut=False)
    assert both - count(tda=False) == count(shortcut=False) - none
    assert both - count(shortcut=False) == count(tda=False) - none < 0


def test_six_groups_do_not_divide_the_usual_widths():
    with pytest.raises(ValueError, match="divisible"):
        nn.GroupNorm(6, 256)
    for reading in READINGS.values():
        assert reading.pyramid % reading.groups == reading.branch % reading.groups == 0


def test_zeroed_attention_halves_twice():
    block = TopDownAttention(48, 6).eval()
    nn.init.zeros_(block.channel[2].weight)
    nn.init.zeros_(block.spatial.weight)
    deeper = torch.randn(1, 48, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(block(deeper), block.transition(deeper) / 4)


def test_attention_only_weakens():
    torch.manual_seed(0)
    block = TopDownAttention(48, 6).eval()
    deeper = torch.randn(2, 48, 8, 8)
    with torch.inference_mode():
        before, after = block.transition(deeper), block(deeper)
    assert (after >= 0).all()
    assert (after <= before).all()
    assert (after < before).any()


@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
def test_both_branches_end_at_the_same_size(halvings):
    features = torch.randn(1, 12, 4, 6)
    for branch in (ChainBranch, ShortcutBranch):
        out = branch((12, 6), 6, halvings)(features)
        assert out.shape == (1, 6, 4 * 2**halvings, 6 * 2**halvings)
    assert len(ChainBranch((12, 6), 6, halvings).steps) == max(1, halvings)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = create_model("hinet", reading="narrow", trunk="resnet18", dropout=0.5)
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        model.eval()
        assert torch.equal(model(image), model(image))
        model.train()
        assert not torch.equal(model(image), model(image))


@pytest.mark.parametrize(
    "options", [{"reading": "C"}, {"trunk": "vgg16"}, {"dropout": 1.0}, {"dropout": -0.1}], ids=str
)
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        create_model("hinet", **options)


def test_weights_that_cannot_be_downloaded_are_a_temporary_error(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    opened = []

    def offline(*args, **kwargs):
        opened.append(args)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(TemporaryError, match="pretrained=false"):
        create_model("hinet", reading="narrow", trunk="resnet18", pretrained=True)
    assert opened

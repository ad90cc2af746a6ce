"""The contract that every model card is held to; a new model needs no test file for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wsiprep.errors import UsageError
from wsiprep.models import card, create_model, model_cards, model_options
from wsiprep.models.base import SegmentationModel, count_parameters

NAMES = [c.name for c in model_cards()]
COUNTS = [pytest.param(c.name, count, id=f"{c.name}-{i}") for c in model_cards() for i, count in enumerate(c.counts)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # other tests share the machine
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def narrow(name: str, **options) -> SegmentationModel:
    torch.manual_seed(0)
    return create_model(name, **(dict(card(name).narrow) | options))


def batch(height: int = 64, width: int = 64, n: int = 2) -> tuple[Tensor, Tensor]:
    """Images whose right half is darker and labelled 1: something to learn."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(n, 3, height, width, generator=generator) * 0.1
    target = torch.zeros(n, height, width, dtype=torch.int64)
    target[:, :, width // 2 :] = 1
    image[:, :, :, width // 2 :] -= 1.0
    return image, target


@pytest.mark.parametrize(("name", "published"), COUNTS)
def test_parameter_counts_are_the_published_ones(name, published):
    with torch.device("meta"):
        counted = count_parameters(create_model(name, **published.options))
    assert counted.trainable == published.trainable
    if published.with_bn_stats is not None:
        assert counted.with_bn_stats == published.with_bn_stats


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_complete(name):
    found = card(name)
    options = model_options(name)
    assert found.title
    assert found.paper
    assert found.counts
    assert options["n_classes"] == found.n_classes
    assert not set(found.preset) & set(options)
    assert set(found.narrow) <= set(options)
    assert found.abilities <= set(options)
    assert narrow(name).size_divisor == found.size_divisor


@pytest.mark.parametrize("size", [(64, 64), (100, 100), (65, 83)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_output_has_the_input_size(name, size):
    model = narrow(name, n_classes=3).eval()
    with torch.inference_mode():
        logits = model(torch.rand(1, 3, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_logits_and_nothing_follows_the_head(name):
    model = narrow(name, n_classes=5).eval()
    heads = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.out_channels == 5]
    assert heads
    for head in heads:
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, -7.0)
    with torch.inference_mode():
        logits = model(torch.rand(1, 3, 64, 64))
    torch.testing.assert_close(logits, torch.full_like(logits, -7.0))


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_by_reflection_and_leaves_divisible_sizes_alone(name):
    model = narrow(name).eval()
    d = model.size_divisor
    image = torch.rand(1, 3, 2 * d, 2 * d - 3)
    padded = nn.functional.pad(image, (0, 3, 0, 0), mode="reflect")
    with torch.inference_mode():
        torch.testing.assert_close(model(image), model.logits(padded)[..., :-3])
        torch.testing.assert_close(model(padded), model.logits(padded))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter_and_one_step_lowers_the_loss(name):
    model = narrow(name).train()
    image, target = batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    first = nn.functional.cross_entropy(model(image), target)
    first.backward()
    # A bias before BatchNorm has a gradient of zero up to rounding; it must be reached all the same.
    unreached = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    silent = [
        n for n, p in model.named_parameters() if n.endswith("weight") and p.grad is not None and not p.grad.any()
    ]
    assert unreached == []
    assert silent == []
    optimiser.step()
    with torch.no_grad():
        second = nn.functional.cross_entropy(model(image), target)
    assert second < first


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(name, tmp_path):
    image, _ = batch(64, 64, 1)
    model = narrow(name).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = narrow(name)
    for parameter in other.parameters():
        nn.init.constant_(parameter, 0.5)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.inference_mode():
        assert torch.equal(other.eval()(image), model(image))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.rand(1, 4, 64, 64), "RGB"),
        (torch.rand(3, 64, 64), "RGB"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "normalised floats"),
        (torch.rand(1, 3, 64, 8), "too small"),
    ],
    ids=["four channels", "no batch", "uint8", "small"],
)
def test_what_is_no_batch_of_images_is_refused(name, image, says):
    with pytest.raises(UsageError, match=says):
        narrow(name)(image)


def test_unknown_models_options_and_types_are_refused():
    with pytest.raises(UsageError, match="did you mean hinet") as caught:
        create_model("hi-net")
    assert "unet_paddle" in str(caught.value)
    with pytest.raises(UsageError, match="choose one"):
        create_model("zzzz")
    with pytest.raises(UsageError, match="did you mean base"):
        create_model("unet", bas=16)
    with pytest.raises(UsageError, match="wrong type"):
        create_model("unet", base="16")
    with pytest.raises(UsageError, match="wrong type"):
        create_model("hinet", tda=1)
    with pytest.raises(UsageError, match="this variant"):
        create_model("unet_classic", norm="batch")


@pytest.mark.parametrize("name", NAMES)
def test_no_classes_are_refused(name):
    with pytest.raises(UsageError, match="at least one class"):
        narrow(name, n_classes=0)

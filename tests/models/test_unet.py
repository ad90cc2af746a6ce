from __future__ import annotations

import pytest
import torch

from wsiprep.errors import UsageError
from wsiprep.models import create_model
from wsiprep.models.unet import UNet, unet


def test_unet_and_unet_bn_are_one_network():
    torch.manual_seed(0)
    first = create_model("unet", base=8)
    torch.manual_seed(0)
    second = create_model("unet_bn", base=8)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("depth", [2, 3, 6])
@pytest.mark.parametrize("up", ["deconv", "upconv", "bilinear", "nearest"])
def test_depth_and_up_make_a_network_of_that_divisor(depth, up):
    model = unet(2, base=4, depth=depth, up=up).eval()
    assert model.size_divisor == 2 ** (depth - 1)
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 70, 66)).shape == (1, 2, 70, 66)


@pytest.mark.parametrize("depth", [2, 5])
def test_paddle_widths_keep_the_bottleneck_narrow(depth):
    model = unet(2, base=4, depth=depth, up="bilinear", paddle_widths=True)
    assert model.encoder[-1][0].out_channels == model.encoder[-2][0].out_channels
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 2, 64, 64)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"norm": "layer"}, "unknown norm"),
        ({"up": "cubic"}, "unknown up"),
        ({"head_kernel": 2}, "odd"),
        ({"base": 0}, "no such U-Net"),
        ({"depth": 1}, "no such U-Net"),
    ],
)
def test_impossible_networks_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        unet(2, **options)


@pytest.mark.parametrize(
    ("widths", "decoder", "says"), [((8,), None, "two or more"), ((8, 16), (8, 8), "one decoder width")]
)
def test_unmatched_widths_are_refused(widths, decoder, says):
    with pytest.raises(UsageError, match=says):
        UNet(2, widths, decoder_widths=decoder)

"""Sizes, boxes, spacings, level factors, means and cell grids."""

from __future__ import annotations

import numpy as np
import pytest
from slide_files import mean_by_loop, texture

from wsiprep.errors import SpacingError, UsageError
from wsiprep.geometry import (
    Box,
    Size,
    Spacing,
    area_mean,
    cell_origins,
    level_factors,
    scale_for,
    spacing_matches,
)


def pyramid(width: int, height: int, factors: list[int], tile: int, rounding: str) -> list[Size]:
    """Level sizes as a writer makes them: floor, ceil, or ceil padded to whole tiles."""
    sizes = []
    for factor in factors:
        w, h = width // factor, height // factor
        if rounding != "floor":
            w, h = -(-width // factor), -(-height // factor)
        if rounding == "padded" and factor > 1:
            w, h = -(-w // tile) * tile, -(-h // tile) * tile
        sizes.append(Size(w, h))
    return sizes


def test_size_reduced_and_whole() -> None:
    size = Size(103, 50)
    assert size.reduced(4) == Size(26, 13)
    assert size.whole(4) == Size(25, 12)
    assert size.area_px == 5150
    with pytest.raises(UsageError):
        Size(-1, 3)


def test_box_arithmetic() -> None:
    box = Box(3, 4, 10, 20)
    assert (box.x_end, box.y_end, box.area_px) == (13, 24, 200)
    assert box.scaled(4) == Box(12, 16, 40, 80)
    assert box.intersection(Box(5, 0, 100, 10)) == Box(5, 4, 8, 6)
    assert box.intersection(Box(13, 4, 5, 5)).area_px == 0
    assert box.within(Size(13, 24))
    assert not box.within(Size(12, 24))
    assert not Box(-1, 0, 1, 1).within(Size(5, 5))
    with pytest.raises(UsageError):
        Box(0, 0, -1, 5)


@pytest.mark.parametrize("value", [0.0, -0.5, float("nan"), float("inf")])
def test_spacing_must_be_positive_and_finite(value: float) -> None:
    with pytest.raises(SpacingError):
        Spacing(value, 0.5)


def test_spacing_mean_and_square() -> None:
    assert Spacing(0.25, 0.35).mean_um == pytest.approx(0.3)
    assert Spacing(0.5, 0.505).is_square
    assert not Spacing(0.5, 0.6).is_square
    assert spacing_matches(0.981, 1.0)
    assert not spacing_matches(0.979, 1.0)


def test_scale_for_an_integer_factor() -> None:
    assert scale_for(0.25, downsample=4) == 4
    assert scale_for(0.243, spacing_um=0.972) == 4
    assert scale_for(0.2455, spacing_um=1.0) == 4  # 4.073, 1.8 % off
    assert scale_for(0.504, spacing_um=0.5) == 1
    with pytest.raises(SpacingError, match="integer multiple"):
        scale_for(0.23, spacing_um=1.0)
    with pytest.raises(SpacingError, match="coarser"):
        scale_for(1.0, spacing_um=0.5)
    with pytest.raises(SpacingError, match="at least 1"):
        scale_for(0.25, downsample=0)
    for both in ({}, {"downsample": 2, "spacing_um": 0.5}):
        with pytest.raises(UsageError):
            scale_for(0.25, **both)  # type: ignore[arg-type]


def test_factors_of_the_shared_slides() -> None:
    granular = [
        Size(20672, 16874),
        Size(10336, 8437),
        Size(5168, 4219),
        Size(2584, 2110),
        Size(1292, 1055),
        Size(646, 528),
    ]
    assert level_factors(granular, [Size(256, 256)] * 6) == (1, 2, 4, 8, 16, 32)
    assert level_factors([Size(4443, 3567), Size(2221, 1783)], [Size(256, 256)] * 2) == (1, 2)


def test_factors_of_the_padded_camelyon_pyramid() -> None:
    """NCRF#33: test_001 has level 0 = 86016 x 89600 and level 2 = 21504 x 22528 although it is at exactly 4."""
    sizes = pyramid(86016, 89600, [1, 2, 4, 8, 16, 32], 512, "padded")
    assert sizes[2] == Size(21504, 22528)
    assert level_factors(sizes, [Size(512, 512)] * 6) == (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize("rounding", ["floor", "ceil", "padded"])
@pytest.mark.parametrize("factors", [[1, 2, 4, 8, 16], [1, 4, 16], [1, 8, 64], [1, 16], [1, 3, 9]])
def test_factors_of_every_kind_of_writer(rounding: str, factors: list[int]) -> None:
    sizes = pyramid(31072, 29984, factors, 256, rounding)
    assert level_factors(sizes, [Size(256, 256)] * len(sizes)) == tuple(factors)


def test_a_level_of_no_integer_factor_is_none_and_does_not_stop_the_chain() -> None:
    sizes = [Size(10000, 8000), Size(4100, 3700), Size(2500, 2000)]
    assert level_factors(sizes, [Size(256, 256)] * 3) == (1, None, 4)


def test_padding_needs_tiles() -> None:
    sizes = pyramid(10000, 8000, [1, 4], 512, "padded")
    assert level_factors(sizes, [Size(512, 512)] * 2) == (1, 4)
    assert level_factors(sizes, [None, None]) == (1, None)


def test_an_ambiguous_level_is_none() -> None:
    """One padded tile fits every factor from 2 on, and no chain says which."""
    assert level_factors([Size(900, 900), Size(512, 512)], [Size(512, 512)] * 2) == (1, None)


def test_the_chain_settles_an_ambiguous_level() -> None:
    sizes = [Size(4000, 4000), Size(2000, 2000), Size(1000, 1000), Size(512, 512), Size(512, 512)]
    assert level_factors(sizes, [Size(512, 512)] * 5)[:3] == (1, 2, 4)
    assert level_factors(sizes, [Size(512, 512)] * 5)[4] in (16, None)


def test_a_padded_tile_that_also_divides_evenly_is_not_taken_at_its_word() -> None:
    """6454 / 27 = 239.04 rounds up to one tile of 240, but the chain 1, 4, 16 goes on to 64."""
    sizes = [Size(6454, 6454), Size(1680, 1680), Size(480, 480), Size(240, 240)]
    assert level_factors(sizes, [Size(240, 240)] * 4) == (1, 4, 16, 64)


def test_a_power_of_two_is_not_put_into_a_chain_of_threes() -> None:
    """The padded level at 9 fits 7, 8 and 9; 8 would displace everything."""
    sizes = pyramid(10000, 10000, [1, 3, 9], 512, "padded")
    assert level_factors(sizes, [Size(512, 512)] * 3) == (1, 3, None)


def test_an_absurd_size_costs_no_time() -> None:
    sizes = [Size(2**31 - 1, 2**31 - 1), Size(256, 256)]
    assert level_factors(sizes, [Size(256, 256)] * 2) == (1, None)


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8])
def test_area_mean_is_the_plain_loop(factor: int) -> None:
    image = texture(factor * 7, factor * 5)
    assert np.array_equal(area_mean(image, factor), mean_by_loop(image, factor))


def test_area_mean_rounds_half_up() -> None:
    image = np.array([[[0], [1]], [[1], [0]]], np.uint8)
    assert area_mean(image, 2)[0, 0, 0] == 1
    with pytest.raises(UsageError, match="whole blocks"):
        area_mean(np.zeros((4, 5, 3), np.uint8), 2)


def test_cell_origins() -> None:
    assert list(cell_origins(10, 4, 4)) == [0, 4]
    assert list(cell_origins(10, 4, 4, pad=True)) == [0, 4, 8]
    assert list(cell_origins(8, 4, 4, pad=True)) == [0, 4]
    assert list(cell_origins(10, 4, 3)) == [0, 3, 6]
    assert list(cell_origins(3, 4, 4)) == []
    assert list(cell_origins(3, 4, 4, pad=True)) == [0]
    assert list(cell_origins(0, 4, 4, pad=True)) == []
    with pytest.raises(UsageError):
        cell_origins(10, 0, 4)
    with pytest.raises(UsageError):
        cell_origins(10, 4, 0)

"""Laws of boxes, factors, means and grids."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.errors import SpacingError
from wsiprep.geometry import Box, Size, area_mean, cell_origins, level_factors, scale_for

sides = st.integers(0, 50)
boxes = st.builds(Box, st.integers(-60, 60), st.integers(-60, 60), sides, sides)


def pixels(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.x, box.x_end) for y in range(box.y, box.y_end)}


@given(boxes, boxes)
def test_intersection_is_the_set_of_common_pixels(a: Box, b: Box) -> None:
    assert pixels(a.intersection(b)) == pixels(a) & pixels(b)
    assert a.intersection(b).area_px == b.intersection(a).area_px


@given(boxes, st.integers(1, 60), st.integers(1, 60))
def test_within_is_being_a_subset(box: Box, width: int, height: int) -> None:
    plane = pixels(Box(0, 0, width, height))
    if box.area_px:
        assert box.within(Size(width, height)) == (pixels(box) <= plane)


@given(
    st.integers(4_000, 130_000),
    st.integers(4_000, 130_000),
    st.sampled_from([240, 256, 512, 1024]),
    st.sampled_from(["floor", "ceil", "padded"]),
    st.sampled_from([2, 4]),
    st.integers(1, 4),
)
def test_factors_are_the_true_ones_or_none(
    width: int, height: int, tile: int, rounding: str, step: int, steps: int
) -> None:
    """A wrong factor displaces every label; None only costs time."""
    true = [step**i for i in range(steps + 1)]
    sizes = []
    for factor in true:
        w, h = (
            (width // factor, height // factor) if rounding == "floor" else (-(-width // factor), -(-height // factor))
        )
        if rounding == "padded" and factor > 1:
            w, h = -(-w // tile) * tile, -(-h // tile) * tile
        sizes.append(Size(w, h))
    found = level_factors(sizes, [Size(tile, tile)] * len(sizes))
    assert found[0] == 1
    assert all(f in (None, t) for f, t in zip(found, true, strict=True)), (found, sizes)
    if rounding != "padded" and min(sizes[-1].width_px, sizes[-1].height_px) > 64:
        assert found == tuple(true)


@given(
    st.integers(30, 3000),
    st.integers(30, 3000),
    st.integers(1, 900),
    st.integers(1, 900),
    st.sampled_from([None, 16, 48]),
)
def test_a_factor_is_one_that_fits_and_no_power_of_two_fits_beside_it(
    width_0: int, height_0: int, width: int, height: int, tile: int | None
) -> None:
    """Against the definition, factor by factor."""

    def fits(length_0: int, length: int, factor: int) -> bool:
        ceil = -(-length_0 // factor)
        return length in (length_0 // factor, ceil) or (tile is not None and -(-ceil // tile) * tile == length)

    tiles = None if tile is None else Size(tile, tile)
    found = level_factors([Size(width_0, height_0), Size(width, height)], [tiles, tiles])[1]
    limit = max(width_0, height_0)
    fitting = [f for f in range(2, limit + 1) if fits(width_0, width, f) and fits(height_0, height, f)]
    powers = [f for f in fitting if f & (f - 1) == 0]
    only = fitting if len(fitting) == 1 else powers
    assert found == (only[0] if len(only) == 1 else None)


@given(st.floats(0.05, 20), st.integers(1, 64), st.floats(-0.019, 0.019))
def test_scale_for_finds_the_integer_within_two_percent(file_um: float, factor: int, off: float) -> None:
    assert scale_for(file_um, spacing_um=file_um * factor * (1 + off)) in _near(factor, off)


def _near(factor: int, off: float) -> set[int]:
    # From 25 on, 2 % of one integer reaches the next; the nearest one wins.
    return {factor, round(factor * (1 + off))}


@given(st.floats(0.05, 20), st.floats(0.05, 0.97))
def test_scale_for_never_magnifies(file_um: float, share: float) -> None:
    try:
        found = scale_for(file_um, spacing_um=file_um * share)
    except SpacingError:
        return
    assert found == 1
    assert share >= 0.98


@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_area_mean_is_within_half_a_level_of_the_real_mean(factor: int, rows: int, columns: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows * factor, columns * factor, 3)).astype(np.uint8)
    exact = image.reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
    difference = area_mean(image, factor) - exact
    assert (difference > -0.5 - 1e-9).all()
    assert (difference <= 0.5 + 1e-9).all()


@given(st.integers(0, 400), st.integers(1, 60), st.integers(1, 60))
def test_cells_lie_within_or_cover_the_length(length: int, cell: int, stride: int) -> None:
    full = cell_origins(length, cell, stride)
    assert all(origin >= 0 and origin + cell <= length for origin in full)
    assert (full[-1] + stride + cell > length) if full else (length < cell)
    over = cell_origins(length, cell, stride, pad=True)
    assert list(over[: len(full)]) == list(full)
    assert len(over) <= len(full) + 1
    if length:
        assert over[0] == 0
        assert stride > cell or (over[-1] + cell >= length and over[-1] < length)

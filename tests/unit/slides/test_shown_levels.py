"""Levels that OpenSlide displaces or makes up: pictures may come from them, patches never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slide_files import mean_of_blocks
from vendor_slides import mirax, ndpi, scn, trestle, ventana
from vendor_slides.made import Made

from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import (
    PixelSource,
    Plane,
    open_slide,
    overview_level,
    read_damaged_overview,
    read_grid,
    read_overview,
    sources_of,
)

CASES: dict[str, tuple[Any, dict[str, Any], int]] = {
    "mirax": (mirax.write, {"overlap_px": 5}, 4),
    "bif": (ventana.write, {"overlap_px": 5}, 2),
    "scn": (scn.write, {"corner": (130, 97)}, 4),
    "ndpi": (ndpi.write_unlisted, {}, 8),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Made, int]:
    writer, how, factor = CASES[request.param]
    return writer(tmp_path, **how), factor


def test_an_overview_is_shown_from_them(case: tuple[Made, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a pixel of the level of what level 0 gives, and level 0 is not read (but for a border)."""
    made, factor = case
    with open_slide(made.path) as slide:
        level = next(v for v in slide.info.levels if v.shown_factor == factor)
        assert level.factor is None
        assert overview_level(slide.info, factor) == (level, factor)
        read = []
        monkeypatch.setattr(
            slide, "read_level", lambda index, box: read.append(box) or type(slide).read_level(slide, index, box)
        )
        image, downsample = read_overview(slide, factor)
        assert downsample == factor
        assert all(min(box.width_px, box.height_px) <= factor for box in read)
        found = read_damaged_overview(slide, factor)
        assert np.array_equal(found.image, image)
        assert not found.damaged.any()
    expected = mean_of_blocks(made.planes[0], factor).astype(int)
    assert image.shape == expected.shape
    # Blotches of 16 px, blurred: what is a pixel aside still agrees on the whole.
    shifts = [np.roll(expected, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert min(np.abs(image - shifted).mean() for shifted in shifts) < 12


def test_patches_are_never_read_from_them(case: tuple[Made, int]) -> None:
    made, factor = case
    expected = mean_of_blocks(made.planes[0], factor)
    with open_slide(made.path) as slide:
        level = next(v for v in slide.info.levels if v.shown_factor == factor)
        with pytest.raises(UsageError, match="resamples"):
            slide.read_level(level.index, Box(0, 0, 1, 1))
        plane = Plane(slide, factor)
        assert (plane.from_stored, plane.source_level) == (False, 0)
        box = Box(0, 0, plane.size.width_px, plane.size.height_px)
        assert np.array_equal(plane.read(box), expected)
        grid = PixelGrid(Box(0, 0, 8 * factor, 8 * factor), 8, 8)
        assert sources_of(slide, grid) == PixelSource(0, False)
        assert np.array_equal(read_grid(slide, grid), expected[:8, :8])


@pytest.mark.parametrize(
    ("writer", "how"), [(mirax.write, {}), (ventana.write, {}), (trestle.write, {}), (scn.write, {})]
)
def test_levels_on_whole_pixels_are_stored(writer: Any, how: dict[str, Any], tmp_path: Path) -> None:
    made = writer(tmp_path, **how)
    with open_slide(made.path) as slide:
        assert tuple(level.factor for level in slide.info.levels) == made.factors
        assert {level.shown_factor for level in slide.info.levels} == {None}


def test_one_joint_with_an_overlap_is_enough(tmp_path: Path) -> None:
    made = ventana.write(tmp_path)
    data = made.path.read_bytes()
    made.path.write_bytes(data.replace(b'OverlapX="0"', b'OverlapX="1"', 1))
    with open_slide(made.path) as slide:
        assert [level.factor for level in slide.info.levels] == [1, None]

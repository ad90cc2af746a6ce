"""Aperio files written anew by libvips mark every level as reduced; macro and label are marked so too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from slide_files import mean_of_blocks, texture

from wsiprep.geometry import Box, Size
from wsiprep.slides import open_slide

APERIO = "Aperio Image Library v11.2.1 \r\n330x270 [0,0 330x270] (64x64) JPEG/RGB Q=80|AppMag = 40|MPP = 0.2500"


def write(path: Path, extra: dict[str, Any] | None = None) -> Path:
    image = texture(330, 270)
    common: dict[str, Any] = {"photometric": "rgb", "metadata": None, "compression": "zlib", "tile": (64, 64)}
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 2, 4):
            marked = {"subfiletype": 1} if factor > 1 else {}
            writer.write(mean_of_blocks(image, factor), description=APERIO, **common, **marked)
        if extra is not None:
            writer.write(**{"subfiletype": 1, "description": APERIO} | common | extra)
    return path


def test_levels_marked_as_reduced_are_levels_as_in_openslide(tmp_path: Path) -> None:
    path = write(tmp_path / "vips.tif")
    with open_slide(path, "tiff") as slide, openslide.OpenSlide(path) as other:
        assert [level.factor for level in slide.info.levels] == [1, 2, 4]
        assert [(s.size.width_px, s.size.height_px) for s in slide.info.levels] == list(other.level_dimensions)
        assert np.array_equal(slide.read_level(2, Box(0, 0, 83, 68)), mean_of_blocks(texture(330, 270), 4))


@pytest.mark.parametrize(
    "extra",
    [
        {"data": texture(82, 82)},
        {"data": texture(83, 68), "tile": (32, 32)},
        {"data": texture(83, 68), "description": f"{APERIO} macro 83x68"},
        {"data": texture(83, 68), "description": f"{APERIO} label 83x68"},
        {"data": texture(83, 68), "subfiletype": 9},
    ],
    ids=["another shape", "other tiles", "macro", "label", "marked as macro"],
)
def test_what_only_looks_like_a_level_is_none(tmp_path: Path, extra: dict[str, Any]) -> None:
    with open_slide(write(tmp_path / "vips.tif", extra), "tiff") as slide:
        assert [level.size for level in slide.info.levels] == [Size(330, 270), Size(165, 135), Size(83, 68)]

"""OME-TIFF: pyramids in sub-images, spacing with units, and what is not one plane of 8-bit colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from slide_files import texture

from wsiprep.errors import SlideError
from wsiprep.geometry import Box, Spacing
from wsiprep.slides import Plane, open_slide
from wsiprep.slides.ome import OmePixels, ome_pixels

SIZES = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 260, "PhysicalSizeYUnit": "nm"}


def write_ome(path: Path, image: np.ndarray, axes: str, **options: Any) -> Path:
    with tifffile.TiffWriter(path, ome=True) as writer:
        common = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"} | options
        writer.write(image, metadata=SIZES | {"axes": axes}, **common)
    return path


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
def test_a_pyramid_in_sub_images(tmp_path: Path, bigtiff: bool, compression: str) -> None:
    image = texture(300, 200)
    levels = [image, texture(150, 100, seed=2), texture(75, 50, seed=3)]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True, bigtiff=bigtiff) as writer:
        common: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": compression}
        writer.write(image, subifds=2, metadata=SIZES | {"axes": "YXS"}, **common)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **common)
    with open_slide(tmp_path / "a.ome.tif") as slide, tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert slide.info.backend == "tiff"
        assert [level.factor for level in slide.info.levels] == [1, 2, 4]
        assert slide.info.spacing == Spacing(0.25, 0.26)
        for index, stored in enumerate(levels):
            expected = stored if compression == "zlib" else tif.series[0].levels[index].asarray()
            got = slide.read_level(index, Box(0, 0, stored.shape[1], stored.shape[0]))
            assert np.array_equal(got, expected)
        assert Plane(slide, 4).from_stored


@pytest.mark.parametrize("backend", ["tiff", "openslide", "tiffslide"])
def test_every_backend_finds_the_spacing(tmp_path: Path, backend: str) -> None:
    path = write_ome(tmp_path / "a.ome.tif", texture(100, 80), "YXS")
    with open_slide(path, backend) as slide:
        assert slide.info.spacing == Spacing(0.25, 0.26)
        assert np.array_equal(slide.read_level(0, Box(0, 0, 100, 80)), texture(100, 80))


RGB_PLANE = np.moveaxis(texture(100, 80), 2, 0)


@pytest.mark.parametrize("backend", ["auto", "tiff", "openslide", "tiffslide"])
@pytest.mark.parametrize(
    ("image", "axes", "options", "message"),
    [
        (RGB_PLANE, "CYX", {"photometric": "minisblack"}, "several channels"),
        (np.stack([texture(100, 80)] * 2), "ZYXS", {}, "several channels, focal planes"),
        (np.stack([texture(100, 80)] * 2), "TYXS", {}, "focal planes or times"),
        (texture(100, 80).astype(np.uint16), "YXS", {}, "bits per sample"),
        (texture(100, 80)[..., 0].astype(np.uint16), "YX", {"photometric": "minisblack"}, "bits per sample"),
    ],
)
def test_what_is_not_one_plane_of_8_bit_colour_is_refused_by_all(
    tmp_path: Path, backend: str, image: np.ndarray, axes: str, options: dict[str, Any], message: str
) -> None:
    path = write_ome(tmp_path / "a.ome.tif", image, axes, **options)
    with pytest.raises(SlideError, match=message) as caught:
        open_slide(path, backend)
    assert caught.value.file == str(path)
    assert caught.value.fix is not None


def test_planar_rgb_is_right_or_refused(tmp_path: Path) -> None:
    """Planes of one colour each: OpenSlide joins them, the others say that they cannot."""
    path = write_ome(tmp_path / "a.ome.tif", RGB_PLANE, "SYX", planarconfig="separate")
    with pytest.raises(SlideError, match="planar configuration"):
        open_slide(path, "tiff")
    with open_slide(path) as slide:
        assert slide.info.backend == "openslide"
        assert "planar configuration" in slide.info.backend_note
        assert np.array_equal(slide.read_level(0, Box(0, 0, 100, 80)), texture(100, 80))


def xml(pixels: str, head: str = "") -> str:
    return f'<?xml version="1.0"?>{head}<OME xmlns="http://x"><Image ID="a"><Pixels {pixels}/></Image></OME>'


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ('Unit="µm"', 0.5, 0.5),
        ('Unit="μm"', 0.5, 0.5),
        ("", 0.5, 0.5),
        ('Unit="nm"', 500, 0.5),
        ('Unit="mm"', 0.0005, 0.5),
        ('Unit="cm"', 0.00005, 0.5),
        ('Unit="m"', 5e-7, 0.5),
        ('Unit="pixel"', 0.5, None),
        ('Unit="reference frame"', 0.5, None),
        ('Unit="in"', 0.5, None),
        ('Unit="µm"', 0, None),
        ('Unit="µm"', "nan", None),
        ('Unit="µm"', 400, None),
    ],
)
def test_units(unit: str, value: object, expected: float | None) -> None:
    sizes = " ".join(f'PhysicalSize{axis}="{value}" {unit and f"PhysicalSize{axis}{unit}"}' for axis in "XY")
    found = ome_pixels(xml(sizes))
    assert found is not None
    if expected is None:
        assert found.spacing is None
    else:
        assert found.spacing is not None
        assert (found.spacing.x_um, found.spacing.y_um) == pytest.approx((expected, expected), rel=1e-12)


def test_only_the_first_image_counts() -> None:
    both = xml('SizeC="3" SizeZ="2" SizeT="4"').replace("</OME>", '<Image><Pixels SizeC="9"/></Image></OME>')
    assert ome_pixels(both) == OmePixels(None, 3, 8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        '<OME xmlns="http://x"><Image/></OME>',
        xml('PhysicalSizeX="1"', '<!DOCTYPE OME [<!ENTITY a "b">]>'),
        xml('PhysicalSizeX="1"')[:40],
    ],
)
def test_descriptions_that_say_nothing_usable(text: str) -> None:
    assert ome_pixels(text) is None

"""The header facts that leave a slide, and those that must not."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from slide_files import Writing, texture, write_pyramid

from wsiprep.geometry import Box, Size, Spacing
from wsiprep.slides import SlideInfo, open_slide
from wsiprep.slides.properties import allowed, bounds_of

APERIO = (
    "Aperio Image Library v1\r\n300x200 (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5010|Filename = Doe_John|"
    "Date = 01/02/03|User = 1234|Title = Doe John|OriginalWidth = 46000|OriginalHeight = 32914"
)


@pytest.mark.parametrize("backend", ["tiff", "openslide", "tiffslide"])
def test_facts_of_an_aperio_slide_without_names_or_dates(tmp_path: Path, backend: str) -> None:
    path = write_pyramid(tmp_path / "a.svs", [texture(300, 200)], Writing(description=APERIO))
    with open_slide(path, backend) as slide:
        properties = slide.info.properties
    assert properties["aperio.AppMag"] == "20"
    assert float(properties["aperio.MPP"]) == 0.501
    assert float(properties["openslide.mpp-x"]) == 0.501
    assert properties["openslide.vendor"] == "aperio"
    assert (properties["aperio.OriginalWidth"], properties["aperio.OriginalHeight"]) == ("46000", "32914")
    for secret in ("Doe", "01/02", "1234", "John"):
        assert secret not in str(dict(properties))
    info = slide.info
    assert pickle.loads(pickle.dumps(info)) == info
    assert hash(info) == hash(pickle.loads(pickle.dumps(info)))


def test_a_name_that_is_allowed_does_not_let_text_through() -> None:
    given = {
        "hamamatsu.XOffsetFromSlideCentre": "-1234567",
        "hamamatsu.YOffsetFromSlideCentre": "Doe, John",
        "hamamatsu.Reference": "S19-1234",
        "openslide.comment": "x",
        "tiffslide.mpp-x": 0.25,
        "tiffslide.mpp-y": None,
        "leica.barcode": "77",
        "aperio.AppMag": "",
    }
    assert dict(allowed(given)) == {"hamamatsu.XOffsetFromSlideCentre": "-1234567", "openslide.mpp-x": "0.25"}


def test_the_two_numbers_of_philips_lose_their_quotes() -> None:
    name = "philips.DICOM_PIXEL_SPACING"
    assert allowed({name: '"0.00025" "2.27e-4"'}) == {name: "0.00025 2.27e-4"}
    for text in ('"0.00025"', '"0.00025" "Doe"', '"0.00025" "1" "2"'):
        assert allowed({name: text}) == {}
    assert allowed({"hamamatsu.Reference": '"1" "2"'}) == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("10", "20", "30", "40"), Box(10, 20, 30, 40)),
        (("0", "0", "100", "80"), Box(0, 0, 100, 80)),
        (("90", "70", "30", "40"), Box(90, 70, 10, 10)),
        (("100", "0", "5", "5"), None),
        (("0", "0", "0", "5"), None),
        (("0", "0", "5", ""), None),
        (("-1", "0", "5", "5"), None),
        (("1.5", "0", "5", "5"), None),
    ],
)
def test_bounds(values: tuple[str, ...], expected: Box | None) -> None:
    names = (f"openslide.bounds-{side}" for side in ("x", "y", "width", "height"))
    assert bounds_of(dict(zip(names, values, strict=True)), Size(100, 80)) == expected


def test_spacings_that_differ_are_kept_apart(tmp_path: Path) -> None:
    resolution = (10_000 / 0.25, 10_000 / 0.26)
    how = Writing(extra={"resolution": resolution, "resolutionunit": "CENTIMETER"})
    path = write_pyramid(tmp_path / "a.tif", [texture(100, 80)], how)
    for backend in ("tiff", "openslide", "tiffslide"):
        with open_slide(path, backend) as slide:
            assert slide.info.spacing is not None
            assert (slide.info.spacing.x_um, slide.info.spacing.y_um) == pytest.approx((0.25, 0.26), rel=1e-6)
            assert slide.info.bounds is None


def test_an_info_needs_none_of_this() -> None:
    info = SlideInfo(Size(1, 1), (), Spacing(1, 1), "auto", "tiff", "x", None, "0" * 64, "jpeg", "")
    assert (dict(info.properties), info.bounds, info.icc_digest) == ({}, None, "")

"""Every vendor's format that is read through OpenSlide, on tiny slides made by script: what opens, which
pixels come out, and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vendor_slides import aperio, dicom, generic, mirax, ndpi, philips, scn, trestle, ventana, vms
from vendor_slides.made import MARKER_SIDE_PX, Image, Made, marker

from wsiprep.errors import SlideError
from wsiprep.geometry import Box, Size
from wsiprep.slides import open_slide, slide_identity
from wsiprep.slides.protocol import Level, Slide

Writer = Callable[..., Made]
Good = Callable[[str], tuple[Made, str]]

TIFF, VIA_OPENSLIDE = "tiff", "openslide"
CASES: dict[str, tuple[Writer, dict[str, Any], str]] = {
    "ndpi": (ndpi.write, {}, TIFF),
    "ndpi with a whole level": (ndpi.write, {"whole": (2,)}, TIFF),
    "ndpi unlisted": (ndpi.write_unlisted, {}, VIA_OPENSLIDE),
    "scn": (scn.write, {}, VIA_OPENSLIDE),
    "scn of two regions": (scn.write, {"two_regions": True}, VIA_OPENSLIDE),
    "mirax": (mirax.write, {}, VIA_OPENSLIDE),
    "mirax jpeg": (mirax.write, {"image_format": "JPEG"}, VIA_OPENSLIDE),
    "mirax with overlaps": (mirax.write, {"overlap_px": 8}, VIA_OPENSLIDE),
    "philips": (philips.write, {}, VIA_OPENSLIDE),
    "philips with gaps": (philips.write, {"missing": (0, 8, 22)}, VIA_OPENSLIDE),
    "dicom": (dicom.write, {}, VIA_OPENSLIDE),
    "bif": (ventana.write, {}, VIA_OPENSLIDE),
    "bif with overlaps": (ventana.write, {"overlap_px": 8}, VIA_OPENSLIDE),
    "ventana tiff": (ventana.write_plain, {}, VIA_OPENSLIDE),
    "vms": (vms.write, {}, VIA_OPENSLIDE),
    "trestle": (trestle.write, {}, VIA_OPENSLIDE),
    "svs": (aperio.write, {}, TIFF),
    "svs jp2k rgb": (aperio.write, {"codec": "jp2k-rgb"}, TIFF),
    "svs jp2k ycbcr": (aperio.write, {"codec": "jp2k-ycbcr"}, TIFF),
    "generic": (generic.write, {}, TIFF),
}
LOSSLESS = ("mirax", "mirax with overlaps", "bif", "bif with overlaps", "trestle", "svs jp2k rgb")
SUFFIX = {
    ndpi.write: ".ndpi", ndpi.write_unlisted: ".ndpi",
    scn.write: ".scn", mirax.write: ".mrxs", philips.write: ".tiff", dicom.write: ".dcm",
    ventana.write: ".bif", ventana.write_plain: ".tif", aperio.write: ".svs", generic.write: ".tif",
    vms.write: ".vms", trestle.write: ".tif",
}  # fmt: skip


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def make(case: str, folder: Path, **more: Any) -> tuple[Made, str]:
    writer, how, backend = CASES[case]
    return writer(folder, **how, **more), backend


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    """The slide of a case and the backend that must read it, written once; only to be read."""
    written: dict[str, tuple[Made, str]] = {}

    def get(case: str) -> tuple[Made, str]:
        if case not in written:
            written[case] = make(case, tmp_path_factory.mktemp("good"))
        return written[case]

    return get


def whole(slide: Slide, level: Level) -> Image:
    """All of a level, also of one that is only shown: these lie on whole pixels here."""
    return slide.show_level(level.index, Box(0, 0, level.size.width_px, level.size.height_px))


def tolerance(case: str) -> int:
    """JPEG 2000 in YCbCr alone has more than one right rounding."""
    return 1 if case == "svs jp2k ycbcr" else 0


def assert_pixels(case: str, got: Image, expected: Image) -> None:
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= tolerance(case)


def test_the_header(case: str, good: Good) -> None:
    made, backend = good(case)
    with open_slide(made.path) as slide:
        info = slide.info
        assert (info.backend_requested, info.backend, info.vendor) == ("auto", backend, made.vendor)
        assert ("tiff: " in info.backend_note) == (backend != TIFF)
        assert info.size == Size(made.planes[0].shape[1], made.planes[0].shape[0])
        assert info.spacing is not None
        assert (info.spacing.x_um, info.spacing.y_um) == pytest.approx(made.spacing_um, rel=1e-6)
        assert info.objective_power == made.objective_power
        assert tuple(level.factor for level in info.levels[: len(made.factors)]) == made.factors
        assert made.properties.items() <= info.properties.items()
        box = info.bounds
        assert made.bounds == (None if box is None else (box.x, box.y, box.width_px, box.height_px))


def test_every_level_is_the_decode_of_its_own_tiles(case: str, good: Good) -> None:
    made, _ = good(case)
    with open_slide(made.path) as slide:
        for level, plane in zip(slide.info.levels, made.planes, strict=False):
            assert_pixels(case, whole(slide, level), plane)


def test_parts_are_cut_from_the_whole(case: str, good: Good) -> None:
    made, _ = good(case)
    rng = np.random.default_rng(5)
    with open_slide(made.path) as slide:
        for level, plane in zip(slide.info.levels, made.planes, strict=False):
            for _ in range(10):
                width, height = int(rng.integers(1, plane.shape[1])), int(rng.integers(1, plane.shape[0]))
                x, y = (int(rng.integers(0, n + 1)) for n in (plane.shape[1] - width, plane.shape[0] - height))
                got = slide.show_level(level.index, Box(x, y, width, height))
                assert_pixels(case, got, plane[y : y + height, x : x + width])


def test_the_marker_is_at_its_place(case: str, good: Good) -> None:
    """With the bounds in, and to the pixel: one pixel beside fits worse."""
    made, _ = good(case)
    x, y = made.marker_xy

    def off(slide: Slide, dx: int, dy: int) -> float:
        got = slide.read_level(0, Box(x + dx, y + dy, MARKER_SIDE_PX, MARKER_SIDE_PX))
        return float(np.abs(got.astype(int) - marker()).mean())

    with open_slide(made.path) as slide:
        here = off(slide, 0, 0)
        assert here == 0 if case in LOSSLESS else here < 3
        assert all(off(slide, dx, dy) > 5 * here + 5 for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0))


@pytest.mark.parametrize("name", ["scn", "scn of two regions", "mirax", "mirax with overlaps"])
def test_outside_the_bounds_is_white(name: str, good: Good) -> None:
    made, _ = good(name)
    with open_slide(made.path) as slide:
        box = slide.info.bounds
        assert box is not None
        outside = np.ones((slide.info.size.height_px, slide.info.size.width_px), bool)
        outside[box.y : box.y_end, box.x : box.x_end] = False
        assert outside.any()
        assert (whole(slide, slide.info.levels[0])[outside] == 255).all()


def test_gaps_inside_the_bounds_are_white(good: Good) -> None:
    """A camera image that MIRAX left out, a tile that Philips did not store, the glass between two SCN regions."""
    places = {
        "mirax": (160, 128, 32, 32),
        "philips with gaps": (512, 0, 64, 64),
        "scn of two regions": (448, 96, 64, 256),
    }
    for name, (x, y, width, height) in places.items():
        with open_slide(good(name)[0].path) as slide:
            around = slide.read_level(0, Box(x - 1, y, width + 1, height))
            assert (around[:, 1:] == 255).all()
            assert (around[:, 0] != 255).any()


def test_the_plain_reader_refuses_what_only_the_vendors_reader_can_place(case: str, good: Good) -> None:
    made, backend = good(case)
    if backend == TIFF:
        with open_slide(made.path, "tiff") as slide:
            assert (slide.info.backend_requested, slide.info.backend) == ("tiff", "tiff")
        return
    with pytest.raises(SlideError, match="the tiff backend cannot read this slide") as caught:
        open_slide(made.path, "tiff")
    assert caught.value.exit_code == 65


def test_openslide_by_name_agrees(case: str, good: Good) -> None:
    made, _ = good(case)
    with open_slide(made.path, "openslide") as slide:
        assert (slide.info.backend, slide.info.vendor, slide.info.backend_note) == ("openslide", made.vendor, "")
        assert_pixels(case, whole(slide, slide.info.levels[0]), made.planes[0])


@pytest.mark.parametrize(
    "name", [n for n, (w, _, _) in CASES.items() if w not in (mirax.write, dicom.write, vms.write)]
)
def test_the_layout_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    """The same bytes as .tif: no reader that goes by the name may take them for plain tiles."""
    made, backend = make(name, tmp_path, name="renamed.tif")
    with open_slide(made.path) as slide:
        assert (slide.info.backend, slide.info.vendor) == (backend, made.vendor)
        assert_pixels(name, whole(slide, slide.info.levels[0]), made.planes[0])


@pytest.mark.parametrize("stem", ["Präparat 切片", "a [1, 2]", "e\u0301'"])
def test_names_of_any_kind(stem: str, tmp_path: Path) -> None:
    for number, (writer, suffix) in enumerate(SUFFIX.items()):
        folder = tmp_path / f"{number} {stem}"
        folder.mkdir()
        made = writer(folder, name=stem + suffix)
        with open_slide(made.path) as slide:
            assert slide.info.vendor == made.vendor
            assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])


def test_any_instance_of_a_dicom_slide_opens_it(tmp_path: Path) -> None:
    made = dicom.write(tmp_path)
    for part in ("a-2.dcm", "a-4.dcm"):
        with open_slide(tmp_path / part) as slide:
            assert slide.info.size == Size(*dicom.SIZE)
            assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])


def test_an_empty_mrxs_beside_its_folder_is_the_slide(tmp_path: Path) -> None:
    """Some archives keep the name alone: OpenSlide reads nothing else of it."""
    made = mirax.write(tmp_path)
    made.path.write_bytes(b"")
    with open_slide(made.path) as slide:
        assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])
    (tmp_path / "b.mrxs").write_bytes(b"")
    with pytest.raises(SlideError, match="the slide is empty"):
        open_slide(tmp_path / "b.mrxs")


TIFFSLIDE_READS = (
    "ndpi",
    "ndpi with a whole level",
    "ndpi unlisted",
    "scn",
    "scn of two regions",
    "philips",
    "philips with gaps",
    "svs",
    "svs jp2k rgb",
    "generic",
)


@pytest.mark.filterwarnings("ignore:.*metadata parsing")
def test_tiffslide_gives_the_same_pixels_of_a_url_or_a_message(case: str, good: Good) -> None:
    """tiffslide puts the tiles of BIF and Trestle side by side and shows YCbCr as red, green and blue."""
    made, _ = good(case)
    if case not in TIFFSLIDE_READS:
        with pytest.raises(SlideError) as caught:
            open_slide(made.path.as_uri(), "tiffslide")
        assert caught.value.exit_code == 65
        return
    with open_slide(made.path.as_uri(), "tiffslide") as slide:
        assert slide.info.backend == "tiffslide"
        for level in slide.info.levels:
            plane = made.planes[(1, 2, 4).index(level.factor) if len(made.planes) == 3 else level.index]
            assert np.array_equal(whole(slide, level), plane)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("mirax", "a/Data0000.dat"),
        ("vms", "a_1.jpg"),
        ("vms", "a_map.jpg"),
        ("dicom", "a-2.dcm"),
    ],
)
def test_the_identity_covers_the_files_beside(name: str, part: str, tmp_path: Path) -> None:
    made, _ = make(name, tmp_path)
    before = slide_identity(made.path)
    with (tmp_path / part).open("ab") as more:
        more.write(b"more")
    assert slide_identity(made.path) != before


def test_ndpi_without_restart_markers_gives_its_pixels_or_no_level(tmp_path: Path) -> None:
    """OpenSlide calls the whole level one tile; then no factor may be guessed wrong."""
    made = ndpi.write(tmp_path, restart_px=0)
    with open_slide(made.path) as slide:
        for level, plane, factor in zip(slide.info.levels, made.planes, made.factors, strict=False):
            assert level.factor in (factor, None)
            if level.factor is not None:
                assert np.array_equal(whole(slide, level), plane)
        assert slide.info.levels[0].factor == 1


def test_no_label_and_no_free_text_come_out(good: Good, case: str) -> None:
    made, _ = good(case)
    with open_slide(made.path) as slide:
        assert all(part not in name for name in slide.info.properties for part in ("comment", "Filename", "barcode"))
        assert all(level.size != Size(98, 66) or level.factor == 4 for level in slide.info.levels)


# What OpenSlide resamples although its downsample is an integer: such a level holds no stored pixels.


def test_mirax_levels_between_two_pixels_are_unused(tmp_path: Path) -> None:
    made = mirax.write(tmp_path, overlap_px=5)
    with open_slide(made.path) as slide:
        assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])
        assert [level.factor for level in slide.info.levels[1:]] == [None, None]


def test_bif_levels_between_two_pixels_are_unused(tmp_path: Path) -> None:
    made = ventana.write(tmp_path, overlap_px=5)
    with open_slide(made.path) as slide:
        assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])
        assert slide.info.levels[1].factor is None


def test_scn_levels_whose_region_starts_within_a_pixel_are_unused(tmp_path: Path) -> None:
    made = scn.write(tmp_path, corner=(130, 97))
    with open_slide(made.path) as slide:
        assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])
        assert [level.factor for level in slide.info.levels[1:]] == [None, None]


def test_levels_that_ndpi_does_not_store_are_unused(tmp_path: Path) -> None:
    made = ndpi.write(tmp_path)
    with open_slide(made.path) as slide:
        assert [level.factor for level in slide.info.levels if level.factor] == list(made.factors)

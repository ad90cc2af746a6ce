"""Every vendor's format that is read through OpenSlide, on tiny slides made by script: what opens, which pixels
come out and where, and that a damaged file ends in a message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vendor_slides import aperio, dicom, generic, mirax, ndpi, philips, scn, ventana
from vendor_slides.attempt import Outcome, attempt
from vendor_slides.made import MARKER_SIDE_PX, Image, Made, marker
from vendor_slides.mutations import Loop, Mutation, Poke, Remove, SetCount, SetTag, Swap, Truncate, ZeroTile

from wsiprep.errors import SlideError
from wsiprep.geometry import Box, Size
from wsiprep.slides import open_slide
from wsiprep.slides.protocol import Level, Slide

Writer = Callable[..., Made]

TIFF, VIA_OPENSLIDE = "tiff", "openslide"
CASES: dict[str, tuple[Writer, dict[str, Any], str]] = {
    "ndpi": (ndpi.write, {}, VIA_OPENSLIDE),
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
    "svs": (aperio.write, {}, TIFF),
    "svs jp2k rgb": (aperio.write, {"codec": "jp2k-rgb"}, TIFF),
    "svs jp2k ycbcr": (aperio.write, {"codec": "jp2k-ycbcr"}, TIFF),
    "generic": (generic.write, {}, TIFF),
}
LOSSLESS = ("mirax", "mirax with overlaps", "bif", "bif with overlaps", "svs jp2k rgb")
SUFFIX = {
    ndpi.write: ".ndpi", scn.write: ".scn", mirax.write: ".mrxs", philips.write: ".tiff", dicom.write: ".dcm",
    ventana.write: ".bif", ventana.write_plain: ".tif", aperio.write: ".svs", generic.write: ".tif",
}  # fmt: skip


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def make(case: str, folder: Path, **more: Any) -> tuple[Made, str]:
    writer, how, backend = CASES[case]
    return writer(folder, **how, **more), backend


def whole(slide: Slide, level: Level) -> Image:
    return slide.read_level(level.index, Box(0, 0, level.size.width_px, level.size.height_px))


def tolerance(case: str) -> int:
    """JPEG 2000 in YCbCr alone has more than one right rounding."""
    return 1 if case == "svs jp2k ycbcr" else 0


def assert_pixels(case: str, got: Image, expected: Image) -> None:
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= tolerance(case)


def test_the_header(case: str, tmp_path: Path) -> None:
    made, backend = make(case, tmp_path)
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


def test_every_level_is_the_decode_of_its_own_tiles(case: str, tmp_path: Path) -> None:
    made, _ = make(case, tmp_path)
    with open_slide(made.path) as slide:
        for level, plane in zip(slide.info.levels, made.planes, strict=False):
            assert_pixels(case, whole(slide, level), plane)


def test_parts_are_cut_from_the_whole(case: str, tmp_path: Path) -> None:
    made, _ = make(case, tmp_path)
    rng = np.random.default_rng(5)
    with open_slide(made.path) as slide:
        for level, plane in zip(slide.info.levels, made.planes, strict=False):
            for _ in range(10):
                width, height = int(rng.integers(1, plane.shape[1])), int(rng.integers(1, plane.shape[0]))
                x, y = (int(rng.integers(0, n + 1)) for n in (plane.shape[1] - width, plane.shape[0] - height))
                got = slide.read_level(level.index, Box(x, y, width, height))
                assert_pixels(case, got, plane[y : y + height, x : x + width])


def test_the_marker_is_at_its_place(case: str, tmp_path: Path) -> None:
    """With the bounds in, and to the pixel: one pixel beside fits worse."""
    made, _ = make(case, tmp_path)
    x, y = made.marker_xy

    def off(slide: Slide, dx: int, dy: int) -> float:
        got = slide.read_level(0, Box(x + dx, y + dy, MARKER_SIDE_PX, MARKER_SIDE_PX))
        return float(np.abs(got.astype(int) - marker()).mean())

    with open_slide(made.path) as slide:
        here = off(slide, 0, 0)
        assert here == 0 if case in LOSSLESS else here < 3
        assert all(off(slide, dx, dy) > 5 * here + 5 for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0))


@pytest.mark.parametrize("name", ["scn", "scn of two regions", "mirax", "mirax with overlaps"])
def test_outside_the_bounds_is_white(name: str, tmp_path: Path) -> None:
    made, _ = make(name, tmp_path)
    with open_slide(made.path) as slide:
        box = slide.info.bounds
        assert box is not None
        outside = np.ones((slide.info.size.height_px, slide.info.size.width_px), bool)
        outside[box.y : box.y_end, box.x : box.x_end] = False
        assert outside.any()
        assert (whole(slide, slide.info.levels[0])[outside] == 255).all()


def test_gaps_inside_the_bounds_are_white(tmp_path: Path) -> None:
    """A camera image that MIRAX left out, a tile that Philips did not store, the glass between two SCN regions."""
    places = {
        "mirax": (160, 128, 32, 32),
        "philips with gaps": (512, 0, 64, 64),
        "scn of two regions": (448, 96, 64, 256),
    }
    for name, (x, y, width, height) in places.items():
        folder = tmp_path / name
        folder.mkdir()
        with open_slide(make(name, folder)[0].path) as slide:
            around = slide.read_level(0, Box(x - 1, y, width + 1, height))
            assert (around[:, 1:] == 255).all()
            assert (around[:, 0] != 255).any()


def test_the_plain_reader_refuses_what_only_the_vendors_reader_can_place(case: str, tmp_path: Path) -> None:
    made, backend = make(case, tmp_path)
    if backend == TIFF:
        with open_slide(made.path, "tiff") as slide:
            assert (slide.info.backend_requested, slide.info.backend) == ("tiff", "tiff")
        return
    with pytest.raises(SlideError, match="the tiff backend cannot read this slide") as caught:
        open_slide(made.path, "tiff")
    assert caught.value.exit_code == 65


def test_openslide_by_name_agrees(case: str, tmp_path: Path) -> None:
    made, _ = make(case, tmp_path)
    with open_slide(made.path, "openslide") as slide:
        assert (slide.info.backend, slide.info.vendor, slide.info.backend_note) == ("openslide", made.vendor, "")
        assert_pixels(case, whole(slide, slide.info.levels[0]), made.planes[0])


@pytest.mark.parametrize("name", [n for n, (w, _, _) in CASES.items() if w not in (mirax.write, dicom.write)])
def test_the_layout_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    """The same bytes as .tif: no reader that goes by the name may take them for plain tiles."""
    made, backend = make(name, tmp_path, name="renamed.tif")
    with open_slide(made.path) as slide:
        assert (slide.info.backend, slide.info.vendor) == (backend, made.vendor)
        assert_pixels(name, whole(slide, slide.info.levels[0]), made.planes[0])


@pytest.mark.parametrize("stem", ["Präparat 1", "切片", "a [1, 2]", "a'b", "e\u0301"])
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


def test_ndpi_without_restart_markers_gives_its_pixels_or_no_level(tmp_path: Path) -> None:
    """OpenSlide calls the whole level one tile; then no factor may be guessed wrong."""
    made = ndpi.write(tmp_path, restart_px=0)
    with open_slide(made.path) as slide:
        for level, plane, factor in zip(slide.info.levels, made.planes, made.factors, strict=False):
            assert level.factor in (factor, None)
            if level.factor is not None:
                assert np.array_equal(whole(slide, level), plane)
        assert slide.info.levels[0].factor == 1


def test_no_label_and_no_free_text_come_out(tmp_path: Path, case: str) -> None:
    made, _ = make(case, tmp_path)
    with open_slide(made.path) as slide:
        assert all(part not in name for name in slide.info.properties for part in ("comment", "Filename", "barcode"))
        assert all(level.size != Size(98, 66) or level.factor == 4 for level in slide.info.levels)


# What OpenSlide resamples although its downsample is an integer: such a level holds no stored pixels.


@pytest.mark.xfail(
    reason="recorded places that the factor does not divide: OpenSlide interpolates, wsiprep calls it stored"
)
def test_mirax_levels_between_two_pixels_are_unused(tmp_path: Path) -> None:
    made = mirax.write(tmp_path, overlap_px=5)
    with open_slide(made.path) as slide:
        assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])
        assert [level.factor for level in slide.info.levels[1:]] == [None, None]


@pytest.mark.xfail(
    reason="tiles an odd number of pixels apart: OpenSlide interpolates level 1, wsiprep calls it stored"
)
def test_bif_levels_between_two_pixels_are_unused(tmp_path: Path) -> None:
    made = ventana.write(tmp_path, overlap_px=5)
    with open_slide(made.path) as slide:
        assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])
        assert slide.info.levels[1].factor is None


@pytest.mark.xfail(reason="OpenSlide puts the region at the truncated place: up to a level pixel beside level 0")
def test_scn_levels_whose_region_starts_within_a_pixel_are_unused(tmp_path: Path) -> None:
    made = scn.write(tmp_path, corner=(130, 97))
    with open_slide(made.path) as slide:
        assert np.array_equal(whole(slide, slide.info.levels[0]), made.planes[0])
        assert [level.factor for level in slide.info.levels[1:]] == [None, None]


@pytest.mark.xfail(reason="OpenSlide makes up levels below the last of an NDPI by decoding its JPEG at 1/2, 1/4, 1/8")
def test_levels_that_ndpi_does_not_store_are_unused(tmp_path: Path) -> None:
    made = ndpi.write(tmp_path)
    with open_slide(made.path) as slide:
        assert [level.factor for level in slide.info.levels if level.factor] == list(made.factors)


# Damage.

MESSAGE, SAME, NO_SPACING = "message", "same pixels", "same pixels, no spacing"
FALLS = "OpenSlide refuses and auto goes on to tiffslide, which has no reader for the layout"
LOOPS = "a loop of directories: tifffile walks it for ever"
LOST = "the directories beyond the end of the file are dropped and with them their levels"
GENERIC = "OpenSlide takes the damaged file for generic-tiff: the macro image for the slide, levels missing"
STOP = "tiffslide raises StopIteration"
MUTATIONS: list[tuple[Writer, Mutation, str, str]] = [
    # Writer, what is done to the file, how it must end, what is known to go wrong.
    (ndpi.write, Truncate(0.3), MESSAGE, ""),
    (ndpi.write, Truncate(0.9), MESSAGE, FALLS),
    (ndpi.write, Loop(), MESSAGE, LOOPS),
    (ndpi.write, ZeroTile(0, 0), MESSAGE, ""),
    (ndpi.write, SetTag(0, 257, (0,)), MESSAGE, ""),
    (ndpi.write, SetTag(0, 256, (2**31,)), MESSAGE, ""),
    (ndpi.write, SetTag(0, 273, (2**31,)), MESSAGE, ""),
    (ndpi.write, SetCount(0, 273, 2**31 - 1), MESSAGE, FALLS),
    (ndpi.write, SetTag(0, 282, (0,), first=1), NO_SPACING, ""),
    (scn.write, Truncate(0.3), MESSAGE, ""),
    (scn.write, Truncate(0.999), MESSAGE, ""),
    (scn.write, Loop(), MESSAGE, LOOPS),
    (scn.write, ZeroTile(1, 0), MESSAGE, ""),
    (scn.write, ZeroTile(-1, 0), MESSAGE, ""),
    (scn.write, SetTag(1, 257, (0,)), MESSAGE, FALLS),
    (scn.write, SetTag(1, 256, (2**31,)), MESSAGE, FALLS),
    (scn.write, SetTag(1, 324, (2**31,)), MESSAGE, ""),
    (scn.write, SetTag(1, 282, (0,), first=1), MESSAGE, FALLS),
    (scn.write, Swap(b"</collection>", b"</collectoin>"), MESSAGE, GENERIC),
    (scn.write, Swap(b"brightfield", b"fluorescent"), MESSAGE, FALLS),
    (scn.write, Swap(b'ifd="2"', b'ifd="9"'), MESSAGE, ""),
    (scn.write, Swap(b"<view sizeX", b"<wiev sizeX"), MESSAGE, ""),
    (mirax.write, Remove("a"), MESSAGE, ""),
    (mirax.write, Remove("Slidedat.ini"), MESSAGE, ""),
    (mirax.write, Remove("Index.dat"), MESSAGE, ""),
    (mirax.write, Remove("Data0000.dat"), MESSAGE, ""),
    (mirax.write, Truncate(0.5, "Slidedat.ini"), MESSAGE, ""),
    (mirax.write, Truncate(0.5, "Index.dat"), MESSAGE, ""),
    (mirax.write, Truncate(0.5, "Data0000.dat"), MESSAGE, ""),
    (mirax.write, Poke(600, bytes(40), "Data0000.dat"), MESSAGE, ""),
    (mirax.write, Swap(b"FILE_COUNT = 1", b"FILE_COUNT = 0", "Slidedat.ini"), MESSAGE, ""),
    (mirax.write, Swap(b"IMAGENUMBER_X = 10", b"IMAGENUMBER_X = -1", "Slidedat.ini"), MESSAGE, ""),
    (mirax.write, Swap(b"DIGITIZER_WIDTH = 32", b"DIGITIZER_WIDTH = 31", "Slidedat.ini"), MESSAGE, ""),
    (mirax.write, Swap(b"DIGITIZER_WIDTH = 32", b"DIGITIZER_WIDTH = 2000000000", "Slidedat.ini"), MESSAGE, ""),
    (mirax.write, Swap(b"FILE_0 = Data0000.dat", b"FILE_0 = ../../../etc/hosts", "Slidedat.ini"), MESSAGE, ""),
    (mirax.write, Swap(b"0123456789ABCDEF", b"1123456789ABCDEF", "Index.dat"), MESSAGE, ""),
    (mirax.write, Swap(b"PIXEL_X = 0.2325", b"PIXEL_X = 0", "Slidedat.ini"), NO_SPACING, ""),
    (philips.write, Truncate(0.3), MESSAGE, ""),
    (philips.write, Truncate(0.9), MESSAGE, FALLS),
    (philips.write, Loop(), MESSAGE, LOOPS),
    (philips.write, ZeroTile(0, 0), MESSAGE, ""),
    (philips.write, SetTag(0, 256, (0,)), MESSAGE, ""),
    (philips.write, SetTag(0, 257, (2**31,)), MESSAGE, ""),
    (philips.write, SetTag(0, 324, (2**31,)), MESSAGE, ""),
    (philips.write, SetCount(0, 324, 2**31 - 1), SAME, ""),
    (philips.write, Swap(b"PIM_DP_IMAGE_TYPE", b"PIM_DP_IMAGE_TIPE"), MESSAGE, FALLS),
    (philips.write, Swap(b"DICOM_PIXEL_SPACING", b"DICOM_PIXEL_SPACINK"), MESSAGE, STOP),
    (philips.write, Swap(b"&quot;", b"&QUOT;"), MESSAGE, GENERIC),
    (dicom.write, Truncate(0.05), MESSAGE, ""),
    (dicom.write, Truncate(0.999), MESSAGE, ""),
    (dicom.write, Truncate(0.5, "a-2.dcm"), MESSAGE, ""),
    (dicom.write, Swap(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.57"), MESSAGE, ""),
    (dicom.write, Swap(b"YBR_FULL_422", b"YBR_FULL_999"), MESSAGE, ""),
    (dicom.write, Swap(b"TILED_FULL", b"TILED_FOOL"), MESSAGE, ""),
    (dicom.write, Swap(b"\xff\xd8\xff", bytes(3)), MESSAGE, ""),
    (dicom.write, Swap(b"(\0\x10\0US\x02\0@\0", b"(\0\x10\0US\x02\0\0\0"), MESSAGE, ""),
    (dicom.write, Swap(b"H\0\x06\0UL\x04\0\x90\x01\0\0", b"H\0\x06\0UL\x04\0\0\0\0\x80"), MESSAGE, ""),
    (dicom.write, Swap(b"0.0002501\\0.0002275", b"0.0000000\\0.0000000"), NO_SPACING, ""),
    (ventana.write, Truncate(0.3), MESSAGE, FALLS),
    (ventana.write, Truncate(0.999), MESSAGE, FALLS),
    (ventana.write, Loop(), MESSAGE, LOOPS),
    (ventana.write, SetTag(1, 257, (0,)), MESSAGE, ""),
    (ventana.write, SetTag(1, 256, (2**31,)), MESSAGE, ""),
    (ventana.write, SetTag(1, 324, (2**31,), first=2 * 8 + 2), MESSAGE, ""),
    (ventana.write, Swap(b"</EncodeInfo>", b"</EncodeInfQ>"), MESSAGE, FALLS),
    (ventana.write, Swap(b'Tile2="', b'Tile3="'), MESSAGE, FALLS),
    (ventana.write, Swap(b"<iScan ", b"<iSkan "), MESSAGE, FALLS),
    (aperio.write, Truncate(0.3), MESSAGE, ""),
    (aperio.write, Truncate(0.9), MESSAGE, ""),
    (aperio.write, Loop(), MESSAGE, LOOPS),
    (aperio.write, ZeroTile(0, 0), MESSAGE, ""),
    (aperio.write, SetTag(0, 256, (0,)), MESSAGE, ""),
    (aperio.write, SetTag(0, 324, (2**31,)), MESSAGE, ""),
    (aperio.write, SetCount(0, 324, 2**31 - 1), MESSAGE, ""),
    (generic.write, Truncate(0.3), MESSAGE, ""),
    (generic.write, Truncate(0.9), MESSAGE, LOST),
    (generic.write, Truncate(0.999), MESSAGE, LOST),
    (generic.write, Loop(), MESSAGE, LOOPS),
    (generic.write, ZeroTile(-1, 0), MESSAGE, ""),
    (generic.write, SetTag(0, 257, (2**31,)), MESSAGE, ""),
    (generic.write, SetTag(0, 282, (0,), first=1), NO_SPACING, ""),
]


def _rows() -> list[Any]:
    rows = []
    for writer, mutation, ends, known in MUTATIONS:
        marks = [pytest.mark.xfail(reason=known, run=known != LOOPS)] if known else []
        name = f"{writer.__module__.rpartition('.')[2]} {mutation}"
        rows.append(pytest.param(writer, mutation, ends, marks=marks, id=name))
    return rows


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Writer], Outcome]:
    """How the good file of each writer is read, in the same kind of process."""
    known: dict[Writer, Outcome] = {}

    def read(writer: Writer) -> Outcome:
        if writer not in known:
            known[writer] = attempt(writer(tmp_path_factory.mktemp("good")).path)
        return known[writer]

    return read


@pytest.mark.parametrize(("writer", "mutation", "ends"), _rows())
def test_damage_ends_in_a_message(
    writer: Writer, mutation: Mutation, ends: str, tmp_path: Path, untouched: Callable[[Writer], Outcome]
) -> None:
    """Never a traceback, a crash, a hang, or pixels that are not those of the good file."""
    made = writer(tmp_path)
    mutation(made)
    outcome = attempt(made.path)
    if ends == MESSAGE:
        assert outcome.exit_code == 65, outcome
        assert made.path.name in outcome.message
        assert "  got:" in outcome.message
        assert "  do:" in outcome.message
        return
    good = untouched(writer)
    assert (outcome.error, outcome.backend, outcome.digests) == ("", good.backend, good.digests)
    assert good.spacing is not None
    assert outcome.spacing == (good.spacing if ends == SAME else None)

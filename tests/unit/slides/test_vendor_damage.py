"""Damaged slides of every vendor end in a message: never a traceback, a crash, a hang or other pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from vendor_slides import aperio, dicom, generic, mirax, ndpi, philips, scn, trestle, ventana, vms
from vendor_slides.attempt import Outcome, attempt
from vendor_slides.made import Made
from vendor_slides.mutations import Loop, Mutation, Poke, Remove, SetCount, SetTag, Swap, Truncate, ZeroTile

Writer = Callable[..., Made]

MESSAGE, SAME, NO_SPACING = "message", "same pixels", "same pixels, no spacing"
FEWER, THERE = "same pixels, a level less", "same pixels, through OpenSlide"
MUTATIONS: list[tuple[Writer, Mutation, str]] = [
    # Writer, what is done to the file, how it must end.
    (ndpi.write, Truncate(0.3), MESSAGE),
    (ndpi.write, Truncate(0.9), MESSAGE),
    (ndpi.write, Loop(), MESSAGE),
    (ndpi.write, ZeroTile(0, 0), MESSAGE),
    (ndpi.write, SetTag(0, 257, (0,)), MESSAGE),
    (ndpi.write, SetTag(0, 256, (2**31,)), MESSAGE),
    (ndpi.write, SetTag(0, 273, (2**31,)), MESSAGE),
    (ndpi.write, SetCount(0, 273, 2**31 - 1), MESSAGE),
    (ndpi.write, SetTag(0, 282, (0,), first=1), NO_SPACING),
    (ndpi.write, SetTag(0, 278, (8,)), THERE),
    (ndpi.write, SetTag(0, 65421, (-1.0,)), MESSAGE),
    (ndpi.write, SetTag(1, 65421, (-1.0,)), FEWER),
    (ndpi.write, SetTag(1, 65421, (float("nan"),)), MESSAGE),
    (ndpi.write, SetTag(0, 65426, (2**31,), first=7), MESSAGE),
    (ndpi.write, SetTag(0, 65426, (0,) * 320), MESSAGE),
    (ndpi.write, SetCount(0, 65426, 2**31 - 1), THERE),
    (ndpi.write, Swap(b"\xff\xd3", bytes(2), times=1), MESSAGE),
    (ndpi.write, Swap(b"\xff\xdd\x00\x04\x00\x08", b"\xff\xdd\x00\x04\x00\x10", times=1), MESSAGE),
    (ndpi.write_unlisted, Truncate(0.3), MESSAGE),
    (ndpi.write_unlisted, Truncate(0.9), MESSAGE),
    (ndpi.write_unlisted, Loop(), MESSAGE),
    (ndpi.write_unlisted, ZeroTile(0, 0), MESSAGE),
    (ndpi.write_unlisted, SetTag(0, 257, (0,)), MESSAGE),
    (ndpi.write_unlisted, SetTag(0, 273, (2**31,)), MESSAGE),
    (ndpi.write_unlisted, SetTag(0, 282, (0,), first=1), NO_SPACING),
    (scn.write, Truncate(0.3), MESSAGE),
    (scn.write, Truncate(0.999), MESSAGE),
    (scn.write, Loop(), MESSAGE),
    (scn.write, ZeroTile(1, 0), MESSAGE),
    (scn.write, ZeroTile(-1, 0), MESSAGE),
    (scn.write, SetTag(1, 257, (0,)), MESSAGE),
    (scn.write, SetTag(1, 256, (2**31,)), MESSAGE),
    (scn.write, SetTag(1, 324, (2**31,)), MESSAGE),
    (scn.write, SetTag(1, 282, (0,), first=1), MESSAGE),
    (scn.write, Swap(b"</collection>", b"</collectoin>"), MESSAGE),
    (scn.write, Swap(b"brightfield", b"fluorescent"), MESSAGE),
    (scn.write, Swap(b'ifd="2"', b'ifd="9"'), MESSAGE),
    (scn.write, Swap(b"<view sizeX", b"<wiev sizeX"), MESSAGE),
    (mirax.write, Remove("a"), MESSAGE),
    (mirax.write, Remove("Slidedat.ini"), MESSAGE),
    (mirax.write, Remove("Index.dat"), MESSAGE),
    (mirax.write, Remove("Data0000.dat"), MESSAGE),
    (mirax.write, Truncate(0.5, "Slidedat.ini"), MESSAGE),
    (mirax.write, Truncate(0.5, "Index.dat"), MESSAGE),
    (mirax.write, Truncate(0.5, "Data0000.dat"), MESSAGE),
    (mirax.write, Poke(600, bytes(40), "Data0000.dat"), MESSAGE),
    (mirax.write, Swap(b"FILE_COUNT = 1", b"FILE_COUNT = 0", "Slidedat.ini"), MESSAGE),
    (mirax.write, Swap(b"IMAGENUMBER_X = 10", b"IMAGENUMBER_X = -1", "Slidedat.ini"), MESSAGE),
    (mirax.write, Swap(b"DIGITIZER_WIDTH = 32", b"DIGITIZER_WIDTH = 31", "Slidedat.ini"), MESSAGE),
    (mirax.write, Swap(b"DIGITIZER_WIDTH = 32", b"DIGITIZER_WIDTH = 2000000000", "Slidedat.ini"), MESSAGE),
    (mirax.write, Swap(b"FILE_0 = Data0000.dat", b"FILE_0 = ../../../etc/hosts", "Slidedat.ini"), MESSAGE),
    (mirax.write, Swap(b"0123456789ABCDEF", b"1123456789ABCDEF", "Index.dat"), MESSAGE),
    (mirax.write, Swap(b"PIXEL_X = 0.2325", b"PIXEL_X = 0", "Slidedat.ini"), NO_SPACING),
    (philips.write, Truncate(0.3), MESSAGE),
    (philips.write, Truncate(0.9), MESSAGE),
    (philips.write, Loop(), MESSAGE),
    (philips.write, ZeroTile(0, 0), MESSAGE),
    (philips.write, SetTag(0, 256, (0,)), MESSAGE),
    (philips.write, SetTag(0, 257, (2**31,)), MESSAGE),
    (philips.write, SetTag(0, 324, (2**31,)), MESSAGE),
    (philips.write, SetCount(0, 324, 2**31 - 1), SAME),
    (philips.write, SetTag(2, 325, (2**40,)), MESSAGE),
    (philips.write, Swap(b"PIM_DP_IMAGE_TYPE", b"PIM_DP_IMAGE_TIPE"), MESSAGE),
    (philips.write, Swap(b"DICOM_PIXEL_SPACING", b"DICOM_PIXEL_SPACINK"), MESSAGE),
    (philips.write, Swap(b"&quot;", b"&QUOT;"), MESSAGE),
    (dicom.write, Truncate(0.05), MESSAGE),
    (dicom.write, Truncate(0.999), MESSAGE),
    (dicom.write, Truncate(0.5, "a-2.dcm"), MESSAGE),
    (dicom.write, Swap(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.57"), MESSAGE),
    (dicom.write, Swap(b"YBR_FULL_422", b"YBR_FULL_999"), MESSAGE),
    (dicom.write, Swap(b"TILED_FULL", b"TILED_FOOL"), MESSAGE),
    (dicom.write, Swap(b"\xff\xd8\xff", bytes(3)), MESSAGE),
    (dicom.write, Poke(891, b"\xc1"), MESSAGE),
    (dicom.write, Poke(923, b"\x01"), MESSAGE),
    (dicom.write, Swap(b"(\0\x10\0US\x02\0@\0", b"(\0\x10\0US\x02\0\0\0"), MESSAGE),
    (dicom.write, Swap(b"H\0\x06\0UL\x04\0\x90\x01\0\0", b"H\0\x06\0UL\x04\0\0\0\0\x80"), MESSAGE),
    (dicom.write, Swap(b"0.0002501\\0.0002275", b"0.0000000\\0.0000000"), NO_SPACING),
    (vms.write, Swap(b"PhysicalWidth", b"Physical\xffidth"), NO_SPACING),
    (vms.write, Remove("a_1.jpg"), MESSAGE),
    (vms.write, Remove("a_map.jpg"), MESSAGE),
    (vms.write, Truncate(0.5, "a_0.jpg"), MESSAGE),
    (vms.write, Swap(b"NoJpegColumns=2", b"NoJpegColumns=0"), MESSAGE),
    (trestle.write, Truncate(0.3), MESSAGE),
    (trestle.write, Truncate(0.999), MESSAGE),
    (trestle.write, SetTag(0, 324, (2**31,)), MESSAGE),
    (trestle.write, Swap(b"OverlapsXY= 8 8", b"OverlapsXY= 99 "), MESSAGE),
    (ventana.write, Truncate(0.3), MESSAGE),
    (ventana.write, Truncate(0.999), MESSAGE),
    (ventana.write, Loop(), MESSAGE),
    (ventana.write, SetTag(1, 257, (0,)), MESSAGE),
    (ventana.write, SetTag(1, 256, (2**31,)), MESSAGE),
    (ventana.write, SetTag(1, 324, (2**31,), first=2 * 8 + 2), MESSAGE),
    (ventana.write, Swap(b"</EncodeInfo>", b"</EncodeInfQ>"), MESSAGE),
    (ventana.write, Swap(b'Tile2="', b'Tile3="'), MESSAGE),
    (ventana.write, Swap(b"<iScan ", b"<iSkan "), MESSAGE),
    (aperio.write, Truncate(0.3), MESSAGE),
    (aperio.write, Truncate(0.9), MESSAGE),
    (aperio.write, Loop(), MESSAGE),
    (aperio.write, ZeroTile(0, 0), MESSAGE),
    (aperio.write, SetTag(0, 256, (0,)), MESSAGE),
    (aperio.write, SetTag(0, 324, (2**31,)), MESSAGE),
    (aperio.write, SetCount(0, 324, 2**31 - 1), MESSAGE),
    (generic.write, Truncate(0.3), MESSAGE),
    (generic.write, Truncate(0.9), MESSAGE),
    (generic.write, Truncate(0.999), MESSAGE),
    (generic.write, Loop(), MESSAGE),
    (generic.write, ZeroTile(-1, 0), MESSAGE),
    (generic.write, SetTag(0, 257, (2**31,)), MESSAGE),
    (generic.write, SetTag(0, 282, (0,), first=1), NO_SPACING),
]


def _name(row: tuple[Writer, Mutation, str]) -> str:
    return f"{row[0].__module__.rpartition('.')[2]} {row[1]}"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Writer], Outcome]:
    """How the good file of each writer is read, in the same kind of process."""
    known: dict[Writer, Outcome] = {}

    def read(writer: Writer) -> Outcome:
        if writer not in known:
            known[writer] = attempt(writer(tmp_path_factory.mktemp("good")).path)
        return known[writer]

    return read


@pytest.mark.parametrize(("writer", "mutation", "ends"), MUTATIONS, ids=[_name(row) for row in MUTATIONS])
def test_damage_ends_in_a_message(
    writer: Writer, mutation: Mutation, ends: str, tmp_path: Path, untouched: Callable[[Writer], Outcome]
) -> None:
    """Never a traceback, a crash, a hang, or pixels that are not those of the good file."""
    made = writer(tmp_path)
    mutation(made)
    outcome = attempt(made.path)
    if ends == MESSAGE:
        assert outcome.exit_code == 65, outcome
        assert (
            made.path.name in outcome.message
            or Path(getattr(mutation, "part", "") or made.path).name in outcome.message
        )
        assert "  got:" in outcome.message
        assert "  do:" in outcome.message
        return
    good = untouched(writer)
    if ends == THERE:
        assert (outcome.error, outcome.backend, outcome.digests) == ("", "openslide", good.digests)
        return
    if ends == FEWER:
        assert (outcome.error, outcome.backend) == ("", good.backend)
        assert [d for d in good.digests if d in outcome.digests] == list(outcome.digests) != list(good.digests)
        return
    assert (outcome.error, outcome.backend, outcome.digests) == ("", good.backend, good.digests)
    assert good.spacing is not None
    assert outcome.spacing == (good.spacing if ends == SAME else None)


BY_NAME: list[tuple[Writer, Mutation, str]] = [
    (ndpi.write, Truncate(0.9), MESSAGE),
    (ndpi.write, SetCount(0, 273, 2**31 - 1), MESSAGE),
    (scn.write, SetTag(1, 257, (0,)), MESSAGE),
    (scn.write, Swap(b"</collection>", b"</collectoin>"), MESSAGE),
    (philips.write, Loop(), MESSAGE),
    (philips.write, Swap(b"DICOM_PIXEL_SPACING", b"DICOM_PIXEL_SPACINK"), MESSAGE),
    (philips.write, Swap(b"&quot;", b"&QUOT;"), MESSAGE),
    (ventana.write, Truncate(0.3), MESSAGE),
    (aperio.write, SetCount(0, 324, 2**31 - 1), SAME),
    (generic.write, Truncate(0.9), MESSAGE),
]


@pytest.mark.parametrize("backend", ["openslide", "tiffslide"])
@pytest.mark.parametrize(("writer", "mutation", "ends"), BY_NAME, ids=[_name(row) for row in BY_NAME])
def test_a_backend_by_name_takes_no_damaged_file_either(
    writer: Writer, mutation: Mutation, ends: str, backend: str, tmp_path: Path, untouched: Callable[[Writer], Outcome]
) -> None:
    """A message; where libtiff puts the header right, OpenSlide may also give the pixels of the good file."""
    made = writer(tmp_path)
    mutation(made)
    outcome = attempt(made.path, backend)
    if ends == SAME and backend == "openslide":
        assert (outcome.error, outcome.digests) == ("", untouched(writer).digests)
    else:
        assert outcome.exit_code == 65, outcome
        assert "  got:" in outcome.message

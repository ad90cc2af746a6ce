"""Slides of several files: which belong together, and what one identity is of."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest
from vendor_slides import dicom, vms

from wsiprep.geometry import Box, Size
from wsiprep.slides import open_slide, slide_identity
from wsiprep.slides.companions import is_vms, series_parts, vms_map, vms_parts
from wsiprep.slides.dicom import Instance, instance_of

IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
EXPLICIT = "1.2.840.10008.1.2.1"
FOUND = Instance("1.2.33", "1.2.5")


def element(tag: tuple[int, int], vr: bytes, value: bytes, syntax: str = EXPLICIT, *, undefined: bool = False) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    length = 0xFFFFFFFF if undefined else len(value)
    head = struct.pack(order + "HH", *tag)
    if syntax == IMPLICIT or tag[0] == 0xFFFE:
        return head + struct.pack(order + "I", length) + value
    if vr in (b"OB", b"SQ", b"UN"):
        return head + vr + struct.pack(order + "HI", 0, length) + value
    return head + vr + struct.pack(order + "H", length) + value


def nested(syntax: str) -> bytes:
    """A sequence and an item of undefined length, with a UID inside that must not be taken for the slide's."""
    inner = element((0x0020, 0x000E), b"UI", b"9.9\0", syntax)
    end = element((0xFFFE, 0xE00D), b"", b"", syntax)
    item = element((0xFFFE, 0xE000), b"", inner + end, syntax, undefined=True)
    stop = element((0xFFFE, 0xE0DD), b"", b"", syntax)
    return element((0x0008, 0x1115), b"SQ", item + stop, syntax, undefined=True)


def header(syntax: str, *, series: bytes = b"1.2.33") -> bytes:
    meta = element((0x0002, 0x0001), b"OB", b"\0\1") + element((0x0002, 0x0010), b"UI", syntax.encode())
    data = element((0x0008, 0x0018), b"UI", b"1.2.5\0", syntax) + nested(syntax)
    data += element((0x0008, 0x1199), b"SQ", element((0xFFFE, 0xE000), b"", b"", syntax), syntax)
    if series:
        data += element((0x0020, 0x000E), b"UI", series, syntax)
    data += element((0x0028, 0x0010), b"US", struct.pack("<H", 64), syntax)
    return bytes(128) + b"DICM" + meta + data


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, dicom.JPEG_BASELINE])
def test_the_uids_in_every_syntax(syntax: str) -> None:
    assert instance_of(header(syntax)) == FOUND


def test_what_has_no_uids() -> None:
    assert instance_of(header(DEFLATED)) is None
    assert instance_of(header(EXPLICIT, series=b"")) is None
    assert instance_of(b"II*\0" + bytes(200)) is None


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_header_cut_anywhere_is_no_error(syntax: str) -> None:
    whole = header(syntax)
    needed = len(whole) - len(element((0x0028, 0x0010), b"US", b"xx", syntax))
    for end in range(len(whole)):
        assert instance_of(whole[:end]) == (FOUND if end >= needed else None)


def test_sequences_without_end_or_bottom_are_no_error() -> None:
    meta = element((0x0002, 0x0010), b"UI", EXPLICIT.encode())
    deep = element((0x0008, 0x1115), b"SQ", b"", undefined=True) + element((0xFFFE, 0xE000), b"", b"", undefined=True)
    assert instance_of(bytes(128) + b"DICM" + meta + deep * 1000) is None


def test_every_instance_is_the_same_slide(tmp_path: Path) -> None:
    made = dicom.write(tmp_path)
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "folder").mkdir()
    names = ["a.dcm", "a-2.dcm", "a-4.dcm"]
    identities = {slide_identity(tmp_path / name) for name in names}
    assert len(identities) == 1
    for name in names:
        with open_slide(tmp_path / name) as slide:
            assert {slide.info.identity} == identities
            assert slide.info.size == Size(*dicom.SIZE)
            assert (slide.read_level(0, Box(0, 0, 400, 272)) == made.planes[0]).all()


def test_the_identity_of_a_series_is_of_content(tmp_path: Path) -> None:
    """Names, the order in the folder and other series in it do not matter; each instance does."""
    made = dicom.write(tmp_path)
    first = slide_identity(made.path)
    moved = tmp_path / "moved"
    moved.mkdir()
    for old, new in (("a-4.dcm", "1"), ("a.dcm", "z.dcm"), ("a-2.dcm", "k.DCM")):
        shutil.copy(tmp_path / old, moved / new)
    other = (moved / "z.dcm").read_bytes().replace(f"{dicom.ROOT}.3".encode(), f"{dicom.ROOT}.4".encode())
    (moved / "other.dcm").write_bytes(other)
    assert slide_identity(moved / "1") == first
    assert slide_identity(moved / "other.dcm") != first
    assert [part.path.name for part in series_parts(moved / "k.DCM")] == ["z.dcm", "k.DCM", "1"]
    (moved / "k.DCM").unlink()
    assert slide_identity(moved / "1") != first


def test_a_header_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(header(EXPLICIT))
    assert series_parts(path)[0].instance == FOUND
    path.write_bytes(header(EXPLICIT, series=b"1.2.34"))
    os.utime(path, ns=(1, 1))
    assert series_parts(path)[0].instance == Instance("1.2.34", "1.2.5")


def test_the_files_of_a_vms(tmp_path: Path) -> None:
    made = vms.write(tmp_path)
    assert is_vms(made.path)
    assert vms_map(made.path) == tmp_path / "a_map.jpg"
    assert [p.name for p in vms_parts(made.path)] == ["a_0.jpg", "a_1.jpg", "a_map.jpg"]
    assert not is_vms(tmp_path / "a_0.jpg")
    assert vms_parts(tmp_path / "a_0.jpg") == []


def test_a_key_file_leads_to_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.vms").write_text("[Virtual Microscope Specimen]\nMapFile=../secret.jpg\nImageFile=\n")
    assert vms_parts(inner / "a.vms") == []
    assert vms_map(inner / "a.vms") is None


def test_the_levels_that_a_vms_does_not_store_are_unused(tmp_path: Path) -> None:
    """OpenSlide decodes the JPEGs and the map at 1/2, 1/4 and 1/8 as well."""
    with open_slide(vms.write(tmp_path).path) as slide:
        assert [level.factor for level in slide.info.levels if level.factor] == [1, vms.MAP_FACTOR]
        assert [level.shown_factor for level in slide.info.levels[:5]] == [None, 2, 4, 8, None]

"""The fingerprint of a slide file: of its content, cheap, and sensitive where it has to be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tifffile
from slide_files import Writing, texture, write_pyramid

from wsiprep.errors import SlideError
from wsiprep.slides import slide_identity


def test_identity_is_of_content_not_of_name(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(600, 400)])
    copy = Path(shutil.copy(path, tmp_path / "other name.tif"))
    assert slide_identity(path) == slide_identity(str(copy))
    assert len(slide_identity(path)) == 64


def test_identity_sees_both_ends_the_size_and_the_tables(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(1200, 900)], Writing(64, "zlib"))
    first = slide_identity(path)
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * 65536
    seen = {first}
    for place in (4000, len(data) - 5):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        seen.add(slide_identity(path))
    path.write_bytes(data + b"x")
    seen.add(slide_identity(path))
    path.write_bytes(data)
    assert slide_identity(path) == first
    assert len(seen) == 4


def test_identity_sees_a_tile_table_in_the_middle_of_the_file(tmp_path: Path) -> None:
    """A second page's table lies far from both ends; a changed byte count there must show."""
    big = texture(900, 600)
    path = write_pyramid(tmp_path / "a.tif", [big, texture(450, 300), big[::-1]], Writing(64, None))
    before = slide_identity(path)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tag = tif.pages[1].tags["TileByteCounts"]
        assert 65536 < tag.valueoffset < path.stat().st_size - 65536
        tag.overwrite((tag.value[0] - 1, *tag.value[1:]))
    assert slide_identity(path) != before


def test_identity_of_what_is_no_tiff(tmp_path: Path) -> None:
    slide = tmp_path / "a.mrxs"
    slide.write_bytes(b"no tiff")
    alone = slide_identity(slide)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"12")
    assert slide_identity(slide) != alone
    with pytest.raises(SlideError, match="cannot be read"):
        slide_identity(tmp_path / "none.svs")

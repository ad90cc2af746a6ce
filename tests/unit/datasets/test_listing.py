"""A folder is listed whole: nothing outside it, nothing silently left out."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from dataset_layouts import put

from wsiprep.datasets.listing import list_folder, without_partial_suffix
from wsiprep.errors import UsageError


def kinds(root: Path) -> dict[str, str]:
    return {f.path: f.kind for f in list_folder(root).findings}


def test_links_that_leave_the_folder_are_reported_and_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "data", tmp_path / "outside"
    put(outside, "secret/a.tif", b"x")
    put(root, "b.tif", b"x")
    (root / "file.tif").symlink_to(outside / "secret" / "a.tif")
    (root / "folder").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "absolute.tif").symlink_to("/etc/hostname")
    (root / "prefix").symlink_to(tmp_path / "data-other")
    (tmp_path / "data-other").mkdir()
    assert kinds(root) == dict.fromkeys(("absolute.tif", "file.tif", "folder", "prefix", "up"), "escape")
    assert set(list_folder(root).files) == {"b.tif"}


def test_links_inside_are_followed_and_circles_end(tmp_path: Path) -> None:
    put(tmp_path, "real/a.tif", b"x")
    (tmp_path / "alias.tif").symlink_to(tmp_path / "real" / "a.tif")
    (tmp_path / "real" / "circle").symlink_to(tmp_path)
    assert set(list_folder(tmp_path).files) == {"real/a.tif", "alias.tif"}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path, "real/a.tif", b"x")
    (tmp_path / "link").symlink_to("real")
    assert set(list_folder(tmp_path / "link").files) == {"a.tif"}


def test_a_dangling_link_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.tif").symlink_to(tmp_path / "gone.tif")
    assert kinds(tmp_path) == {"a.tif": "unreadable"}


@pytest.mark.parametrize("name", ["a.tif.part", "a.tif.crdownload", "a.tif.aria2", "A.TIF.PARTIAL"])
def test_unfinished_downloads_are_called_that(name: str, tmp_path: Path) -> None:
    put(tmp_path, name, b"x")
    listing = list_folder(tmp_path)
    assert listing.partial == {name}
    assert "half downloaded" in listing.findings[0].message
    assert without_partial_suffix(name).lower() == "a.tif"


def test_empty_files_are_unfinished(tmp_path: Path) -> None:
    put(tmp_path, "a.tif", b"")
    assert kinds(tmp_path) == {"a.tif": "partial"}


def test_names_that_are_no_text_are_reported(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.tif", "wb") as stream:
        stream.write(b"x")
    put(tmp_path, "line\nbreak.tif", b"x")
    assert set(kinds(tmp_path).values()) == {"name"}
    assert not list_folder(tmp_path).files


def test_two_writings_of_one_name_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "ö.tif", b"x")
    put(tmp_path, unicodedata.normalize("NFD", "ö.tif"), b"x")
    assert "twin" in kinds(tmp_path).values()


def test_junk_is_counted(tmp_path: Path) -> None:
    for name in (".DS_Store", "._a.tif", "__MACOSX/a.tif", "x/Thumbs.db"):
        put(tmp_path, name, b"x")
    listing = list_folder(tmp_path)
    assert (listing.n_junk, listing.files) == (4, {})


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        list_folder(tmp_path / "none")

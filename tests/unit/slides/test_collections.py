"""Folders and stacks of ready-cut tiles: names, pairing, tables, pixels, and what is wrong with single tiles."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from collection_files import (
    NASTY_NAMES,
    bach_photos_like,
    cpm17_like,
    monuseg_like,
    pannuke_like,
    write_png,
)
from slide_files import texture

from wsiprep.config.recipe import Collection
from wsiprep.errors import ManifestError, SlideError
from wsiprep.geometry import Box, Size
from wsiprep.slides.collections import is_collection, open_collection


def pixels_of(collection, tile):
    with collection.open(tile) as slide:
        return slide.read_level(0, Box(0, 0, tile.size.width_px, tile.size.height_px))


def folder_of(tmp_path: Path, *names: str, suffix: str = ".png") -> Path:
    for k, name in enumerate(names):
        image = texture(20, 16, seed=k)
        if suffix == ".tif":
            tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="rgb")
        else:
            write_png(tmp_path / f"{name}{suffix}", image)
    return tmp_path


def names_of(collection):
    return [tile.name for tile in collection.tiles]


# --- folders ------------------------------------------------------------------------------------------


def test_names_are_matched_literally_and_ordered_by_their_bytes(tmp_path):
    folder_of(tmp_path / "Images", *NASTY_NAMES)
    found = open_collection(tmp_path, Collection(images="Images/{tile}.png"))
    assert names_of(found) == sorted(NASTY_NAMES, key=os.fsencode)
    assert (found.unreadable, found.extra, found.without_labels) == ((), (), ())
    for tile in found.tiles:
        assert tile.size == Size(20, 16)
        assert np.array_equal(pixels_of(found, tile), texture(20, 16, seed=NASTY_NAMES.index(tile.name)))


def test_a_bracket_in_the_pattern_is_a_bracket(tmp_path):
    write_png(tmp_path / "[ab] x.png", texture(8, 8))
    write_png(tmp_path / "a x.png", texture(8, 8))
    found = open_collection(tmp_path, Collection(images="[ab]{tile}.png"))
    assert (names_of(found), found.extra) == ([" x"], ("a x.png",))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_format_gives_the_pixels_of_an_independent_decoder(tmp_path, suffix, channels):
    image = texture(37, 23, channels=channels).squeeze()
    path = tmp_path / f"t{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, image, photometric="rgb" if channels == 3 else "minisblack")
    else:
        shown = image[..., ::-1] if channels == 3 else image
        # Without chroma sub-sampling two correct decoders of JPEG agree within rounding.
        path.write_bytes(cv2.imencode(suffix, shown, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111])[1].tobytes())
    found = open_collection(tmp_path, Collection(images="{tile}" + suffix))
    got = pixels_of(found, found.tiles[0])
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    assert found.tiles[0].size == Size(37, 23)
    if suffix == ".jpg":
        assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1
    else:
        assert np.array_equal(got, expected)
        assert np.array_equal(got, image if channels == 3 else np.repeat(image[..., None], 3, axis=2))


def test_alpha_is_composited_on_white(tmp_path):
    image = texture(9, 7, channels=4)
    image[..., 3] = 0
    image[:3, :, 3] = 255
    write_png(tmp_path / "t.png", image)
    found = open_collection(tmp_path, Collection())
    got = pixels_of(found, found.tiles[0])
    assert np.array_equal(got[:3], image[:3, :, :3])
    assert (got[3:] == 255).all()


def test_what_a_tile_tells_of_itself_and_its_folder(tmp_path):
    folder_of(tmp_path, "a", "b")
    found = open_collection(tmp_path, Collection())
    with found.open(found.tiles[0]) as slide:
        info = slide.info
        assert (info.size, len(info.levels), info.levels[0].factor) == (Size(20, 16), 1, 1)
        assert (info.backend_requested, len(found.tiles[0].identity)) == ("collection", 64)
        with pytest.raises(Exception, match="reaches over the border"):
            slide.read_level(0, Box(0, 0, 21, 16))
    before = found.identity
    assert open_collection(tmp_path, Collection()).identity == before
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    renamed = open_collection(tmp_path, Collection())
    assert renamed.identity != before
    assert {t.identity for t in renamed.tiles} == {t.identity for t in found.tiles}
    write_png(tmp_path / "b.png", texture(20, 16, seed=9))
    assert open_collection(tmp_path, Collection()).identity != renamed.identity


def png_header(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))


BAD_HEADERS = {
    "empty": b"",
    "text": b"this is no picture",
    "short": b"\x89PNG\r\n\x1a\n\0\0",
    "bomb": png_header(50_000, 50_000),
    "thin": png_header(10_000, 10_000),
    "flat": png_header(0, 5),
}


@pytest.mark.parametrize("kind", BAD_HEADERS)
def test_a_tile_with_a_bad_header_is_listed_and_the_others_go_on(tmp_path, kind):
    folder_of(tmp_path, "good", "other")
    (tmp_path / f"{kind}.png").write_bytes(BAD_HEADERS[kind])
    found = open_collection(tmp_path, Collection())
    assert names_of(found) == ["good", "other"]
    assert [bad.name for bad in found.unreadable] == [kind]
    assert found.unreadable[0].error.file == str(tmp_path / f"{kind}.png")


def test_a_tile_with_damaged_pixels_fails_alone(tmp_path):
    folder_of(tmp_path, "a", "b")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    found = open_collection(tmp_path, Collection())
    with pytest.raises(SlideError):
        found.open(found.tiles[0])
    assert np.array_equal(pixels_of(found, found.tiles[1]), texture(20, 16, seed=1))


def test_sixteen_bits_are_refused(tmp_path):
    write_png(tmp_path / "a.png", np.full((5, 5), 3000, np.uint16))
    tifffile.imwrite(tmp_path / "b.tif", np.full((5, 5, 3), 3000, np.uint16), photometric="rgb")
    png = open_collection(tmp_path, Collection())
    with pytest.raises(SlideError, match="8-bit"):
        png.open(png.tiles[0])
    folder_of(tmp_path, "c", suffix=".tif")
    assert [bad.name for bad in open_collection(tmp_path, Collection(images="{tile}.tif")).unreadable] == ["b"]


def test_links_that_leave_the_folder_and_names_no_table_can_hold_are_listed(tmp_path):
    folder_of(tmp_path / "in", "a")
    folder_of(tmp_path / "out", "b")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out" / "b.png")
    (tmp_path / "in" / "inner.png").symlink_to(tmp_path / "in" / "a.png")
    folder_of(tmp_path / "in", "new\nline")
    os.link(tmp_path / "out" / "b.png", os.fsencode(tmp_path / "in") + b"/\xff.png")
    (tmp_path / "in" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    found = open_collection(tmp_path / "in", Collection())
    assert names_of(found) == ["a", "inner"]
    assert {bad.name for bad in found.unreadable} == {"link", "new\nline", "\udcff"}
    assert found.extra == ("dangling.png",)


@pytest.mark.parametrize("pattern", ["../{tile}.png", "/etc/{tile}", "a/../../{tile}.png", "..\\{tile}.png"])
def test_patterns_that_climb_out_are_refused(tmp_path, pattern):
    folder_of(tmp_path, "a")
    with pytest.raises(ManifestError, match="leaves its folder"):
        open_collection(tmp_path, Collection(images=pattern))


def test_no_folder_no_tiles(tmp_path):
    folder_of(tmp_path / "images", "a")
    with pytest.raises(SlideError, match="cannot be listed") as caught:
        open_collection(tmp_path, Collection(images="Images/{tile}.png"))
    assert "images" in str(caught.value)
    with pytest.raises(SlideError, match="no tiles") as caught:
        open_collection(tmp_path / "images", Collection(images="{tile}.tif"))
    assert "a.png" in str(caught.value)
    with pytest.raises(SlideError, match="no such collection"):
        open_collection(tmp_path / "nowhere", Collection())


# --- labels -------------------------------------------------------------------------------------------


def test_labels_are_paired_by_the_same_name_and_never_by_order(tmp_path):
    folder_of(tmp_path / "i", "a1", "a2", "a3")
    folder_of(tmp_path / "l", "a2", "a3", "a4")
    found = open_collection(tmp_path, Collection(images="i/{tile}.png", labels="l/{tile}.png"))
    labels = {tile.name: tile.labels and tile.labels.name for tile in found.tiles}
    assert labels == {"a1": None, "a2": "a2.png", "a3": "a3.png"}
    assert (found.without_labels, found.labels_without_tile) == (("a1",), ("a4",))


def test_without_annotation_nobody_looks_for_labels(tmp_path):
    folder_of(tmp_path / "i", "a")
    folder_of(tmp_path / "l", "a")
    spec = Collection(images="i/{tile}.png", labels="l/{tile}.png")
    found = open_collection(tmp_path, spec, labels=False)
    assert (found.tiles[0].labels, found.without_labels) == (None, ())


def test_the_labels_digest_follows_their_bytes_and_their_tiles(tmp_path):
    folder_of(tmp_path / "i", "a1", "a2")
    folder_of(tmp_path / "l", "a1", "a2")
    spec = Collection(images="i/{tile}.png", labels="l/{tile}.png")
    before = open_collection(tmp_path, spec)
    labels_before = before.labels_identity()
    assert open_collection(tmp_path, spec).labels_identity() == labels_before
    (tmp_path / "l" / "a1.png").write_bytes((tmp_path / "l" / "a2.png").read_bytes())
    after = open_collection(tmp_path, spec)
    assert after.identity == before.identity
    assert after.labels_identity() != labels_before
    assert open_collection(tmp_path, spec, labels=False).labels_identity() == ""
    images, masks = pannuke_like(tmp_path)
    assert open_collection(images, Collection(), annotation=masks).labels_identity()


def test_labels_of_the_manifest_need_a_pattern_in_the_recipe(tmp_path):
    folder_of(tmp_path / "i", "a")
    folder_of(tmp_path / "l", "a")
    with pytest.raises(SlideError, match="which belong to which tile"):
        open_collection(tmp_path / "i", Collection(), annotation=tmp_path / "l")
    assert open_collection(tmp_path / "i", Collection(), annotation=tmp_path / "l", labels=False).tiles
    found = open_collection(tmp_path / "i", Collection(labels="{tile}.png"), annotation=tmp_path / "l")
    assert found.tiles[0].labels == tmp_path / "l" / "a.png"


def test_images_and_masks_in_one_folder(tmp_path):
    folder_of(tmp_path, "a", "a_mask", "b", "b_mask", "notes")
    found = open_collection(tmp_path, Collection(images="{tile}.png", labels="{tile}_mask.png"))
    assert names_of(found) == ["a", "b", "notes"]
    assert [tile.labels and tile.labels.name for tile in found.tiles] == ["a_mask.png", "b_mask.png", None]
    assert (found.without_labels, found.extra) == (("notes",), ())
    turned = open_collection(tmp_path, Collection(images="{tile}_mask.png", labels="{tile}.png"))
    assert names_of(turned) == ["a", "b"]
    assert turned.labels_without_tile == ("notes",)


def test_a_folder_for_each_tile(tmp_path):
    for name in ("one", "two"):
        write_png(tmp_path / name / "images" / "he.png", texture(6, 5))
        write_png(tmp_path / name / "masks" / "all.png", texture(6, 5)[..., 0])
    (tmp_path / "empty").mkdir()
    found = open_collection(tmp_path, Collection(images="{tile}/images/he.png", labels="{tile}/masks/all.png"))
    assert names_of(found) == ["one", "two"]
    assert found.extra == ("empty",)
    assert all(tile.labels is not None for tile in found.tiles)


def test_a_miniature_of_monuseg(tmp_path):
    names = ("TCGA-18-5592-01Z-00-DX1", "TCGA-A7-A13E-01Z-00-DX1")
    root = monuseg_like(tmp_path, names)
    spec = Collection(images="Tissue Images/{tile}.tif", labels="Annotations/{tile}.xml", patient=r"^(TCGA-..-....)")
    found = open_collection(root, spec)
    assert names_of(found) == list(names)
    assert found.extra == (f"._{names[0]}.tif",)
    assert [tile.patient for tile in found.tiles] == ["TCGA-18-5592", "TCGA-A7-A13E"]
    assert [tile.labels.suffix for tile in found.tiles] == [".xml", ".xml"]
    assert np.array_equal(pixels_of(found, found.tiles[1]), texture(40, 40, seed=1))


def test_a_miniature_of_bach_photos_and_of_cpm17(tmp_path):
    root = bach_photos_like(tmp_path)
    found = open_collection(root / "Photos" / "InSitu", Collection(images="{tile}.tif"), labels=False)
    assert names_of(found) == ["is001", "is002"]
    cpm = open_collection(
        cpm17_like(tmp_path / "cpm"), Collection(images="Images/{tile}.png", labels="Labels/{tile}.mat")
    )
    assert [tile.labels.name for tile in cpm.tiles] == ["image_00.mat", "image_01.mat", "image_02.mat"]


# --- tables -------------------------------------------------------------------------------------------


def test_the_table_comes_first_then_the_expressions(tmp_path):
    folder_of(tmp_path, "p1-a", "p1-b", "p2-c")
    (tmp_path / "t.csv").write_text(
        "tile,patient,tissue,split,fold,spacing_um,stainer\np2-c,,colon,,3,0.5,x\np1-b,pp, liver ,test,,,\np1-a,,,,,,\n"
    )
    spec = Collection(table="t.csv", patient="^(p[0-9])", split={"-b$": "train", "-[ac]$": "val"})
    a, b, c = open_collection(tmp_path, spec).tiles
    assert [t.patient for t in (a, b, c)] == ["p1", "pp", "p2"]
    assert [t.split for t in (a, b, c)] == ["val", "test", "val"]
    assert [t.tissue for t in (a, b, c)] == ["", "liver", "colon"]
    assert (c.fold, c.spacing_um, dict(c.extra), a.fold, a.spacing_um) == (3, 0.5, {"stainer": "x"}, None, None)


@pytest.mark.parametrize(
    ("rows", "message", "line"),
    [
        ("tile\na\nb\nc\n", "does not exist", 4),
        ("tile\na\n", "does not list every tile", None),
        ("tile\na\na\nb\n", "stands twice", 3),
        ("name\na\n", "column 'tile'", 1),
        ("tile,tile\na,b\n", "column 'tile'", 1),
        ("tile,fold\na,x\nb,1\n", "whole number", 2),
        ("tile,spacing_um\na,0.5\nb,0\n", "positive", 3),
        ("tile,spacing_um\na,inf\nb,1\n", "positive", 2),
        ("tile,fold\na,1,2\nb,1\n", "more or fewer", 2),
        ("tile,fold\na,1\nb\n", "more or fewer", 3),
    ],
)
def test_faults_of_the_table_name_file_and_line(tmp_path, rows, message, line):
    folder_of(tmp_path, "a", "b")
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(ManifestError, match=message) as caught:
        open_collection(tmp_path, Collection(table="t.csv"))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "t.csv"), line)


def test_a_missing_table_and_a_name_without_patient(tmp_path):
    folder_of(tmp_path, "a")
    with pytest.raises(ManifestError, match="no such table"):
        open_collection(tmp_path, Collection(table="t.csv"))
    with pytest.raises(ManifestError, match="cannot be told"):
        open_collection(tmp_path, Collection(patient="^(TCGA-..)"))


# --- stacks -------------------------------------------------------------------------------------------


def test_a_miniature_of_pannuke(tmp_path):
    images, masks = pannuke_like(tmp_path, tiles=4)
    assert is_collection(images)
    found = open_collection(images, Collection(tissue="types.npy"), annotation=masks)
    assert names_of(found) == ["0000", "0001", "0002", "0003"]
    assert [tile.tissue for tile in found.tiles] == ["Breast", "Bile-duct"] * 2
    assert {tile.labels for tile in found.tiles} == {masks}
    assert [tile.index for tile in found.tiles] == [0, 1, 2, 3]
    assert len({tile.identity for tile in found.tiles}) == 4
    stored = np.load(images)
    for tile in found.tiles:
        got = pixels_of(found, tile)
        assert got.dtype == np.uint8
        assert np.array_equal(got, stored[tile.index])


def test_a_table_of_a_stack_may_leave_out_leading_zeros(tmp_path):
    np.save(tmp_path / "s.npy", np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "t.csv").write_text("tile,fold\n1,7\n0000,8\n")
    found = open_collection(tmp_path / "s.npy", Collection(table="t.csv"))
    assert [tile.fold for tile in found.tiles] == [8, 7]


def test_one_tile_of_a_stack_with_impossible_values_fails_alone(tmp_path):
    stack = np.stack([texture(8, 8, seed=k) for k in range(3)]).astype(np.float32)
    stack[1] /= 255
    stack[0, 3, 3, 0] = 256
    np.save(tmp_path / "s.npy", stack)
    found = open_collection(tmp_path / "s.npy", Collection())
    with pytest.raises(SlideError, match=r"tile 1 .* no 8-bit image"):
        found.open(found.tiles[1])
    with pytest.raises(SlideError, match=r"tile 0 .* no 8-bit image") as caught:
        found.open(found.tiles[0])
    assert caught.value.got == "256.0, 1 such values"
    assert np.array_equal(pixels_of(found, found.tiles[2]), texture(8, 8, seed=2))


def npy_claiming(shape, dtype="<f8"):
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.write_bytes(npy_claiming((1000, 100_000, 10_000, 3)) + b"\0" * 100),
        lambda p: p.write_bytes(npy_claiming((10**12, 1, 1, 3))),
        lambda p: p.write_bytes(npy_claiming((2, 4, 4, 3))[:40]),
        lambda p: np.save(p, np.array([[{"a": 1}]], dtype=object), allow_pickle=True),
        lambda p: np.save(p, np.zeros((3, 4, 4), np.uint8)),
        lambda p: np.save(p, np.zeros((3, 4, 4, 4), np.uint8)),
        lambda p: np.save(p, np.zeros((3, 4, 4, 3), np.complex64)),
        lambda p: np.save(p, np.zeros((0, 4, 4, 3), np.uint8)),
        lambda p: p.write_bytes(b"\x80\x04K\x01."),
    ],
)
def test_stacks_that_are_none(tmp_path, write):
    write(tmp_path / "s.npy")
    with pytest.raises(SlideError):
        open_collection(tmp_path / "s.npy", Collection())


def test_masks_and_tissues_must_fit_the_stack(tmp_path):
    images, masks = pannuke_like(tmp_path, tiles=3)
    np.save(masks, np.load(masks)[:2])
    with pytest.raises(SlideError, match="does not fit"):
        open_collection(images, Collection(), annotation=masks)
    types = images.parent / "types.npy"
    np.save(types, np.array(["a", "b"]))
    with pytest.raises(ManifestError, match="do not fit"):
        open_collection(images, Collection(tissue="types.npy"))
    np.save(types, np.array(["a", "b", "c"], dtype=object), allow_pickle=True)
    with pytest.raises(ManifestError, match="cannot be read"):
        open_collection(images, Collection(tissue="types.npy"))

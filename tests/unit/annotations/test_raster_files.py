"""Label rasters from files: the stored numbers of every format, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from collection_files import mat5, nuclei, palette_png, pannuke_like, write_png

from wsiprep.annotations.mat_file import read_mat
from wsiprep.annotations.raster_files import is_raster, open_raster, open_tile_labels
from wsiprep.annotations.raster_tiff import TiffPlane
from wsiprep.annotations.regions import SlideFrame
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Box, PixelGrid, Size, Spacing

SIZE = Size(60, 44)
GRID = PixelGrid(Box(0, 0, 60, 44), 60, 44)


def recipe_of(labels=("tumour", "stroma"), **raster):
    raster = raster or {"values": {0: "background", 1: "tumour", 2: "stroma", 3: "ignore"}}
    return recipe_from_mapping(
        {"name": "t", "labels": list(labels), "downsample": 1, "annotations": {"raster": raster}}
    )


def codes(values):
    return np.array([0, 1, 2, 255], np.uint8)[values]


def numbers(top=4, seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, top, (size.height_px, size.width_px)).astype(np.uint8)


def mask_of(path, recipe=None, size=SIZE, **more):
    return open_tile_labels(path, recipe or recipe_of(), size, **more).mask(GRID)


# --- pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("colour", [0, 3])
def test_png_values_are_the_stored_numbers_never_colours(tmp_path, depth, colour):
    values = numbers(min(4, 1 << depth))
    palette = np.random.default_rng(1).integers(0, 255, (1 << depth, 3))
    path = tmp_path / "m.png"
    path.write_bytes(palette_png(values, palette, depth=depth, colour=colour))
    # The file is what it says: an independent decoder sees it too.
    shown = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    expected = palette[values] if colour == 3 else np.repeat((values * (255 // (2**depth - 1)))[..., None], 3, axis=2)
    assert np.array_equal(shown, expected)
    assert np.array_equal(mask_of(path), codes(values))


def test_sixteen_bit_png_is_an_instance_map(tmp_path):
    ids = nuclei(60, seed=2)[:44].astype(np.uint16) * 1000
    write_png(tmp_path / "m.png", ids)
    found = open_tile_labels(tmp_path / "m.png", recipe_of(instances=True, label="stroma"), SIZE)
    assert np.array_equal(found.mask(GRID), np.where(ids > 0, 2, 0))
    instances = found.instances(GRID)
    assert np.array_equal(instances > 0, ids > 0)
    assert all(len(np.unique(ids[instances == k])) == 1 for k in range(1, instances.max() + 1))


def test_grey_saved_as_rgb_is_grey_and_colours_are_refused(tmp_path):
    values = numbers()
    write_png(tmp_path / "grey.png", np.repeat(values[..., None], 3, axis=2))
    assert np.array_equal(mask_of(tmp_path / "grey.png"), codes(values))
    opaque = np.dstack([values] * 3 + [np.full_like(values, 255)])
    write_png(tmp_path / "opaque.png", opaque)
    assert np.array_equal(mask_of(tmp_path / "opaque.png"), codes(values))
    opaque[5, 6, 1] = 9
    write_png(tmp_path / "colour.png", opaque)
    with pytest.raises(AnnotationError, match="in colours") as caught:
        mask_of(tmp_path / "colour.png")
    assert "x 6, y 5; 1 coloured" in caught.value.got
    opaque[..., 3] = 254
    write_png(tmp_path / "alpha.png", opaque)
    with pytest.raises(AnnotationError, match="transparent"):
        mask_of(tmp_path / "alpha.png")


def test_bmp(tmp_path):
    values = numbers()
    path = tmp_path / "m.bmp"
    cv2.imwrite(str(path), values)
    data = bytearray(path.read_bytes())
    assert np.array_equal(mask_of(path), codes(values))
    # Another palette shows other colours and means the same numbers.
    start = struct.unpack_from("<I", data, 10)[0]
    table = np.random.default_rng(5).integers(0, 255, start - 54, dtype=np.uint8)
    data[54:start] = table.tobytes()
    path.write_bytes(bytes(data))
    assert np.array_equal(mask_of(path), codes(values))
    cv2.imwrite(str(path), np.repeat(values[..., None], 3, axis=2))
    assert np.array_equal(mask_of(path), codes(values))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AnnotationError, match="damaged"):
        mask_of(path)


@pytest.mark.parametrize("cut", [20, 40, 200, -30, -12, -3])
def test_cut_pngs_are_damaged_and_never_half_a_mask(tmp_path, cut):
    data = write_png(tmp_path / "m.png", numbers(256)).read_bytes()
    (tmp_path / "m.png").write_bytes(data[:cut])
    with pytest.raises(AnnotationError, match="damaged"):
        mask_of(tmp_path / "m.png")


def test_a_flipped_bit_is_noticed(tmp_path):
    data = write_png(tmp_path / "m.png", numbers(256)).read_bytes()
    for place in range(8, len(data), max(1, len(data) // 60)):
        flipped = bytearray(data)
        flipped[place] ^= 4
        (tmp_path / "m.png").write_bytes(bytes(flipped))
        with pytest.raises(AnnotationError):
            mask_of(tmp_path / "m.png")


def png_of(width, height, body=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (10_000, 10_000), (0, 4)])
def test_bombs_are_refused_by_their_header(tmp_path, size):
    (tmp_path / "m.png").write_bytes(png_of(*size, zlib.compress(bytes(1000))))
    with pytest.raises(AnnotationError, match=r"too large|far more pixels"):
        mask_of(tmp_path / "m.png", size=Size(max(1, size[0]), size[1]))


def test_lossy_and_foreign_files_are_refused_with_a_reason(tmp_path):
    values = numbers()
    cv2.imwrite(str(tmp_path / "m.jpg"), values)
    np.savez(tmp_path / "m.npz", values)
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04K\x01.")
    (tmp_path / "m.txt").write_text("labels")
    (tmp_path / "v73.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform".ljust(512, b"\0") + b"\x89HDF")
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    for name, words in (
        ("m.jpg", "a JPEG"), ("m.npz", "zip"), ("m.pkl", "pickle"), ("m.txt", "unknown format"),
        ("v73.mat", "version 7.3"), ("m.h5", "HDF5"), ("nothing.png", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(AnnotationError, match=words) as caught:
            mask_of(tmp_path / name)
        assert caught.value.file == str(tmp_path / name)


def test_what_is_a_raster_by_its_first_bytes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers())
    tifffile.imwrite(tmp_path / "b.tif", numbers(), bigtiff=True, byteorder=">")
    np.save(tmp_path / "a.npy", numbers())
    cv2.imwrite(str(tmp_path / "a.bmp"), numbers())
    write_png(tmp_path / "a.png", numbers())
    (tmp_path / "a.mat").write_bytes(mat5("inst_map", np.ones((2, 2))))
    for path in tmp_path.iterdir():
        assert is_raster(path.read_bytes()[:256]), path.name
    for text in (b"<?xml version='1.0'?>", b'{"type": "FeatureCollection"}', b"BM is how this text begins", b""):
        assert not is_raster(text)


# --- TIFF ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compression", "predictor"),
    [(None, False), ("packbits", False), *((c, p) for c in ("zlib", "lzw", "zstd", "lzma") for p in (False, True))],
)
@pytest.mark.parametrize("tile", [None, (32, 16)])
def test_tiffs_are_read_tile_by_tile(tmp_path, monkeypatch, compression, tile, predictor):
    monkeypatch.setattr("wsiprep.annotations.raster_tiff._BLOCK_PX", 600)
    values = numbers()
    path = tmp_path / "m.tif"
    tifffile.imwrite(
        path, values, compression=compression, tile=tile, predictor=predictor, rowsperstrip=None if tile else 7
    )
    found = open_tile_labels(path, recipe_of(), SIZE)
    assert np.array_equal(found.mask(GRID), codes(values))
    part = PixelGrid(Box(13, 9, 40, 30), 40, 30)
    assert np.array_equal(found.mask(part), codes(values)[9:39, 13:53])
    assert found.areas_px["tumour"] == (values == 1).sum()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "predictor"),
    [(np.float32, False), *((d, p) for d in (np.uint16, np.int16, np.uint32, np.int32) for p in (False, True))],
)
def test_tiffs_of_wider_types(tmp_path, byteorder, dtype, predictor):
    ids = (nuclei(60, seed=3)[:44] * 9).astype(dtype)
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, ids, byteorder=byteorder, compression="zlib", predictor=predictor)
    found = open_tile_labels(path, recipe_of(instances=True, label="tumour"), SIZE)
    assert np.array_equal(found.mask(GRID), (ids > 0).astype(np.uint8))


def test_one_bit_and_palette_tiffs(tmp_path):
    values = numbers(2)
    tifffile.imwrite(tmp_path / "bits.tif", values.astype(bool), photometric="minisblack")
    assert np.array_equal(mask_of(tmp_path / "bits.tif"), codes(values))
    tifffile.imwrite(tmp_path / "white.tif", values.astype(bool), photometric="miniswhite")
    assert np.array_equal(mask_of(tmp_path / "white.tif"), codes(values))
    values = numbers(4)
    colours = np.random.default_rng(0).integers(0, 2**16, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", values, photometric="palette", colormap=colours)
    assert np.array_equal(mask_of(tmp_path / "palette.tif"), codes(values))
    tifffile.imwrite(tmp_path / "rgb.tif", np.repeat(values[..., None], 3, axis=2), photometric="rgb")
    assert np.array_equal(mask_of(tmp_path / "rgb.tif"), codes(values))


def test_a_mask_with_the_slide_s_pyramid_and_its_own_spacing(tmp_path):
    values = numbers(size=Size(128, 96))
    path = tmp_path / "m.tif"
    um = (10_000 / 1.0, 10_000 / 1.0)
    with tifffile.TiffWriter(path) as tif:
        tif.write(values, tile=(32, 32), resolution=um, resolutionunit="CENTIMETER", subifds=1)
        tif.write(np.full((48, 64), 99, np.uint8), tile=(32, 32), subfiletype=1)
    frame = SlideFrame(Size(511, 383), Spacing(0.25, 0.25))
    found = open_raster(path, recipe_of(), frame)
    assert found.scale == (4, 4)
    assert np.array_equal(found.mask(PixelGrid(Box(0, 0, 512, 384), 128, 96)), codes(values))
    with pytest.raises(AnnotationError, match="contradicts"):
        open_raster(path, recipe_of(), SlideFrame(Size(511, 383), Spacing(0.5, 0.5)))
    told = recipe_of(values={0: "background", 1: "tumour", 2: "stroma", 3: "ignore"}, spacing_um=2.0)
    assert open_raster(path, told, SlideFrame(Size(511, 383), Spacing(0.5, 0.5))).scale == (4, 4)


def test_tiles_that_were_never_written_are_zero(tmp_path):
    path = tmp_path / "m.tif"
    blocks = [None, np.full((32, 32), 1, np.uint8).tobytes(), np.full((32, 32), 2, np.uint8).tobytes(), None]
    tifffile.imwrite(path, iter(b or b"" for b in blocks), shape=(64, 64), dtype=np.uint8, tile=(32, 32))
    mask = open_tile_labels(path, recipe_of(), Size(64, 64)).mask(PixelGrid(Box(0, 0, 64, 64), 64, 64))
    assert mask[::32, ::32].tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize("cache_bytes", [0, 5000, 2**20])
def test_empty_tiles_are_recognised_by_their_bytes(tmp_path, cache_bytes):
    values = np.zeros((200, 160), np.uint8)
    values[64:128, :64] = 1
    values[90:140, 70:110] = 2
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, values, tile=(32, 32), compression="lzw")
    plane = TiffPlane(path, cache_bytes)
    for _ in range(2):
        for y in range(0, 200, 20):
            for x in range(0, 160, 20):
                assert np.array_equal(plane.read(Box(x, y, 20, 20)), values[y : y + 20, x : x + 20])
    # Strips: the last one is shorter, though its bytes may be those of another.
    tifffile.imwrite(path, np.zeros((50, 60), np.uint8), rowsperstrip=16, compression=None)
    assert (open_tile_labels(path, recipe_of(), Size(60, 50)).mask(PixelGrid(Box(0, 0, 60, 50), 60, 50)) == 0).all()


def test_tiffs_that_are_refused(tmp_path):
    values = numbers(size=Size(64, 64))
    refused = {
        "jpeg": ({"data": values, "compression": "jpeg"}, "JPEG, which changes"),
        "jp2k": ({"data": values, "compression": "jpeg2000"}, "JPEG 2000, which changes"),
        "stack": ({"data": np.stack([values] * 3), "photometric": "minisblack"}, "stack of pages"),
        "planar": ({"data": np.stack([values] * 3), "photometric": "rgb", "planarconfig": "separate"}, "one channel"),
        "colour": ({"data": np.random.default_rng(0).integers(0, 9, (64, 64, 3), np.uint8), "photometric": "rgb"},
                   "in colours"),
        "floats": ({"data": values / np.float32(7)}, "whole number"),
    }  # fmt: skip
    for name, (writing, message) in refused.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", **writing)
        with pytest.raises(AnnotationError, match=message):
            open_tile_labels(tmp_path / f"{name}.tif", recipe_of(), Size(64, 64)).mask(
                PixelGrid(Box(0, 0, 64, 64), 64, 64)
            )


def test_damaged_tiffs(tmp_path):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, numbers(256), tile=(16, 16), compression="zlib")
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[3]
    everything = recipe_of(values=dict.fromkeys(range(256), "tumour"))
    broken = bytearray(data)
    broken[offset : offset + 20] = bytes(20)
    path.write_bytes(bytes(broken))
    found = open_tile_labels(path, everything, SIZE)
    with pytest.raises(AnnotationError, match="number 3"):
        found.mask(GRID)
    assert (found.mask(PixelGrid(Box(0, 16, 60, 20), 60, 20)) == 1).all()
    path.write_bytes(data[:-500])
    with pytest.raises(AnnotationError):
        open_tile_labels(path, everything, SIZE)
    path.write_bytes(data[:100])
    with pytest.raises(AnnotationError):
        open_tile_labels(path, everything, SIZE)


def test_a_sparse_tiff_bomb_is_refused(tmp_path):
    path = tmp_path / "m.tif"
    tiles = (1_000_000 // 16384 + 1) ** 2
    tifffile.imwrite(path, iter([b""] * tiles), shape=(1_000_000,) * 2, dtype=np.uint8, tile=(16384,) * 2, bigtiff=True)
    with pytest.raises(AnnotationError, match="far more pixels"):
        open_tile_labels(path, recipe_of(), Size(1_000_000, 1_000_000))
    # As large as slides are, and empty: that is no bomb.
    tifffile.imwrite(path, iter([b""] * 64**2), shape=(65536,) * 2, dtype=np.uint8, tile=(1024,) * 2)
    found = open_tile_labels(path, recipe_of(), Size(65536, 65536))
    assert (found.mask(PixelGrid(Box(60_000, 60_000, 64, 64), 64, 64)) == 0).all()


@pytest.mark.parametrize("compression", ["zlib", "lzma", "zstd", "lzw", "packbits"])
def test_a_tile_that_holds_more_or_less_than_it_should(tmp_path, compression):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint8), tile=(64, 64), compression=compression)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        place = page.tags["TileWidth"].valueoffset
        packed = page.databytecounts[0]
    data = bytearray(path.read_bytes())
    assert packed < 64 * 32
    for side in (32, 128):
        struct.pack_into("<H", data, place, side)
        path.write_bytes(bytes(data))
        size = Size(64, 64)
        with pytest.raises(AnnotationError):
            open_tile_labels(path, recipe_of(), size).mask(PixelGrid(Box(0, 0, 64, 64), 64, 64))


# --- arrays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64, ">i2", bool])
def test_npy_of_any_order_and_type(tmp_path, order, dtype):
    values = numbers(2 if dtype is bool else 4)
    np.save(tmp_path / "m.npy", np.asarray(values.astype(dtype), order=order))
    assert np.array_equal(mask_of(tmp_path / "m.npy"), codes(values))


def test_npy_that_is_refused(tmp_path):
    path = tmp_path / "m.npy"
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    bomb = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    good = io.BytesIO()
    np.save(good, numbers())
    text = io.BytesIO()
    np.save(text, np.array([["a", "b"]]))
    for data in (bomb + bytes(64), pickled.getvalue(), good.getvalue()[:-1], good.getvalue()[:30], text.getvalue()):
        path.write_bytes(data)
        with pytest.raises(AnnotationError):
            mask_of(path)


def test_a_tile_s_labels_have_its_size(tmp_path):
    np.save(tmp_path / "m.npy", numbers())
    for size in (Size(30, 22), Size(61, 44), Size(44, 60)):
        with pytest.raises(AnnotationError):
            open_tile_labels(tmp_path / "m.npy", recipe_of(), size)


PANNUKE = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")


def pannuke_recipe(overlap):
    return recipe_of(PANNUKE, channels=[*PANNUKE, "background"], overlap=overlap)


@pytest.mark.parametrize("overlap", ["first", "last"])
def test_a_miniature_of_pannuke(tmp_path, overlap):
    _, masks = pannuke_like(tmp_path)
    stack = np.load(masks)
    whole = PixelGrid(Box(0, 0, 32, 32), 32, 32)
    for index, tile in enumerate(stack):
        found = open_tile_labels(masks, pannuke_recipe(overlap), Size(32, 32), index=index)
        expected = np.zeros((32, 32), np.uint8)
        order = range(6) if overlap == "last" else reversed(range(6))
        for channel in order:
            expected[tile[..., channel] > 0] = (channel + 1) % 6
        assert np.array_equal(found.mask(whole), expected)
        assert found.counts == ({"channel_overlap_px": 1} if index == 1 else {})
        instances = found.instances(whole)
        assert np.array_equal(instances > 0, expected > 0)
        for number in range(1, instances.max() + 1):
            assert len(np.unique(expected[instances == number])) == 1


def test_overlaps_in_pannuke_stop_the_tile_unless_declared(tmp_path):
    _, masks = pannuke_like(tmp_path)
    open_tile_labels(masks, pannuke_recipe("error"), Size(32, 32), index=0)
    with pytest.raises(AnnotationError, match="in tile 1"):
        open_tile_labels(masks, pannuke_recipe("error"), Size(32, 32), index=1)
    with pytest.raises(AnnotationError, match="no such tile"):
        open_tile_labels(masks, pannuke_recipe("first"), Size(32, 32), index=4)
    with pytest.raises(AnnotationError, match="stack"):
        open_tile_labels(masks, pannuke_recipe("first"), Size(32, 32))


def test_the_recipe_must_say_what_values_mean(tmp_path):
    np.save(tmp_path / "m.npy", numbers())
    with pytest.raises(AnnotationError, match="does not say what the values"):
        mask_of(tmp_path / "m.npy", recipe_of(overlap="first"))
    with pytest.raises(AnnotationError, match="which label the objects"):
        mask_of(tmp_path / "m.npy", recipe_of(instances=True))


# --- .mat ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f8", "<i4", "<u2", "|u1"])
@pytest.mark.parametrize("compressed", [False, True])
def test_mat_files(tmp_path, dtype, compressed):
    ids = nuclei(60, seed=7)[:44].astype(dtype)
    path = tmp_path / "image_01.mat"
    path.write_bytes(mat5("inst_map", ids, compressed=compressed))
    assert np.array_equal(read_mat(path, "inst_map"), ids)
    found = open_tile_labels(path, recipe_of(instances=True, label="tumour"), SIZE)
    assert np.array_equal(found.mask(GRID), (ids > 0).astype(np.uint8))
    scipy_io = pytest.importorskip("scipy.io")
    assert np.array_equal(scipy_io.loadmat(path)["inst_map"], ids)


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_files_of_scipy(tmp_path, compressed):
    scipy_io = pytest.importorskip("scipy.io")
    path = tmp_path / "m.mat"
    arrays = {
        "a_name_that_is_much_longer_than_most": np.arange(6.0).reshape(2, 3),
        "x": np.arange(12, dtype=np.int16).reshape(3, 4),
        "y": np.ones((1, 1), np.uint8),
        "inst_map": nuclei(33, seed=1).astype(np.int32),
        "solid": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    }
    others = {"cells": np.array([[np.arange(3), "a"]], dtype=object), "text": "words", "z": np.ones((2, 2)) * 1j}
    scipy_io.savemat(path, {"cells": others["cells"], **arrays, **others}, do_compression=compressed)
    for name, values in arrays.items():
        got = read_mat(path, name)
        assert np.array_equal(got, values)
        assert got.dtype == values.dtype
    for name in others:
        with pytest.raises(AnnotationError, match="no array of real numbers"):
            read_mat(path, name)
    with pytest.raises(AnnotationError, match="no such variable") as caught:
        read_mat(path, "instances")
    assert "inst_map" in caught.value.expected


def test_mat_files_cut_anywhere_are_damaged_or_refused(tmp_path):
    path = tmp_path / "m.mat"
    for compressed in (False, True):
        data = mat5("inst_map", nuclei(20, seed=1).astype(np.int32), compressed=compressed)
        for cut in range(0, len(data) - 1, max(1, len(data) // 80)):
            path.write_bytes(data[:cut])
            with pytest.raises(AnnotationError):
                read_mat(path, "inst_map")


def test_a_mat_bomb_is_refused(tmp_path):
    body = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 100_000, 100_000)
    body += struct.pack("<II", 1, 8) + b"inst_map" + struct.pack("<II", 2, 100)
    packed = zlib.compress(struct.pack("<II", 14, len(body) + 100) + body + bytes(10_000_000))
    path = tmp_path / "m.mat"
    path.write_bytes(
        b"MATLAB 5.0 MAT".ljust(124) + struct.pack("<H", 0x100) + b"IM" + struct.pack("<II", 15, len(packed)) + packed
    )
    with pytest.raises(AnnotationError, match="not believable"):
        read_mat(path, "inst_map")

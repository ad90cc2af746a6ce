"""Tissue masks from a picture and from GeoJSON."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import shapely
import tifffile

from wsiprep.errors import TissueError
from wsiprep.geometry import Size
from wsiprep.tissue import given, read_given

SQUARE = [[100, 100], [500, 100], [500, 300], [100, 300], [100, 100]]


def geojson(path, *geometries, collection=True):
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in geometries]
    document = {"type": "FeatureCollection", "features": features} if collection else features
    path.write_text(json.dumps(document))
    return path


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def picture(path, pixels):
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def test_png_at_the_plane_s_own_scale(tmp_path):
    pixels = np.random.default_rng(0).random((31, 41)) > 0.5
    place = picture(tmp_path / "m.png", pixels.astype(np.uint8) * 255)
    found = read_given(place, Size(41 * 16 - 7, 31 * 16 - 3), 16)
    assert np.array_equal(found.mask, pixels)
    assert (found.method, found.downsample) == ("given", 16)
    assert found.share == pytest.approx(pixels.mean())


@pytest.mark.parametrize("downsample", [16, 32, 64])
def test_png_at_another_scale_is_looked_up_at_centres(tmp_path, downsample):
    pixels = np.zeros((50, 100), np.uint8)
    pixels[10:30, 20:60] = 1
    found = read_given(picture(tmp_path / "m.png", pixels), Size(3200, 1600), downsample)
    expected = np.zeros(found.mask.shape, bool)
    centre = (np.arange(400) + 0.5) * downsample
    columns = (centre[: expected.shape[1]] >= 640) & (centre[: expected.shape[1]] < 1920)
    rows = (centre[: expected.shape[0]] >= 320) & (centre[: expected.shape[0]] < 960)
    expected[np.ix_(rows, columns)] = True
    assert np.array_equal(found.mask, expected)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_counts_and_alpha_does_not(tmp_path, channels):
    pixels = np.zeros((20, 20, channels), np.uint8)
    pixels[5:10, 5:10, 2] = 9
    if channels == 4:
        pixels[..., 3] = 255
    found = read_given(picture(tmp_path / "m.png", pixels), Size(320, 320), 16)
    assert np.count_nonzero(found.mask) == 25


def test_tiff_pyramids_are_read_at_the_level_that_fits(tmp_path):
    fine = np.zeros((256, 256), np.uint8)
    fine[:128] = 255
    with tifffile.TiffWriter(tmp_path / "m.tif") as tiff:
        tiff.write(fine, subifds=2)
        tiff.write(fine[::2, ::2], subfiletype=1)
        tiff.write(np.full((64, 64), 255, np.uint8), subfiletype=1)
    half = read_given(tmp_path / "m.tif", Size(4096, 4096), 32)  # 128 x 128: the middle level
    assert half.share == 0.5
    assert read_given(tmp_path / "m.tif", Size(4096, 4096), 64).share == 1.0  # the coarsest


def test_planes_finer_than_the_picture_use_its_finest_level(tmp_path):
    tifffile.imwrite(tmp_path / "m.tiff", np.eye(8, dtype=np.uint8))
    assert np.array_equal(
        read_given(tmp_path / "m.tiff", Size(128, 128), 8).mask, np.kron(np.eye(8), np.ones((2, 2))).astype(bool)
    )


def test_geojson_by_the_centre_rule(tmp_path):
    hole = [[200, 150], [300, 150], [300, 250], [200, 250], [200, 150]]
    place = geojson(
        tmp_path / "t.geojson",
        polygon(SQUARE, hole),
        polygon([[400, 200], [620, 200], [620, 380], [400, 380], [400, 200]]),
    )
    found = read_given(place, Size(700, 400), 4)
    area = shapely.union(shapely.Polygon(SQUARE, [hole]), shapely.box(400, 200, 620, 380))
    x, y = np.meshgrid((np.arange(175) + 0.5) * 4, (np.arange(100) + 0.5) * 4)
    expected = shapely.contains_xy(area, x, y)
    assert np.array_equal(found.mask[~_on_edge(area, x, y)], expected[~_on_edge(area, x, y)])


def _on_edge(area, x, y):
    return shapely.distance(area.boundary, shapely.points(x, y)) < 1e-9


def test_a_centre_on_an_edge_belongs_to_the_right_and_below():
    square = shapely.box(0.5, 0.5, 2.5, 2.5)
    filled = given.fill([square], Size(4, 4), 1)
    assert np.argwhere(filled).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_polygons_may_reach_over_the_border_and_cross_themselves(tmp_path):
    bow_tie = [[-50, -50], [150, 150], [150, -50], [-50, 150], [-50, -50]]
    found = read_given(geojson(tmp_path / "t.json", polygon(bow_tie)), Size(100, 100), 1)
    assert 0.4 < found.share < 0.6


@pytest.mark.parametrize("kind", ["feature", "geometry", "list", "multi"])
def test_other_forms_of_geojson(tmp_path, kind):
    place = tmp_path / "t.geojson"
    shape = polygon(SQUARE)
    documents = {
        "feature": {"type": "Feature", "geometry": shape, "properties": None},
        "geometry": shape,
        "list": [{"type": "Feature", "geometry": shape}, {"type": "Feature", "geometry": None}],
        "multi": {"type": "MultiPolygon", "coordinates": [[SQUARE]]},
    }
    place.write_text(json.dumps(documents[kind]))
    assert read_given(place, Size(1000, 1000), 10).share == pytest.approx(0.08)


def test_an_empty_collection_is_an_empty_slide(tmp_path):
    assert read_given(geojson(tmp_path / "t.geojson"), Size(100, 100), 10).empty


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.geojson", b"{"),
        ("t.geojson", b"{}"),
        ("t.geojson", b"3"),
        ("t.geojson", b"[]"),
        ("t.geojson", json.dumps({"type": "Point", "coordinates": [1, 2]}).encode()),
        ("t.geojson", json.dumps({"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}).encode()),
        ("t.geojson", json.dumps({"type": "Polygon"}).encode()),
        ("t.geojson", b'{"type": "Polygon", "coordinates": [[[0, 0], [NaN, 0], [9, 9], [0, 0]]]}'),
        ("t.geojson", json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [9, 9], [0, 0]]]}).encode()),
        ("t.geojson", b'{"type": "Polygon", "coordinates": [[[0, 0], [1e999, 0], [9, 9], [0, 0]]]}'),
        ("t.png", b""),
        ("t.png", b"not a picture"),
        ("t.tif", b"not a tiff"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TissueError) as caught:
        read_given(tmp_path / name, Size(100, 100), 10)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["t.png", "t.tif", "t.geojson"])
def test_absent_files_are_refused(tmp_path, name):
    with pytest.raises(TissueError):
        read_given(tmp_path / name, Size(100, 100), 10)


def test_a_picture_of_another_aspect_is_refused(tmp_path):
    place = picture(tmp_path / "m.png", np.ones((50, 100), np.uint8))
    with pytest.raises(TissueError, match="aspect"):
        read_given(place, Size(1000, 1000), 10)


def test_stacks_and_giants_are_refused(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 2, 16, 16), np.uint8), photometric="minisblack")
    with pytest.raises(TissueError):
        read_given(tmp_path / "stack.tif", Size(160, 160), 10)
    tifffile.imwrite(tmp_path / "giant.tif", np.zeros((64, 64), np.uint8))
    monkeypatch.setattr(given, "MAX_PX", 1000)
    with pytest.raises(TissueError, match="too large"):
        read_given(tmp_path / "giant.tif", Size(640, 640), 10)


def test_a_slide_without_pixels_is_refused(tmp_path):
    with pytest.raises(TissueError):
        read_given(tmp_path / "m.png", Size(0, 10), 10)


def test_damaged_lzw_tiles_are_refused_before_they_are_decoded(tmp_path):
    fine = (np.random.default_rng(1).random((256, 256)) > 0.5).astype(np.uint8)
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, fine, compression="lzw", tile=(64, 64))
    size = Size(256, 256)
    assert (read_given(path, size, 1).mask == (fine > 0)).all()
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[3], tif.pages[0].databytecounts[3]
    data = bytearray(path.read_bytes())
    for stream, said in {
        b"\x80\x7f\xff": "LZW code 511",
        b"\x80" + np.random.default_rng(2).bytes(count - 1): "",
    }.items():
        data[offset : offset + count] = stream.ljust(count, b"\0")
        path.write_bytes(bytes(data))
        with pytest.raises(TissueError, match="cannot be read") as caught:
            read_given(path, size, 1)
        assert said in str(caught.value)


def test_own_scale_keeps_the_picture_s_pixels_and_the_plane_comes_from_them(tmp_path):
    pixels = np.random.default_rng(1).random((50, 70)) > 0.5
    size = Size(70 * 8 - 3, 50 * 8 - 5)
    place = picture(tmp_path / "m.png", pixels.astype(np.uint8) * 255)
    found = read_given(place, size, 20, own_scale=True)
    assert found.downsample == 8
    assert np.array_equal(found.mask, pixels)
    assert np.array_equal(found.at(20, size), read_given(place, size, 20).mask)
    assert found.at(8, size) is found.mask


@pytest.mark.parametrize(
    ("size", "downsample", "limit"),
    [
        (Size(560, 400), 8, 1 << 24),
        (Size(560, 400), 4, 1 << 24),
        (Size(550, 400), 20, 1 << 24),
        (Size(560, 400), 20, 3499),
    ],
    ids=["same", "coarser", "no whole factor", "too large"],
)
def test_own_scale_is_only_for_finer_pictures_of_whole_pixels(tmp_path, monkeypatch, size, downsample, limit):
    monkeypatch.setattr(given, "MAX_OWN_PX", limit)
    place = picture(tmp_path / "m.png", np.eye(50, 70, dtype=np.uint8))
    found = read_given(place, size, downsample, own_scale=True)
    assert found.downsample == downsample
    assert np.array_equal(found.mask, read_given(place, size, downsample).mask)

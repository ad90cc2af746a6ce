"""Collections of ready-cut tiles, end to end: one row, one job, one shard; pixels and labels against the made files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from collection_files import bach_photos_like, cpm17_like, monuseg_like, nuclei, pannuke_like, write_png
from pipelinecases import differing, run, tree_bytes, write_rows
from slide_files import texture
from stagecases import Case, asap, box, case, off_slide, patches, polygon_mask, write_slide

from wsiprep.artifacts import read_json
from wsiprep.errors import AnnotationError, SlideError, SpacingError, SplitError
from wsiprep.store import Dataset
from wsiprep.store.tables import read_parquet

CHANNELS = ["neoplastic", "inflammatory", "connective", "dead", "epithelial", "background"]
PANNUKE: dict[str, Any] = {
    "labels": CHANNELS[:5],
    "annotations": {"instances": True, "raster": {"channels": CHANNELS, "overlap": "first"}},
    "collection": {"tissue": "types.npy"},
    "downsample": 1,
    "sampling": {"patch_size_px": 32},
}


def pannuke_rows(root: Path, folds: int = 3) -> list[dict[str, object]]:
    rows = []
    for fold in range(1, folds + 1):
        images, masks = pannuke_like(root, fold=fold)
        rows.append(
            {"slide_id": f"fold{fold}", "slide": images.relative_to(root), "annotation": masks.relative_to(root),
             "fold": fold - 1, "spacing_um": 0.25}
        )  # fmt: skip
    return rows


def pixels_of_parts(ids: npt.NDArray[Any]) -> set[frozenset[tuple[int, int]]]:
    """The objects of a map as sets of pixels."""
    return {frozenset(map(tuple, np.argwhere(ids == number).tolist())) for number in np.unique(ids[ids > 0])}


def connected(ids: npt.NDArray[Any]) -> set[frozenset[tuple[int, int]]]:
    """The 4-connected parts of equal ids, by flooding."""
    left = {(y, x) for y, x in np.argwhere(ids > 0).tolist()}
    parts = set()
    while left:
        start = left.pop()
        part, edge = {start}, [start]
        while edge:
            y, x = edge.pop()
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if near in left and ids[near] == ids[y, x]:
                    left.remove(near)
                    part.add(near)
                    edge.append(near)
        parts.add(frozenset(part))
    return parts


def by_tile(dataset: Dataset, slide_id: str) -> dict[str, list[tuple[Any, Any, dict[str, Any], int]]]:
    """tile -> its patches: image, mask, row and number."""
    found: dict[str, list[tuple[Any, Any, dict[str, Any], int]]] = {}
    for number, (pixels, mask, row) in enumerate(patches(dataset)):
        if row["slide_id"] == slide_id:
            found.setdefault(row["tile"], []).append((pixels, mask, row, number))
    return found


# --- PanNuke -------------------------------------------------------------------------------------------------


def test_stacks_with_folds_and_instances(tmp_path: Path) -> None:
    rows = pannuke_rows(tmp_path)
    made = case(tmp_path, rows, **PANNUKE, split={"kind": "folds", "folds": 3})
    dataset = made.build()
    assert len(dataset) == 12
    assert len(list((made.tree.root / "shards").iterdir())) == 3, "a row, a job, a shard"
    for fold, row in enumerate(rows):
        images = np.load(tmp_path / str(row["slide"]))
        masks = np.load(tmp_path / str(row["annotation"])).astype(int)
        tiles = by_tile(dataset, f"fold{fold + 1}")
        assert list(tiles) == ["0000", "0001", "0002", "0003"]
        for number, ((pixels, mask, place, i),) in enumerate(tiles.values()):
            np.testing.assert_array_equal(pixels, images[number].astype(np.uint8))
            expected = np.zeros((32, 32), int)
            ids = np.zeros((32, 32), int)
            for channel in reversed(range(6)):
                here = masks[number, ..., channel] > 0
                expected[here] = (channel + 1) % 6
                ids[here] = 0 if channel == 5 else masks[number, ..., channel][here] * 6 + channel
            np.testing.assert_array_equal(mask, expected)
            assert pixels_of_parts(dataset.read_instance(i)) == connected(ids)
            assert place["fold"] == fold
            assert (place["x_lv0"], place["y_lv0"], place["scale"], place["spacing_um"]) == (0, 0, 1.0, 0.25)
    record = made.record("fold1")
    assert record["tiles"]["tissues"] == {"Breast": 2, "Bile-duct": 2}
    assert record["annotation"]["counts"]["channel_overlap_px"] == 1
    run("verify", made.tree.root, "--deep")


def test_an_overlap_is_refused_where_no_channel_wins(tmp_path: Path) -> None:
    annotations = {"raster": {"channels": CHANNELS}}
    made = case(tmp_path, pannuke_rows(tmp_path, 1), **(PANNUKE | {"annotations": annotations}))
    with pytest.raises(AnnotationError, match="several channels") as caught:
        made.survey()
    assert "tile 1" in str(caught.value)


def test_another_stack_of_masks_is_refused_by_pack(tmp_path: Path) -> None:
    """One pixel moved within its cell: no share changes, but the mask does."""
    made = case(tmp_path, pannuke_rows(tmp_path, 1), **PANNUKE)
    before = made.survey()["fold1"]["annotation"]["digest"]
    made.plan()
    path = Path(made.rows[0].annotation or "")
    masks = np.load(path)
    masks[0] = masks[0, ::-1]
    np.save(path, masks)
    with pytest.raises(AnnotationError, match="not the one that was surveyed"):
        made.pack()
    candidates = made.tree.slide("fold1").candidates.read_bytes()
    assert made.survey()["fold1"]["annotation"]["digest"] != before
    assert made.tree.slide("fold1").candidates.read_bytes() == candidates
    slice_before = made.tree.plan_slice("fold1").read_bytes()
    made.plan()
    assert made.tree.plan_slice("fold1").read_bytes() != slice_before, "so that Snakemake packs it again"
    made.pack()
    made.seal()


# --- Kumar, MoNuSeg: outlines; CPM17: .mat ---------------------------------------------------------------------


def monuseg_xml(outlines: list[list[tuple[float, float]]]) -> str:
    regions = "".join(
        f'<Region Id="{k}" NegativeROA="0" Type="0"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)
        + "</Vertices></Region>"
        for k, corners in enumerate(outlines, start=1)
    )
    return (
        '<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="" ReadOnly="0" Type="4"><Attributes/>'
        f"<Regions>{regions}</Regions></Annotation></Annotations>"
    )


TCGA = ("TCGA-18-5592-01Z-00-DX1", "TCGA-38-6178-01Z-00-DX1", "TCGA-49-4488-01Z-00-DX1", "TCGA-18-5592-01Z-00-DX2")
KUMAR: dict[str, Any] = {
    "labels": ["nucleus"],
    "annotations": {"groups": {"": "nucleus"}, "instances": True},
    "collection": {
        "images": "Tissue Images/{tile}.tif", "labels": "Annotations/{tile}.xml", "patient": "^(TCGA-..-....)",
    },
    "spacing_um": 0.25,
    "sampling": {"patch_size_px": 16, "edge": "pad"},
    "keep": {"min_tissue": 0.0, "min_annotated": 0.0},
}  # fmt: skip


def kumar(folder: Path, **recipe: Any) -> tuple[Case, dict[str, list[list[tuple[float, float]]]]]:
    root = monuseg_like(folder / "kumar", TCGA)
    outlines = {}
    for k, name in enumerate(TCGA):
        outlines[name] = [box(3 + k, 4.5, 12.5 + k, 20), box(20, 10, 33, 19.25), [(5, 25), (38, 30), (20.5, 39)]]
        (root / "Annotations" / f"{name}.xml").write_text(monuseg_xml(outlines[name]))
    rows = [{"slide_id": "kumar", "slide": "kumar", "annotation": "kumar", "spacing_um": 0.25}]
    return case(folder, rows, **(KUMAR | recipe)), outlines


def test_outlines_of_tiles_cut_with_padding(tmp_path: Path) -> None:
    made, outlines = kumar(tmp_path)
    dataset = made.build()
    tiles = by_tile(dataset, "kumar")
    assert list(tiles) == sorted(TCGA)
    for name, parts in tiles.items():
        image = tifffile.imread(tmp_path / "kumar" / "Tissue Images" / f"{name}.tif")
        assert [(r["x_lv0"], r["y_lv0"]) for _, _, r, _ in parts] == [(x, y) for y in (0, 16, 32) for x in (0, 16, 32)]
        for pixels, mask, row, i in parts:
            off = off_slide(row, 16, 40, 40)
            whole = np.full((64, 64, 3), 255, np.uint8)
            whole[:40, :40] = image
            x, y = row["x_lv0"], row["y_lv0"]
            np.testing.assert_array_equal(pixels, whole[y : y + 16, x : x + 16])
            ids = np.zeros((16, 16), int)
            for number, corners in reversed(list(enumerate(outlines[name], start=1))):
                ids[polygon_mask(corners, row, 16) & ~off] = number
            np.testing.assert_array_equal(mask, np.where(off, 255, ids > 0))
            assert pixels_of_parts(dataset.read_instance(i)) == connected(ids)
            assert row["patient"] == name[:12]
    assert made.record("kumar")["tiles"]["other_files"]["first"] == [f"._{TCGA[0]}.tif"]


def test_an_edited_outline_of_a_tile_is_refused_by_pack(tmp_path: Path) -> None:
    made, outlines = kumar(tmp_path)
    made.survey()
    made.plan()
    name = TCGA[1]
    moved = [[(x, y + 0.25) for x, y in corners] for corners in outlines[name]]
    (tmp_path / "kumar" / "Annotations" / f"{name}.xml").write_text(monuseg_xml(moved))
    with pytest.raises(AnnotationError, match="not the ones that were surveyed") as caught:
        made.pack()
    assert name in str(caught.value)


def test_no_patient_of_a_collection_is_in_two_splits(tmp_path: Path) -> None:
    made, _ = kumar(tmp_path, split={"kind": "ratio", "ratio": {"train": 1, "val": 1, "test": 1}})
    dataset = made.build()
    places: dict[str, set[str]] = {}
    for row in dataset.index.to_pylist():
        places.setdefault(row["patient"], set()).add(row["split"])
    assert len(places) == 3
    assert all(len(splits) == 1 for splits in places.values())
    assert {next(iter(s)) for s in places.values()} == {"train", "val", "test"}
    run("verify", made.tree.root, "--deep")


def test_an_official_split_that_tears_a_patient_is_an_error(tmp_path: Path) -> None:
    split = {"DX1$": "train", "DX2$": "test"}
    collection = KUMAR["collection"] | {"split": split}
    made, _ = kumar(tmp_path, collection=collection, split={"kind": "official"})
    made.survey()
    with pytest.raises(SplitError, match="TCGA-18-5592"):
        made.plan()


def test_an_official_split_by_tile(tmp_path: Path) -> None:
    split = {"^TCGA-18": "train", "^TCGA-38": "val", "": "test"}
    collection = KUMAR["collection"] | {"split": split}
    made, _ = kumar(tmp_path, collection=collection, split={"kind": "official"})
    places = {(r["tile"], r["split"]) for r in made.build().index.to_pylist()}
    assert places == {(TCGA[0], "train"), (TCGA[3], "train"), (TCGA[1], "val"), (TCGA[2], "test")}


def test_instance_maps_of_matlab(tmp_path: Path) -> None:
    cpm17_like(tmp_path / "cpm17")
    rows = [{"slide_id": "cpm17", "slide": "cpm17", "annotation": "cpm17", "spacing_um": 0.25}]
    made = case(
        tmp_path, rows, labels=["nucleus"], downsample=1,
        annotations={"instances": True, "raster": {"instances": True, "label": "nucleus"}},
        collection={"images": "Images/{tile}.png", "labels": "Labels/{tile}.mat"},
        sampling={"patch_size_px": 25},
    )  # fmt: skip
    dataset = made.build()
    assert len(dataset) == 3 * 4
    for name, parts in by_tile(dataset, "cpm17").items():
        ids = nuclei(50, int(name[-2:]))
        for pixels, mask, row, i in parts:
            x, y = row["x_lv0"], row["y_lv0"]
            np.testing.assert_array_equal(pixels, texture(50, 50, seed=int(name[-2:]))[y : y + 25, x : x + 25])
            cut = ids[y : y + 25, x : x + 25]
            np.testing.assert_array_equal(mask, cut > 0)
            # An object cut by the cell, or covered in its middle, is as many objects as it has pieces.
            assert pixels_of_parts(dataset.read_instance(i)) == connected(cut)
            assert row["nucleus_fraction"] == pytest.approx((cut > 0).mean(), abs=1e-12)


# --- folders without labels, zoom, tables ------------------------------------------------------------------------


def test_photos_without_labels(tmp_path: Path) -> None:
    bach_photos_like(tmp_path / "bach")
    for number, path in enumerate(sorted((tmp_path / "bach").rglob("*.tif"))):  # no two alike
        tifffile.imwrite(path, texture(64, 48, seed=number), photometric="rgb")
    rows: list[dict[str, object]] = [
        {"slide_id": name.lower(), "slide": f"bach/Photos/{name}", "spacing_um": 0.42}
        for name in ("Normal", "Benign", "InSitu", "Invasive")
    ]
    made = case(
        tmp_path, rows, labels=["tumour"], downsample=1, collection={"images": "{tile}.tif"},
        sampling={"patch_size_px": 16}, split={"kind": "ratio", "ratio": {"train": 1, "test": 1}},
    )  # fmt: skip
    dataset = made.build()
    assert len(dataset) == 4 * 2 * 4 * 3
    assert all((mask == 255).all() for _, mask, _ in patches(dataset))
    # Whose tiles they are nobody says: a folder stays together.
    places = {(r["slide_id"], r["split"]) for r in dataset.index.to_pylist()}
    assert len(places) == 4
    run("verify", made.tree.root, "--deep")


def labelled_folder(root: Path, names: list[str], side: int, unlabelled: tuple[str, ...] = ()) -> None:
    for k, name in enumerate(names):
        write_png(root / "images" / f"{name}.png", texture(side, side, seed=20 + k))
        if name not in unlabelled:
            write_png(root / "labels" / f"{name}.png", (nuclei(side, 30 + k) > 0).astype(np.uint8))


FOLDER: dict[str, Any] = {
    "labels": ["nucleus"],
    "annotations": {"raster": {"values": {0: "background", 1: "nucleus"}}},
    "collection": {"images": "images/{tile}.png", "labels": "labels/{tile}.png"},
    "sampling": {"patch_size_px": 32},
}
FOLDER_ROW = {"slide_id": "c", "slide": "c", "annotation": "c", "spacing_um": 0.5}


def test_large_tiles_are_split_and_unlabelled_ones_counted(tmp_path: Path) -> None:
    """1000 px to 256 px with padding, as published; one tile without labels is left out, and said so."""
    labelled_folder(tmp_path / "c", ["a", "b", "c"], 1000, unlabelled=("b",))
    sampling = {"patch_size_px": 256, "edge": "pad"}
    made = case(tmp_path, [FOLDER_ROW], downsample=1, **(FOLDER | {"sampling": sampling}))
    dataset = made.build()
    tiles = by_tile(dataset, "c")
    assert {name: len(parts) for name, parts in tiles.items()} == {"a": 16, "c": 16}
    for name, parts in tiles.items():
        k = ["a", "b", "c"].index(name)
        image, label = texture(1000, 1000, seed=20 + k), nuclei(1000, 30 + k) > 0
        for pixels, mask, row, _ in parts:
            x, y = row["x_lv0"], row["y_lv0"]
            whole = image[y : y + 256, x : x + 256]
            np.testing.assert_array_equal(pixels[: whole.shape[0], : whole.shape[1]], whole)
            np.testing.assert_array_equal(mask[: whole.shape[0], : whole.shape[1]], label[y : y + 256, x : x + 256])
            assert (pixels[whole.shape[0] :] == 255).all()
            assert (mask[:, whole.shape[1] :] == 255).all()
    record = made.record("c")["tiles"]
    assert (record["count"], record["without_labels"]) == (3, {"count": 1, "first": ["b"]})
    (slide,) = made.plan()["plan"]["slides"]
    assert {k: v for k, v in slide["counts"].items() if v} == {"kept": 32, "not_annotated": 16}


def test_a_tile_smaller_than_a_patch_is_counted(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "c", ["a", "b"], 64)
    write_png(tmp_path / "c" / "images" / "c.png", texture(31, 64))
    write_png(tmp_path / "c" / "labels" / "c.png", np.zeros((64, 31), np.uint8))
    made = case(tmp_path, [FOLDER_ROW], downsample=1, **FOLDER)
    assert set(by_tile(made.build(), "c")) == {"a", "b"}
    assert made.record("c")["tiles"]["without_cells"] == {"count": 1, "first": ["c"]}
    assert ("warning", "c: 1 of the tiles are smaller than a patch: c") in made.reporter.said


def test_regions_of_interest_and_boxes_of_tiles_stay_with_their_tile(tmp_path: Path) -> None:
    """Cells centred on lesions are for slides: a ready-cut tile was cut around something already."""
    for k, name in enumerate(("a", "b")):
        write_png(tmp_path / "c" / "images" / f"{name}.png", texture(100, 100, seed=k))
        asap(
            tmp_path / "c" / "labels" / f"{name}.xml", [("roi", box(8 + k, 10, 60, 60)), ("Tumor", box(20, 20, 50, 50))]
        )
    recipe: dict[str, Any] = {
        "annotations": {"groups": {"roi": "roi", "Tumor": "tumour"}},
        "collection": {"images": "images/{tile}.png", "labels": "labels/{tile}.xml"},
        "keep": {"min_annotated": 0.0},
    }
    sampling = {"kind": "roi", "patch_size_px": 32, "edge": "pad", "anchor": "lesion"}
    rois = case(tmp_path, [FOLDER_ROW], out="roi", downsample=1, sampling=sampling, **recipe).build()
    boxes = case(
        tmp_path,
        [FOLDER_ROW],
        out="box",
        downsample=None,
        sampling={"kind": "box", "patch_size_px": 32, "aspect": "stretch"},
        **recipe,
    ).build()
    for dataset, corners in ((rois, [(x, y) for y in (10, 42) for x in (0, 32)]), (boxes, [(0, 10)])):
        for k, (name, parts) in enumerate(by_tile(dataset, "c").items()):
            image = texture(100, 100, seed=k)
            assert [(r["x_lv0"] - 8 - k, r["y_lv0"]) for _, _, r, _ in parts] == corners
            for pixels, mask, row, _ in parts:
                assert row["tile"] == name
                if row["scale"] == 1.0:
                    x, y = row["x_lv0"], row["y_lv0"]
                    np.testing.assert_array_equal(pixels, image[y : y + 32, x : x + 32])
                inside = polygon_mask(box(8 + k, 10, 60, 60), row, 32)
                label = polygon_mask(box(20, 20, 50, 50), row, 32)
                np.testing.assert_array_equal(mask, np.where(inside, label, 255))


def test_a_declared_zoom_takes_labels_from_the_nearest_pixel(tmp_path: Path) -> None:
    """20x (0.5 um/px) shown at 40x (0.25): each label pixel becomes 2 x 2, pixels between are interpolated."""
    labelled_folder(tmp_path / "c", ["a"], 48)
    with pytest.raises(SpacingError, match="coarser"):
        case(tmp_path, [FOLDER_ROW], spacing_um=0.25, resample="area", **FOLDER).survey()
    made = case(tmp_path, [FOLDER_ROW], spacing_um=0.25, resample="zoom", **FOLDER)
    dataset = made.build()
    image, label = texture(48, 48, seed=20).astype(int), nuclei(48, 30) > 0
    (parts,) = by_tile(dataset, "c").values()
    assert len(parts) == 9
    for pixels, mask, row, _ in parts:
        assert (row["width_lv0"], row["scale"], row["spacing_um"]) == (16, 0.5, 0.25)
        x, y = row["x_lv0"], row["y_lv0"]
        np.testing.assert_array_equal(mask, np.kron(label[y : y + 16, x : x + 16], np.ones((2, 2))))
        # 3/4 of the pixel that holds the centre and 1/4 of its neighbour, along both axes; the border repeated.
        wide = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")[y : y + 18, x : x + 18]
        for j, i in ((0, 0), (31, 31), (7, 20), (12, 1)):
            up, left = (-1 if j % 2 == 0 else 1), (-1 if i % 2 == 0 else 1)
            v, u = j // 2 + 1, i // 2 + 1
            total = 9 * wide[v, u] + 3 * wide[v + up, u] + 3 * wide[v, u + left] + wide[v + up, u + left]
            np.testing.assert_array_equal(pixels[j, i], (2 * total + 16) // 32)


def test_a_table_gives_patient_tissue_split_and_spacing(tmp_path: Path) -> None:
    """Tiles of two spacings in one folder: each at its own scale, and so recorded."""
    names = ["a", "b", "c", "d"]
    labelled_folder(tmp_path / "c", names, 64)
    with (tmp_path / "c" / "tiles.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["tile", "patient", "tissue", "split", "spacing_um"])
        writer.writerows(
            [["a", "p1", "colon", "train", 0.5], ["b", "p1", "colon", "train", 0.25],
             ["c", "p2", "breast", "val", 0.25], ["d", "p3", "breast", "test", 0.5]]
        )  # fmt: skip
    row = {k: v for k, v in FOLDER_ROW.items() if k != "spacing_um"}
    collection = FOLDER["collection"] | {"table": "tiles.csv"}
    made = case(tmp_path, [row], spacing_um=0.5, **(FOLDER | {"collection": collection}), split={"kind": "official"})
    dataset = made.build()
    rows = dataset.index.to_pylist()
    seen = {(r["tile"], r["patient"], r["split"], r["scale"], r["spacing_um"]) for r in rows}
    assert seen == {
        ("a", "p1", "train", 1.0, 0.5), ("b", "p1", "train", 2.0, 0.5), ("c", "p2", "val", 2.0, 0.5),
        ("d", "p3", "test", 1.0, 0.5),
    }  # fmt: skip
    assert made.record("c")["tiles"]["tissues"] == {"breast": 2, "colon": 2}
    assert made.record("c")["spacing_um"] | {"used": None} == made.record("c")["spacing_um"]
    table = read_parquet(made.tree.slide("c").tiles).to_pylist()
    assert [t["spacing_um"] for t in table] == [0.5, 0.25, 0.25, 0.5]


# --- damage, sameness ----------------------------------------------------------------------------------------------


def test_a_damaged_tile_costs_itself_alone(tmp_path: Path) -> None:
    names = [f"t{k:02d}" for k in range(24)]
    labelled_folder(tmp_path / "c", names, 32)
    folder = tmp_path / "c" / "images"
    whole = (folder / "t03.png").read_bytes()
    middle = len(whole) // 2
    (folder / "t03.png").write_bytes(whole[:middle] + b"\0" * 64 + whole[middle + 64 :])  # the header is whole
    (folder / "t07.png").write_bytes(b"no picture at all")
    made = case(tmp_path, [FOLDER_ROW], downsample=1, **FOLDER, stain={"method": "macenko", "sample_cells": 256})
    dataset = made.build()
    assert [t["tile"] for t in made.record("c")["tiles"]["unreadable"]] == ["t07"]
    damaged = made.receipt("c")["provenance"]["damaged"]
    assert [(d["tile"], d["x_lv0"], d["y_lv0"]) for d in damaged] == [("t03", 0, 0)]
    assert [r["tile"] for r in dataset.index.to_pylist()] == [n for n in names if n not in ("t03", "t07")]
    assert made.receipt("c")["n_patches"] == 22
    run("verify", made.tree.root, "--deep")


def test_too_many_damaged_tiles_fail_the_collection(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "c", ["a", "b", "c"], 32)
    (tmp_path / "c" / "images" / "b.png").write_bytes(b"no picture at all")
    with pytest.raises(SlideError, match="too many tiles"):
        case(tmp_path, [FOLDER_ROW], downsample=1, **FOLDER).survey()


def test_two_runs_and_any_number_of_threads_write_equal_bytes(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "c", [f"t{k}" for k in range(9)], 96, unlabelled=("t4",))
    trees = []
    for name, threads in (("one", 1), ("two", 1), ("four", 4)):
        made = case(tmp_path, [FOLDER_ROW], out=name, downsample=1, **FOLDER)
        made.build(threads)
        trees.append(tree_bytes(made.tree.root))
    assert differing(trees[0], trees[1]) == []
    assert differing(trees[0], trees[2]) == []
    assert not [name for name, data in trees[0].items() if str(tmp_path).encode() in data]


def test_the_same_tile_twice_is_an_error(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "c", ["a", "b"], 32)
    (tmp_path / "c" / "images" / "b.png").write_bytes((tmp_path / "c" / "images" / "a.png").read_bytes())
    made = case(tmp_path, [FOLDER_ROW], downsample=1, **FOLDER)
    made.survey()
    with pytest.raises(SplitError, match="duplicates"):
        made.plan()


def test_colours_of_tiles_are_not_converted_silently(tmp_path: Path) -> None:
    labelled_folder(tmp_path / "c", ["a"], 32)
    with pytest.raises(SlideError, match="cannot be converted"):
        case(tmp_path, [FOLDER_ROW], downsample=1, icc="srgb", **FOLDER).survey()


def test_many_tiff_tiles_leave_no_file_open(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    for k in range(40):
        tifffile.imwrite(folder / f"{k:02d}.tif", texture(32, 32, seed=k), photometric="rgb", tile=(16, 16))
    made = case(
        tmp_path, [{"slide_id": "c", "slide": "c", "spacing_um": 0.5}], downsample=1,
        collection={"images": "{tile}.tif"}, sampling={"patch_size_px": 32}, labels=["tumour"],
    )  # fmt: skip
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    dataset = made.build(threads=2)
    assert len(dataset) == 40
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_before + 2


def test_a_source_of_slides_and_one_of_tiles_in_one_recipe(tmp_path: Path) -> None:
    """HI-Net: slides at 4 x and photos at 1 x, each with a manifest of its own."""
    write_slide(tmp_path / "w" / "s.tif", texture(512, 512), 0.25)
    asap(tmp_path / "w" / "s.xml", [("Tumor", box(0, 0, 300, 300))])
    write_rows(tmp_path / "w.csv", [{"slide_id": "s", "slide": "w/s.tif", "annotation": "w/s.xml"}])
    labelled_folder(tmp_path / "c", ["a", "b"], 64)
    write_rows(tmp_path / "c.csv", [FOLDER_ROW])
    made = case(
        tmp_path, [], labels=["tumour"], downsample=4, sampling={"patch_size_px": 64},
        sources={
            "wsi": {"manifest": "w.csv"},
            "photos": {
                "manifest": "c.csv", "downsample": 1, "collection": FOLDER["collection"],
                "raster": {"values": {0: "background", 1: "tumour"}},
            },
        },
    )  # fmt: skip
    rows = made.build().index.to_pylist()
    assert {(r["slide_id"], r["source"], r["tile"], r["scale"]) for r in rows} == {
        ("s", "wsi", None, 4.0), ("c", "photos", "a", 1.0), ("c", "photos", "b", 1.0),
    }  # fmt: skip
    assert len(rows) == 4 + 2
    assert read_json(made.tree.dataset_record)["counts"]["patches"] == 6

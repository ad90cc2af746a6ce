"""Sets of tiles and boxes, from a copy on disk to the sealed dataset: each on a miniature, whole and with faults."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import dataset_layouts as layouts
import numpy as np
import pyarrow.parquet as pq
import pytest
import tile_layouts as tiles
import zarr
from collection_files import nuclei
from pipelinecases import build

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.cli import main
from wsiprep.config import load_recipe
from wsiprep.manifest import read_manifest

WHOLE: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "pannuke": ("pannuke", tiles.pannuke_whole, "warwick"),
    "pannuke-nuclei": ("pannuke_nuclei", tiles.pannuke_whole, "warwick"),
    "kumar-hovernet": ("kumar", tiles.kumar, "hovernet"),
    "kumar-original": ("kumar", lambda root: tiles.kumar(root, "original"), "original"),
    "monuseg": ("monuseg", tiles.monuseg, "zips"),
    "cpm17": ("cpm17", tiles.cpm17, "hovernet"),
    "til": ("til_lymphocytes", tiles.til_lymphocytes, "own"),
    "sclc": ("sclc", tiles.sclc, "ndpi"),
    "lightweight": ("hinet_lightweight", tiles.hinet_lightweight_whole, "own"),
}
WITHOUT_LAYOUT = {"camelyon_series", "hinet"}
"""Datasets of parts."""

NO_DATASET = {"atlas3", "demo"}
"""Recipes with a manifest of their own."""


def check(name: str, folder: Path, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    """Exit code and record of ``dataset check --json``."""
    code = main(["dataset", "check", name, str(folder), "--json", "--log-format", "none", *map(str, words)])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, json.loads(printed.out)


def found(record: Mapping[str, Any], kind: str, severity: str = "error") -> list[str]:
    return [f["path"] for f in record["findings"] if (f["kind"], f["severity"]) == (kind, severity)]


@pytest.mark.parametrize("case", WHOLE)
def test_a_whole_copy_is_whole(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, make, layout = WHOLE[case]
    code, record = check(name, make(tmp_path / "data"), capsys, "--out", tmp_path / "out")
    assert code == 0, record["findings"]
    assert record["layout"] == layout
    recipe = load_recipe(tmp_path / "out" / "recipe.yaml")
    rows = read_manifest(tmp_path / "out" / "manifest.csv", recipe.data_root)
    assert all(Path(row.slide).exists() and Path(str(row.annotation)).exists() for row in rows)
    assert {row.annotation_state for row in rows} == {"exhaustive"}


def test_names_that_stand_for_other_pixels_are_named_with_their_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiles.kumar(tmp_path / "kumar")
    _, record = check("kumar", root, capsys)
    named = found(record, "tile-note", "warning")
    assert {re.sub(r".*/TCGA-(..-....)-.*", r"\1", path) for path in named} == tiles.AMBIGUOUS
    digests = hashlib.sha256((root / named[0]).read_bytes()).hexdigest()
    message = next(f["message"] for f in record["findings"] if f["path"] == named[0])
    assert "other pixels in other copies" in message
    assert digests in message
    code, again = check("monuseg", tiles.monuseg(tmp_path / "monuseg"), capsys)
    assert code == 0
    assert len(found(again, "tile-note", "warning")) == len(tiles.AMBIGUOUS)


FOLD = "Fold 2/images/fold2/images.npy"
TRAIN = "MoNuSeg 2018 Training Data"
KUMAR_TEST = "kumar/test_same"


@pytest.mark.parametrize(
    ("name", "plant", "kind", "path"),
    [
        ("pannuke", "no-masks", "missing-annotation", FOLD),
        ("pannuke", "no-types", "missing-table", FOLD),
        ("pannuke", "fewer-masks", "missing-labels", FOLD),
        ("pannuke", "cut", "bad-stack", FOLD),
        ("pannuke", "lower-case", "no-layout", ""),
        ("kumar", "no-label", "missing-labels", f"{KUMAR_TEST}/Images/TCGA-21-5786-01Z-00-DX1.tif"),
        ("kumar", "label-alone", "orphan-annotation", f"{KUMAR_TEST}/Labels/TCGA-21-9999-01Z-00-DX1.mat"),
        ("monuseg", "no-folder", "missing-annotation", f"{TRAIN}/Tissue Images"),
        ("monuseg", "part", "partial", "MoNuSegTestData/TCGA-2Z-A9J0-01A-01-TS1.tif.part"),
        ("cpm17", "moved", "count", ""),
        ("til_lymphocytes", "no-label", "missing-labels", "images/im_7.tif"),
        ("sclc", "no-label", "missing-annotation", "P002/slide_2.ndpi"),
        ("sclc", "two-labels", "ambiguous-annotation", "P002/slide_2.ndpi"),
        ("hinet_lightweight", "no-label", "missing-labels", "val/images/1.png"),
    ],
)
def test_planted_faults(
    name: str, plant: str, kind: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    makers: dict[str, Callable[[Path], Path]] = {
        **{n: make for n, make, _ in WHOLE.values()},
        "kumar": tiles.kumar,
        "hinet_lightweight": tiles.hinet_lightweight,
        "til_lymphocytes": lambda root: tiles.til_lymphocytes(root, 10),
        "sclc": lambda root: tiles.sclc(root, 3),
    }
    root = makers[name](tmp_path / "data")
    label = {
        "kumar": f"{KUMAR_TEST}/Labels/TCGA-21-5786-01Z-00-DX1.mat", "til_lymphocytes": "annotations/im_7.json",
        "sclc": "P002/slide_2.xml", "hinet_lightweight": "val/masks/1.png",
    }.get(name)  # fmt: skip
    masks = root / "Fold 2/masks/fold2/masks.npy"
    actions: dict[str, Callable[[], object]] = {
        "no-masks": masks.unlink,
        "no-types": (root / "Fold 2/images/fold2/types.npy").unlink,
        "fewer-masks": lambda: np.save(masks, np.zeros((7, 2, 2, 6))),
        "cut": lambda: (root / FOLD).write_bytes((root / FOLD).read_bytes()[:-100]),
        "lower-case": lambda: [(root / f"Fold {n}").rename(root / f"fold_{n}") for n in (1, 2, 3)],
        "no-label": (root / str(label)).unlink,
        "label-alone": lambda: layouts.put(root, path, b"MATLAB 5.0"),
        "no-folder": lambda: shutil.rmtree(root / TRAIN / "Annotations"),
        "part": lambda: (root / path.removesuffix(".part")).rename(root / path),
        "moved": lambda: (root / "cpm17/train/Images/image_03.png").rename(root / "cpm17/image_03.png"),
        "two-labels": lambda: layouts.put(root, "P002/slide_2.ndpi.ndpa", b"<annotations/>"),
    }
    actions[plant]()
    code, record = check(name, root, capsys, "--out", tmp_path / "out")
    assert code == 2
    assert path in found(record, kind), record["findings"]


# --- from the copy to the sealed dataset ----------------------------------------------------------------


def sealed(
    name: str, root: Path, out: Path, *changes: str, through: str = "seal", whole: bool = False
) -> tuple[DatasetTree, list[object]]:
    """Check a copy, and build patches with the recipe that the check wrote; ``changes`` are for ``--set``."""
    code = main(["dataset", "check", name, str(root), "--out", str(out), "--log-format", "none"])
    assert code == (0 if whole else 2)  # miniatures have fewer tiles than was published
    options: list[object] = ["-r", out / "recipe.yaml", "--log-format", "none"]
    for change in changes:
        options += ["--set", change]
    tree = DatasetTree(out / "dataset")
    build(tree, options, [row.slide_id for row in read_manifest(out / "manifest.csv", root)], through=through)
    return tree, options


def arrays(tree: DatasetTree, slide_id: str) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray | None]:
    """Rows of the index of one shard in order, its masks, and its instances where it has any."""
    rows = [r for r in pq.read_table(tree.index).to_pylist() if r["slide_id"] == slide_id]
    group = zarr.open_group(tree.root / rows[0]["shard"], mode="r")
    order = [r["row"] for r in rows]
    ids = group["instance"][:][order] if "instance" in group else None
    return rows, group["mask"][:][order], ids


def reasons(tree: DatasetTree) -> Counter[str]:
    """What became of the cells, over all slides."""
    return Counter(pq.read_table(tree.plan, columns=["decision"])["decision"].to_pylist())


def last_writer(masks: np.ndarray, classes: Iterable[int]) -> np.ndarray:
    """The map of classes, one channel painted after the other."""
    result = np.zeros(masks.shape[:2], np.uint8)
    for channel, value in enumerate(classes):
        result[masks[..., channel] > 0] = value
    return result


@pytest.mark.parametrize(("name", "classes"), [("pannuke", (1, 2, 3, 4, 5)), ("pannuke_nuclei", (1, 1, 1, 1, 1))])
def test_pannuke_becomes_patches(name: str, classes: tuple[int, ...], tmp_path: Path) -> None:
    root = tiles.pannuke(tmp_path / "data", side=256)
    tree, _ = sealed(name, root, tmp_path / "out")
    splits = {}
    for fold in (1, 2, 3):
        rows, masks, ids = arrays(tree, f"fold{fold}")
        source = np.load(root / f"Fold {fold}/masks/fold{fold}/masks.npy")
        assert [row["tile"] for row in rows] == ["0000", "0001"]
        for k, mask in enumerate(masks):
            assert (mask == last_writer(source[k], classes)).all()
        assert masks[1, 3, 5] == classes[4]  # set in all six channels: the last class wins, never the background
        assert ids is not None
        assert ((ids > 0) == (masks > 0)).all()
        splits[fold] = {row["split"] for row in rows}
        assert {row["spacing_um"] for row in rows} == {0.25}
    assert splits == {1: {"train"}, 2: {"val"}, 3: {"test"}}
    # The image without a nucleus of each fold is left out, counted, and so are the pixels of several channels.
    assert reasons(tree) == {"kept": 6, "tumour_free_not_sampled": 3}
    assert read_json(tree.plan_record)["plan"]["counts"]["tumour_free_not_sampled"] == 3
    assert read_json(tree.slide("fold1").record)["annotation"]["counts"]["channel_overlap_px"] == 1
    tissues = pq.read_table(tree.tiles_table, columns=["tissue"])["tissue"].to_pylist()
    assert set(tissues) == set(tiles.PANNUKE_TISSUES)


def test_pannuke_rotations_in_one_dataset(tmp_path: Path) -> None:
    """Rotation r tests on the r-th fold from the end; with 0 it is the fixed split."""
    from wsiprep.patches import roles

    root = tiles.pannuke(tmp_path / "data", side=16)
    changes = ("sampling.patch_size_px=16", "split.kind=folds", "split.folds=3")
    tree, _ = sealed("pannuke", root, tmp_path / "out", *changes, through="plan")
    fold = {row["slide_id"]: row["fold"] for row in pq.read_table(tree.split).to_pylist()}
    rotations = [{slide: roles(r, 3)[number] for slide, number in fold.items()} for r in range(3)]
    assert rotations == [
        {"fold1": "train", "fold2": "val", "fold3": "test"},
        {"fold3": "train", "fold1": "val", "fold2": "test"},
        {"fold2": "train", "fold3": "val", "fold1": "test"},
    ]


def test_zoom_has_to_be_declared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tiles.pannuke(tmp_path / "data", tiles=2, side=16)
    finer = ("sampling.patch_size_px=32", "spacing_um=0.125")
    tree, _ = sealed("pannuke_nuclei", root, tmp_path / "zoom", *finer, "resample=zoom")
    rows, masks, _ = arrays(tree, "fold1")
    source = np.load(root / "Fold 1/masks/fold1/masks.npy")[0]
    nearest = last_writer(source, (1, 1, 1, 1, 1)).repeat(2, axis=0).repeat(2, axis=1)
    assert (masks[0] == nearest).all()
    assert rows[0]["spacing_um"] == 0.125
    assert main(["dataset", "check", "pannuke_nuclei", str(root), "--out", str(tmp_path / "none")]) == 2
    words = ["survey", "fold1", "-r", str(tmp_path / "none/recipe.yaml"), "-o", str(tmp_path / "none/dataset")]
    capsys.readouterr()
    assert main([*words, "--strict", *(w for change in finer for w in ("--set", change))]) == 65
    assert "zoom" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "make", "slide_id", "n_test"),
    [
        ("kumar", tiles.kumar, "kumar_train", 14),
        ("kumar", lambda root: tiles.kumar(root, "original"), "kumar", 14),
        ("monuseg", tiles.monuseg, "monuseg_train", 14),
        ("cpm17", tiles.cpm17, "cpm17_train", 32),
    ],
)
def test_nuclei_become_patches(
    name: str, make: Callable[[Path], Path], slide_id: str, n_test: int, tmp_path: Path
) -> None:
    """Tiles of 40 px in 3 x 3 patches of 16, the last ones padded: put together they are the labels of the tile."""
    tree, _ = sealed(name, make(tmp_path / "data"), tmp_path / "out", "sampling.patch_size_px=16", whole=True)
    assert main(["dataset", "compare", str(tree.root)]) == 64  # no paper says how many patches it had
    rows, masks, ids = arrays(tree, slide_id)
    assert ids is not None
    tile = rows[0]["tile"]
    whole = np.zeros((48, 48), np.uint8)
    objects = np.zeros((48, 48), np.int32)
    for row, mask, own in zip(rows, masks, ids, strict=True):
        if row["tile"] == tile:
            whole[row["y_lv0"] : row["y_lv0"] + 16, row["x_lv0"] : row["x_lv0"] + 16] = mask
            objects[row["y_lv0"] : row["y_lv0"] + 16, row["x_lv0"] : row["x_lv0"] + 16] = own
    if name == "cpm17" or slide_id == "kumar_train":
        expected = nuclei(40, {"kumar": 1, "cpm17": 1}[name], count=3) > 0
    else:
        expected = np.zeros((40, 40), bool)
        for x, y, side in tiles.NUCLEI_SQUARES:
            expected[y : y + side, x : x + side] = True
        # Where the first and the second overlap, the first in the file is on top.
        assert objects[8, 9] == objects[3, 3] != objects[12, 12]
    assert ((whole[:40, :40] == 1) == expected).all()
    padded = np.ones((48, 48), bool)
    padded[:40, :40] = False
    assert set(np.unique(whole[padded]).tolist()) <= {0, 255}  # 0: no patch of this place is kept
    assert (objects[padded] == 0).all()
    index = pq.read_table(tree.index).to_pylist()
    placed: dict[str, set[str]] = {}
    for row in index:
        placed.setdefault(f"{row['slide_id']}/{row['tile']}", set()).add(row["split"])
    assert all(len(where) == 1 for where in placed.values())
    counts = Counter(next(iter(where)) for where in placed.values())
    # An image of CPM-17 without a nucleus gives no patch in either folder.
    assert counts["test"] == n_test - (name == "cpm17")
    assert min(counts["train"], counts["val"]) > 0
    if name != "cpm17":
        patients: dict[str, set[str]] = {}
        for row in index:
            patients.setdefault(row["patient"], set()).add(row["split"])
        assert all(len(where) == 1 for where in patients.values())
        assert all(re.fullmatch(r"TCGA-..-....", patient) for patient in patients)
    assert reasons(tree)["tumour_free_not_sampled"] > 0


def test_an_image_of_1000_px_is_sixteen_patches_of_256(tmp_path: Path) -> None:
    root = tmp_path / "data"
    name = tiles.kumar_names("test_same")[0]
    layouts.put(root, f"{KUMAR_TEST}/Images/{name}.tif", tiles.picture(1000, 1))
    ids = nuclei(1000, 1, count=3).astype(np.uint16)
    layouts.put(root, f"{KUMAR_TEST}/Labels/{name}.mat", tiles.mat5("inst_map", ids))
    tree, _ = sealed("kumar", root, tmp_path / "out", through="plan")
    cells = pq.read_table(tree.plan).to_pylist()
    assert {(c["x_lv0"], c["y_lv0"]) for c in cells} == {
        (x, y) for x in range(0, 1000, 256) for y in range(0, 1000, 256)
    }
    for cell in cells:
        x, y = cell["x_lv0"], cell["y_lv0"]
        expected = "kept" if ids[y : y + 256, x : x + 256].any() else "tumour_free_not_sampled"
        assert cell["decision"] == expected


def test_lymphocytes_are_padded_and_dealt_into_ten_folds(tmp_path: Path) -> None:
    tree, _ = sealed("til_lymphocytes", tiles.til_lymphocytes(tmp_path / "data"), tmp_path / "out", whole=True)
    rows, masks, _ = arrays(tree, "lymphocytes")
    assert masks.shape == (100, 112, 112)
    assert (masks[:, 100:] == 255).all()
    assert (masks[:, :, 100:] == 255).all()
    assert (masks[:, :100, :100] <= 1).all()
    assert (masks[:, 12:29, 16:29] == 1).all()
    assert Counter(row["fold"] for row in rows) == dict.fromkeys(range(10), 10)


def test_boxes_of_ndpi_slides_become_patches(tmp_path: Path) -> None:
    """Each box is stretched to the patch: its left half is tumour, and the rest of it is background."""
    root = tiles.sclc(tmp_path / "data", patients=3, pictures=3)
    tree, _ = sealed("sclc", root, tmp_path / "out", "sampling.patch_size_px=64", "stain.method=none")
    index = pq.read_table(tree.index).to_pylist()
    assert len(index) == 3 * len(tiles.SCLC_BOXES)
    assert {row["patient"] for row in index} == {"P001", "P002", "P003"}
    assert {row["split"] for row in index} == {"train", "val", "test"}
    rows, masks, _ = arrays(tree, index[0]["slide_id"])
    places = [(row["x_lv0"], row["y_lv0"], row["width_lv0"], row["height_lv0"]) for row in rows]
    assert sorted(places) == sorted(tiles.SCLC_BOXES)
    assert (masks[:, :, :31] == 1).all()
    assert (masks[:, :, 33:] == 0).all()


def test_hinet_is_one_recipe_of_three_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, _ = sealed("hinet", tiles.hinet(tmp_path / "data"), tmp_path / "out", "sampling.patch_size_px=16")
    index = pq.read_table(tree.index).to_pylist()
    spacings = {(row["source"], round(row["spacing_um"], 3)) for row in index}
    assert spacings == {
        ("camelyon16", 0.972), ("camelyon16", 0.904), ("camelyon17", 0.972), ("iciar2018", 0.467),
    }  # fmt: skip
    assert all(0.05 - 1e-9 <= row["tumour_fraction"] <= 0.995 + 1e-9 for row in index)
    capsys.readouterr()
    assert main(["dataset", "compare", str(tree.root), "--json"]) == 0
    compared = {row["split"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["published"] for name, row in compared.items()} == {
        "train": 6345, "test": 800, "val": 782, "all": 7927,
    }  # fmt: skip
    assert {n: compared[n]["found"] for n in ("train", "val", "test")} == Counter(row["split"] for row in index)
    assert compared["all"]["found"] == len(index)
    assert main(["dataset", "compare", str(tree.root)]) == 0
    assert "6345" in capsys.readouterr().out


def test_hinet_is_whole_where_its_parts_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    layouts.iciar2018(root / "BACH")
    code, record = check("hinet", root, capsys)
    assert code == 2
    assert found(record, "missing-part") == ["CAMELYON16", "CAMELYON17"]
    layouts.camelyon16(root / "CAMELYON16", "aws")
    layouts.camelyon17(root / "camelyon17", "centres")
    code, record = check("hinet", root, capsys)
    assert code == 0, record["findings"]
    assert sum(record["classes"].values()) == 399 + 1000 + 12


def test_compare_needs_a_sealed_dataset_of_a_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "compare", str(tmp_path)]) == 64
    assert "not sealed" in capsys.readouterr().err


def test_ready_cut_patches_of_hinet(tmp_path: Path) -> None:
    tree, _ = sealed(
        "hinet_lightweight", tiles.hinet_lightweight(tmp_path / "data"), tmp_path / "out", "sampling.patch_size_px=16"
    )
    for part in tiles.HINET_TILES:
        rows, masks, _ = arrays(tree, f"hinet_{part}")
        assert {row["split"] for row in rows} == {part}
        assert (masks[:, :8] == 0).all()
        assert (masks[:, 8:] == 1).all()  # 1 and 255 of the files


# --- every recipe -----------------------------------------------------------------------------------------


def recipes(repository: Path) -> list[Path]:
    return sorted((repository / "manifests").glob("*.yaml"))


def test_every_recipe_is_complete_and_has_a_miniature(repository: Path) -> None:
    tested = {name for name, _, _ in (*layouts.WHOLE, *WHOLE.values())} | WITHOUT_LAYOUT
    names = set()
    for path in recipes(repository):
        recipe = load_recipe(path)
        assert recipe.name == path.stem
        if recipe.dataset is None:
            assert path.stem in NO_DATASET
            continue
        names.add(path.stem)
        spec = recipe.dataset
        assert spec.licence.spdx, path
        assert spec.citation, path
        assert spec.parts or any(e.source for e in spec.expect), path
        assert all(e.source for e in spec.expect), path
        assert spec.unverified, path
        assert recipe.title, path
        if spec.facts is not None:
            assert (path.parent / spec.facts).is_file()
    assert names == tested


def test_no_recipe_holds_a_path_of_a_machine(repository: Path) -> None:
    machine = re.compile(r"(?:^|[\s\"'(=])(?:/(?:home|data|mnt|tmp|Users|work|scratch|media)/|[A-Za-z]:\\|~/)")
    for path in recipes(repository):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            assert not machine.search(line), f"{path}:{number}"
        assert load_recipe(path).data_root is None or not Path(str(load_recipe(path).data_root)).is_absolute()


def test_the_manual_lists_every_recipe(repository: Path) -> None:
    text = (repository / "docs" / "datasets.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE))
    described = {path.stem for path in recipes(repository) if load_recipe(path).dataset is not None}
    assert described <= listed, described - listed

"""wsiprep dataset: each published dataset on a miniature of its layout, whole and with planted faults."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import dataset_layouts as layouts
import numpy as np
import pytest

from wsiprep.annotations.imagescope import parse_imagescope
from wsiprep.annotations.regions import SlideFrame
from wsiprep.cli import main
from wsiprep.config import load_recipe
from wsiprep.geometry import Size
from wsiprep.manifest import read_exclusions, read_manifest

Miniature = Callable[[str], Path]


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """A miniature by name, made once; change only a twin of it."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = layouts.MINIATURES[name](tmp_path_factory.mktemp(name) / "data")
        return made[name]

    return get


@pytest.fixture
def copy(miniature: Miniature, tmp_path: Path) -> Miniature:
    return lambda name: layouts.twin(miniature(name), tmp_path / "copy")


class Checked:
    """What ``dataset check --json`` said."""

    def __init__(self, code: int, record: dict[str, object]) -> None:
        self.code = code
        self.record = record

    def found(self, kind: str, severity: str = "error") -> list[str]:
        findings: list[dict[str, str]] = self.record["findings"]  # type: ignore[assignment]
        return [f["path"] for f in findings if f["kind"] == kind and f["severity"] == severity]

    def messages(self) -> str:
        findings: list[dict[str, str]] = self.record["findings"]  # type: ignore[assignment]
        return "\n".join(f"{f['kind']} {f['path']}: {f['message']}" for f in findings)

    @property
    def errors(self) -> set[str]:
        findings: list[dict[str, str]] = self.record["findings"]  # type: ignore[assignment]
        return {f["kind"] for f in findings if f["severity"] == "error"}


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., Checked]:
    def run(name: str, folder: Path, *arguments: object) -> Checked:
        words = ["dataset", "check", name, str(folder), "--json", "--log-format", "none", *map(str, arguments)]
        code = main(words)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Checked(code, json.loads(printed.out))

    return run


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        return {row["slide_id"]: row for row in csv.DictReader(stream)}


@pytest.mark.parametrize(("name", "made", "layout"), layouts.WHOLE, ids=[f"{n}-{w}" for n, _, w in layouts.WHOLE])
def test_a_whole_copy_is_whole(
    name: str, made: str, layout: str, miniature: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = check(name, miniature(made), "--out", out)
    assert result.code == 0, result.messages()
    assert result.record["layout"] == layout
    # What was written is a manifest and a recipe that the other commands read.
    recipe = load_recipe(out / "recipe.yaml")
    rows = read_manifest(out / str(recipe.manifest), recipe.data_root)
    assert all(Path(row.slide).exists() for row in rows)
    assert all(Path(row.annotation).exists() for row in rows if row.annotation is not None)
    assert not any(row.slide_ref.startswith(("/", "..")) for row in rows)
    excluded = read_exclusions(out / "exclude.csv")
    assert set(excluded) <= {row.slide_id for row in rows}
    assert all(excluded.values())


def test_camelyon16_states(miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    result = check("camelyon16", miniature("c16-drive"), "--out", tmp_path)
    rows = rows_of(tmp_path)
    partial = {i for i, row in rows.items() if row["annotation_state"] == "partial"}
    assert partial == {f"tumor_{n:03}" for n in layouts.CAMELYON16_PARTIAL} | {"test_114"}
    assert result.record["states"] == {"exhaustive": 111 + 49 - 21, "normal": 159 + 80, "partial": 21}
    assert rows["test_001"]["split"] == "test"
    assert rows["tumor_001"]["split"] == ""
    assert rows["test_114"]["facts"] == "README of the release"
    assert "issue 7" in rows["test_114"]["disputed"]


def test_camelyon16_test_slides_without_reference_are_not_normal(
    miniature: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    """In the AWS layout nobody says which test slides are normal: without outlines they are unknown."""
    check("camelyon16", miniature("c16-aws"), "--out", tmp_path)
    rows = rows_of(tmp_path)
    assert rows["test_060"]["annotation_state"] == "none"
    assert rows["test_001"]["annotation_state"] == "exhaustive"


def test_camelyon16_withdrawn_slides_of_old_copies(
    copy: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    root = copy("c16-drive")
    layouts.put(root, "training/normal/normal_086.tif", layouts.tiny_tiff())
    layouts.put(root, "testing/images/test_049.tif", layouts.tiny_tiff())
    result = check("camelyon16", root, "--out", tmp_path / "out")
    assert result.code == 0, result.messages()
    assert sorted(result.found("withdrawn", "note")) == [
        "testing/images/test_049.tif",
        "training/normal/normal_086.tif",
    ]
    assert set(read_exclusions(tmp_path / "out" / "exclude.csv")) == {"normal_086", "test_049"}


def test_camelyon16_disputed_slides_are_left_out_on_request(
    miniature: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    check("camelyon16", miniature("c16-drive"), "--drop-disputed", "--out", tmp_path)
    assert set(read_exclusions(tmp_path / "exclude.csv")) == {"test_114", "test_124", "normal_144"}


def test_camelyon16_both_group_vocabularies_are_mapped(repository: Path) -> None:
    recipe = load_recipe(repository / "manifests" / "camelyon16.yaml")
    groups = recipe.annotations.groups
    assert {g: groups[g] for g in ("_0", "_1", "_2")} == {"_0": "tumour", "_1": "tumour", "_2": "background"}
    assert {g: groups[g] for g in ("Tumor", "Exclusion", "None")} == {
        "Tumor": "tumour", "Exclusion": "background", "None": "ignore",
    }  # fmt: skip
    assert recipe.annotations.unknown_group == "error"


@pytest.mark.parametrize(
    ("plant", "kind", "path"),
    [
        ("missing", "missing-annotation", "training/tumor/tumor_002.tif"),
        ("orphan", "orphan-annotation", "training/lesion_annotations/tumor_112.xml"),
        ("normal-with", "contradiction", "training/normal/normal_001.tif"),
        ("part", "partial", "training/tumor/tumor_003.tif.part"),
        ("crdownload", "partial", "training/normal/Unconfirmed 1.crdownload"),
        ("empty", "partial", "training/tumor/tumor_004.tif"),
        ("cut", "truncated", "training/tumor/tumor_005.tif"),
        ("odd", "unexpected", "training/tumor/tumor_5 (1).tif"),
        ("link", "escape", "training/normal/normal_002.tif"),
        ("no-table", "missing-table", "testing/reference.csv"),
    ],
)
def test_camelyon16_planted_faults(
    plant: str, kind: str, path: str, copy: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    root = copy("c16-drive")
    tumour = root / "training" / "tumor"
    actions: dict[str, Callable[[], object]] = {
        "missing": (root / "training/lesion_annotations/tumor_002.xml").unlink,
        "orphan": lambda: layouts.put(root, path, layouts.asap_xml(["_0"])),
        "normal-with": lambda: layouts.put(
            root, "training/lesion_annotations/normal_001.xml", layouts.asap_xml(["_0"])
        ),
        "part": lambda: (tumour / "tumor_003.tif").rename(tumour / "tumor_003.tif.part"),
        "crdownload": lambda: layouts.put(root, path, b"x"),
        "empty": lambda: layouts.put(root, path, b""),
        "cut": lambda: layouts.put(root, path, layouts.tiny_tiff()[:-300]),
        "odd": lambda: layouts.put(root, path, layouts.tiny_tiff()),
        "link": lambda: link_out(root / path, tmp_path),
        "no-table": (root / path).unlink,
    }
    actions[plant]()
    result = check("camelyon16", root, "--out", tmp_path / "out")
    assert result.code == 2
    assert path in result.found(kind), result.messages()
    if kind in ("missing-annotation", "contradiction", "truncated"):
        slide_id = Path(path).stem
        assert slide_id in read_exclusions(tmp_path / "out" / "exclude.csv")
        assert rows_of(tmp_path / "out")[slide_id]["annotation_state"] != "normal"


def link_out(target: Path, elsewhere: Path) -> None:
    outside = layouts.put(elsewhere, "outside.tif", layouts.tiny_tiff())
    target.unlink()
    target.symlink_to(outside)


def test_a_count_that_differs_names_its_source(copy: Miniature, check: Callable[..., Checked]) -> None:
    root = copy("c16-drive")
    (root / "training/normal/normal_003.tif").unlink()
    result = check("camelyon16", root)
    assert result.code == 2
    assert "slides normal: found 158, expected 159; README without normal_086" in result.messages()


def test_checksums_name_what_differs_and_are_remembered(
    copy: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    root = copy("c16-aws")
    layouts.checksum_list(root, "checksums.md5", "md5")
    cache = tmp_path / "digests.json"
    whole = check("camelyon16", root, "--checksums", "--cache", cache)
    assert whole.code == 0, whole.messages()
    n_files = len([p for p in root.rglob("*") if p.is_file()]) - 1
    assert whole.record["checksums_agree"] == n_files
    remembered = json.loads(cache.read_text())
    assert len(remembered) == n_files
    changed = layouts.asap_xml(["_0", "_0", "_0"])
    layouts.put(root, "annotations/tumor_001.xml", changed)
    layouts.put(root, "images/tumor_002.tif", layouts.tiny_tiff()[:-200])
    damaged = check("camelyon16", root, "--checksums", "--cache", cache)
    assert damaged.code == 2
    assert damaged.found("checksum") == ["annotations/tumor_001.xml"]
    assert "images/tumor_002.tif" in damaged.found("truncated")


def test_a_list_of_sha256_is_read_as_such(copy: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    root = copy("c16-drive")
    layouts.checksum_list(root, "checksums.txt", "sha256", pattern="CAMELYON16/{path}")
    result = check("camelyon16", root, "--checksums", "--cache", tmp_path / "digests.json")
    assert result.code == 0, result.messages()
    assert result.record["checksums_agree"] == 399 + 111 + 49 + 1


@pytest.mark.parametrize("made", ["c17-flat", "c17-centres"])
def test_camelyon17_rows(made: str, miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    check("camelyon17", miniature(made), "--out", tmp_path)
    rows = rows_of(tmp_path)
    assert len(rows) == 1000
    assert not any("zip" in slide_id for slide_id in rows)
    assert rows["patient_047_node_0"]["patient"] == "patient_047"
    assert [rows[f"patient_{p}_node_0"]["centre"] for p in ("019", "020", "047", "079", "099")] == [
        "CWH", "RH", "UMCU", "RUMC", "LPON",
    ]  # fmt: skip
    assert rows["patient_150_node_0"]["centre"] == ""
    assert rows["patient_000_node_0"]["annotation_state"] == "normal"
    assert rows["patient_009_node_1"]["annotation_state"] == "partial"  # stage itc
    assert rows["patient_010_node_4"]["annotation_state"] == "exhaustive"  # stage micro
    excluded = read_exclusions(tmp_path / "exclude.csv")
    assert "not outlined" in excluded["patient_004_node_3"]
    assert "not released" in excluded["patient_150_node_0"]
    assert len(excluded) == 1 + 500


def test_camelyon17_an_outlined_slide_without_its_file(copy: Miniature, check: Callable[..., Checked]) -> None:
    root = copy("c17-flat")
    (root / "annotations" / "patient_099_node_4.xml").unlink()
    result = check("camelyon17", root)
    assert result.code == 2
    assert result.found("missing-annotation") == ["images/patient_099_node_4.tif"]


def test_camelyon17_an_unknown_stage_is_an_error(copy: Miniature, check: Callable[..., Checked]) -> None:
    root = copy("c17-flat")
    table = (
        (root / "stages.csv").read_bytes().replace(b"patient_001_node_0.tif,negative", b"patient_001_node_0.tif,pN0")
    )
    layouts.put(root, "stages.csv", table)
    result = check("camelyon17", root)
    assert result.code == 2
    assert "patient_001_node_0.tif: unknown value 'pN0'" in result.messages()


def test_camelyon_series_joins_both(miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    root = tmp_path / "bucket"
    root.mkdir()
    layouts.twin(miniature("c16-aws"), root / "CAMELYON16")
    layouts.twin(miniature("c17-flat"), root / "CAMELYON17")
    result = check("camelyon_series", root, "--out", tmp_path / "out")
    assert result.code == 0, result.messages()
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 1399
    assert {row["source"] for row in rows.values()} == {"camelyon16", "camelyon17"}
    assert rows["tumor_001"]["slide"] == "CAMELYON16/images/tumor_001.tif"
    assert "split" not in rows["test_001"]  # the challenge's test slides are not the paper's
    recipe = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert recipe.for_source("camelyon17").annotations.groups["metastases"] == "tumour"
    assert recipe.for_source("camelyon16").downsample == 4


def test_camelyon_series_names_the_missing_part(
    miniature: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    root = tmp_path / "bucket"
    root.mkdir()
    layouts.twin(miniature("c16-aws"), root / "CAMELYON16")
    result = check("camelyon_series", root)
    assert result.code == 2
    assert result.found("missing-part") == ["CAMELYON17"]


def test_tiger_rows(miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    check("tiger_wsirois", miniature("tiger-wsi"), "--out", tmp_path)
    rows = {row["slide_id"]: row for row in rows_of(tmp_path).values()}
    assert {row["annotation_state"] for row in rows.values()} == {"partial"}  # 0 is unannotated, not background
    long = {i for i, row in rows.items() if row["spacing_um"] == "0.6575"}
    assert {i[:12] for i in long} == set(layouts.TIGER_LONG)
    assert len(long) == 3
    tcga = next(row for i, row in rows.items() if i.startswith("TCGA-E2-A001"))
    assert (tcga["patient"], tcga["centre"]) == ("TCGA-E2-A001", "E2")
    assert "tissue-bcss-xmls" in tcga["annotation"]
    rumc = rows["TC_S01_P000003_C0001_B101"]
    assert (rumc["patient"], rumc["centre"], rumc["patient_provenance"]) == ("TC_S01_P000003", "RUMC", "derived")
    assert "tissue-cells-xmls" in rumc["annotation"]
    assert (rows["100B"]["patient"], rows["101S"]["centre"]) == ("100", "JB")


def test_tiger_merge_and_roi(repository: Path) -> None:
    recipe = load_recipe(repository / "manifests" / "tiger_wsirois.yaml")
    groups = recipe.annotations.groups
    assert groups["tumor-associated stroma"] == groups["inflamed stroma"] == "stroma"
    assert groups["roi"] == "roi"
    assert recipe.sampling.kind == "roi"
    assert len(recipe.labels) == 6


def test_tiger_regions_as_collections(miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    result = check("tiger_wsirois", miniature("tiger-zenodo"), "--out", tmp_path)
    assert result.record["tiles"] == {"tissue-bcss": 151, "tissue-cells": 60}
    recipe = load_recipe(tmp_path / "recipe.yaml")
    values = recipe.annotations.raster.values
    assert values[0] == "ignore"
    assert values[2] == values[6] == "stroma"
    assert recipe.sampling.kind == "grid"


def test_tiger_regions_become_patches(miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    """From the check to the shard: 0 is 255, stroma and inflamed stroma are one label, so is what was padded."""
    import zarr

    out = tmp_path / "out"
    check("tiger_wsirois", miniature("tiger-zenodo"), "--drop-disputed", "--out", out)
    assert set(read_exclusions(out / "exclude.csv")) == {"tissue-cells"}
    with_recipe = ["-r", str(out / "recipe.yaml"), "-o", str(out), "--set", "sampling.patch_size_px=16"]
    with_recipe += ["--log-format", "none"]
    for slide_id in ("tissue-bcss", "tissue-cells"):
        assert main(["survey", slide_id, *with_recipe, "--strict"]) == 0
    assert main(["plan", *with_recipe]) == 0
    assert main(["pack", "tissue-bcss", *with_recipe]) == 0
    (shard,) = (out / "shards" / "tissue-bcss").glob("*.zarr")
    masks = zarr.open_group(shard, mode="r")["mask"][:]
    assert masks.shape == (151, 16, 16)
    #           0    1  2  3  4  5  6  7 of the release
    labels = [255, 1, 2, 3, 4, 5, 2, 6]
    assert (masks[:, :8] == np.array(labels * 2, np.uint8)).all()
    assert (masks[:, 8:] == 255).all()


def test_tiger_rotated_regions_are_named(copy: Miniature, check: Callable[..., Checked]) -> None:
    root = copy("tiger-wsi")
    path = (
        "wsirois/roi-level-annotations/tissue-bcss/images/TCGA-A1-A0SK-01Z-00-DX1.A44D_[34061, 24725, 35279, 25785].png"
    )
    layouts.put(root, path, layouts.tiny_png(1218, 1061))
    result = check("tiger_wsirois", root, "--layout", "wsi")
    assert result.found("roi-size", "warning") == [path]
    assert "1218 x 1061 px, but the box in its name is 1218 x 1060" in result.messages()


def test_tiger_a_region_without_its_mask(copy: Miniature, check: Callable[..., Checked]) -> None:
    root = copy("tiger-roi")
    name = f"{layouts.tiger_slides()[0]}_[34061, 24725, 34077, 24733].png"
    (root / "wsirois/roi-level-annotations/tissue-bcss/masks" / name).unlink()
    result = check("tiger_wsirois", root)
    assert result.code == 2
    assert result.found("missing-labels") == [f"wsirois/roi-level-annotations/tissue-bcss/images/{name}"]


def test_iciar_leading_blank_is_named(copy: Miniature, check: Callable[..., Checked]) -> None:
    root = copy("iciar")
    (root / "ICIAR2018_BACH_Challenge").rename(root / " ICIAR2018_BACH_Challenge")
    result = check("iciar2018", root)
    assert result.code == 2
    assert "no-layout" in result.errors
    assert result.found("near-name", "warning") == [" ICIAR2018_BACH_Challenge"]
    assert "begins or ends with a blank" in result.messages()


def test_iciar_one_folder_too_high_and_archives_are_named(
    miniature: Miniature, check: Callable[..., Checked], tmp_path: Path
) -> None:
    root = tmp_path / "downloads"
    layouts.twin(miniature("iciar"), root / "unpacked here")
    layouts.put(root, "ICIAR2018_BACH_Challenge.zip", b"PK")
    result = check("iciar2018", root)
    assert "unpacked here" in result.found("near-folder", "warning")
    assert result.found("archive", "warning") == ["ICIAR2018_BACH_Challenge.zip"]
    assert result.record["expected_layouts"]


def test_iciar_spellings_and_unlabelled(miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    check("iciar2018", miniature("iciar"), "--out", tmp_path)
    excluded = read_exclusions(tmp_path / "exclude.csv")
    assert len(excluded) == 2
    recipe = load_recipe(tmp_path / "recipe.yaml")
    root = miniature("iciar")
    frame = SlideFrame(Size(16, 16), None, "A01.svs", {}, None)
    texts = {s.group for p in root.rglob("A*.xml") for s in parse_imagescope(p, frame).shapes}
    assert texts == {"Benign", "Carcinoma in situ", "In situ carcinoma", "Carcinoma invasive", "Invasive carcinoma"}
    assert texts <= set(recipe.annotations.groups)


def test_bach_photos_with_outlines_of_ones_own(copy: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    root = copy("bach")
    for n in range(1, 100):
        layouts.put(root, f"annotations/Invasive/iv{n:03}.xml", layouts.asap_xml(["tumour"]))
    layouts.put(root, "annotations/Invasive/iv101.xml", layouts.asap_xml(["tumour"]))
    result = check("bach_photos", root, "--out", tmp_path / "out")
    assert result.code == 2
    assert result.found("missing-labels") == ["ICIAR2018_BACH_Challenge/Photos/Invasive/iv100.tif"]
    assert result.found("orphan-annotation") == ["annotations/Invasive/iv101.xml"]
    states = {slide_id: row["annotation_state"] for slide_id, row in rows_of(tmp_path / "out").items()}
    assert states == {
        "photos_Invasive": "exhaustive", "photos_Normal": "none", "photos_Benign": "none", "photos_InSitu": "none",
    }  # fmt: skip
    assert "photos_Invasive" in {row.raw_id for row in read_manifest(tmp_path / "out" / "manifest.csv")}


def test_nothing_like_it_lists_expected_and_found(
    check: Callable[..., Checked], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts.put(tmp_path, "holiday/beach.jpg", b"x")
    assert main(["dataset", "check", "camelyon16", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "expected for layout drive:" in printed.out
    assert "training/tumor/{slide}.tif" in printed.out
    assert "holiday/beach.jpg" in printed.out or "holiday/ (1 files)" in printed.out


def test_text_says_counts_sources_licence_and_doubts(miniature: Miniature, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", "bach_photos", str(miniature("bach")), "--log-format", "none"]) == 0
    text = capsys.readouterr().out
    for words in (
        "layout zenodo",
        "400 of 400 or 408",
        "must not be redistributed",
        "unverified facts:",
        "as expected",
    ):
        assert words in text
    assert "4 left by file managers" in text


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    names = {name for name, _, _ in layouts.WHOLE} | {"camelyon_series"}
    assert main(["dataset", "list", "--json"]) == 0
    assert names <= {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert main(["dataset", "list"]) == 0
    assert "CC-BY-NC-ND-4.0" in capsys.readouterr().out
    for name in sorted(names):
        assert main(["dataset", "show", name]) == 0
        text = capsys.readouterr().out
        assert "unverified facts:" in text
        assert "licence:" in text
        assert main(["dataset", "show", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["dataset"]["licence"]["spdx"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "camelyon15"], 64, "there is no such dataset"),
        (["show", "../../etc/passwd"], 64, "there is no such dataset"),
        (["show", "atlas3"], 65, "describes no published dataset"),
        (["check", "camelyon16", "/no/such/folder"], 64, "there is no such folder"),
        (["check", "camelyon16", "EMPTY", "--layout", "zip"], 64, "there is no such layout"),
    ],
)
def test_mistakes(words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", *(str(tmp_path) if word == "EMPTY" else word for word in words)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_files_are_not_replaced_unless_told(
    miniature: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset", "check", "iciar2018", str(miniature("iciar")), "--out", str(tmp_path), "--log-format", "none"]
    assert main(words) == 0
    before = (tmp_path / "manifest.csv").read_bytes()
    assert main(words) == 64
    assert main([*words, "--force"]) == 0
    assert (tmp_path / "manifest.csv").read_bytes() == before


def test_the_written_recipe_checks_again(miniature: Miniature, check: Callable[..., Checked], tmp_path: Path) -> None:
    """The copy keeps its facts: a check by it says the same."""
    first = check("camelyon16", miniature("c16-drive"), "--out", tmp_path)
    again = check(str(tmp_path / "recipe.yaml"), miniature("c16-drive"))
    assert again.code == 0
    assert again.record["states"] == first.record["states"]

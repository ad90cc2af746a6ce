"""Folds, official splits, splits by patch and rules of one split, from the recipe to the reader."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc
import pytest
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree, read_json, write_json
from wsiprep.cli import main
from wsiprep.store import Dataset
from wsiprep.store.digest import dataset_digest
from wsiprep.store.receipts import FileRecord
from wsiprep.store.records import with_check
from wsiprep.store.tables import parquet_bytes, read_parquet
from wsiprep.synthetic import CohortFiles

SPLIT = "split: {by: patient, ratio: {train: 1, test: 1}}"


@pytest.fixture(scope="module")
def surveyed(cohort: CohortFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every slide is surveyed and packed once; new splits pack nothing again."""
    place = tmp_path_factory.mktemp("splits")
    recipe = place / "recipe.yaml"
    recipe.write_text(SMALL_RECIPE.replace("manifest: slides/manifest.csv", f"manifest: {cohort.manifest}"))
    for slide in cohort.slides:
        assert main(["survey", slide.slide_id, "-r", str(recipe), "-o", str(place / "out"), "--strict"]) == 0
    assert main(["plan", "-r", str(recipe), "-o", str(place / "out")]) == 0
    for slide in cohort.slides:
        assert main(["pack", slide.slide_id, "-r", str(recipe), "-o", str(place / "out"), "--strict"]) == 0
    return place


def sealed(
    place: Path,
    cohort: CohortFiles,
    section: str,
    columns: dict[str, Iterable[object]] | None = None,
    excluded: Iterable[str] = (),
) -> Dataset:
    """Plan and seal again with another split section and, where given, columns of the manifest."""
    exclusions = DatasetTree(place / "out").exclusions
    exclusions.unlink(missing_ok=True)
    if excluded:
        exclusions.write_text("slide_id,reason\n" + "".join(f"{name},later\n" for name in excluded))
    manifest = place / "manifest.csv"
    with cohort.manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for name, values in (columns or {}).items():
        for row, value in zip(rows, values, strict=True):
            row[name] = str(value)
    for row in rows:
        for name in ("slide", "annotation"):
            row[name] = str(cohort.manifest.parent / row[name]) if row[name] else ""
    with manifest.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    recipe = place / "split.yaml"
    text = SMALL_RECIPE.replace("manifest: slides/manifest.csv", f"manifest: {manifest}")
    recipe.write_text(text.replace(SPLIT, section))
    for command in (
        ["plan", "-r", str(recipe), "-o", str(place / "out")],
        ["seal", str(place / "out"), "-r", str(recipe)],
    ):
        assert main(command) == 0
    return Dataset(place / "out")


def patients(dataset: Dataset, split: str, fold: int | None = None) -> set[str]:
    rows = dataset.split(split, fold)
    return set(dataset.index["patient"].take(rows).to_pylist())


def test_folds_partition_patients(surveyed: Path, cohort: CohortFiles) -> None:
    dataset = sealed(surveyed, cohort, "split: {kind: folds, folds: 3}")
    everyone = {s.patient for s in cohort.slides}
    tested: list[str] = []
    for fold in dataset.folds:
        parts = {name: patients(dataset, name, fold) for name in ("train", "val", "test")}
        assert parts["train"] | parts["val"] | parts["test"] == everyone
        assert not parts["train"] & parts["val"]
        assert not parts["train"] & parts["test"]
        assert not parts["val"] & parts["test"]
        tested += sorted(parts["test"])
    assert sorted(tested) == sorted(everyone)


def test_official_split_is_the_manifest(surveyed: Path, cohort: CohortFiles) -> None:
    names = {"patient_01": "test", "patient_02": "train", "patient_03": "val"}
    dataset = sealed(surveyed, cohort, "split: {kind: official}", {"split": [names[s.patient] for s in cohort.slides]})
    for patient, name in names.items():
        assert patients(dataset, name) == {patient}


def test_official_split_with_gaps_is_refused(
    surveyed: Path, cohort: CohortFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ["train"] * (len(cohort.slides) - 1) + [""]
    with pytest.raises(AssertionError):
        sealed(surveyed, cohort, "split: {kind: official}", {"split": values})
    error = capsys.readouterr().err
    assert cohort.slides[-1].slide_id in error
    assert "official" in error


def test_one_patient_in_two_explicit_splits_is_refused(
    surveyed: Path, cohort: CohortFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ["train", "test", "", ""]
    with pytest.raises(AssertionError):
        sealed(surveyed, cohort, SPLIT, {"split": values})
    assert "two splits" in capsys.readouterr().err


def test_split_by_patch_is_marked_as_leaking(surveyed: Path, cohort: CohortFiles) -> None:
    dataset = sealed(surveyed, cohort, "split: {by: patch, ratio: {train: 1, test: 1}}")
    assert dataset.record["split"]["leaks"] is True
    assert patients(dataset, "train") & patients(dataset, "test")
    assert len(dataset.split("train")) + len(dataset.split("test")) == len(dataset)


def test_split_by_slide_that_tears_a_patient_is_marked_as_leaking(surveyed: Path, cohort: CohortFiles) -> None:
    values = ["train", "test", "train", "test"]
    torn = sealed(surveyed, cohort, "split: {by: slide, ratio: {train: 1, test: 1}}", {"split": values})
    assert torn.record["split"]["leaks"] is True
    whole = sealed(surveyed, cohort, SPLIT)
    assert whole.record["split"]["leaks"] is False


def test_provenance_of_patients_is_in_the_slides_table(surveyed: Path, cohort: CohortFiles) -> None:
    values = ["released", "released", "derived", "unknown"]
    sealed(surveyed, cohort, SPLIT, {"patient_provenance": values})
    table = read_parquet(DatasetTree(surveyed / "out").slides_table)
    found = dict(zip(table["slide_id"].to_pylist(), table["patient_provenance"].to_pylist(), strict=True))
    assert found == dict(zip([s.slide_id for s in cohort.slides], values, strict=True))


def test_slides_without_a_patient_are_groups_of_their_own(surveyed: Path, cohort: CohortFiles) -> None:
    drawn_anew = "split: {by: patient, ratio: {train: 1, test: 1}, seed: 7}"
    dataset = sealed(surveyed, cohort, drawn_anew, {"patient": [""] * len(cohort.slides)})
    assert set(dataset.index["patient"].to_pylist()) == set(dataset.index["slide_id"].to_pylist())
    assert not patients(dataset, "train") & patients(dataset, "test")


def test_slides_that_come_later_move_nobody(surveyed: Path, cohort: CohortFiles, tmp_path: Path) -> None:
    """The first two patients are drawn; the third is added by hash, and a second slide follows its patient."""
    place = tmp_path / "later"
    shutil.copytree(surveyed / "out", place / "out")
    for name in ("splits.csv", "split.parquet", "dataset.json"):
        (place / "out" / name).unlink(missing_ok=True)
    sealed(place, cohort, SPLIT, excluded=[s.slide_id for s in cohort.slides if s.patient == "patient_03"])
    first = (place / "out" / "splits.csv").read_text().splitlines()
    before = {r.split(",")[0]: r.split(",")[1] for r in first[1:]}
    assert sorted(before.values()) == ["test", "train"]
    dataset = sealed(place, cohort, SPLIT)
    assert set(first) < set((place / "out" / "splits.csv").read_text().splitlines())
    for patient, split in before.items():
        assert patient in patients(dataset, split)
    assert not patients(dataset, "train") & patients(dataset, "test")


def test_verify_finds_a_leak_that_was_planted_with_fitting_digests(
    surveyed: Path, cohort: CohortFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One slide of a patient with two goes to the other split; index, record and digests are made to agree."""
    sealed(surveyed, cohort, SPLIT)
    shutil.copytree(surveyed / "out", tmp_path / "out")
    tree = DatasetTree(tmp_path / "out")
    assert main(["verify", str(tree.root), "--deep"]) == 0
    capsys.readouterr()
    table = read_parquet(tree.index)
    rows = table.to_pylist()
    slides: dict[str, set[str]] = {}
    for row in rows:
        slides.setdefault(row["patient"], set()).add(row["slide_id"])
    patient, moved = next((p, max(ids)) for p, ids in sorted(slides.items()) if len(ids) > 1)
    for row in rows:
        if row["slide_id"] == moved:
            row["split"] = "train" if row["split"] == "test" else "test"
    tree.index.write_bytes(parquet_bytes(type(table).from_pylist(rows, schema=table.schema)))
    record = read_json(tree.dataset_record)
    places = ((r["slide_id"], r["row"], r["split"], r["fold"]) for r in rows)
    record["dataset_digest"] = dataset_digest(record["pixels_digest"], record["recipe_digest"], places)
    record["tables"] = [FileRecord.of(tree.root / file["path"], tree.root).to_dict() for file in record["tables"]]
    write_json(tree.dataset_record, with_check(record))
    assert main(["verify", str(tree.root)]) == 2
    told = capsys.readouterr()
    assert f"leak: index.parquet: patient {patient} is in test, train" in told.out
    assert main(["verify", str(tree.root), "--deep"]) == 2


def test_rule_of_one_split_leaves_other_splits_alone(surveyed: Path, cohort: CohortFiles) -> None:
    place, out = surveyed, DatasetTree(surveyed / "out")
    plain = sealed(place, cohort, SPLIT)
    before = {name: len(plain.split(name)) for name in ("train", "test")}
    recipe = place / "split.yaml"
    recipe.write_text(
        recipe.read_text().replace(
            "    - {labels: [tumour], min: 0.05, max: 0.995}",
            "    - {labels: [tumour], min: 0.05, max: 0.995}\n    - {labels: [tumour], min: 0.5, splits: [train]}",
        )
    )
    assert main(["plan", "-r", str(recipe), "-o", str(out.root)]) == 0
    assert main(["seal", str(out.root), "-r", str(recipe)]) == 0
    ruled = Dataset(out.root)
    assert len(ruled.split("test")) == before["test"]
    assert len(ruled.split("train")) < before["train"]
    shares = ruled.index.take(ruled.split("train"))["tumour_fraction"]
    labelled = shares.filter(pc.greater(shares, 0.0))
    assert pc.min(labelled).as_py() >= 0.5 - 1e-9

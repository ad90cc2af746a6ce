"""verify asks the tables again who is in which split: planted leaks, with every digest made to fit."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import storecases as cases

from wsiprep.artifacts import DatasetTree, json_bytes, read_json, write_json
from wsiprep.store import by_slide, seal, verify
from wsiprep.store.croissant import render_croissant
from wsiprep.store.digest import dataset_digest, file_digest
from wsiprep.store.records import with_check
from wsiprep.store.tables import parquet_bytes, read_parquet
from wsiprep.store.verify_leaks import leak_faults, slides_faults

Rows = list[dict[str, Any]]


def faults(root: Path, *, deep: bool = False) -> list[tuple[str, str, str]]:
    return [(f.kind, f.path, f.message) for f in verify(DatasetTree(root), deep=deep).faults]


def sealed(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, dict[str, Any]] | None = None,
    split: dict[str, Any] | None = None,
    *,
    blind: bool = True,
    folds: dict[str, int] | None = None,
) -> dict[str, Any]:
    """The small dataset with other slides' rows, sealed by a version that does not look for leaks."""
    cases.pack_all(root)
    slides = [row | (changes or {}).get(row["slide_id"], {}) for row in cases.SLIDES]
    places = {s: ("all", folds[s]) if folds else place for s, place in cases.PLACES.items()}
    with monkeypatch.context() as patch:
        if blind:
            # By module: wsiprep.store.seal is also the name of a function.
            for name in ("wsiprep.store.seal", "wsiprep.store.facts"):
                patch.setattr(importlib.import_module(name), "leaks", lambda *_: [])
        return seal(
            DatasetTree(root), recipe=cases.recipe(split=split or {}), slides=slides, assignment=by_slide(places)
        )


def forge(root: Path, index: Callable[[Rows], None] | None = None, slides: Callable[[Rows], None] | None = None,
          record: Callable[[dict[str, Any]], None] | None = None) -> None:  # fmt: skip
    """Edit the tables and the record, then make every digest and size agree with what they are now."""
    tree = DatasetTree(root)
    for path, change in ((tree.index, index), (tree.slides_table, slides)):
        table = read_parquet(path)
        rows = table.to_pylist()
        if change is not None:
            change(rows)
        path.write_bytes(parquet_bytes(type(table).from_pylist(rows, schema=table.schema)))
    value = read_json(tree.dataset_record)
    if record is not None:
        record(value)
    rows = read_parquet(tree.index).to_pylist()
    places = ((r["slide_id"], r["row"], r["split"], r["fold"]) for r in rows)
    value["dataset_digest"] = dataset_digest(value["pixels_digest"], value["recipe_digest"], places)
    data = tree.index.read_bytes()
    tree.croissant.write_bytes(json_bytes(render_croissant(value, hashlib.sha256(data).hexdigest(), len(data))))
    for file in value["tables"]:
        path = root / file["path"]
        file |= {"size": path.stat().st_size, "xxh3": file_digest(path)}
    write_json(tree.dataset_record, with_check(value))


def test_forging_nothing_leaves_nothing_to_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(tmp_path, monkeypatch)
    forge(tmp_path)
    assert faults(tmp_path, deep=True) == []


@pytest.mark.parametrize("deep", [False, True])
def test_a_patient_in_two_splits_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: bool) -> None:
    sealed(tmp_path, monkeypatch, {"slide_c": {"patient": "p1"}})
    assert faults(tmp_path, deep=deep) == [("leak", "index.parquet", "patient p1 is in train, val")]


def test_a_patient_who_was_moved_afterwards_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index edited and every digest forged: slide_b, of the patient of slide_a, goes to test."""
    sealed(tmp_path, monkeypatch, {"slide_b": {"patient": "p1"}})

    def move(rows: Rows) -> None:
        for row in rows:
            row["split"] = "test" if row["slide_id"] == "slide_b" else row["split"]

    forge(tmp_path, index=move)
    assert faults(tmp_path) == [("leak", "index.parquet", "patient p1 is in test, train")]


def test_a_patient_in_two_folds_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = {"slide_a": 0, "slide_b": 1, "slide_c": 2, "slide_d": 0}
    split = {"kind": "folds", "folds": 3}
    sealed(tmp_path, monkeypatch, {"slide_b": {"patient": "p1"}}, split, folds=folds)
    assert faults(tmp_path) == [("leak", "index.parquet", "patient p1 is in all fold 0, all fold 1")]


def test_centres_are_looked_at_where_the_split_is_by_centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """slide_a and slide_b share a centre and a split; slide_c joins the centre and is in another split."""
    changes = {"slide_c": {"centre": "c1"}}
    sealed(tmp_path, monkeypatch, changes, {"by": "centre"})
    assert faults(tmp_path) == [("leak", "index.parquet", "centre c1 is in train, val")]
    other = tmp_path / "by-patient"
    sealed(other, monkeypatch, changes)
    assert faults(other) == []


def test_patients_are_looked_at_where_the_split_is_by_centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The centres are apart, and one patient was seen at two of them."""
    sealed(tmp_path, monkeypatch, {"slide_c": {"patient": "p1"}}, {"by": "centre"})
    assert faults(tmp_path) == [("leak", "index.parquet", "patient p1 is in train, val")]


@pytest.mark.parametrize("by", ["slide", "patch"])
def test_a_split_that_may_tear_patients_has_to_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    record = sealed(tmp_path, monkeypatch, {"slide_c": {"patient": "p1"}}, {"by": by}, blind=False)
    assert record["split"]["leaks"] is True
    assert faults(tmp_path, deep=True) == []
    forge(tmp_path, record=lambda value: value["split"].update(leaks=False))
    assert faults(tmp_path) == [("leak", "index.parquet", "patient p1 is in train, val")]


def test_saying_that_it_leaks_hides_no_leak_of_what_the_split_is_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(tmp_path, monkeypatch, {"slide_c": {"patient": "p1"}})
    forge(tmp_path, record=lambda value: value["split"].update(leaks=True))
    assert faults(tmp_path) == [("leak", "index.parquet", "patient p1 is in train, val")]
    whole = tmp_path / "whole"
    sealed(whole, monkeypatch)
    forge(whole, record=lambda value: value["split"].update(leaks=True))
    assert [(kind, path) for kind, path, _ in faults(whole)] == [("inconsistent", "dataset.json")]


def test_a_patient_renamed_in_one_table_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calling the patient of one slide otherwise in the index hides the leak there; the slides' table knows."""
    sealed(tmp_path, monkeypatch, {"slide_c": {"patient": "p1"}})

    def rename(rows: Rows) -> None:
        for row in rows:
            row["patient"] = "someone" if row["slide_id"] == "slide_c" else row["patient"]

    forge(tmp_path, index=rename)
    assert faults(tmp_path) == [
        ("inconsistent", "index.parquet", "slide_c has patient someone there, p1 in slides.parquet")
    ]


def test_a_slides_table_with_other_slides_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(tmp_path, monkeypatch)
    forge(tmp_path, slides=lambda rows: rows.pop())
    assert faults(tmp_path) == [("inconsistent", "slides.parquet", "it or the record lacks slide_d")]
    forge(tmp_path, slides=lambda rows: rows.append(dict(rows[0])))
    assert ("inconsistent", "slides.parquet", "it has two rows of slide_a") in faults(tmp_path)


def test_tiles_of_a_collection_have_patients_of_their_own() -> None:
    rows = [("kumar", "t1", "p1"), ("kumar", "t2", "p2"), ("whole", None, "p3")]
    head = {"slide_id": [r[0] for r in rows], "tile": [r[1] for r in rows], "patient": [r[2] for r in rows]}
    index = pa.table(head | {"centre": pa.array([None] * 3, pa.string()), "split": ["train", "test", "train"],
                             "fold": pa.array([None] * 3, pa.int32())})  # fmt: skip
    slides = pa.table({"slide_id": ["kumar", "whole"], "patient": ["kumar", "p3"],
                       "centre": pa.array([None] * 2, pa.string()), "identity": ["1" * 64, "2" * 64]})  # fmt: skip
    record = {"slides": ["kumar", "whole"], "split": {"by": "patient", "leaks": False}}
    path = Path("index.parquet")
    assert list(slides_faults(index, slides, record, path)) == []
    assert list(leak_faults(index, record, path)) == []
    renamed = slides.set_column(1, "patient", pa.array(["kumar", "p4"]))
    (fault,) = slides_faults(index, renamed, record, path)
    assert fault[2] == "whole has patient p3 there, p4 in slides.parquet"


def test_one_slide_file_in_two_splits_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = {s: {"identity": "f" * 64} for s in ("slide_a", "slide_b")} | {"slide_c": {"identity": "0" * 64}}
    sealed(tmp_path, monkeypatch, same)
    assert faults(tmp_path) == []
    across = tmp_path / "across"
    sealed(across, monkeypatch, {s: {"identity": "f" * 64} for s in ("slide_a", "slide_c")})
    assert faults(across) == [("leak", "index.parquet", "one slide file is slide_a in train, slide_c in val")]


def test_provenance_of_a_patient_passes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = ["released", "derived", "unknown", ""]
    changes = {s: {"patient_provenance": v} for s, v in zip(sorted(cases.PLACES), values, strict=True)}
    sealed(tmp_path, monkeypatch, changes)
    assert read_parquet(DatasetTree(tmp_path).slides_table)["patient_provenance"].to_pylist() == values

"""Rules of a check on a dataset of one's own: names, pairs, states, tables, stacks, digests."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import dataset_layouts as layouts
import numpy as np
import pytest
from ruamel.yaml import YAML

from wsiprep.datasets import CheckResult, Options
from wsiprep.datasets.checksums import DigestCache, file_digest
from wsiprep.datasets.listing import list_folder
from wsiprep.errors import ManifestError, RecipeError
from wsiprep.manifest import read_exclusions, read_manifest
from wsiprep.progress import NullReporter
from wsiprep.stages.dataset import Dataset, check_dataset, write_dataset

ITEMS: dict[str, Any] = {"path": "{slide}.tif", "annotation": ["{slide}.xml"]}


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """Check ``tmp_path/data`` with a recipe whose dataset section has the given keys."""

    def run(facts: str | None = None, recipe: dict[str, Any] | None = None, how: Options | None = None, **spec: Any):  # type: ignore[no-untyped-def]
        section = {
            "licence": {"spdx": "CC0-1.0"},
            "layouts": {"one": {"items": [ITEMS]}},
            "states": {"*": {"without_file": "error"}},
        } | spec
        if facts is not None:
            section["facts"] = "facts.csv"
            (tmp_path / "facts.csv").write_text(facts)
        plain = {"name": "own", "downsample": 4, "licence": "CC0-1.0", "dataset": section} | (recipe or {})
        with (tmp_path / "own.yaml").open("w") as stream:
            YAML().dump(json.loads(json.dumps(plain)), stream)
        how = how or Options(headers=False)
        cache = tmp_path / "cache.json"
        return check_dataset(str(tmp_path / "own.yaml"), tmp_path / "data", how, NullReporter(), cache)

    return run


def kinds(result: CheckResult, severity: str = "error") -> dict[str, str]:
    return {f.path: f.kind for f in result.findings if f.severity == severity}


def pair(root: Path, name: str) -> None:
    layouts.put(root, f"{name}.tif", b"x")
    layouts.put(root, f"{name}.xml", b"x")


NAMES = ["two words", "[34, 12]", "naïve ﬁle ✂", "-dash", "a,b", "semi;colon", "it's", 'say "x"', "x" * 251, "..b"]


def test_names_of_every_kind_survive(own: Any, tmp_path: Path) -> None:
    for name in NAMES:
        pair(tmp_path / "data", name)
    found, result = own()
    assert result.ok, result.findings
    written = write_dataset(found, result, tmp_path / "data", tmp_path / "out")
    rows = read_manifest(written[0], str(tmp_path / "data"))
    assert {row.raw_id for row in rows} == set(NAMES)
    assert all(Path(row.slide).is_file() and Path(str(row.annotation)).is_file() for row in rows)
    assert len({row.slide_id for row in rows}) == len(NAMES)


def test_blanks_at_the_ends_of_a_path_are_refused(own: Any, tmp_path: Path) -> None:
    """A manifest's cells are stripped, so such a path would be another one."""
    pair(tmp_path / "data", " a")
    pair(tmp_path / "data", "b ")
    found, result = own()
    assert kinds(result) == {" a.tif": "name"}
    assert [row.id for row in result.rows] == [" a", "b "]
    write_dataset(found, result, tmp_path / "data", tmp_path / "out")
    assert "begins or ends with a blank" in (tmp_path / "out" / "exclude.csv").read_text()


def test_pairs_are_by_name_not_by_order(own: Any, tmp_path: Path) -> None:
    """Sorted order would pair b.tif with c.xml; the names do not."""
    root = tmp_path / "data"
    for name in ("a.tif", "b.tif", "a.xml", "c.xml"):
        layouts.put(root, name, b"x")
    _, result = own()
    assert kinds(result) == {"b.tif": "missing-annotation", "c.xml": "orphan-annotation"}
    assert {row.id: row.cells["annotation"] for row in result.rows} == {"a": "a.xml", "b": ""}


def test_several_annotation_files_are_ambiguous_unless_the_first_is_asked_for(own: Any, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a.ndpi", "a.ndpi.ndpa", "a.ndpa"):
        layouts.put(root, name, b"x")
    items = {"path": "{slide}.ndpi", "annotation": ["{slide}.ndpi.ndpa", "{slide}.ndpa"]}
    _, result = own(layouts={"one": {"items": [items]}})
    assert kinds(result) == {"a.ndpi": "ambiguous-annotation"}
    _, result = own(layouts={"one": {"items": [items | {"pairing": "first"}]}})
    assert result.ok
    assert result.rows[0].cells["annotation"] == "a.ndpi.ndpa"


def test_one_id_twice(own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "x/a")
    pair(tmp_path / "data", "y/a")
    items = {"path": "{folder}/{slide}.tif", "annotation": ["{folder}/{slide}.xml"]}
    found, result = own(layouts={"one": {"items": [items]}})
    assert kinds(result) == {"y/a.tif": "twice"}
    written = write_dataset(found, result, tmp_path / "data", tmp_path / "out")
    assert [row.slide_ref for row in read_manifest(written[0])] == ["x/a.tif"]
    assert list(read_exclusions(written[2])) == ["a"]


def test_the_first_layout_that_matches_wins(own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "x/a")
    pair(tmp_path / "data", "y/b")
    two = {name: {"items": [{"path": name + "/{slide}.tif", "annotation": [name + "/{slide}.xml"]}]} for name in "zyx"}
    _, result = own(layouts=two)
    assert (result.layout, [row.id for row in result.rows]) == ("y", ["b"])
    _, result = own(layouts=two, how=Options(layout="x", headers=False))
    assert (result.layout, [row.id for row in result.rows]) == ("x", ["a"])


def test_a_fact_of_the_csv_wins_over_one_of_the_recipe(own: Any, tmp_path: Path) -> None:
    for name in ("a", "a.b"):
        pair(tmp_path / "data", name)
    facts = "slide,annotation_state,patient,note,source\na,partial,p1,half,us\n"
    _, result = own(facts, slides=[{"slide": "a.*", "patient": "p0", "source": "them"}])
    rows = {row.id: row.cells for row in result.rows}
    assert (rows["a"]["annotation_state"], rows["a"]["patient"]) == ("partial", "p1")
    assert (rows["a.b"]["annotation_state"], rows["a.b"]["patient"]) == ("exhaustive", "p0")
    assert rows["a"]["facts"] == "them; us"


def test_an_exact_id_in_the_csv_is_no_expression(own: Any, tmp_path: Path) -> None:
    for name in ("a.b", "axb"):
        pair(tmp_path / "data", name)
    _, result = own("slide,patient,source\na.b,p1,us\n")
    assert {row.id: row.cells["patient"] for row in result.rows} == {"a.b": "p1", "axb": ""}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("slide,colour\na,red\n", "columns"),
        ("slide,source\na,s\na,s\n", "two rows"),
        ("slide,source,optional\na,s,maybe\n", "yes or no"),
        ("slide,source,spacing_um\na,s,-1\n", "spacing_um"),
        ("slide,source,annotation_state\na,s,half\n", "annotation_state"),
        ("slide,note\na,n\n", "source"),
        ("slide,source\na,s,more\n", "more fields"),
    ],
)
def test_mistakes_in_the_facts_name_file_and_line(facts: str, said: str, own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "a")
    with pytest.raises(ManifestError, match=said) as caught:
        own(facts)
    assert str(caught.value.file).endswith("facts.csv")
    assert caught.value.line is not None


def test_a_class_without_a_rule_is_not_guessed(own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "a")
    _, result = own(states={"tumour": {}}, classes={"normal": "a"})
    assert kinds(result) == {"a.tif": "unknown-class"}
    assert result.rows[0].cells["annotation_state"] == "none"


@pytest.mark.parametrize(
    ("rule", "with_file", "without"),
    [
        ({"without_file": "normal"}, ("exhaustive", None), ("normal", None)),
        ({"with_file": "partial", "without_file": "none"}, ("partial", None), ("none", None)),
        ({"without_file": "exclude", "reason": "why", "source": "who"}, ("exhaustive", None), ("none", "why (who)")),
    ],
)
def test_state_rules(rule: Any, with_file: Any, without: Any, own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "a")
    layouts.put(tmp_path / "data", "b.tif", b"x")
    _, result = own(states={"*": rule})
    assert result.ok
    got = {row.id: (row.cells["annotation_state"], row.exclude) for row in result.rows}
    assert got == {"a": with_file, "b": without}


def test_expected_patients_and_other_counts(own: Any, tmp_path: Path) -> None:
    for name in ("p1_a", "p1_b", "p2_a"):
        pair(tmp_path / "data", name)
    _, result = own(
        patient=[{"match": "(p.)_.", "source": "s"}],
        expect=[
            {"what": "patients", "count": 2, "source": "s"},
            {"count": 4, "accept": [3], "source": "s"},
            {"match": "p1_.", "count": 3, "source": "s", "severity": "warning"},
        ],
    )
    assert [count.found for count in result.counts] == [2, 3, 2]
    assert [count.agrees for count in result.counts] == [True, True, False]
    assert result.ok


def test_stacks_are_counted_by_their_header(own: Any, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for fold, n_masks in ((1, 3), (2, 2)):
        (root / f"Fold {fold}").mkdir(parents=True)
        np.save(root / f"Fold {fold}" / "images.npy", np.zeros((3, 4, 4, 3)))
        np.save(root / f"Fold {fold}" / "masks.npy", np.zeros((n_masks, 4, 4, 6)))
    whole = (root / "Fold 1" / "images.npy").read_bytes()
    layouts.put(root, "Fold 3/images.npy", whole[:-8])
    layouts.put(root, "Fold 3/masks.npy", (root / "Fold 1" / "masks.npy").read_bytes())
    items = {
        "path": "Fold {fold}/images.npy", "kind": "collection", "id": "fold{fold}",
        "annotation": ["Fold {fold}/masks.npy"],
    }  # fmt: skip
    _, result = own(
        layouts={"one": {"items": [items]}}, split=[{"match": "fold(.)", "names": {"3": "test"}, "source": "s"}]
    )
    assert kinds(result) == {"Fold 2/images.npy": "missing-labels", "Fold 3/images.npy": "bad-stack"}
    assert result.tiles == {"fold1": 3, "fold2": 3, "fold3": 0}
    assert [row.cells["split"] for row in result.rows] == ["1", "2", "test"]


def test_a_stack_of_objects_is_not_unpickled(own: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    _, result = own(
        layouts={"one": {"items": [{"path": "{slide}.npy", "kind": "collection"}]}},
        states={"*": {"without_file": "none"}},
    )
    assert kinds(result) == {"a.npy": "bad-stack"}


def test_digests_are_computed_again_only_when_a_file_changed(
    own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    pair(root, "a")
    pair(root, "b")
    layouts.checksum_list(root, "sums.md5", "md5")
    read: list[str] = []

    def counted(path: Path, algorithm: str) -> str:
        read.append(path.name)
        return file_digest(path, algorithm)

    monkeypatch.setattr("wsiprep.datasets.checksums.file_digest", counted)
    how = Options(headers=False, checksums=True)
    sums = [{"algorithm": "md5", "file": "sums.md5"}]
    _, result = own(checksums=sums, how=how)
    assert (result.ok, result.n_verified, len(read)) == (True, 4, 4)
    read.clear()
    os.utime(root / "a.tif", ns=(1, 1))
    _, result = own(checksums=sums, how=how)
    assert (result.ok, result.n_verified, read) == (True, 4, ["a.tif"])
    (tmp_path / "cache.json").write_text("{broken")
    _, result = own(checksums=sums, how=how)
    assert result.n_verified == 4


@pytest.mark.parametrize(
    ("line", "agrees"),
    [
        ("{digest}  a.tif", 1),
        ("{digest} *./a.tif", 1),
        ("MD5 (a.tif) = {digest}", 1),
        ("{digest}  elsewhere/DATA/a.tif", 1),
        ("{upper}  a.tif", 1),
        ("{digest}  not-here.tif", 0),
    ],
)
def test_lines_of_checksum_lists(line: str, agrees: int, own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "a")
    digest = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    layouts.put(tmp_path / "data", "sums.md5", line.format(digest=digest, upper=digest.upper()).encode())
    how = Options(headers=False, checksums=True)
    _, result = own(checksums=[{"algorithm": "md5", "file": "sums.md5"}], how=how)
    assert (result.ok, result.n_verified) == (True, agrees)


def test_a_line_that_is_none_is_an_error(own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "a")
    layouts.put(tmp_path / "data", "sums.md5", hashlib.sha256(b"x").hexdigest().encode() + b"  a.tif\n")
    _, result = own(checksums=[{"algorithm": "md5", "file": "sums.md5"}], how=Options(headers=False, checksums=True))
    assert kinds(result) == {"sums.md5": "bad-checksums"}


def test_literal_digests(own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "a")
    layouts.put(tmp_path / "data", "all.zip", b"x")
    sums = [{"algorithm": "sha256", "path": "all.zip", "digest": hashlib.sha256(b"y").hexdigest()}]
    _, result = own(checksums=sums, how=Options(headers=False, checksums=True))
    assert kinds(result) == {"all.zip": "checksum"}


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    layouts.put(tmp_path, "data/a", b"x")
    listing = list_folder(tmp_path / "data")
    layouts.put(tmp_path, "file", b"x")
    cache = DigestCache(tmp_path / "file" / "digests.json")
    assert cache.digest(listing.root, listing.files["a"], "md5") == hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    cache.save()


def test_a_layout_changes_keys_of_the_copy(own: Any, tmp_path: Path) -> None:
    from wsiprep.config import load_recipe

    pair(tmp_path / "data", "a")
    layout = {"items": [ITEMS], "recipe": {"sampling": {"edge": "pad"}, "downsample": None, "spacing_um": 1.0}}
    found, result = own(recipe={"sampling": {"patch_size_px": 64}}, layouts={"one": layout})
    write_dataset(found, result, tmp_path / "data", tmp_path / "out")
    recipe = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert (recipe.sampling.edge, recipe.sampling.patch_size_px) == ("pad", 64)
    assert (recipe.downsample, recipe.spacing_um) == (None, 1.0)


def test_a_recipe_without_the_section_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("name: a\ndownsample: 4\n")
    with pytest.raises(RecipeError, match="no published dataset"):
        check_dataset(str(tmp_path / "plain.yaml"), tmp_path, Options(), NullReporter())


def test_the_dataset_type_is_frozen(own: Any, tmp_path: Path) -> None:
    pair(tmp_path / "data", "a")
    found, _ = own()
    assert isinstance(found, Dataset)
    with pytest.raises(AttributeError):
        found.path = tmp_path

"""verify finds every fault that is planted, names its file, and finds none in a sound dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import storecases as cases

from wsiprep.artifacts import DatasetTree, read_json, write_json
from wsiprep.store import Findings, by_slide, clean, read_receipt, seal, verify
from wsiprep.store.digest import file_digest
from wsiprep.store.records import with_check
from wsiprep.store.tables import parquet_bytes, read_parquet
from wsiprep.temporaries import temporary_name


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original")
    for name in ("slides/slide_a/slide.json", "plan/slide_a.parquet", "splits.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"the contents of {name}")
    cases.sealed(root)
    return root


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    place = tmp_path / "copy"
    shutil.copytree(original, place)
    return place


def found(root: Path, *, deep: bool = True) -> dict[str, str]:
    """path -> kind of every fault."""
    return {f.path: f.kind for f in verify(DatasetTree(root), deep=deep).faults}


def shard_of(root: Path, slide_id: str) -> Path:
    return root / read_receipt(DatasetTree(root), slide_id).shard


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_dataset_has_no_findings(original: Path, deep: bool) -> None:
    findings = verify(DatasetTree(original), deep=deep)
    assert findings == Findings((), findings.n_files, 11 if deep else 0)
    assert findings.ok
    # The receipts are counted once as receipts and once as files of the record.
    assert findings.n_files == len(cases.tree_bytes(original)) + 4


def test_one_flipped_bit_in_any_file_is_found_and_named(copy: Path) -> None:
    files = [p for p in sorted(copy.rglob("*")) if p.is_file()]
    assert len(files) > 25
    for number, path in enumerate(files):
        data = path.read_bytes()
        place = (number * 7919) % len(data)
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << number % 8)]) + data[place + 1 :])
        assert path.relative_to(copy).as_posix() in found(copy), path
        path.write_bytes(data)
    assert found(copy) == {}


@pytest.mark.parametrize("deep", [False, True])
def test_truncated_and_deleted_files_are_found_by_name_alone(copy: Path, deep: bool) -> None:
    for path in [p for p in sorted(copy.rglob("*")) if p.is_file()]:
        name = path.relative_to(copy).as_posix()
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        assert found(copy, deep=deep).get(name) in ("size", "damaged"), name
        path.unlink()
        assert found(copy, deep=deep).get(name) in ("missing", "unsealed"), name
        path.write_bytes(data)


def test_swapped_files_of_one_size_are_found(tmp_path: Path) -> None:
    """Two slides whose shards have files of equal sizes, exchanged file by file and folder by folder."""
    for slide_id, seed in (("slide_a", 0), ("slide_b", 1)):
        cases.write(tmp_path, slide_id, 4, seed=seed, store={"codec": "none"})
    tree = DatasetTree(tmp_path)
    seal(tree, recipe=cases.recipe(), slides=cases.SLIDES[:2], assignment=by_slide(cases.PLACES))
    one, two = shard_of(tmp_path, "slide_a"), shard_of(tmp_path, "slide_b")

    def swap(a: Path, b: Path) -> None:
        spare = tmp_path / "spare"
        a.rename(spare)
        b.rename(a)
        spare.rename(b)

    for name in ("image/c.0.0.0.0", "mask/c.0.0.0", "zarr.json", "."):
        a, b = one / name, two / name
        if a.is_file():
            assert a.stat().st_size == b.stat().st_size
        swap(a, b)
        assert found(tmp_path, deep=False) == {}
        names = found(tmp_path)
        assert all(any(path.startswith(f"shards/{s}/") for path in names) for s in ("slide_a", "slide_b")), name
        swap(a, b)
    swap(tree.receipt("slide_a"), tree.receipt("slide_b"))
    assert {"receipts/slide_a.json", "receipts/slide_b.json"} <= found(tmp_path, deep=False).keys()
    swap(tree.receipt("slide_a"), tree.receipt("slide_b"))
    assert found(tmp_path) == {}


def test_strays_are_found_and_temporaries_are_leftovers(copy: Path) -> None:
    tree = DatasetTree(copy)
    stray = {
        "shards/notes.txt": b"x",
        "shards/slide_a/000000000000.zarr/zarr.json": b"{}",
        "shards/slide_z/000000000000.rows.parquet": b"x",
        f"{shard_of(copy, 'slide_b').relative_to(copy).as_posix()}/mask/c.7.0.0": b"x",
        "receipts/notes.txt": b"x",
    }
    for name, data in stray.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    (copy / "shards" / "slide_a" / temporary_name()).mkdir()
    (copy / f"{temporary_name()}.json").write_bytes(b"half")
    findings = verify(tree)
    assert {f.path for f in findings.faults} == {
        "shards/notes.txt", "shards/slide_a/000000000000.zarr", "shards/slide_z", *list(stray)[3:],
    }  # fmt: skip
    assert {f.kind for f in findings.faults} == {"stray"}
    assert sum(f.kind == "leftover" for f in findings.items) == 2
    assert str(findings.faults[0]).startswith("receipts/notes.txt: stray:") or "stray" in str(findings.faults[0])


def test_a_receipt_of_an_unknown_slide_and_a_repacked_slide_are_found(copy: Path) -> None:
    cases.write(copy, "slide_z", 2)
    assert found(copy) == {"receipts/slide_z.json": "stray"}
    cases.write(copy, "slide_a", 6, seed=50)
    names = found(copy)
    assert names["receipts/slide_a.json"] in ("changed", "size")
    assert any(path.startswith("shards/slide_a/") and kind == "stray" for path, kind in names.items())


def test_an_unsealed_tree_is_checked_as_far_as_it_goes(copy: Path) -> None:
    (copy / "dataset.json").unlink()
    assert found(copy) == {"dataset.json": "unsealed"}
    assert found(copy / "nothing") == {"dataset.json": "unsealed"}


def resign(root: Path, slide_id: str, **changes: object) -> None:
    """Make receipts and record agree with the files as they are: what an accident does not do."""
    tree = DatasetTree(root)
    value = read_json(tree.receipt(slide_id)) | changes
    for file in value["files"]:
        path = root / file["path"]
        file |= {"size": path.stat().st_size, "xxh3": file_digest(path)}
    write_json(tree.receipt(slide_id), with_check(value))
    record = read_json(tree.dataset_record)
    for kind in ("tables", "receipts"):
        for file in record[kind]:
            path = root / file["path"]
            file |= {"size": path.stat().st_size, "xxh3": file_digest(path)}
    write_json(tree.dataset_record, with_check(record))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def edit_rows(root: Path, slide_id: str, column: str, value: object) -> None:
    path = root / read_receipt(DatasetTree(root), slide_id).rows
    rows = read_parquet(path)
    values = rows.to_pylist()
    values[0][column] = value
    path.write_bytes(parquet_bytes(type(rows).from_pylist(values, schema=rows.schema)))


def test_contents_are_checked_even_where_every_file_digest_fits(copy: Path) -> None:
    """The chunks, the rows and the index each against another, with receipts forged to fit."""
    backup = copy.with_name("backup")
    shutil.copytree(copy, backup)

    def restored(change: Callable[[], None], slide_id: str = "slide_a", **changes: object) -> dict[str, str]:
        shutil.rmtree(copy)
        shutil.copytree(backup, copy)
        change()
        resign(copy, slide_id, **changes)
        return found(copy)

    shard = shard_of(copy, "slide_a")
    name = shard.relative_to(copy).as_posix()
    assert restored(lambda: flip(shard / "image" / "c.0.0.0.0", 30)) == {name: "damaged"}
    assert restored(lambda: (shard / "zarr.json").write_text("{}")) == {name: "damaged"}  # type: ignore[arg-type,return-value]
    rows = read_receipt(DatasetTree(copy), "slide_a").rows
    names = restored(lambda: edit_rows(copy, "slide_a", "tumour_px", 5))
    assert names[rows] == "inconsistent"
    assert names["receipts/slide_a.json"] == "inconsistent"
    assert names["index.parquet"] == "inconsistent"
    names = restored(lambda: edit_rows(copy, "slide_a", "digest", "0" * 32))
    assert names[name] == "changed"
    names = restored(lambda: edit_rows(copy, "slide_a", "tumour_fraction", 0.75))
    assert names == {"receipts/slide_a.json": "inconsistent", "index.parquet": "inconsistent"}
    names = restored(lambda: None, n_patches=5)
    assert names[name] in ("damaged", "inconsistent")


def forge_index(root: Path, column: str, value: object) -> None:
    tree = DatasetTree(root)
    table = read_parquet(tree.index)
    values = table.to_pylist()
    values[0][column] = value
    tree.index.write_bytes(parquet_bytes(type(table).from_pylist(values, schema=table.schema)))


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("split", "val", {"index.parquet": "leak", "dataset.json": "inconsistent"}),
        ("x_lv0", 12345, {"index.parquet": "inconsistent"}),
        ("slide_id", "slide_q", {"index.parquet": "inconsistent", "dataset.json": "inconsistent"}),
    ],
)
def test_a_forged_index_is_found(copy: Path, column: str, value: object, wanted: dict[str, str]) -> None:
    forge_index(copy, column, value)
    resign(copy, "slide_a")
    assert found(copy) == wanted


def test_clean_removes_what_nothing_names_and_nothing_else(copy: Path) -> None:
    tree = DatasetTree(copy)
    before = cases.tree_bytes(copy)
    planted = {
        "shards/slide_a/.tmp-elsewhere-12-1700000000-abc/image/c.0.0.0.0",
        ".tmp-x.json",
        "receipts/.tmp-elsewhere-12-1700000000-abc.json",
        "shards/slide_a/000000000000.zarr/zarr.json",
        "shards/slide_a/000000000000.rows.parquet",
        "shards/slide_z/000000000000.rows.parquet",
        "shards/loose.bin",
    }
    for name in planted:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"x")
    listed = clean(tree, dry_run=True)
    assert planted <= cases.tree_bytes(copy).keys()
    assert clean(tree) == listed
    assert len(listed) == 7
    assert cases.tree_bytes(copy) == before
    assert not (copy / "shards" / "slide_z").exists()
    assert clean(tree) == []


def test_clean_leaves_living_writers_and_unreadable_receipts_alone(copy: Path) -> None:
    tree = DatasetTree(copy)
    mine = copy / "shards" / "slide_a" / temporary_name()
    mine.mkdir()
    host, pid, _, tail = mine.name.removeprefix(".tmp-").rsplit("-", 3)
    reused = mine.with_name(f".tmp-{host}-{pid}-1000000000-{tail}")
    reused.mkdir()
    dead = mine.with_name(f".tmp-{host}-4194305-1700000000-{tail}")
    dead.mkdir()
    tree.receipt("slide_b").write_bytes(b"{")
    assert clean(tree) == sorted([reused, dead])
    assert mine.is_dir()
    assert list((copy / "shards" / "slide_b").glob("*.zarr"))
    assert found(copy)["receipts/slide_b.json"] in ("damaged", "size")

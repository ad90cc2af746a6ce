"""Sealing and reading datasets: digests, statistics, splits, cards, and refusing what is not whole."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import storecases as cases
from ruamel.yaml import YAML

from wsiprep.artifacts import DatasetTree, read_json, write_json
from wsiprep.errors import SplitError, StoreError, UsageError
from wsiprep.store import Dataset, Placement, by_slide, index_schema, read_receipts, record_outcome, seal
from wsiprep.store.card import size_category
from wsiprep.store.records import with_check
from wsiprep.store.splits import leaks


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed dataset; tests that use it only read."""
    root = tmp_path_factory.mktemp("finished")
    cases.sealed(root)
    return root


def test_what_is_read_is_what_was_packed(finished: Path) -> None:
    dataset = Dataset(finished)
    assert len(dataset) == 11
    assert dataset.labels == cases.LABELS
    assert dataset.index.schema.names == index_schema(cases.LABELS).names
    wanted = [
        (s, n, p)
        for k, (s, c) in enumerate(zip("abc", (6, 4, 1), strict=True))
        for n, p in enumerate(cases.patches(c, k))
    ]
    for i, (letter, number, patch) in enumerate(wanted):
        image, mask, meta = dataset.read(i)
        assert np.array_equal(image, patch.image)
        assert np.array_equal(mask, patch.mask)
        assert (meta["slide_id"], meta["row"], meta["x_lv0"]) == (f"slide_{letter}", number, patch.row["x_lv0"])
    assert dataset.read(-1)[2] == dataset.read(10)[2]
    assert image.flags.writeable
    for wrong in (11, -12):
        with pytest.raises(UsageError, match="no such patch"):
            dataset.read(wrong)
    with pytest.raises(StoreError, match="no instance maps"):
        dataset.read_instance(0)
    assert "11 patches" in repr(dataset)


def test_instances_are_read(tmp_path: Path) -> None:
    tree = DatasetTree(tmp_path)
    from dataclasses import replace

    from wsiprep.store import write_shard

    patches = [replace(p, instance=p.mask.astype(np.int32) + 1_000_000) for p in cases.patches(2)]
    write_shard(tree, cases.spec(instances=True), patches, 2)
    seal(tree, recipe=cases.recipe(), slides=cases.SLIDES[:1], assignment=by_slide(cases.PLACES))
    assert np.array_equal(Dataset(tmp_path).read_instance(1), patches[1].instance)


def test_the_index_is_in_order_and_typed(finished: Path) -> None:
    table = pq.read_table(finished / "index.parquet")
    assert table.schema.equals(index_schema(cases.LABELS), check_metadata=False)
    keys = list(zip(*(table[c].to_pylist() for c in ("slide_id", "y_lv0", "x_lv0")), strict=True))
    assert keys == sorted(keys)
    slides = pq.read_table(finished / "slides.parquet").to_pylist()
    assert [s["slide_id"] for s in slides] == ["slide_a", "slide_b", "slide_c", "slide_d"]
    assert [(s["state"], s["n_patches"], s["scanner"]) for s in slides] == [
        ("done", 6, "x"), ("done", 4, "y"), ("done", 1, "y"), ("empty", 0, "x"),
    ]  # fmt: skip
    assert slides[3]["reason"] == "no patches"


def test_a_new_split_changes_the_dataset_and_not_its_pixels(tmp_path: Path) -> None:
    first = cases.sealed(tmp_path)
    shards = {k: v for k, v in cases.tree_bytes(tmp_path).items() if k.startswith(("shards/", "receipts/"))}
    second = cases.sealed(tmp_path, {**cases.PLACES, "slide_b": ("test", None)})
    assert first["pixels_digest"] == second["pixels_digest"]
    assert first["dataset_digest"] != second["dataset_digest"]
    assert {k: v for k, v in cases.tree_bytes(tmp_path).items() if k.startswith(("shards/", "receipts/"))} == shards
    assert Dataset(tmp_path).splits == ["test", "train", "val"]
    cases.write(tmp_path, "slide_c", 1, seed=77)
    third = cases.sealed(tmp_path)
    assert third["pixels_digest"] != first["pixels_digest"]


def test_sealing_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    cases.sealed(tmp_path)
    before = cases.tree_bytes(tmp_path)
    place = (tmp_path / "index.parquet").stat().st_ino
    cases.sealed(tmp_path)
    assert cases.tree_bytes(tmp_path) == before
    assert (tmp_path / "index.parquet").stat().st_ino == place


def test_statistics_are_those_of_the_training_pixels(finished: Path) -> None:
    dataset = Dataset(finished)
    rows = dataset.split("train")
    images = np.stack([dataset.read(int(i))[0] for i in rows]).reshape(-1, 3).astype(np.float64)
    assert dataset.statistics["train"]["n_px"] == len(images)
    assert dataset.statistics["train"]["mean"] == pytest.approx(images.mean(axis=0), rel=1e-12)
    assert dataset.statistics["train"]["std"] == pytest.approx(images.std(axis=0), rel=1e-12)
    lazy, _ = dataset.to_dask("train")
    assert dataset.statistics["train"]["mean"] == pytest.approx(lazy.mean(axis=(0, 1, 2)).compute(), rel=1e-12)
    masks = np.stack([dataset.read(int(i))[1] for i in rows])
    counts = dataset.record["counts"]["splits"]["train"]
    assert counts["label_px"] == {"tumour": int((masks == 1).sum()), "stroma": int((masks == 2).sum())}
    assert (counts["ignore_px"], counts["background_px"]) == (int((masks == 255).sum()), int((masks == 0).sum()))
    assert (counts["patches"], counts["slides"], counts["patients"]) == (10, 2, 2)


def test_statistics_of_extreme_patches_are_exact(tmp_path: Path) -> None:
    """All white: the sum of squares is the largest there is, and the deviation is zero, not NaN."""
    from wsiprep.store.rows import channel_sums

    white = np.full((512, 512, 3), 255, np.uint8)
    assert channel_sums(white) == {f"sum_{c}": 255 * 512**2 for c in "rgb"} | {
        f"sumsq_{c}": 255**2 * 512**2 for c in "rgb"
    }


def test_dask_arrays_are_in_the_order_of_the_split(finished: Path) -> None:
    dataset = Dataset(finished)
    for name in ("all", "train", "val"):
        images, masks = dataset.to_dask(name)
        rows = dataset.split(name)
        assert np.array_equal(images.compute(), np.stack([dataset.read(int(i))[0] for i in rows]))
        assert np.array_equal(masks.compute(), np.stack([dataset.read(int(i))[1] for i in rows]))


def test_patches_left_out_by_the_split_are_not_in_the_dataset(tmp_path: Path) -> None:
    cases.pack_all(tmp_path)

    def odd_rows_train(slide_id: str, rows: object) -> Placement:
        n = rows.num_rows  # type: ignore[attr-defined]
        return Placement(["train" if i % 2 else None for i in range(n)], [None] * n)

    tree = DatasetTree(tmp_path)
    record = seal(tree, recipe=cases.recipe(), slides=cases.SLIDES, assignment=odd_rows_train)
    dataset = Dataset(tmp_path)
    assert [(s["n_patches"], s["n_used"]) for s in record["shards"]] == [(6, 3), (4, 2), (1, 0)]
    assert dataset.index["row"].to_pylist() == [1, 3, 5, 1, 3]
    images, _ = dataset.to_dask()
    assert np.array_equal(images.compute(), np.stack([dataset.read(i)[0] for i in range(5)]))


def test_folds(tmp_path: Path) -> None:
    """The fold that is held out tests, the next one validates, the rest train; a fixed split stays."""
    cases.write(tmp_path, "slide_e", 2, seed=9)
    cases.pack_all(tmp_path)
    places = {"slide_a": ("all", 0), "slide_b": ("all", 1), "slide_c": ("all", 2), "slide_d": ("all", 0)}
    slides = [*cases.SLIDES, {"slide_id": "slide_e"}]
    assignment = by_slide({**places, "slide_e": ("test", None)})
    recipe = cases.recipe(split={"kind": "folds", "folds": 3})
    seal(DatasetTree(tmp_path), recipe=recipe, slides=slides, assignment=assignment)
    dataset = Dataset(tmp_path)
    assert (dataset.folds, dataset.splits) == ([0, 1, 2], ["test", "train", "val"])
    a, b, c, fixed = list(range(6)), list(range(6, 10)), [10], [11, 12]
    for fold, (test, val, train) in enumerate([(a, b, c), (b, c, a), (c, a, b)]):
        assert dataset.split("test", fold).tolist() == sorted(test + fixed)
        assert dataset.split("val", fold).tolist() == val
        assert dataset.split("train", fold).tolist() == train
        pixels = np.stack([dataset.read(i)[0] for i in train]).reshape(-1, 3).astype(np.float64)
        assert dataset.statistics["folds"][str(fold)]["mean"] == pytest.approx(pixels.mean(axis=0), rel=1e-12)
    assert dataset.split("all").tolist() == list(range(13))
    assert dataset.split("test").tolist() == fixed
    assert {k: v["patches"] for k, v in dataset.record["counts"]["folds"].items()} == {"0": 6, "1": 4, "2": 1}
    assert "| fold 1 | 4 | 1 | 1 |" in (tmp_path / "README.md").read_text()
    with pytest.raises(UsageError, match="no such fold"):
        dataset.split("val", 3)
    with pytest.raises(UsageError, match="no patch is in this split") as caught:
        dataset.split("train")
    assert "name a fold too, 0 to 2" in str(caught.value)


def test_a_split_that_is_not_there_is_an_error(finished: Path) -> None:
    with pytest.raises(UsageError, match="no patch is in this split") as caught:
        Dataset(finished).split("nobody")
    assert "train, val, all" in str(caught.value)
    with pytest.raises(UsageError, match="has no folds"):
        Dataset(finished).split("train", 0)


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    cases.pack_all(tmp_path)
    tree = DatasetTree(tmp_path)
    slides = [{**s, "patient": "p1"} for s in cases.SLIDES]
    places = {**cases.PLACES, "slide_b": ("val", None)}
    with pytest.raises(SplitError, match="patient is in two splits") as caught:
        seal(tree, recipe=cases.recipe(), slides=slides, assignment=by_slide(places))
    assert "p1: train, val" in str(caught.value)
    assert not tree.dataset_record.exists()
    by_centre = cases.recipe(split={"by": "centre"})
    with pytest.raises(SplitError, match="centre"):
        seal(tree, recipe=by_centre, slides=cases.SLIDES, assignment=by_slide(places))
    marked = seal(tree, recipe=cases.recipe(split={"by": "patch"}), slides=slides, assignment=by_slide(places))
    assert marked["split"]["leaks"]
    assert "results on it are not results on new patients" in tree.card.read_text()
    assert leaks(Dataset(tmp_path).index, "slide") == []


def test_by_slide_each_tile_of_a_collection_is_one() -> None:
    """Two tiles of one collection may be in two splits, one tile may not; nor may a slide, which has no tiles."""
    rows = [("c", "t1", "train"), ("c", "t1", "train"), ("c", "t2", "val"), ("s", None, "train")]
    table = pa.table(
        {
            "slide_id": [r[0] for r in rows],
            "tile": pa.array([r[1] for r in rows], pa.string()),
            "split": [r[2] for r in rows],
            "fold": pa.array([None] * len(rows), pa.int32()),
        }
    )
    assert leaks(table, "slide") == []
    assert leaks(table.set_column(2, "split", pa.array(["train", "test", "val", "train"])), "slide") == [
        ("c/t1", ["test", "train"])
    ]
    torn = pa.concat_tables([table, table.slice(3).set_column(2, "split", pa.array(["val"]))])
    assert leaks(torn, "slide") == [("s", ["train", "val"])]


def test_excluded_and_failed_slides_stay_out(tmp_path: Path) -> None:
    cases.pack_all(tmp_path)
    tree = DatasetTree(tmp_path)
    states = {"slide_a": ("excluded", "blurred"), "slide_d": ("failed", "bad-slide")}
    slides = [
        {**s, **dict(zip(("state", "reason"), states.get(s["slide_id"], (None, None)), strict=True))}
        for s in cases.SLIDES
    ]
    record = seal(tree, recipe=cases.recipe(), slides=slides, assignment=by_slide(cases.PLACES))
    assert record["counts"]["states"] == {"done": 2, "excluded": 1, "failed": 1}
    assert sum(record["counts"]["states"].values()) == len(cases.SLIDES)
    assert set(Dataset(tmp_path).index["slide_id"].to_pylist()) == {"slide_b", "slide_c"}
    record_outcome(tree, "slide_b", "failed", reason="a tile does not decode")
    record = seal(tree, recipe=cases.recipe(), slides=slides, assignment=by_slide(cases.PLACES))
    table = {s["slide_id"]: s for s in pq.read_table(tree.slides_table).to_pylist()}
    assert table["slide_b"]["reason"] == "a tile does not decode"
    assert record["counts"]["patches"] == 1


def test_slides_without_receipts_or_files_stop_the_seal(tmp_path: Path) -> None:
    cases.pack_all(tmp_path)
    tree = DatasetTree(tmp_path)

    def run(slides: object = cases.SLIDES, **changes: object) -> None:
        arguments = {"recipe": cases.recipe(), "slides": slides, "assignment": by_slide(cases.PLACES)} | changes
        seal(tree, **arguments)  # type: ignore[arg-type]

    with pytest.raises(StoreError, match="no receipt") as caught:
        run([*cases.SLIDES, {"slide_id": "slide_e"}])
    assert "slide_e" in str(caught.value)
    with pytest.raises(UsageError, match="no place in the split"):
        run(assignment=by_slide({}))
    with pytest.raises(UsageError, match="does not match the patches"):
        run(assignment=lambda slide_id, rows: Placement(["train"], [None]))
    with pytest.raises(UsageError, match="different ids"):
        run([cases.SLIDES[0], cases.SLIDES[0]])
    with pytest.raises(UsageError, match="unknown state"):
        run([{**cases.SLIDES[0], "state": "odd"}])
    with pytest.raises(UsageError, match="no table holds"):
        run([{**s, "scanner": ["list"]} for s in cases.SLIDES])
    with pytest.raises(StoreError, match="no patches"):
        run([{**s, "state": "excluded"} for s in cases.SLIDES])
    with pytest.raises(StoreError, match="other columns"):
        run(recipe=cases.recipe(labels=["tumour"]))
    receipt = read_receipts(tree)["slide_a"]
    (tmp_path / receipt.shard / "zarr.json").unlink()
    with pytest.raises(StoreError, match="not as its receipt says"):
        run()
    assert not tree.dataset_record.exists()


def test_columns_of_any_scalar_kind_pass_through(tmp_path: Path) -> None:
    cases.pack_all(tmp_path)
    extras = [
        {"age": 61, "score": 0.5, "flag": True, "mixed": 1, "nothing": None},
        {"age": 62, "score": 1, "flag": False, "mixed": "a"},
        {"age": None, "score": None, "flag": None, "mixed": None},
        {"age": 64, "score": 2.5, "flag": True, "mixed": 2.5},
    ]
    slides = [{**s, **e} for s, e in zip(cases.SLIDES, extras, strict=True)]
    seal(DatasetTree(tmp_path), recipe=cases.recipe(), slides=slides, assignment=by_slide(cases.PLACES))
    table = pq.read_table(tmp_path / "slides.parquet").to_pydict()
    assert table["age"] == [61, 62, None, 64]
    assert table["score"] == [0.5, 1.0, None, 2.5]
    assert table["flag"] == [True, False, None, True]
    assert table["mixed"] == ["1", "a", None, "2.5"]
    assert table["nothing"] == [None] * 4


def test_the_record_names_what_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "slides" / "slide_a").mkdir(parents=True)
    (tmp_path / "slides" / "slide_a" / "slide.json").write_text("{}")
    (tmp_path / "recipe.json").write_text("{}")
    record = cases.sealed(tmp_path)
    assert [f["path"] for f in record["companions"]] == ["recipe.json", "slides/slide_a/slide.json"]
    assert record["backends"] == {"requested": {"auto": 3}, "used": {"tiff": 3}}
    assert record["bytes"]["total"] == sum(
        len(v) for k, v in cases.tree_bytes(tmp_path).items() if k.startswith("shards/")
    )
    assert sum(record["bytes"]["splits"].values()) == record["bytes"]["total"]
    assert read_json(tmp_path / "dataset.json") == json.loads(json.dumps(record))


def test_the_card_has_the_hubs_front_matter(finished: Path) -> None:
    text = (finished / "README.md").read_text()
    front = YAML(typ="safe").load(text.split("---\n")[1])
    assert front["license"] == "cc0-1.0"
    assert front["task_categories"] == ["image-segmentation"]
    assert front["size_categories"] == ["n<1K"]
    assert "synthetic" in front["tags"]
    assert front["dataset_info"]["splits"][0]["num_examples"] == 10
    assert front["dataset_info"]["dataset_size"] == sum(s["num_bytes"] for s in front["dataset_info"]["splits"])
    assert "made by a script" in text
    assert [size_category(n) for n in (999, 1000, 10**6, 10**8)] == ["n<1K", "1K<n<10K", "1M<n<10M", "10M<n<100M"]


@pytest.mark.parametrize(
    ("licence", "limited"), [("CC0-1.0", False), ("CC-BY-NC-ND-4.0", True), ("CC-BY-NC-SA-4.0", True)]
)
def test_the_card_carries_the_limits_of_the_licence(tmp_path: Path, licence: str, limited: bool) -> None:
    record = cases.sealed(tmp_path, licence=licence)
    text = (tmp_path / "README.md").read_text()
    limits = record["licence_terms"]["limits"]
    assert bool(limits) == limited
    assert f"Licence of the data: {licence}." in text
    assert all(f"- **{limit}**" in text for limit in limits)
    assert ("redistribut" in text) == ("ND" in licence)


def test_croissant_names_the_index_and_every_column(finished: Path) -> None:
    value = read_json(finished / "croissant.json")
    index, shards = value["distribution"]
    data = (finished / "index.parquet").read_bytes()
    assert index["sha256"] == hashlib.sha256(data).hexdigest()
    assert index["contentSize"] == f"{len(data)} B"
    matched = {p.relative_to(finished).as_posix() for p in finished.glob(shards["includes"]) if p.is_file()}
    assert matched == {k for k in cases.tree_bytes(finished) if ".zarr/" in k}
    fields = value["recordSet"][0]["field"]
    assert [f["name"] for f in fields] == index_schema(cases.LABELS).names
    assert len({f["@id"] for f in fields}) == len(fields)
    assert all(f["source"]["fileObject"]["@id"] == index["@id"] for f in fields)
    kinds = {f["name"]: f["dataType"] for f in fields}
    assert (kinds["slide_id"], kinds["x_lv0"], kinds["from_stored"], kinds["stroma_fraction"]) == (
        "sc:Text", "sc:Integer", "sc:Boolean", "sc:Float",
    )  # fmt: skip
    described = {f["name"]: f["description"] for f in fields}
    assert described["stroma_px"] == "mask pixels that are stroma"
    assert described["sumsq_r"] == "sum of squares of channel r over the patch"
    ids = {index["@id"], shards["@id"], "patches", *(f["@id"] for f in fields)}
    assert len(ids) == len(fields) + 3
    assert value["conformsTo"] == "http://mlcommons.org/croissant/1.0"


def damaged_copy(finished: Path, place: Path) -> DatasetTree:
    for name, data in cases.tree_bytes(finished).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return DatasetTree(place)


def test_what_is_not_whole_is_not_opened(finished: Path, tmp_path: Path) -> None:
    tree = damaged_copy(finished, tmp_path)
    record = tree.dataset_record.read_bytes()
    index = tree.index.read_bytes()
    shard = tmp_path / read_json(tree.dataset_record)["shards"][0]["path"] / "image" / "c.0.0.0.0"
    data = shard.read_bytes()

    tree.dataset_record.unlink()
    with pytest.raises(StoreError, match="not sealed"):
        Dataset(tmp_path)
    tree.dataset_record.write_bytes(record.replace(b'"tiny"', b'"tinz"'))
    with pytest.raises(StoreError, match="record is damaged"):
        Dataset(tmp_path)
    write_json(tree.dataset_record, with_check({**json.loads(record), "schema_version": 9}))
    with pytest.raises(StoreError, match="another version"):
        Dataset(tmp_path)
    tree.dataset_record.write_bytes(record)

    tree.index.unlink()
    with pytest.raises(StoreError, match="index is missing"):
        Dataset(tmp_path)
    tree.index.write_bytes(index + b"x")
    with pytest.raises(StoreError, match="not the one that was sealed"):
        Dataset(tmp_path)
    tree.index.write_bytes(index)

    shard.unlink()
    with pytest.raises(StoreError, match="missing"):
        Dataset(tmp_path)
    shard.write_bytes(data[:-1])
    with pytest.raises(StoreError, match="truncated"):
        Dataset(tmp_path)
    shard.write_bytes(data)

    changed = json.loads(record)
    changed["shards"][0]["n_used"] = 5
    write_json(tree.dataset_record, with_check(changed))
    with pytest.raises(StoreError, match="index and record differ"):
        Dataset(tmp_path)
    changed = json.loads(record)
    changed["shards"][0]["n_patches"] = 7
    write_json(tree.dataset_record, with_check(changed))
    with pytest.raises(StoreError, match="another number of patches"):
        Dataset(tmp_path).read(0)
    tree.dataset_record.write_bytes(record)
    assert len(Dataset(tmp_path)) == 11


def checksum(dataset: Dataset, queue: object) -> None:
    total = sum(int(dataset.read(i)[0].sum()) for i in range(len(dataset)))
    queue.put(total)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_a_dataset_goes_into_other_processes(finished: Path, method: str) -> None:
    dataset = Dataset(finished)
    wanted = sum(int(dataset.read(i)[0].sum()) for i in range(len(dataset)))
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    workers = [context.Process(target=checksum, args=(dataset, queue)) for _ in range(2 if method == "fork" else 1)]
    for worker in workers:
        worker.start()
    assert [queue.get() for _ in workers] == [wanted] * len(workers)
    for worker in workers:
        worker.join()


def test_a_pickle_does_not_mix_two_versions(tmp_path: Path) -> None:
    cases.sealed(tmp_path)
    pickled = pickle.dumps(Dataset(tmp_path))
    assert len(pickled) < 1000
    assert pickle.loads(pickled).digest == Dataset(tmp_path).digest
    cases.sealed(tmp_path, {**cases.PLACES, "slide_b": ("test", None)})
    with pytest.raises(StoreError, match="sealed anew"):
        pickle.loads(pickled)


def test_reading_keeps_few_files_open_and_none_of_a_dataset_that_is_gone(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def n_open() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = n_open()
    dataset = Dataset(finished)
    dataset._files.limit = 3
    for i in (*range(len(dataset)), *reversed(range(len(dataset)))):
        dataset.read(i)
        assert n_open() <= before + 3
    assert n_open() == before + 3
    del dataset
    assert n_open() == before

"""Writing and reading shards: what goes in comes out, for us and for plain zarr-python."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import storecases as cases
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.errors import StoreError, UsageError
from wsiprep.store import PatchRecord, drop_broken_receipts, read_receipt, receipt_is_whole, record_outcome, write_shard
from wsiprep.store.codecs import ChunkCodec, codec_of
from wsiprep.store.schema import array_layouts
from wsiprep.store.shard import Shard
from wsiprep.store.shardfile import ShardFileWriter, read_chunk, read_index
from wsiprep.store.tables import read_parquet

CODECS = ("zstd", "blosc-lz4", "none")


def with_instances(count: int) -> list[PatchRecord]:
    return [
        replace(patch, instance=(patch.mask.astype(np.int32) * 70_000 - number))
        for number, patch in enumerate(cases.patches(count))
    ]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_every_codec_gives_back_what_went_in(tmp_path: Path, codec: str, count: int) -> None:
    receipt = cases.write(tmp_path, count=count, store={"codec": codec})
    shard = Shard(tmp_path / receipt.shard)
    assert shard.n_patches == receipt.n_patches == count
    for number, patch in enumerate(cases.patches(count)):
        assert np.array_equal(shard.arrays["image"].patch(number), patch.image)
        assert np.array_equal(shard.arrays["mask"].patch(number), patch.mask)
    group = zarr.open_group(tmp_path / receipt.shard, mode="r")
    assert np.array_equal(group["image"][:], np.stack([p.image for p in cases.patches(count)]))
    assert np.array_equal(group["mask"][:], np.stack([p.mask for p in cases.patches(count)]))


@pytest.mark.parametrize("codec", CODECS)
def test_instances_are_stored_as_int32(tmp_path: Path, codec: str) -> None:
    records = with_instances(5)
    receipt = write_shard(DatasetTree(tmp_path), cases.spec(instances=True, store={"codec": codec}), records, 5)
    array = Shard(tmp_path / receipt.shard).arrays["instance"]
    wanted = np.stack([r.instance for r in records if r.instance is not None])
    assert array.dtype == np.int32
    assert np.array_equal(array[:], wanted)
    assert np.array_equal(zarr.open_group(tmp_path / receipt.shard, mode="r")["instance"][:], wanted)


@pytest.mark.parametrize("codec", CODECS)
def test_files_are_those_that_zarr_python_writes(tmp_path: Path, codec: str) -> None:
    """Metadata equal as JSON; chunk bytes equal to zarr's, so that a new zarr release cannot surprise."""
    receipt = cases.write(tmp_path / "ours", count=8, store={"codec": codec})
    compressors = {
        "zstd": [ZstdCodec(level=1, checksum=True)],
        "blosc-lz4": [BloscCodec(cname="lz4", clevel=3, shuffle="noshuffle", typesize=1), Crc32cCodec()],
        "none": [Crc32cCodec()],
    }[codec]
    group = zarr.open_group(tmp_path / "theirs", mode="w")
    side = cases.SIDE
    for layout in array_layouts(side):
        array = group.create_array(
            layout.name, shape=(8, *layout.patch_shape), chunks=(1, *layout.patch_shape),
            shards=(4, *layout.patch_shape), dtype=layout.dtype, compressors=compressors, fill_value=layout.fill_value,
            chunk_key_encoding={"name": "default", "separator": "."}, dimension_names=layout.dimensions,
            config={"write_empty_chunks": True},
        )  # fmt: skip
        array[:] = np.stack([getattr(p, layout.name) for p in cases.patches(8)])
        ours = tmp_path / "ours" / receipt.shard / layout.name
        theirs = tmp_path / "theirs" / layout.name
        assert json.loads((ours / "zarr.json").read_bytes()) == json.loads((theirs / "zarr.json").read_bytes())
        assert sorted(p.name for p in ours.iterdir()) == sorted(p.name for p in theirs.iterdir())
        for number in (0, 1):
            # zarr-python writes the chunks of a shard in another order (Morton); each chunk is the same.
            one, two = ours / layout.key(number), theirs / layout.key(number)
            for place in range(4):
                assert read_chunk(one, read_index(one, 4), place) == read_chunk(two, read_index(two, 4), place)


def test_plain_zarr_and_dask_read_a_shard_without_wsiprep(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path, count=6)
    code = (
        "import sys, zarr, dask.array as da\n"
        "group = zarr.open_group(sys.argv[1], mode='r')\n"
        "lazy = da.from_zarr(group['image'])\n"
        "assert not any(name.split('.')[0] == 'wsiprep' for name in sys.modules)\n"
        "print(group['image'].shape, int(lazy.sum().compute()), int(group['mask'][:].astype('int64').sum()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / receipt.shard)], capture_output=True, text=True, check=True, cwd="/"
    )
    images = sum(int(p.image.sum()) for p in cases.patches(6))
    masks = sum(int(p.mask.astype(np.int64).sum()) for p in cases.patches(6))
    assert done.stdout.split(") ")[1].split() == [str(images), str(masks)]


def test_each_file_is_opened_for_writing_once(tmp_path: Path) -> None:
    """No read-modify-write: no shard file is opened twice to be written, and none to be read and written."""
    opened: list[tuple[str, int]] = []
    recording = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if recording and event == "open" and isinstance(arguments[2], int):
            opened.append((str(arguments[0]), arguments[2]))

    sys.addaudithook(hook)
    receipt = cases.write(tmp_path, count=11)
    recording = False
    writes = [name for name, flags in opened if flags & (os.O_WRONLY | os.O_RDWR) and "/shards/" in name]
    inside = [name.split("/", maxsplit=-1)[-2:] for name in writes if "zarr.json" in name or "/c." in name]
    assert not any(flags & os.O_RDWR for name, flags in opened if "/c." in name)
    assert len(inside) == len({tuple(name) for name in inside}) == len(receipt.files) - 1
    # 11 patches, 4 a file: 3 shard files an array, all whole after one open.
    assert sum("/c." in name for name in writes) == 6


def test_an_all_zero_mask_is_stored_and_a_lost_chunk_is_not_zero(tmp_path: Path) -> None:
    side = cases.SIDE
    empty = [
        PatchRecord(np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8), cases.row(n))
        for n in range(3)
    ]
    receipt = write_shard(DatasetTree(tmp_path), cases.spec(), empty, 3)
    folder = tmp_path / receipt.shard
    assert not zarr.open_group(folder, mode="r")["mask"][:].any()
    index = read_index(folder / "mask" / "c.0.0.0", 3)
    assert (index[:, 1] > 0).all()
    (folder / "mask" / "c.0.0.0").unlink()
    # A reader that does not notice sees "not annotated", never background.
    assert (zarr.open_group(folder, mode="r")["mask"][:] == 255).all()
    with pytest.raises(StoreError, match="missing"):
        Shard(folder).arrays["mask"].patch(0)


def test_a_partial_last_file_holds_only_its_patches(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path, count=5, store={"codec": "none"})
    last = tmp_path / receipt.shard / "image" / "c.1.0.0.0"
    assert last.stat().st_size == cases.SIDE**2 * 3 + 4 + 4 * 16 + 4
    with pytest.raises(StoreError, match="missing in its shard file"):
        read_chunk(last, read_index(last, 4), 1)


def test_array_indexing_is_numpys(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path, count=6)
    array = Shard(tmp_path / receipt.shard).arrays["image"]
    whole = array[:]
    assert array.ndim == 4
    for key in (2, -0, slice(1, 6, 2), slice(-2, None), (slice(None), slice(0, 3), 2), (3, slice(2, 5)), [4, 0]):
        assert np.array_equal(array[key], whole[key]), key
    with pytest.raises(UsageError, match="no such row"):
        array.patch(6)


def test_receipt_is_read_back_and_names_every_file(tmp_path: Path) -> None:
    tree = DatasetTree(tmp_path)
    receipt = cases.write(tmp_path, count=6)
    again = read_receipt(tree, "slide_a")
    assert again == receipt
    assert again.size == sum(f.stat().st_size for f in (tmp_path / "shards").rglob("*") if f.is_file())
    assert {f.path for f in again.files} == {name for name in cases.tree_bytes(tmp_path) if name.startswith("shards/")}
    assert receipt_is_whole(tree, again)
    text = tree.receipt("slide_a").read_text()
    assert os.uname().nodename not in text or len(os.uname().nodename) < 4
    assert str(tmp_path) not in text


def test_rows_have_the_counts_of_the_pixels(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path, count=6)
    rows = read_parquet(tmp_path / receipt.rows).to_pylist()
    for row, patch in zip(rows, cases.patches(6), strict=True):
        assert row["tumour_px"] == int((patch.mask == 1).sum())
        assert row["stroma_px"] == int((patch.mask == 2).sum())
        assert row["ignore_px"] == int((patch.mask == 255).sum())
        for number, channel in enumerate("rgb"):
            values = patch.image[..., number].astype(np.int64)
            assert (row[f"sum_{channel}"], row[f"sumsq_{channel}"]) == (values.sum(), (values**2).sum())


def test_writing_again_keeps_the_folder_and_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path)
    folder = tmp_path / receipt.shard
    before = folder.stat().st_ino
    assert cases.write(tmp_path) == receipt
    assert folder.stat().st_ino == before
    wanted = cases.tree_bytes(tmp_path)
    for damage in ("flip", "truncate", "delete", "stray"):
        file = folder / "image" / "c.0.0.0.0"
        data = bytearray(file.read_bytes())
        data[3] ^= 1
        {
            "flip": lambda f=file, d=data: f.write_bytes(d),
            "truncate": lambda f=file, d=data: f.write_bytes(d[:-1]),
            "delete": file.unlink,
            "stray": lambda f=file: f.with_name("c.9.0.0.0").write_bytes(b"x"),
        }[damage]()
        assert cases.write(tmp_path) == receipt
        assert cases.tree_bytes(tmp_path) == wanted, damage


def test_nothing_to_write_gives_an_empty_receipt(tmp_path: Path) -> None:
    tree = DatasetTree(tmp_path)
    receipt = write_shard(tree, cases.spec(), iter(()), 0)
    assert (receipt.state, receipt.shard, receipt.digest, receipt.n_patches) == ("empty", "", "", 0)
    assert read_receipt(tree, "slide_a") == receipt
    assert not (tmp_path / "shards").exists()
    failed = record_outcome(tree, "slide_b", "failed", reason="bad-slide: a tile does not decode")
    assert read_receipt(tree, "slide_b") == failed
    with pytest.raises(UsageError, match="without a shard"):
        record_outcome(tree, "slide_b", "done")


def replace_row(patch: PatchRecord, **changes: object) -> PatchRecord:
    return replace(patch, row={**patch.row, **changes})


def without(patch: PatchRecord, name: str) -> PatchRecord:
    return replace(patch, row={k: v for k, v in patch.row.items() if k != name})


def bad_records() -> dict[str, tuple[list[PatchRecord], str]]:
    first, second, third = cases.patches(3)
    strange = first.mask.copy()
    strange[0, 0] = 7
    return {
        "out of order": ([second, first, third], "out of row order"),
        "the same place twice": ([first, replace_row(second, x_lv0=0), third], "out of row order"),
        "too few": ([first, second], "fewer patches"),
        "too many": ([first, second, third, third], "more patches"),
        "another size": ([replace(first, image=first.image[:8]), second, third], "another image"),
        "another dtype": ([replace(first, mask=first.mask.astype(np.int16)), second, third], "another mask"),
        "no label": ([replace(first, mask=strange), second, third], "no label"),
        "a missing column": ([without(first, "scale"), second, third], "lacks a column"),
        "an unknown column": ([replace_row(first, colour=1), second, third], "does not know"),
        "a fraction above one": ([replace_row(first, tumour_fraction=1.1), second, third], r"outside \[0, 1\]"),
        "a fraction that is no number": (
            [replace_row(first, tumour_fraction=float("nan")), second, third],
            "wrong type",
        ),
        "a count that disagrees": ([replace_row(first, tumour_px=1), second, third], "does not agree"),
        "a text for a number": ([replace_row(first, x_lv0="0"), second, third], "wrong type"),
        "a number for a flag": ([replace_row(first, from_stored=1), second, third], "wrong type"),
        "instances unasked": ([replace(first, instance=first.mask.astype(np.int32)), second, third], "has none"),
    }


@pytest.mark.parametrize("name", bad_records())
def test_wrong_patches_are_refused_and_nothing_is_published(tmp_path: Path, name: str) -> None:
    records, message = bad_records()[name]
    with pytest.raises((StoreError, UsageError), match=message):
        write_shard(DatasetTree(tmp_path), cases.spec(), records, 3)
    assert cases.tree_bytes(tmp_path) == {}
    assert not list(tmp_path.rglob("*.zarr"))


def test_patches_where_none_were_announced_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="none were announced"):
        write_shard(DatasetTree(tmp_path), cases.spec(), cases.patches(1), 0)
    with pytest.raises(UsageError, match="sets itself"):
        cases.write(tmp_path, attributes={"labels": ["x"]})


def test_counts_that_agree_and_absent_values_are_accepted(tmp_path: Path) -> None:
    patch = next(cases.patches(1))
    counted = {"tumour_px": int((patch.mask == 1).sum()), "source_level": None, "tissue_fraction": None}
    values = {"x_lv0": np.int64(5), "tumour_fraction": np.float64(0.5), "from_stored": np.bool_(True)}
    receipt = write_shard(DatasetTree(tmp_path), cases.spec(), [replace_row(patch, **counted, **values)], 1)
    row = read_parquet(tmp_path / receipt.rows).to_pylist()[0]
    assert (row["source_level"], row["tissue_fraction"], row["x_lv0"]) == (None, None, 5)


def test_broken_receipts_are_dropped(tmp_path: Path) -> None:
    tree = DatasetTree(tmp_path)
    receipts = {s: cases.write(tmp_path, s, seed=n) for n, s in enumerate(("slide_a", "slide_b", "slide_c", "slide_d"))}
    assert drop_broken_receipts(tree) == []
    (tmp_path / receipts["slide_a"].shard / "mask" / "c.1.0.0").unlink()
    (tmp_path / receipts["slide_b"].rows).write_bytes(b"")
    tree.receipt("slide_c").write_bytes(b"{")
    assert drop_broken_receipts(tree) == ["slide_a", "slide_b", "slide_c"]
    assert tree.receipt_ids() == ["slide_d"]


def rewrite(path: Path, **changes: object) -> None:
    from wsiprep.artifacts import write_json
    from wsiprep.store.records import with_check

    write_json(path, with_check({**read_json(path), **changes}))


def test_foreign_receipts_are_refused(tmp_path: Path) -> None:
    tree = DatasetTree(tmp_path)
    cases.write(tmp_path)
    path = tree.receipt("slide_a")
    good = path.read_bytes()
    rewrite(path, schema_version=99)
    with pytest.raises(StoreError, match="another version"):
        read_receipt(tree, "slide_a")
    path.write_bytes(good)
    rewrite(path, slide_id="slide_b")
    with pytest.raises(StoreError, match="another slide"):
        read_receipt(tree, "slide_a")
    for outside in ("shards/slide_b/x", "shards/slide_a/../../etc", "/etc/passwd"):
        path.write_bytes(good)
        rewrite(path, files=[{"path": outside, "size": 1, "xxh3": "0"}])
        with pytest.raises(StoreError, match="outside its slide"):
            read_receipt(tree, "slide_a")
    path.write_bytes(good.replace(b'"n_patches": 6', b'"n_patches": 7'))
    with pytest.raises(StoreError, match="damaged"):
        read_receipt(tree, "slide_a")
    with pytest.raises(StoreError, match="missing"):
        read_receipt(tree, "slide_z")


def test_foreign_shards_are_refused(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path)
    folder = tmp_path / receipt.shard
    group = read_json(folder / "zarr.json")
    image = read_json(folder / "image" / "zarr.json")

    def with_image(value: object) -> None:
        (folder / "image" / "zarr.json").write_text(json.dumps(value))

    with_image(image | {"fill_value": 9})
    with pytest.raises(StoreError, match="not what wsiprep writes"):
        Shard(folder)
    with_image({"zarr_format": 3})
    with pytest.raises(StoreError, match="sharded Zarr"):
        Shard(folder)
    with_image(image | {"shape": [5, *image["shape"][1:]]})
    with pytest.raises(StoreError, match="different lengths"):
        Shard(folder)
    with_image(image)
    group["attributes"]["wsiprep"]["schema_version"] = 1
    (folder / "zarr.json").write_text(json.dumps(group))
    with pytest.raises(StoreError, match="another version"):
        Shard(folder)
    (folder / "zarr.json").write_text(json.dumps(group | {"attributes": {}}))
    with pytest.raises(StoreError, match="no attributes"):
        Shard(folder)
    with pytest.raises(StoreError, match="a way that wsiprep does not write"):
        codec_of([{"name": "bytes"}, {"name": "gzip"}])


def test_damage_is_an_error_for_the_reader(tmp_path: Path) -> None:
    for codec in CODECS:
        receipt = cases.write(tmp_path / codec, store={"codec": codec})
        file = tmp_path / codec / receipt.shard / "image" / "c.0.0.0.0"
        good = file.read_bytes()
        file.write_bytes(good[:40] + bytes([good[40] ^ 4]) + good[41:])
        with pytest.raises(StoreError, match="a patch is damaged"):
            Shard(tmp_path / codec / receipt.shard).arrays["image"].patch(0)
        file.write_bytes(good[:-30] + bytes([good[-30] ^ 4]) + good[-29:])
        with pytest.raises(StoreError, match="index of a shard file is damaged"):
            Shard(tmp_path / codec / receipt.shard).arrays["image"].patch(0)
        file.write_bytes(good[-20:])
        with pytest.raises(StoreError, match="truncated"):
            Shard(tmp_path / codec / receipt.shard).arrays["image"].patch(0)
        file.unlink()
        file.mkdir()
        with pytest.raises(StoreError, match=r"cannot be read|truncated|damaged"):
            Shard(tmp_path / codec / receipt.shard).arrays["image"].patch(0)


def test_codecs_refuse_what_does_not_decode() -> None:
    for name in CODECS:
        codec = ChunkCodec(name)
        data = codec.encode(np.arange(12, dtype=np.uint8))
        assert codec.decode(data, (3, 4), np.dtype(np.uint8)).flags.writeable
        with pytest.raises(ValueError, match="12 bytes where 13 belong"):
            codec.decode(data, (13,), np.dtype(np.uint8))
        with pytest.raises(ValueError):
            codec.decode(b"ab", (12,), np.dtype(np.uint8))


def test_a_full_shard_file_takes_no_more(tmp_path: Path) -> None:
    writer = ShardFileWriter(tmp_path / "c.0", 1)
    writer.add(b"abc")
    with pytest.raises(UsageError, match="full"):
        writer.add(b"abc")
    size, _ = writer.finish()
    assert size == 3 + 16 + 4


def test_arrays_pickle(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path)
    shard = pickle.loads(pickle.dumps(Shard(tmp_path / receipt.shard)))
    assert np.array_equal(shard.arrays["image"].patch(2), list(cases.patches(3))[2].image)

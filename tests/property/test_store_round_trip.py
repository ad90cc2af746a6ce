"""For any patches: what is written is what is read, and any changed byte changes the digest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import storecases as cases
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Store
from wsiprep.store import PatchRecord, ShardSpec, write_shard
from wsiprep.store.codecs import ChunkCodec, codec_of
from wsiprep.store.digest import dataset_digest, patch_digest, pixels_digest, shard_digest
from wsiprep.store.rows import channel_sums, pixel_counts
from wsiprep.store.shard import Shard
from wsiprep.store.shardfile import ShardFileWriter, read_chunk, read_index
from wsiprep.store.tables import read_parquet

CODECS = st.sampled_from(["zstd", "blosc-lz4", "none"])


@st.composite
def shards(draw: st.DrawFn) -> tuple[ShardSpec, list[PatchRecord]]:
    side = draw(st.integers(1, 24))
    labels = tuple(f"label{n}" for n in range(draw(st.integers(1, 4))))
    count = draw(st.integers(1, 11))
    instances = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = np.array([0, *range(1, len(labels) + 1), 255], dtype=np.uint8)
    places = sorted(
        draw(st.sets(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), min_size=count, max_size=count))
    )
    patches = []
    for y, x in places:
        row = cases.row(0, x_lv0=x, y_lv0=y)
        for name in [k for k in row if k.endswith("_fraction") and k not in ("annotated_fraction", "tissue_fraction")]:
            del row[name]
        row |= {f"{label}_fraction": draw(st.floats(0, 1)) for label in labels}
        image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8) * draw(st.sampled_from([0, 1]))
        mask = values[rng.integers(0, len(values), (side, side))] * np.uint8(draw(st.sampled_from([0, 1])))
        instance = rng.integers(-(2**31), 2**31, (side, side), dtype=np.int64).astype(np.int32) if instances else None
        patches.append(PatchRecord(image.astype(np.uint8), mask, row, instance))
    store = Store(
        codec=draw(CODECS), zstd_level=draw(st.integers(-3, 5)), patches_per_shard_file=draw(st.integers(1, 6))
    )
    return ShardSpec("s", labels, side, store, instances=instances), patches


@given(shards())
@settings(max_examples=max(20, settings().max_examples // 3))
def test_what_is_written_is_read(case: tuple[ShardSpec, list[PatchRecord]]) -> None:
    spec, patches = case
    with tempfile.TemporaryDirectory() as folder:
        receipt = write_shard(DatasetTree(Path(folder)), spec, iter(patches), len(patches))
        shard = Shard(Path(folder) / receipt.shard)
        rows = read_parquet(Path(folder) / receipt.rows).to_pylist()
        for number, patch in enumerate(patches):
            assert np.array_equal(shard.arrays["image"].patch(number), patch.image)
            assert np.array_equal(shard.arrays["mask"].patch(number), patch.mask)
            if patch.instance is not None:
                assert np.array_equal(shard.arrays["instance"].patch(number), patch.instance)
            assert {k: rows[number][k] for k in patch.row} == dict(patch.row)
        files = {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()}
        assert files == {"receipts/s.json", *(f.path for f in receipt.files)}
        assert all((Path(folder) / f.path).stat().st_size == f.size for f in receipt.files)


@given(st.data())
def test_any_changed_byte_changes_the_patch_digest(data: st.DataObject) -> None:
    side = data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "image": rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
        "mask": rng.integers(0, 256, (side, side), dtype=np.uint8),
        "instance": rng.integers(0, 9, (side, side), dtype=np.int32),
    }
    before = patch_digest(arrays)
    name = data.draw(st.sampled_from(sorted(arrays)))
    changed = {k: v.copy() for k, v in arrays.items()}
    flat = changed[name].reshape(-1).view(np.uint8)
    flat[data.draw(st.integers(0, flat.size - 1))] ^= np.uint8(1 << data.draw(st.integers(0, 7)))
    assert patch_digest(changed) != before
    assert patch_digest({k: np.asfortranarray(v) for k, v in arrays.items()}) == before
    assert patch_digest({k: v.astype(v.dtype.newbyteorder(">")) for k, v in arrays.items()}) == before
    assert patch_digest({k: v for k, v in arrays.items() if k != "instance"}) != before
    assert patch_digest({"mask": arrays["mask"], "image": arrays["image"]}) != patch_digest(
        {"image": arrays["image"], "mask": arrays["mask"]}
    )


@given(st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), min_size=2, max_size=6, unique=True), st.data())
def test_shard_and_dataset_digests_see_order_content_and_split(digests: list[str], data: st.DataObject) -> None:
    rows = [{"x_lv0": n} for n in range(len(digests))]
    base = shard_digest({"a": 1}, rows, digests)
    assert shard_digest({"a": 1}, rows, digests[::-1]) != base
    assert shard_digest({"a": 2}, rows, digests) != base
    assert shard_digest({"a": 1}, rows[::-1], digests) != base
    pairs = [(f"slide{n}", d) for n, d in enumerate(digests)]
    assert pixels_digest(data.draw(st.permutations(pairs))) == pixels_digest(pairs)
    assert pixels_digest(pairs[1:]) != pixels_digest(pairs)
    places = [(f"slide{n}", 0, "train", None) for n in range(3)]
    moved = [*places[:2], ("slide2", 0, "val", None)]
    folded = [*places[:2], ("slide2", 0, "train", 1)]
    assert len({dataset_digest("p", "r", p) for p in (places, moved, folded)}) == 3
    assert dataset_digest("p", "q", places) != dataset_digest("p", "r", places)


@given(CODECS, st.integers(-3, 6), st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([np.uint8, np.int32]))
def test_codecs_are_the_identity_and_detect_flips(name: Any, level: int, seed: int, side: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    codec = ChunkCodec(name, level)
    array = rng.integers(0, 200, (side, side), dtype=dtype)
    data = codec.encode(array)
    assert data == codec.encode(np.asfortranarray(array))
    assert np.array_equal(codec.decode(data, array.shape, array.dtype), array)
    assert codec_of(codec.metadata(array.dtype)).name == name
    place = int(rng.integers(len(data)))
    flipped = data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]
    try:
        again = codec.decode(flipped, array.shape, array.dtype)
    except ValueError:
        return
    # A few bits of a zstd frame's header mean nothing; what decodes is then what was meant.
    assert np.array_equal(again, array)


@given(st.lists(st.binary(max_size=60), max_size=9), st.integers(0, 4))
def test_shard_files_give_back_their_chunks(chunks: list[bytes], spare: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.0"
        writer = ShardFileWriter(path, len(chunks) + spare)
        for chunk in chunks:
            writer.add(chunk)
        size, _ = writer.finish()
        index = read_index(path, len(chunks) + spare)
        assert path.stat().st_size == size
        assert [read_chunk(path, index, n) for n in range(len(chunks))] == chunks


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 6))
def test_counts_are_exact(seed: int, height: int, width: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    values = image.reshape(-1, 3).astype(object)
    sums = channel_sums(image)
    for number, channel in enumerate("rgb"):
        assert sums[f"sum_{channel}"] == sum(values[:, number])
        assert sums[f"sumsq_{channel}"] == sum(v * v for v in values[:, number])
    names = [f"l{n}" for n in range(labels)]
    mask = np.array([0, *range(1, labels + 1), 255], np.uint8)[rng.integers(0, labels + 2, (height, width))]
    counts = pixel_counts(mask, names)
    assert counts == {f"l{n}_px": int((mask == n + 1).sum()) for n in range(labels)} | {
        "ignore_px": int((mask == 255).sum())
    }

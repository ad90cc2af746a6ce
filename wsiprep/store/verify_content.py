"""The part of ``verify`` that looks into files whose sizes and digests already fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import DataError, StoreError
from wsiprep.store.digest import dataset_digest, patch_digest, pixels_digest, shard_digest
from wsiprep.store.receipts import Receipt
from wsiprep.store.rows import channel_sums, pixel_counts
from wsiprep.store.schema import ATTRIBUTES_KEY, IMAGE, INSTANCE, MASK, rows_schema
from wsiprep.store.seal import read_rows
from wsiprep.store.tables import read_parquet
from wsiprep.store.verify_leaks import leak_faults, slides_faults

_BLOCK_PATCHES = 32


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding before its path is made relative."""

    kind: str
    path: Path
    message: str


def shard_faults(tree: DatasetTree, receipt: Receipt) -> Iterator[Fault]:
    """Decode every chunk of a shard with zarr-python and compare with rows, receipt and folder name."""
    folder = tree.root / receipt.shard
    try:
        group = _Group(folder)
        labels = list(group.attributes["labels"])
        rows = read_rows(tree, receipt, labels).to_pylist()
    except (DataError, ValueError, KeyError, TypeError, OSError) as error:
        yield Fault("damaged", folder, f"the shard cannot be opened ({error})")
        return
    if {name: array.shape[0] for name, array in group.arrays.items() if array.shape[0] != receipt.n_patches}:
        yield Fault("inconsistent", folder, f"its arrays do not have the receipt's {receipt.n_patches} patches")
        return
    digests: list[str] = []
    for number, arrays in enumerate(group.patches()):
        if isinstance(arrays, str):
            yield Fault("damaged", folder, f"patch {number}: {arrays}")
            return
        digests.append(patch_digest(arrays))
        yield from _patch_faults(tree.root / receipt.rows, number, rows[number], arrays, labels)
    for number, (row, digest) in enumerate(zip(rows, digests, strict=True)):
        if row["digest"] != digest:
            yield Fault("changed", folder, f"patch {number} is not the one whose digest its row has")
    if shard_digest(group.attributes, rows, digests) != receipt.digest:
        yield Fault("inconsistent", tree.receipt(receipt.slide_id), "its digest is not that of its shard's content")
    if folder.name != f"{receipt.digest[:12]}.zarr":
        yield Fault("inconsistent", folder, "its name is not its digest")


class _Group:
    """A shard as zarr-python sees it."""

    def __init__(self, folder: Path) -> None:
        import zarr

        from wsiprep.store.zarr_codecs import register

        register()
        opened = zarr.open_group(folder, mode="r")
        self.attributes: dict[str, Any] = dict(opened.attrs[ATTRIBUTES_KEY])  # type: ignore[arg-type]
        names = [name for name in (IMAGE, MASK, INSTANCE) if name in opened]
        self.arrays: dict[str, Any] = {name: opened[name] for name in names}

    def patches(self) -> Iterator[dict[str, npt.NDArray[Any]] | str]:
        """Patch after patch in row order; a text instead of the first that does not decode."""
        count = self.arrays[IMAGE].shape[0]
        for start in range(0, count, _BLOCK_PATCHES):
            try:
                blocks = {name: np.asarray(a[start : start + _BLOCK_PATCHES]) for name, a in self.arrays.items()}
            except (ValueError, RuntimeError, OSError, KeyError) as error:
                yield f"or one of the {_BLOCK_PATCHES - 1} after it does not decode ({error})"
                return
            for place in range(min(_BLOCK_PATCHES, count - start)):
                yield {name: block[place] for name, block in blocks.items()}


def _patch_faults(
    path: Path, number: int, row: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], labels: list[str]
) -> Iterator[Fault]:
    try:
        counted = {**pixel_counts(arrays[MASK], labels), **channel_sums(arrays[IMAGE])}
    except StoreError as error:
        yield Fault("damaged", path, f"patch {number}: {error.message} ({error.got})")
        return
    for name, value in counted.items():
        if row[name] != value:
            yield Fault("inconsistent", path, f"patch {number} has {name} {value}, its row says {row[name]}")


def index_faults(
    tree: DatasetTree, record: Mapping[str, Any], index: pa.Table, receipts: Mapping[str, Receipt] | None
) -> Iterator[Fault]:
    """Index against record; with receipts also against the rows that were packed."""
    for fault in leak_faults(index, record, tree.index):
        yield Fault(*fault)
    try:
        slides = read_parquet(tree.slides_table)
    except StoreError:
        pass  # its file is reported already
    else:
        for fault in slides_faults(index, slides, record, tree.index):
            yield Fault(*fault)
    found = Counter(index["slide_id"].to_pylist())
    for shard in record["shards"]:
        if found.pop(shard["slide_id"], 0) != shard["n_used"]:
            yield Fault("inconsistent", tree.index, f"it has other patches of {shard['slide_id']} than the record")
    for slide_id in sorted(found):
        yield Fault("inconsistent", tree.index, f"it has patches of {slide_id}, which the record does not have")
    pixels = pixels_digest((s["slide_id"], s["digest"]) for s in record["shards"])
    places = zip(*(index[c].to_pylist() for c in ("slide_id", "row", "split", "fold")), strict=True)
    wanted = (record["pixels_digest"], record["dataset_digest"])
    if (pixels, dataset_digest(pixels, record["recipe_digest"], places)) != wanted:
        yield Fault("inconsistent", tree.dataset_record, "its digests are not those of its shards and its index")
    if receipts is not None:
        yield from _row_faults(tree, record, index, receipts)


def _row_faults(
    tree: DatasetTree, record: Mapping[str, Any], index: pa.Table, receipts: Mapping[str, Receipt]
) -> Iterator[Fault]:
    names = rows_schema(record["labels"]).names
    start = 0
    for shard in record["shards"]:
        part = index.slice(start, shard["n_used"])
        start += shard["n_used"]
        receipt = receipts.get(shard["slide_id"])
        if receipt is None or receipt.digest != shard["digest"]:
            continue  # reported where receipts are compared with the record
        try:
            rows = read_rows(tree, receipt, record["labels"]).take(part["row"].combine_chunks())
        except (StoreError, pa.ArrowException):
            continue  # its file is reported already
        if not rows.equals(part.select(names)):
            yield Fault("inconsistent", tree.index, f"its rows of {shard['slide_id']} are not those that were packed")

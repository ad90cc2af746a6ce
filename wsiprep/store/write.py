"""Writing one slide's shard: streamed, whole, published by one rename, then the receipt.

zarr-python is not used here. The metadata and the shard files are written as the Zarr v3 specification
has them (``schema``, ``shardfile``), which is several times faster, does not depend on zarr's
version, and writes every file exactly once; tests hold the result against zarr-python byte by byte.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsiprep.artifacts import (
    DatasetTree,
    fsync_folder,
    json_bytes,
    published_folder,
    write_bytes_if_changed,
)
from wsiprep.config import IGNORE, Store
from wsiprep.errors import StorageError, StoreError, UsageError, from_os_error
from wsiprep.store.appendfile import Buffer
from wsiprep.store.codecs import ChunkCodec
from wsiprep.store.digest import bytes_digest, file_digest, shard_digest
from wsiprep.store.encode import EncodedPatch, PatchEncoder
from wsiprep.store.receipts import FileRecord, Receipt, publish_receipt
from wsiprep.store.rows import DamagedPatch, PatchRecord, row_order
from wsiprep.store.schema import (
    METADATA_FILE,
    SCHEMA_VERSION,
    ArrayLayout,
    array_layouts,
    group_metadata,
    rows_schema,
)
from wsiprep.store.shardfile import ShardFileWriter
from wsiprep.store.tables import parquet_bytes, table_of
from wsiprep.temporaries import temporary_name

Patch = PatchRecord | EncodedPatch | DamagedPatch


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """What a shard is, beside its patches.

    Attributes:
        slide_id: the slide; the shard lies in ``shards/{slide_id}/``.
        labels: mask values 1, 2, ... in order.
        patch_size_px: side of the square patches.
        store: codec and patches per shard file, from the recipe.
        attributes: JSON that goes into the shard's ``zarr.json`` and its digest. No times, hosts or
            worker counts.
        provenance: JSON that goes into the receipt only (``backend``, ``plan_digest``).
        instances: whether there is an ``instance`` array.
    """

    slide_id: str
    labels: tuple[str, ...]
    patch_size_px: int
    store: Store
    attributes: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    instances: bool = False

    @property
    def codec(self) -> ChunkCodec:
        return ChunkCodec(self.store.codec, self.store.zstd_level, self.store.jpeg_quality)

    def encoder(self) -> PatchEncoder:
        """What packs this shard's patches, on as many threads as there are."""
        return PatchEncoder(self.labels, self.patch_size_px, self.codec, instances=self.instances)

    @property
    def full_attributes(self) -> dict[str, Any]:
        """The attributes of the shard's group: these, and what is needed to read it alone."""
        own = {
            "schema_version": SCHEMA_VERSION,
            "slide_id": self.slide_id,
            "labels": list(self.labels),
            "ignore": IGNORE,
            "patch_size_px": self.patch_size_px,
        }
        clash = sorted(own.keys() & self.attributes.keys())
        if clash:
            raise UsageError("attributes that the store sets itself", got=", ".join(clash))
        return {**self.attributes, **own}


def write_shard(tree: DatasetTree, spec: ShardSpec, patches: Iterable[Patch], count: int) -> Receipt:
    """Write the patches of one slide as a shard and publish it, its rows and its receipt, in this order.

    One patch is in memory at a time, and two blocks of 1 MiB for each array. Where the same content lies there
    already and is whole, it is kept; where it is damaged, it is replaced. Several writers of one slide are harmless.

    Args:
        patches: in row order (tile, y, x), each place once; damaged ones are listed in the receipt's provenance.
            Those that ``spec.encoder()`` packed already, on other threads, are only appended.
        count: how many there are, damaged ones included. With 0 only a receipt of state ``empty`` is written.

    Returns:
        The receipt, as published.

    Raises:
        StoreError: patches out of order, of another shape, or not ``count`` of them.
        UsageError: a row that does not fit the schema.
        StorageError: the disk is full or unwritable (exit 74); nothing half is published.
    """
    if count == 0:
        if next(iter(patches), None) is not None:
            raise StoreError("there are patches where none were announced", got=spec.slide_id)
        receipt = Receipt(spec.slide_id, "empty", reason="no patches", provenance=dict(spec.provenance))
        publish_receipt(tree, receipt)
        return receipt
    try:
        receipt = _write(tree, spec, patches, count)
    except StorageError as error:
        raise _with_room(error, tree, spec, count) from error
    publish_receipt(tree, receipt)
    return receipt


def _write(tree: DatasetTree, spec: ShardSpec, patches: Iterable[Patch], count: int) -> Receipt:
    encoder = spec.encoder()
    with published_folder(tree.shard_folder(spec.slide_id)) as (temporary, final):
        with _ShardWriter(temporary, spec, count) as writer:
            for patch in patches:
                if isinstance(patch, DamagedPatch):
                    writer.leave_out(patch)
                else:
                    writer.add(patch if isinstance(patch, EncodedPatch) else encoder.encode(patch))
            files = writer.finish()
        digest = shard_digest(spec.full_attributes, writer.rows, [row["digest"] for row in writer.rows])
        target = tree.shard(spec.slide_id, digest)
        table = table_of(writer.rows, rows_schema(spec.labels))
        rows = parquet_bytes(table)
        rows_path = tree.rows(spec.slide_id, digest)
        write_bytes_if_changed(rows_path, rows)
        _make_way(target, files)
        final.append(target)
    folder = target.relative_to(tree.root).as_posix()
    rows_record = FileRecord(rows_path.relative_to(tree.root).as_posix(), len(rows), bytes_digest(rows))
    return Receipt(
        slide_id=spec.slide_id,
        state="done",
        digest=digest,
        shard=folder,
        n_patches=len(writer.rows),
        files=(*(FileRecord(f"{folder}/{f.path}", f.size, f.xxh3) for f in files), rows_record),
        attributes=dict(spec.attributes),
        provenance=dict(spec.provenance) | {"damaged": [patch.to_dict() for patch in writer.damaged]},
    )


class _ShardWriter:
    """The arrays of one shard in a temporary folder."""

    def __init__(self, folder: Path, spec: ShardSpec, count: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self.damaged: list[DamagedPatch] = []
        self._spec = spec
        self._count = count
        self._codec = spec.codec
        self._folder = folder
        per_file = min(spec.store.patches_per_shard_file, count)
        layouts = array_layouts(spec.patch_size_px, instances=spec.instances)
        self._arrays = {a.name: _ArrayWriter(folder, a, per_file) for a in layouts}

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for array in self._arrays.values():
            array.close()

    def leave_out(self, patch: DamagedPatch) -> None:
        self._number()
        self.damaged.append(patch)

    def _number(self) -> int:
        number = len(self.rows) + len(self.damaged)
        if number == self._count:
            raise StoreError("there are more patches than announced", got=f"over {self._count}", fix="run plan again")
        return number

    def add(self, patch: EncodedPatch) -> None:
        self._number()
        row = patch.row
        if self.rows:
            last = self.rows[-1]
            if row_order(row) <= row_order(last):
                raise StoreError(
                    "patches come out of row order", got=f"tile, y, x = {row_order(row)[:3]}",
                    expected=f"after {row_order(last)[:3]}", fix="sort them by tile, y, then x; each place once",
                )  # fmt: skip
        for name, array in self._arrays.items():
            array.add(patch.chunks[name])
        self.rows.append(row)

    def finish(self) -> list[FileRecord]:
        """Write the metadata; every file of the shard, sorted by path."""
        number = len(self.rows) + len(self.damaged)
        if number != self._count:
            raise StoreError(
                "there are fewer patches than announced", got=number, expected=self._count, fix="run plan again"
            )
        if not self.rows:
            raise StoreError("no patch could be decoded", got=self._spec.slide_id, fix="leave the slide out")
        files = [_metadata_file(self._folder, "", group_metadata(self._spec.full_attributes))]
        for name, array in self._arrays.items():
            codec = self._codec.for_array(array.layout.patch_shape)
            metadata = array.layout.metadata(len(self.rows), array.per_file, codec)
            files += [*array.finish(), _metadata_file(self._folder, name, metadata)]
        return sorted(files, key=lambda f: f.path)


class _ArrayWriter:
    """One array: chunks appended to shard files of ``per_file`` patches."""

    def __init__(self, folder: Path, layout: ArrayLayout, per_file: int) -> None:
        self.layout = layout
        self.per_file = per_file
        self._folder = folder / layout.name
        self._folder.mkdir()
        self._open: ShardFileWriter | None = None
        self._files: list[FileRecord] = []

    def add(self, chunk: Sequence[Buffer]) -> None:
        if self._open is None:
            self._open = ShardFileWriter(self._folder / self.layout.key(len(self._files)), self.per_file)
        self._open.add(*chunk)
        if self._open.is_full:
            self._seal_file()

    def finish(self) -> list[FileRecord]:
        self._seal_file()
        return self._files

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    def _seal_file(self) -> None:
        if self._open is not None:
            size, digest = self._open.finish()
            self._files.append(FileRecord(f"{self.layout.name}/{self._open.path.name}", size, digest))
            self._open = None


def _metadata_file(folder: Path, name: str, metadata: Mapping[str, Any]) -> FileRecord:
    data = json_bytes(metadata)
    path = folder / name / METADATA_FILE
    path.write_bytes(data)
    return FileRecord(path.relative_to(folder).as_posix(), len(data), bytes_digest(data))


def _make_way(target: Path, files: list[FileRecord]) -> None:
    """Move what lies under the final name aside unless it is exactly the same files."""
    if not target.exists() or _holds(target, files):
        return
    aside = target.parent / temporary_name()
    with contextlib.suppress(FileNotFoundError):  # another writer was faster
        target.rename(aside)
        fsync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _holds(folder: Path, files: list[FileRecord]) -> bool:
    try:
        found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
        return found == {f.path for f in files} and all(file_digest(folder / f.path) == f.xxh3 for f in files)
    except OSError:
        # Unreadable, or another writer moves it aside at this moment: either way it is to be written anew.
        return False


def _with_room(error: StorageError, tree: DatasetTree, spec: ShardSpec, count: int) -> StorageError:
    """The error, with how much room the shard needs at most and how much there is."""
    bytes_per_patch = sum(
        int(np.prod(a.patch_shape)) * a.dtype.itemsize
        for a in array_layouts(spec.patch_size_px, instances=spec.instances)
    )
    try:
        free = shutil.disk_usage(tree.root).free
    except OSError as failure:
        return StorageError(error.message, got=error.got, expected=str(from_os_error(failure)), fix=error.fix)
    room = f"at most {count * bytes_per_patch} bytes for {count} patches; {free} bytes are free"
    return StorageError(error.message, got=error.got, expected=room, fix=error.fix)

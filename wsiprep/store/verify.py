"""Checking a dataset against what it says about itself, from names and sizes down to every byte.

always  receipts, files and sizes, strays, the record, the index; patients, groups and slide files in two splits
deep    also the digest of every file, every chunk decoded by zarr-python (an independent reader
        of what ``write`` writes), patch and shard digests, rows against pixels, the index
        against the rows
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StoreError
from wsiprep.progress import NullReporter, Reporter
from wsiprep.store.clean import temporaries, unnamed_shards
from wsiprep.store.digest import file_digest
from wsiprep.store.read import read_index_table, read_record
from wsiprep.store.receipts import FileRecord, Receipt, read_receipt
from wsiprep.store.verify_content import Fault, index_faults, shard_faults
from wsiprep.temporaries import TEMPORARY_PREFIX

LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        kind: ``missing``, ``size``, ``changed``, ``damaged``, ``stray``, ``inconsistent``, ``leak``,
            ``unsealed``, or ``leftover`` (untidy, not wrong).
        path: the file, relative to the dataset's folder.
        message: what is wrong with it.
    """

    kind: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.message}"


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings, and how much was looked at."""

    items: tuple[Finding, ...]
    n_files: int
    n_patches: int

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that make ``wsiprep verify`` exit with 2: all but leftovers."""
        return tuple(f for f in self.items if f.kind != LEFTOVER)

    @property
    def ok(self) -> bool:
        return not self.faults


def verify(tree: DatasetTree, *, deep: bool = False, reporter: Reporter | None = None) -> Findings:
    """Check a dataset, sealed or not; faults are returned and not raised.

    Args:
        deep: read and decode every byte.
        reporter: shows the progress over slides.
    """
    check = _Check(tree, deep)
    check.names()
    receipts = check.receipts()
    with (reporter or NullReporter()).task("verify", len(receipts)) as task:
        for receipt in receipts.values():
            check.shard(receipt)
            task.advance()
    check.record(receipts)
    return Findings(tuple(dict.fromkeys(check.found)), check.n_files, check.n_patches)


class _Check:
    """The findings so far, and the steps that add to them."""

    def __init__(self, tree: DatasetTree, deep: bool) -> None:
        self.found: list[Finding] = []
        self.n_files = 0
        self.n_patches = 0
        self._tree = tree
        self._deep = deep

    def names(self) -> None:
        """Temporaries, and whatever lies in ``shards/`` and ``receipts/`` and belongs to nothing."""
        for path in sorted(temporaries(self._tree.root)):
            self._add(LEFTOVER, path, "a temporary of a writer that runs or was stopped; wsiprep clean removes it")
        for path in unnamed_shards(self._tree):
            self._add("stray", path, "no receipt names it; wsiprep clean removes it")
        folder = self._tree.root / "receipts"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not path.name.startswith(TEMPORARY_PREFIX) and (path.suffix != ".json" or not path.is_file()):
                self._add("stray", path, "it is no receipt")

    def receipts(self) -> dict[str, Receipt]:
        """Every receipt that can be read, by slide id."""
        receipts = {}
        for slide_id in self._tree.receipt_ids():
            self.n_files += 1
            try:
                receipts[slide_id] = read_receipt(self._tree, slide_id)
            except StoreError as error:
                self._add("damaged", self._tree.receipt(slide_id), _plain(error))
        return receipts

    def shard(self, receipt: Receipt) -> None:
        """The files of one slide, then what is in them."""
        sound = [self._file(record, "pack the slide anew") for record in receipt.files]
        if not receipt.shard:
            return
        shard = self._tree.root / receipt.shard
        named = {self._tree.root / record.path for record in receipt.files}
        for path in sorted(p for p in shard.rglob("*") if p.is_file() or p.is_symlink()):
            if path not in named:
                self._add("stray", path, "its receipt does not name it")
        if self._deep and all(sound):
            self.n_patches += receipt.n_patches
            self._faults(shard_faults(self._tree, receipt))

    def record(self, receipts: Mapping[str, Receipt]) -> None:
        """The sealed record, the files that it lists, and the index."""
        tree = self._tree
        self.n_files += 1
        try:
            record = read_record(tree)
        except StoreError as error:
            kind = "damaged" if tree.dataset_record.exists() else "unsealed"
            self._add(kind, tree.dataset_record, _plain(error))
            return
        listed = {
            kind: [FileRecord.from_dict(f) for f in record[kind]] for kind in ("tables", "receipts", "companions")
        }
        whole = {f.path: self._file(f, "seal again") for f in listed["tables"]}
        for file in (*listed["receipts"], *listed["companions"]):
            self._file(file, "it is not what the dataset was sealed with: seal again, or restore it")
        self._shards_of(record, receipts)
        index = None
        if whole.get(tree.index.name):
            try:
                index = read_index_table(tree, record)
            except StoreError as error:
                self._add("changed", tree.index, _plain(error))
        if index is None:
            return
        self._faults(index_faults(tree, record, index, receipts if self._deep else None))

    def _shards_of(self, record: Mapping[str, Any], receipts: Mapping[str, Receipt]) -> None:
        known = set(record["slides"])
        for slide_id in sorted(receipts.keys() - known):
            self._add("stray", self._tree.receipt(slide_id), "the sealed dataset has no such slide; seal again")
        for shard in record["shards"]:
            receipt = receipts.get(shard["slide_id"])
            if receipt is not None and (receipt.digest, receipt.shard) != (shard["digest"], shard["path"]):
                path = self._tree.receipt(shard["slide_id"])
                self._add("changed", path, "its slide was packed anew since the dataset was sealed; seal again")

    def _file(self, record: FileRecord, remedy: str) -> bool:
        """Whether a file is there as recorded."""
        path = self._tree.root / record.path
        self.n_files += 1
        try:
            size = path.stat().st_size
            changed = self._deep and size == record.size and file_digest(path) != record.xxh3
        except FileNotFoundError:
            self._add("missing", path, f"it is listed and not there; {remedy}")
            return False
        except OSError as error:
            self._add("damaged", path, f"it cannot be read ({error.strerror}); {remedy}")
            return False
        if size != record.size:
            self._add("size", path, f"{size} bytes instead of {record.size}; {remedy}")
        elif changed:
            self._add("changed", path, f"its bytes are not those that were written; {remedy}")
        return size == record.size and not changed

    def _faults(self, faults: Iterable[Fault] | Iterator[Fault]) -> None:
        for fault in faults:
            self._add(fault.kind, fault.path, fault.message)

    def _add(self, kind: str, path: Path, message: str) -> None:
        place = path.relative_to(self._tree.root) if path.is_relative_to(self._tree.root) else path
        self.found.append(Finding(kind, place.as_posix(), message))


def _plain(error: StoreError) -> str:
    return error.message if error.got is None else f"{error.message} ({error.got})"

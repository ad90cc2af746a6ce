"""Receipts: what a job wrote, with sizes and digests. A shard that no receipt names does not exist.

``receipts/{id}.json`` is the output that Snakemake watches. It is replaced atomically and last, so
that it never points to something half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wsiprep.artifacts import DatasetTree, write_json
from wsiprep.errors import StoreError, UsageError
from wsiprep.store.digest import file_digest
from wsiprep.store.records import read_checked, with_check
from wsiprep.store.schema import RECEIPT_STATES, SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file: path relative to the dataset's folder, size in bytes, xxh3-128 (hex)."""

    path: str
    size: int
    xxh3: str

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "xxh3": self.xxh3}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> FileRecord:
        return cls(str(value["path"]), int(value["size"]), str(value["xxh3"]))

    @classmethod
    def of(cls, path: Path, root: Path) -> FileRecord:
        """The record of a file as it is now."""
        return cls(path.relative_to(root).as_posix(), path.stat().st_size, file_digest(path))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one slide.

    Attributes:
        slide_id: the slide.
        state: ``done``, ``empty`` (nothing to write) or ``failed``.
        reason: why it is not ``done``; empty otherwise.
        digest: sha256 of the shard's content, "" without a shard.
        shard: the shard's folder relative to the dataset's, "" without a shard.
        n_patches: patches in the shard.
        files: every file of the shard, and the table of its rows.
        attributes: what the shard says about itself (in its ``zarr.json``, part of the digest).
        provenance: how it came about (backend, plan digest); not part of the digest.
    """

    slide_id: str
    state: str
    reason: str = ""
    digest: str = ""
    shard: str = ""
    n_patches: int = 0
    files: tuple[FileRecord, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    @property
    def rows(self) -> str:
        """The table of the shard's rows, relative to the dataset's folder; "" without a shard."""
        return f"{self.shard.removesuffix('.zarr')}.rows.parquet" if self.shard else ""

    def to_dict(self) -> dict[str, Any]:
        return with_check(
            {
                "schema_version": SCHEMA_VERSION,
                "slide_id": self.slide_id,
                "state": self.state,
                "reason": self.reason,
                "digest": self.digest,
                "shard": self.shard,
                "n_patches": self.n_patches,
                "files": [f.to_dict() for f in self.files],
                "attributes": dict(self.attributes),
                "provenance": dict(self.provenance),
            }
        )


def record_outcome(
    tree: DatasetTree, slide_id: str, state: str, *, reason: str = "", provenance: Mapping[str, Any] | None = None
) -> Receipt:
    """Publish the receipt of a slide that has no shard: ``empty`` or ``failed`` with a reason.

    Raises:
        UsageError: another state.
        StorageError: the receipt cannot be written.
    """
    if state not in RECEIPT_STATES or state == "done":
        raise UsageError("only a slide without a shard is recorded so", got=state, expected="empty or failed")
    receipt = Receipt(slide_id, state, reason=reason, provenance=dict(provenance or {}))
    publish_receipt(tree, receipt)
    return receipt


def publish_receipt(tree: DatasetTree, receipt: Receipt) -> None:
    """Write ``receipts/{id}.json`` atomically, in place of an older one."""
    write_json(tree.receipt(receipt.slide_id), receipt.to_dict())


def read_receipt(tree: DatasetTree, slide_id: str) -> Receipt:
    """The receipt of one slide.

    Raises:
        StoreError: missing, damaged, of another schema version, or naming files outside its shard.
    """
    path = tree.receipt(slide_id)
    value = read_checked(path, "a receipt", "delete it and run the workflow again: the slide is packed anew")
    receipt = Receipt(
        slide_id=str(value["slide_id"]),
        state=str(value["state"]),
        reason=str(value["reason"]),
        digest=str(value["digest"]),
        shard=str(value["shard"]),
        n_patches=int(value["n_patches"]),
        files=tuple(FileRecord.from_dict(f) for f in value["files"]),
        attributes=value["attributes"],
        provenance=value["provenance"],
    )
    _check_paths(receipt, slide_id, path)
    return receipt


def _check_paths(receipt: Receipt, slide_id: str, path: Path) -> None:
    if receipt.slide_id != slide_id:
        raise StoreError("a receipt is of another slide", got=receipt.slide_id, expected=slide_id, file=path)
    folder = PurePosixPath("shards") / slide_id
    for name in (receipt.shard, *(f.path for f in receipt.files)):
        place = PurePosixPath(name)
        if name and (not place.is_relative_to(folder) or ".." in place.parts):
            raise StoreError(
                "a receipt names a file outside its slide's folder", got=name, expected=f"{folder}/...", file=path
            )


def read_receipts(tree: DatasetTree, slide_ids: Iterable[str] | None = None) -> dict[str, Receipt]:
    """slide id -> receipt, sorted; of all slides that have one, or of those named."""
    names = tree.receipt_ids() if slide_ids is None else sorted(slide_ids)
    return {name: read_receipt(tree, name) for name in names}


def missing_files(tree: DatasetTree, receipt: Receipt) -> list[tuple[str, str]]:
    """(path, what is wrong) of the receipt's files that are absent or of another size. Opens nothing."""
    wrong = []
    for record in receipt.files:
        try:
            size = (tree.root / record.path).stat().st_size
        except FileNotFoundError:
            wrong.append((record.path, "missing"))
            continue
        except OSError as error:
            wrong.append((record.path, f"unreadable: {error.strerror}"))
            continue
        if size != record.size:
            wrong.append((record.path, f"{size} bytes instead of {record.size}"))
    return wrong


def receipt_is_whole(tree: DatasetTree, receipt: Receipt) -> bool:
    """Whether every file that the receipt names is there with its size. Cheap: bytes are not read."""
    return not missing_files(tree, receipt)


def drop_broken_receipts(tree: DatasetTree) -> list[str]:
    """Unlink the receipts that are damaged or name missing or truncated files; their slide ids, sorted.

    For the workflow's start: Snakemake sees receipts only, and packs the slides without one.
    """
    dropped = []
    for slide_id in tree.receipt_ids():
        try:
            whole = receipt_is_whole(tree, read_receipt(tree, slide_id))
        except StoreError:
            whole = False
        if not whole:
            tree.receipt(slide_id).unlink(missing_ok=True)
            dropped.append(slide_id)
    return dropped

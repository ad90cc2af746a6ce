"""Shards, receipts, seals: what lies on the disk, how it gets there, and how to know that it is whole."""

from wsiprep.store.clean import clean
from wsiprep.store.read import Dataset
from wsiprep.store.receipts import (
    FileRecord,
    Receipt,
    drop_broken_receipts,
    read_receipt,
    read_receipts,
    receipt_is_whole,
    record_outcome,
)
from wsiprep.store.rows import DamagedPatch, PatchRecord
from wsiprep.store.schema import SCHEMA_VERSION, SPLIT_ALL, index_schema, rows_schema
from wsiprep.store.seal import read_rows, seal
from wsiprep.store.splits import Assignment, Placement, by_slide
from wsiprep.store.verify import Finding, Findings, verify
from wsiprep.store.write import ShardSpec, write_shard

__all__ = [
    "SCHEMA_VERSION",
    "SPLIT_ALL",
    "Assignment",
    "DamagedPatch",
    "Dataset",
    "FileRecord",
    "Finding",
    "Findings",
    "PatchRecord",
    "Placement",
    "Receipt",
    "ShardSpec",
    "by_slide",
    "clean",
    "drop_broken_receipts",
    "index_schema",
    "read_receipt",
    "read_receipts",
    "read_rows",
    "receipt_is_whole",
    "record_outcome",
    "rows_schema",
    "seal",
    "verify",
    "write_shard",
]

"""Parquet tables of the stages: columns in a declared order, metadata as canonical JSON, same bytes each time."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from wsiprep.config import canonical_json

METADATA_KEY = b"wsiprep"


def table_bytes(table: pa.Table, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The Parquet file of a table as bytes; equal tables give equal bytes."""
    table = table.replace_schema_metadata({METADATA_KEY: canonical_json(dict(metadata or {}))})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", version="2.6", store_schema=True)
    return sink.getvalue()


def column(values: npt.NDArray[Any]) -> pa.Array:
    """A numeric array as a column. ``pa.array`` would import pandas where it is installed: 0.6 s a job."""
    plain = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(plain.dtype), len(plain), [None, pa.py_buffer(plain)])


def texts(names: Sequence[str], codes: npt.NDArray[np.integer[Any]]) -> pa.Array:
    """The strings that codes number, as a column; as ``column``, without pandas."""
    known = [name.encode() for name in names]
    ends = np.zeros(len(codes) + 1, np.int32)
    np.cumsum(np.array([len(name) for name in known], np.int32)[codes], out=ends[1:])
    data = b"".join([known[code] for code in codes.tolist()])
    return pa.StringArray.from_buffers(len(codes), pa.py_buffer(ends), pa.py_buffer(data))


def numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A numeric column without nulls as an array; as ``column``, without pandas."""
    chunk = table.column(name).combine_chunks()
    dtype = np.dtype(chunk.type.to_pandas_dtype())
    return np.frombuffer(chunk.buffers()[1], dtype=dtype)[chunk.offset : chunk.offset + len(chunk)]


def table_metadata(table: pa.Table) -> dict[str, Any]:
    """What ``table_bytes`` was given as metadata."""
    raw = (table.schema.metadata or {}).get(METADATA_KEY, b"{}")
    value = json.loads(raw)
    return value if isinstance(value, dict) else {}

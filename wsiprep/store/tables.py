"""Parquet files of the store: equal tables give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from wsiprep.errors import StoreError

_LARGE_BYTES = 1 << 20
"""Of Parquet files that are read on threads."""


def parquet_bytes(table: pa.Table) -> bytes:
    """The Parquet file of a table, without metadata that could differ from run to run."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd", version="2.6", row_group_size=1 << 16)
    return bytes(sink.getvalue().to_pybytes())


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of a schema of numbers, flags and strings; None is null.

    By buffers, because ``pa.array`` and ``Table.from_pylist`` import pandas where it is installed: 0.6 s a job.
    """
    return pa.Table.from_arrays([_array([row[f.name] for row in rows], f.type) for f in schema], schema=schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    present = np.array([value is not None for value in values], dtype=np.bool_)
    mask = None if present.all() else _bits(present)
    if pa.types.is_string(kind):
        texts = [b"" if value is None else value.encode() for value in values]
        ends = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum([len(text) for text in texts], out=ends[1:])
        buffers = [mask, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    elif pa.types.is_boolean(kind):
        buffers = [mask, _bits(np.array([bool(value) for value in values], dtype=np.bool_))]
    else:
        numbers = np.array([0 if value is None else value for value in values], dtype=kind.to_pandas_dtype())
        buffers = [mask, pa.py_buffer(numbers)]
    return pa.Array.from_buffers(kind, len(values), buffers)


def _bits(flags: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def read_parquet(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """A table of the store.

    Args:
        schema: the columns that it must have.

    Raises:
        StoreError: missing, damaged, or with other columns.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError("a table of the dataset is missing", file=path, fix="run the workflow again") from error
    except OSError as error:
        raise StoreError("a table of the dataset cannot be read", got=error.strerror, file=path) from error
    return parse_parquet(data, path, schema)


def parse_parquet(data: bytes, path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """The table in the bytes of a Parquet file.

    Args:
        path: where they came from, for messages.
        schema: the columns that it must have.

    Raises:
        StoreError: damaged, or with other columns.
    """
    try:
        # Not pq.read_table: it imports pyarrow.dataset, and with it pandas where that is installed.
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            # Threads cost a small table half as much again as reading it.
            table = file.read(use_threads=len(data) > _LARGE_BYTES)
    except (OSError, pa.ArrowException) as error:
        raise StoreError("a table of the dataset is damaged", got=str(error), file=path) from error
    if schema is not None and table.schema.names != schema.names:
        odd = sorted(set(table.schema.names) ^ set(schema.names))
        raise StoreError(
            "a table of the dataset has other columns than its labels ask for", got=", ".join(odd), file=path
        )
    return table

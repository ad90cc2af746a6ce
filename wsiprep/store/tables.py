"""Parquet files of the store: equal tables give equal bytes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wsiprep.errors import StoreError


def parquet_bytes(table: pa.Table) -> bytes:
    """The Parquet file of a table, without metadata that could differ from run to run."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd", version="2.6", row_group_size=1 << 16)
    return bytes(sink.getvalue().to_pybytes())


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
        table = pq.read_table(pa.BufferReader(data))
    except (OSError, pa.ArrowException) as error:
        raise StoreError("a table of the dataset is damaged", got=str(error), file=path) from error
    if schema is not None and table.schema.names != schema.names:
        odd = sorted(set(table.schema.names) ^ set(schema.names))
        raise StoreError(
            "a table of the dataset has other columns than its labels ask for", got=", ".join(odd), file=path
        )
    return table

"""Tables made by buffers are the tables that pyarrow makes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.store.tables import parquet_bytes, table_of

SCHEMA = pa.schema(
    [
        pa.field("whole", pa.int64(), nullable=False),
        pa.field("level", pa.int32()),
        pa.field("share", pa.float64()),
        pa.field("sum", pa.uint64(), nullable=False),
        pa.field("flag", pa.bool_(), nullable=False),
        pa.field("text", pa.string()),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "whole": st.integers(-(2**63), 2**63 - 1),
            "level": st.none() | st.integers(-(2**31), 2**31 - 1),
            "share": st.none() | st.floats(allow_nan=False),
            "sum": st.integers(0, 2**64 - 1),
            "flag": st.booleans(),
            "text": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        }
    ),
    max_size=40,
)


@given(rows=ROWS)
def test_a_table_of_rows_is_pyarrows(rows: list[dict[str, Any]]) -> None:
    made, theirs = table_of(rows, SCHEMA), pa.Table.from_pylist(rows, schema=SCHEMA)
    made.validate(full=True)
    assert made.equals(theirs)
    assert parquet_bytes(made) == parquet_bytes(theirs)


def test_a_missing_column_is_not_null() -> None:
    with pytest.raises(KeyError):
        table_of([{"whole": 1}], SCHEMA)

"""How numbers are written, and tables as the template takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people.

    Attributes:
        columns: headings.
        rows: cells, as text.
        numeric: whether each column is of numbers (aligned to the right).
        note: what was left out, or "".
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""

    @classmethod
    def of(cls, columns: Sequence[str], rows: Sequence[Sequence[str]], limit: int | None = None) -> Table:
        """A table whose numeric columns are found from the cells; ``limit`` cuts it and says so."""
        shown = [tuple(row) for row in (rows if limit is None else rows[:limit])]
        numeric = tuple(all(is_number(row[i]) for row in shown) for i in range(len(columns)))
        cut = len(rows) - len(shown)
        note = f"{cut:,} more rows are not shown." if cut else ""
        return cls(tuple(columns), tuple(shown), numeric if shown else (False,) * len(columns), note)


def is_number(text: str) -> bool:
    """Whether a cell is a number, a percentage or missing."""
    bare = text.replace(",", "").replace("%", "").replace("\u202f", "").strip()
    if bare in ("", MISSING):
        return True
    try:
        float(bare)
    except ValueError:
        return False
    return True


def count(value: object) -> str:
    """An integer with thousands separators."""
    return f"{int(value):,}" if isinstance(value, int | float) else MISSING


def percent(value: object, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{digits}f} %" if isinstance(value, int | float) else MISSING


def number(value: object, digits: int = 4) -> str:
    """A number with ``digits`` significant digits."""
    return f"{value:.{digits}g}" if isinstance(value, int | float) else MISSING


def area(value_um2: float) -> str:
    """An area in mm2."""
    return f"{value_um2 / 1e6:,.3f}"


def data_size(value: object) -> str:
    """Bytes in the unit that keeps it short."""
    if not isinstance(value, int | float):
        return MISSING
    size = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def words(code: object) -> str:
    """A code such as ``under_min`` as words."""
    return str(code or "").replace("_", " ")

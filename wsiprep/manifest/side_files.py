"""The small CSV files that a person keeps in a dataset's folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiprep.errors import ManifestError
from wsiprep.manifest.names import slug


@dataclass(frozen=True, slots=True)
class AllowedPair:
    """Two slides that look alike and may stay, whatever splits they are in.

    Attributes:
        slides: their two ids, sorted.
        reason: why, in a person's words.
        line: 1-based line in ``allow_duplicates.csv``.
    """

    slides: tuple[str, str]
    reason: str
    line: int


def read_exclusions(path: str | Path) -> dict[str, str]:
    """slide id -> reason, from a CSV with the columns ``slide_id,reason``; {} where there is no file."""
    return {slug(r["slide_id"]): r.get("reason", "") for _, r in _records(path, ("slide_id",)) if r["slide_id"]}


def read_allowed_duplicates(path: str | Path) -> tuple[AllowedPair, ...]:
    """Pairs from a CSV with the columns ``slide_a,slide_b,reason``; () where there is no file.

    Raises:
        ManifestError: a column is missing, or a row names no two slides or no reason.
    """
    pairs = []
    for line, record in _records(path, ("slide_a", "slide_b", "reason")):
        names = sorted(slug(record[name]) for name in ("slide_a", "slide_b") if record[name])
        if len(set(names)) != 2 or not record["reason"]:
            raise ManifestError(
                "a row does not name two slides and a reason", got=",".join(record.values()), file=path, line=line,
                expected="slide_a,slide_b,reason",
            )  # fmt: skip
        pairs.append(AllowedPair((names[0], names[1]), record["reason"], line))
    return tuple(pairs)


def _records(path: str | Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(line, values by column) of each row; nothing where there is no file."""
    path = Path(path)
    if not path.exists():
        return
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            for name in columns:
                if name not in (reader.fieldnames or []):
                    raise ManifestError(f"{path.name} has no column {name!r}", file=path, line=1)
            for record in reader:
                if None in record:
                    raise ManifestError("a row has more fields than the header", file=path, line=reader.line_num)
                yield reader.line_num, {k: (v or "").strip() for k, v in record.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path.name} cannot be read as CSV", got=str(error), file=path) from error

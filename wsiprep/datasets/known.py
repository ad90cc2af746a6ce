"""What is known of single slides: facts of the recipe and of its CSV, the release's own table, and name rules."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from wsiprep.config.dataset import ClassTable, Fact, GroupRule
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.listing import Listing
from wsiprep.datasets.patterns import composed
from wsiprep.errors import ManifestError

COLUMNS = tuple(Fact.model_fields)
YES = {"yes": True, "no": False, "": False}
FLAGS = ("optional", "withdrawn", "unverified")


@dataclass(frozen=True, slots=True)
class Known:
    """Every fact that applies to one slide, the stronger last."""

    facts: tuple[Fact, ...]

    def value(self, name: str) -> object:
        """The last fact's value of a field; None where none has one."""
        return next((getattr(f, name) for f in reversed(self.facts) if getattr(f, name) is not None), None)

    @property
    def exclusion(self) -> Fact | None:
        """The fact that leaves the slide out, disputed or not; undisputed ones first."""
        found = [f for f in self.facts if f.exclude]
        return next((f for f in found if not f.optional), found[0] if found else None)

    @property
    def notes(self) -> str:
        return "; ".join(dict.fromkeys(f.note for f in self.facts if f.note))

    @property
    def sources(self) -> str:
        return "; ".join(dict.fromkeys(f.source for f in self.facts))


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts by expression (of the recipe) and by exact id (of the CSV)."""

    rules: tuple[Fact, ...] = ()
    rows: dict[str, Fact] = field(default_factory=dict)

    def of(self, slide_id: str) -> Known:
        """What is known of a slide; the CSV's row comes last, so it wins."""
        found = [rule for rule in self.rules if re.fullmatch(rule.slide, slide_id)]
        row = self.rows.get(slide_id)
        return Known((*found, *(() if row is None else (row,))))


def read_facts(path: Path | None, rules: Sequence[Fact]) -> Facts:
    """The facts of a dataset; ``path`` is the CSV beside the recipe.

    Raises:
        ManifestError: with file and line.
    """
    if path is None:
        return Facts(tuple(rules))
    rows: dict[str, Fact] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            unknown = sorted(set(reader.fieldnames or ()) - set(COLUMNS))
            if unknown or "slide" not in (reader.fieldnames or ()):
                raise ManifestError(
                    "the columns of a facts file", got=", ".join(reader.fieldnames or ()) or "none", file=path, line=1,
                    expected=f"slide and some of {', '.join(COLUMNS[1:])}",
                )  # fmt: skip
            for record in reader:
                fact = _fact(record, path, reader.line_num)
                if fact.slide in rows:
                    raise ManifestError("two rows of one slide", got=fact.slide, file=path, line=reader.line_num)
                rows[fact.slide] = fact
    except FileNotFoundError as error:
        raise ManifestError("the recipe's facts file is not there", got=str(path)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError("the facts file cannot be read as CSV", got=str(error), file=path) from error
    return Facts(tuple(rules), rows)


def _fact(record: dict[str | None, str | None], path: Path, line: int) -> Fact:
    if None in record:
        raise ManifestError("a row has more fields than the header", file=path, line=line)
    text = {str(k): (v or "").strip() for k, v in record.items()}
    for name in FLAGS:
        if text.get(name, "") not in YES:
            raise ManifestError(f"{name} is yes or no", got=text[name], file=path, line=line)
    values: dict[str, object] = {k: v for k, v in text.items() if v and k not in FLAGS}
    try:
        # The id is exact here; Fact.slide is an expression, so its special characters are only checked as text.
        slide = str(values.get("slide", ""))
        fact = Fact.model_validate(values | {"slide": re.escape(slide)} | {n: YES[text.get(n, "")] for n in FLAGS})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ManifestError(f"{where}: {first['msg']}".removeprefix(": "), file=path, line=line) from error
    return fact.model_copy(update={"slide": slide})


@dataclass(frozen=True, slots=True)
class TableRows:
    """The release's table: slide name -> class, and the text it stood as."""

    classes: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    column: str = "table_value"

    def key(self, slide_id: str, path: str) -> str:
        """The name under which a slide may stand: its file name, or its id."""
        name = path.rsplit("/", 1)[-1]
        return name if name in self.classes else slide_id


def read_table(table: ClassTable | None, listing: Listing) -> TableRows:
    """Read the table of a layout; a missing one is a finding, for what it says cannot be known then."""
    if table is None:
        return TableRows()
    entry = listing.files.get(composed(table.path))
    if entry is None:
        message = "the table of slide classes is missing: what it says of the slides is not known"
        return TableRows(findings=(Finding("missing-table", "error", table.path, message),))
    try:
        with (listing.root / entry.path).open(newline="", encoding="utf-8-sig") as stream:
            lines = [line for line in csv.reader(stream, strict=True) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return TableRows(findings=(Finding("bad-table", "error", entry.path, f"cannot be read as CSV: {error}"),))
    header = [cell.strip() for cell in lines.pop(0)] if table.header and lines else []
    places = [_column(c, header) for c in (table.slide, table.value)]
    if None in places:
        wanted = f"{table.slide} and {table.value}"
        message = f"has no columns {wanted}, but {', '.join(header) or 'no header'}"
        return TableRows(findings=(Finding("bad-table", "error", entry.path, message),))
    return _rows(table, lines, [p for p in places if p is not None], entry.path)


def _column(column: str | int, header: Sequence[str]) -> int | None:
    if isinstance(column, int):
        return column
    return header.index(column) if column in header else None


def _rows(table: ClassTable, lines: Iterable[Sequence[str]], places: Sequence[int], path: str) -> TableRows:
    classes: dict[str, str] = {}
    values: dict[str, str] = {}
    findings: list[Finding] = []
    for line in lines:
        if len(line) <= max(places):
            findings.append(Finding("bad-table", "error", path, f"a short line: {','.join(line)!r}"))
            continue
        name, value = (line[p].strip() for p in places)
        if table.drop is not None and re.fullmatch(table.drop, name):
            continue
        if value not in table.values:
            known = ", ".join(table.values)
            findings.append(Finding("bad-table", "error", path, f"{name}: unknown value {value!r}, known: {known}"))
        elif classes.get(name, table.values[value]) != table.values[value]:
            findings.append(Finding("bad-table", "error", path, f"{name} stands twice with different values"))
        else:
            classes[name], values[name] = table.values[value], value
    return TableRows(classes, values, tuple(findings), table.column or "table_value")


def rule_of(rules: Sequence[GroupRule], slide_id: str) -> tuple[str | None, GroupRule | None]:
    """The result of the first rule that matches, and the rule."""
    for rule in rules:
        result = rule.result(slide_id)
        if result is not None:
            return result, rule
    return None, None

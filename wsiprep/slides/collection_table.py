"""What is known of each tile of a collection beside its pixels: patient, tissue, split, fold, spacing."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from wsiprep.config.recipe import Collection
from wsiprep.errors import ManifestError
from wsiprep.slides.collection_tiles import NPY_ERRORS

COLUMNS = ("tile", "patient", "tissue", "split", "fold", "spacing_um")


@dataclass(frozen=True, slots=True)
class TileFacts:
    """Beside the pixels; ``extra`` are the table's columns that wsiprep does not know."""

    patient: str = ""
    tissue: str = ""
    split: str | None = None
    fold: int | None = None
    spacing_um: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def facts_of_tiles(names: Sequence[str], spec: Collection, folder: Path, *, stack: bool = False) -> list[TileFacts]:
    """Facts for each tile, in the order of ``names``.

    The table comes first; what it leaves open, the regular expressions on the tile's name and the array of
    tissues say.

    Args:
        names: of all tiles, unreadable ones too.
        spec: the recipe's ``collection``.
        folder: that ``table`` and ``tissue`` are relative to.
        stack: the names are numbers; a table may write them without leading zeros.

    Raises:
        ManifestError: with file and line: a tile of the table that does not exist, a tile that it does not
            list, one that stands twice, a bad value; a name that the patient's expression does not match; an
            array of tissues of another length or kind.
    """
    table = None if spec.table is None else _table(names, folder / inside(spec.table), stack=stack)
    tissues = None if spec.tissue is None else _tissues(folder / inside(spec.tissue), len(names))
    facts = []
    for index, name in enumerate(names):
        known = TileFacts() if table is None else table[name]
        if not known.patient and spec.patient is not None:
            known = replace(known, patient=_patient(name, spec.patient))
        if known.split is None:
            known = replace(known, split=next((s for p, s in spec.split.items() if re.search(p, name)), None))
        if not known.tissue and tissues is not None:
            known = replace(known, tissue=tissues[index])
        facts.append(known)
    return facts


def inside(relative: str) -> Path:
    """A path of the recipe that must stay in the collection's folder.

    Raises:
        ManifestError: it is absolute or climbs out.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative or "\0" in relative or not path.parts:
        raise ManifestError(
            "a path of the recipe's collection leaves its folder", got=repr(relative),
            expected="a path below the collection's folder, with / between folders",
        )  # fmt: skip
    return path


def _patient(name: str, pattern: str) -> str:
    found = re.search(pattern, name)
    if found is None or not found.group(1):
        raise ManifestError(
            "the patient of a tile cannot be told from its name", got=name, expected=pattern,
            fix="correct collection.patient, or name the patients in collection.table",
        )  # fmt: skip
    return found.group(1)


def _table(names: Sequence[str], path: Path, *, stack: bool) -> dict[str, TileFacts]:
    known = set(names)
    width = len(names[0]) if names else 0
    found: dict[str, tuple[TileFacts, int]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = list(reader.fieldnames or [])
            if "tile" not in header or len(set(header)) != len(header):
                raise ManifestError(
                    "the table of tiles needs a column 'tile', and each column once", got=", ".join(header),
                    expected=", ".join(COLUMNS), file=path, line=1,
                )  # fmt: skip
            for record in reader:
                line = reader.line_num
                if None in record or None in record.values():
                    raise ManifestError("a row has more or fewer fields than the header", file=path, line=line)
                name = record["tile"]
                if stack and name.strip().isdecimal():
                    name = name.strip().zfill(width)
                if name not in known:
                    raise ManifestError(
                        "the table lists a tile that does not exist", got=name, file=path, line=line,
                        fix="the column 'tile' holds what stands for {tile} in collection.images",
                    )  # fmt: skip
                if name in found:
                    raise ManifestError(
                        "a tile stands twice in the table", got=f"{name}, lines {found[name][1]} and {line}",
                        file=path, line=line,
                    )  # fmt: skip
                found[name] = (_facts(record, path, line), line)
    except FileNotFoundError as error:
        raise ManifestError("there is no such table of tiles", got=str(path), file=path) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError("the table of tiles cannot be read as CSV", got=str(error), file=path) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ManifestError(
            "the table does not list every tile", got=f"{len(missing)} missing: {', '.join(missing[:5])}",
            expected=f"a row for each of {len(names)} tiles", file=path,
        )  # fmt: skip
    return {name: facts for name, (facts, _) in found.items()}


def _facts(record: Mapping[str, str], path: Path, line: int) -> TileFacts:
    text = {name: value.strip() for name, value in record.items()}
    fold, spacing = text.get("fold", ""), text.get("spacing_um", "")
    if fold and not (fold.isascii() and fold.isdecimal()):
        raise ManifestError("fold must be a whole number", got=fold, file=path, line=line)
    try:
        um = float(spacing) if spacing else None
    except ValueError:
        um = math.nan
    if um is not None and not (math.isfinite(um) and um > 0):
        raise ManifestError("spacing_um must be a positive number", got=spacing, file=path, line=line)
    return TileFacts(
        patient=text.get("patient", ""),
        tissue=text.get("tissue", ""),
        split=text.get("split") or None,
        fold=int(fold) if fold else None,
        spacing_um=um,
        extra={name: value for name, value in text.items() if name not in COLUMNS},
    )


def _tissues(path: Path, count: int) -> list[str]:
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except NPY_ERRORS as error:
        raise ManifestError(
            "the tissues of the stack cannot be read", got=str(error)[:200],
            expected="an .npy array of text; arrays of Python objects are never unpickled", file=path,
        ) from error  # fmt: skip
    if array.dtype.kind not in "US" or array.shape != (count,):
        raise ManifestError(
            "the tissues do not fit the stack", got=f"{array.dtype} of shape {array.shape}",
            expected=f"text of shape ({count},), one for each tile", file=path,
        )  # fmt: skip
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in array.tolist()]

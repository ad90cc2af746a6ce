"""Groups of slides, the places (splits or folds) that they are put in, and the check that none is torn apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from wsiprep.errors import SplitError, UsageError
from wsiprep.manifest import SlideRow

ALL = "all"
"""Split of slides that are in no split, or whose split depends on the fold that is held out."""

BY_PATCH = "by-patch"
"""Split of slides whose patches are dealt out one by one, by ``patch_split`` or ``patch_fold``."""

Provenance = Literal["explicit", "frozen", "balanced", "hashed"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A split, or a fold (then the split is ``all``)."""

    split: str
    fold: int | None = None

    @property
    def key(self) -> str:
        """The place in one word, as it is frozen: a split's name, or a fold's number."""
        return self.split if self.fold is None else str(self.fold)

    def held_out(self, fold: int, folds: int) -> str:
        """The split where fold ``fold`` of ``folds`` is the test set; a named split stays what it is."""
        return self.split if self.fold is None else roles(fold, folds)[self.fold]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One slide, as far as the split is concerned.

    Attributes:
        slide_id: id of the slide.
        group: what must not be torn apart: patient, slide or centre.
        weight: what the slide counts in reports, for example its patches.
        split: explicit split, or None.
        fold: explicit fold, or None.
        patient: who must not be in two splits, whatever the group is; "" where unknown.
        line: line in the manifest, for messages.
    """

    slide_id: str
    group: str
    weight: float = 1.0
    split: str | None = None
    fold: int | None = None
    patient: str = ""
    line: int | None = None

    @property
    def name(self) -> str:
        """The slide with its line, for messages."""
        return self.slide_id if self.line is None else f"{self.slide_id} (line {self.line})"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where every slide is.

    Attributes:
        places: slide id -> place.
        groups: slide id -> its group.
        frozen: group -> ``Place.key``, to be written back: what was frozen before, and what was added.
        provenance: group -> how its place was found.
        leaking: patches or slides of one patient may be in two splits, because the recipe asks for it.
    """

    places: Mapping[str, Place]
    groups: Mapping[str, str]
    frozen: Mapping[str, str]
    provenance: Mapping[str, Provenance]
    leaking: bool = False


def group_rows(
    rows: Iterable[SlideRow], by: str, weights: Mapping[str, float] = MappingProxyType({})
) -> tuple[GroupRow, ...]:
    """The rows of a manifest with their groups; a slide without a patient is its own group.

    Args:
        rows: slides of the dataset (leave the excluded ones out).
        by: patient, slide, centre or patch.
        weights: slide id -> patches; 1 where absent.

    Raises:
        SplitError: ``by`` is centre and a slide names none.
    """
    found = []
    for row in rows:
        if by == "centre" and row.centre is None:
            raise SplitError(
                "the split is by centre and a slide names none", got=row.slide_id, line=row.line,
                fix="fill the manifest's centre column, or split by patient",
            )  # fmt: skip
        groups = {"patient": row.group, "centre": row.centre or ""}
        found.append(
            GroupRow(
                row.slide_id, groups.get(by, row.slide_id), weights.get(row.slide_id, 1.0),
                row.split, row.fold, row.group, row.line,
            )
        )  # fmt: skip
    return tuple(found)


def check_leaks(rows: Iterable[GroupRow], assignment: Assignment) -> list[str]:
    """Groups that are in two splits or folds, sorted: empty unless the split is by patch."""
    return sorted(torn_apart([(row.group, row) for row in rows], assignment))


def roles(fold: int, folds: int) -> dict[int, str]:
    """fold -> split where ``fold`` is held out: it tests, the next one validates, the rest train.

    Raises:
        UsageError: there is no such fold, or fewer than three folds (nothing would be left to train on).
    """
    if folds < 3 or not 0 <= fold < folds:
        raise UsageError("no such fold", got=f"fold {fold} of {folds}", expected="0 <= fold < folds, three or more")
    named = dict.fromkeys(range(folds), "train")
    return named | {(fold + 1) % folds: "val", fold: "test"}


def torn_apart(keyed: Iterable[tuple[str, GroupRow]], assignment: Assignment) -> dict[str, list[GroupRow]]:
    """key -> its rows, for the keys whose slides are in two places or dealt out by patch."""
    members: dict[str, list[GroupRow]] = defaultdict(list)
    for key, row in keyed:
        members[key].append(row)
    return {
        key: found
        for key, found in sorted(members.items())
        if len(places := {assignment.places[row.slide_id] for row in found}) > 1 or Place(BY_PATCH) in places
    }

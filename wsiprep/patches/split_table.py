"""How a split came out, beside what was asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from wsiprep.config import Split
from wsiprep.patches.hashing import exact_ratio
from wsiprep.patches.places import Assignment, GroupRow


@dataclass(frozen=True, slots=True)
class SplitShare:
    """What one split or fold has, and its share of the whole.

    Attributes:
        key: the split's name, or the fold's number.
        groups: patients, slides or centres, as the split is by.
        slides: slides.
        weight: sum of the slides' weights, for example patches.
        asked: share that the recipe asks for; None where it asks for none.
    """

    key: str
    groups: int
    slides: int
    weight: float
    share_of_groups: float
    share_of_slides: float
    share_of_weight: float
    asked: float | None


@dataclass(frozen=True, slots=True)
class SplitTable:
    """One row a split or fold, sorted by key, empty ones that were asked for included."""

    shares: tuple[SplitShare, ...]
    leaking: bool

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {"shares": [asdict(share) for share in self.shares], "leaking": self.leaking}


def split_table(rows: Iterable[GroupRow], assignment: Assignment, split: Split) -> SplitTable:
    """Groups, slides and weight of each split. The draw is by group, so slides and patches deviate from the ratio."""
    groups: dict[str, set[str]] = defaultdict(set)
    slides: dict[str, int] = defaultdict(int)
    weight: dict[str, float] = defaultdict(float)
    for row in sorted(rows, key=lambda row: row.slide_id):
        key = assignment.places[row.slide_id].key
        groups[key].add(row.group)
        slides[key] += 1
        weight[key] += row.weight
    asked = _asked(split)
    n_groups, n_slides, total = sum(map(len, groups.values())), sum(slides.values()), sum(weight.values())
    shares = tuple(
        SplitShare(
            key, len(groups[key]), slides[key], weight[key],
            _part(len(groups[key]), n_groups), _part(slides[key], n_slides), _part(weight[key], total),
            asked.get(key),
        )
        for key in sorted({*slides, *asked}, key=_numbers_first)
    )  # fmt: skip
    return SplitTable(shares, assignment.leaking)


def _numbers_first(key: str) -> tuple[bool, int, str]:
    number = key.isdecimal()
    return not number, int(key) if number else 0, key


def _asked(split: Split) -> dict[str, float]:
    if split.kind == "ratio":
        return {name: float(share) for name, share in exact_ratio(split.ratio).items()}
    if split.kind == "folds":
        return {str(fold): 1 / split.folds for fold in range(split.folds)}
    return {}


def _part(value: float, total: float) -> float:
    return value / total if total else 0.0

"""Who trains, who validates, who tests: groups of slides into splits or folds, and nobody ever moves.

A group is a patient (default), a slide or a centre. Its place comes from the first of these that
speaks: the manifest (explicit), the frozen assignment of an earlier run (frozen), the first draw
(balanced: groups in the order of their hash, cut by largest remainder), or, once a draw is frozen,
the group's own hash (hashed). Nothing depends on the order of rows or of the recipe's keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from wsiprep.config import Split
from wsiprep.config.recipe import LABEL_PATTERN
from wsiprep.errors import SplitError, UsageError
from wsiprep.patches.hashing import bin_of, cell_hashes, exact_ratio, largest_remainder, text_hash
from wsiprep.patches.places import ALL, BY_PATCH, Assignment, GroupRow, Place, Provenance, torn_apart

STANDARD_SPLITS = ("train", "val", "test")

_FRESH_DRAW = "remove splits.csv to draw afresh (patients will move)"


def assign(rows: Iterable[GroupRow], split: Split, frozen: Mapping[str, str] = MappingProxyType({})) -> Assignment:
    """The place of every slide.

    ``kind: none`` puts all into ``all``; ``official`` wants an explicit split for each slide; ``ratio``
    and ``folds`` draw what is neither explicit nor frozen. In ``folds``, a slide with an explicit split
    and no fold is fixed in that split in every fold; in ``ratio``, the fold column is not read.
    Explicit groups do not count towards the ratio of the draw.

    Args:
        rows: the slides, in any order.
        split: the recipe's section.
        frozen: group -> ``Place.key`` of earlier runs (``Assignment.frozen``).

    Raises:
        SplitError: one group or patient in two splits, fewer groups than splits, an unknown split or
            fold, a frozen assignment that does not belong to these slides.
        UsageError: a slide stands twice.
    """
    ordered = sorted(rows, key=lambda row: row.slide_id)
    if len({row.slide_id for row in ordered}) != len(ordered):
        raise UsageError("a slide stands twice in the rows to split")
    groups = {row.slide_id: row.group for row in ordered}
    if split.kind == "none":
        return Assignment({row.slide_id: Place(ALL) for row in ordered}, groups, dict(frozen), {})
    explicit = _explicit(ordered, split)
    if split.kind == "official":
        _require_all_explicit(ordered)
        result = _placed(ordered, explicit, dict.fromkeys(explicit, "explicit"), frozen)
    elif split.by == "patch":
        places = {row.slide_id: explicit.get(row.group, Place(BY_PATCH)) for row in ordered}
        result = Assignment(places, groups, dict(frozen), dict.fromkeys(explicit, "explicit"), leaking=True)
    else:
        result = _drawn(ordered, split, explicit, frozen)
    torn = torn_apart([(row.patient, row) for row in ordered if row.patient], result)
    if torn and split.by not in ("slide", "patch"):
        raise _conflict("one patient in two splits", next(iter(torn.values())), result.places)
    return replace(result, leaking=result.leaking or bool(torn))


def patch_split(
    slide_id: str, x_lv0: npt.NDArray[np.int64], y_lv0: npt.NDArray[np.int64], ratio: Mapping[str, float], seed: int
) -> npt.NDArray[np.str_]:
    """str (n,): the split of each patch of a slide, for ``by: patch`` with a ratio; each by its own hash.

    Neighbours of one tumour end in different splits: this leaks, and ``Assignment.leaking`` says so.

    Args:
        slide_id: id of the slide.
        x_lv0: int64 (n,), left edges in level-0 pixels.
        y_lv0: int64 (n,), upper edges.
        ratio: parts by split, of the recipe.
        seed: the split's seed.
    """
    shares = exact_ratio(ratio)
    names = np.array(list(shares), dtype=np.str_)
    return names[bin_of(_patch_hashes(slide_id, x_lv0, y_lv0, seed), tuple(shares.values()))]


def patch_fold(
    slide_id: str, x_lv0: npt.NDArray[np.int64], y_lv0: npt.NDArray[np.int64], folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """int64 (n,): the fold of each patch of a slide, for ``by: patch`` with folds; see ``patch_split``."""
    hashes = _patch_hashes(slide_id, x_lv0, y_lv0, seed)
    return bin_of(hashes, [Fraction(1, folds)] * folds).astype(np.int64)


def _patch_hashes(
    slide_id: str, x_lv0: npt.NDArray[np.int64], y_lv0: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.uint64]:
    # Not the hash that cells are drawn by: with equal seeds, all the drawn ones would be in one split.
    return cell_hashes(f"split:{seed}:{slide_id}", x_lv0, y_lv0)


def _bins(split: Split) -> dict[Place, Fraction]:
    """The places that a draw fills, in canonical order, with their shares."""
    if split.kind == "folds":
        return {Place(ALL, fold): Fraction(1, split.folds) for fold in range(split.folds)}
    return {Place(name): share for name, share in exact_ratio(split.ratio).items()}


def _explicit(rows: Sequence[GroupRow], split: Split) -> dict[str, Place]:
    """group -> the place that the manifest names; one row of a group speaks for all of it."""
    members: dict[str, list[GroupRow]] = defaultdict(list)
    places: dict[str, Place] = {}
    for row in rows:
        place = _explicit_place(row, split)
        if place is not None:
            members[row.group].append(row)
            places[row.slide_id] = place
    for group, found in members.items():
        if len({places[row.slide_id] for row in found}) > 1:
            raise _conflict(f"the manifest has {group!r} in two splits", found, places)
    return {group: places[found[0].slide_id] for group, found in members.items()}


def _explicit_place(row: GroupRow, split: Split) -> Place | None:
    if split.kind == "folds" and row.fold is not None:
        if row.fold >= split.folds:
            raise SplitError(
                "the manifest names a fold that the recipe does not have", got=f"fold {row.fold} of {row.name}",
                expected=f"0 to {split.folds - 1}", line=row.line, fix="number the folds from 0, or raise split.folds",
            )  # fmt: skip
        return Place(ALL, row.fold)
    if row.split is None:
        return None
    if split.kind == "official":
        if not LABEL_PATTERN.fullmatch(row.split) or row.split == ALL:
            raise SplitError(
                "a split cannot be called so", got=f"{row.split!r} of {row.name}", line=row.line,
                expected="lower-case letters, digits and _, such as train, val, test",
            )  # fmt: skip
    elif row.split not in _known_splits(split):
        raise SplitError(
            "the manifest names a split that the recipe does not have", got=f"{row.split!r} of {row.name}",
            expected=", ".join(_known_splits(split)), line=row.line, fix="correct it, or use split.kind: official",
        )  # fmt: skip
    return Place(row.split)


def _known_splits(split: Split) -> tuple[str, ...]:
    """A fixed test set beside a drawn train and val is common, so these three names are always known."""
    return tuple(dict.fromkeys((*split.ratio, *STANDARD_SPLITS)))


def _require_all_explicit(rows: Sequence[GroupRow]) -> None:
    missing = [row.name for row in rows if row.split is None]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise SplitError(
            "the split is official and slides have none in the manifest", got=", ".join(missing[:10]) + more,
            fix="fill the manifest's split column, or use split.kind: ratio",
        )  # fmt: skip


def _drawn(
    rows: Sequence[GroupRow], split: Split, explicit: Mapping[str, Place], frozen: Mapping[str, str]
) -> Assignment:
    groups = sorted({row.group for row in rows})
    before = {group: key for group, key in frozen.items() if group not in explicit}
    if before and groups and not any(group in frozen for group in groups):
        raise SplitError(
            "the frozen assignment knows none of the groups", got=", ".join(groups[:3]),
            expected=f"such as {min(before)}", fix=_FRESH_DRAW,
        )  # fmt: skip
    places = dict(explicit)
    provenance: dict[str, Provenance] = dict.fromkeys(explicit, "explicit")
    for group in groups:
        if group in before:
            places[group] = _thawed(group, before[group], split)
            provenance[group] = "frozen"
    new = sorted((group for group in groups if group not in places), key=lambda group: _ordinal(group, split))
    bins = _bins(split)
    if before:
        hashes = np.array([_ordinal(group, split)[0] for group in new], dtype=np.uint64)
        chosen = bin_of(hashes, tuple(bins.values())).tolist()
        provenance |= dict.fromkeys(new, "hashed")
    else:
        counts = _first_cut(len(new), bins, set(places.values()))
        chosen = [index for index, count in enumerate(counts) for _ in range(count)]
        provenance |= dict.fromkeys(new, "balanced")
    order = list(bins)
    places |= {group: order[index] for group, index in zip(new, chosen, strict=True)}
    return _placed(rows, places, provenance, frozen)


def _ordinal(group: str, split: Split) -> tuple[int, str]:
    return text_hash(f"{split.seed}:{group}"), group


def _thawed(group: str, key: str, split: Split) -> Place:
    if split.kind == "folds" and key.isdecimal() and int(key) < split.folds:
        return Place(ALL, int(key))
    if key in _known_splits(split):
        return Place(key)
    raise SplitError(
        "the frozen assignment has a place that the recipe does not have", got=f"{group}: {key}",
        expected=", ".join(place.key for place in _bins(split)), fix=f"restore the recipe's split, or {_FRESH_DRAW}",
    )  # fmt: skip


def _first_cut(total: int, bins: Mapping[Place, Fraction], filled: set[Place]) -> list[int]:
    """Groups for each bin: largest remainder, then one from the fullest for each that is empty."""
    places = list(bins)
    counts = largest_remainder(total, tuple(bins.values()))
    if total == 0:
        return counts
    needed = [place for place in places if place not in filled]
    if total < len(needed):
        raise SplitError(
            "there are fewer groups than splits", got=f"{total} to draw for {', '.join(p.key for p in needed)}",
            expected=f"at least {len(needed)}",
            fix="add patients, name the splits in the manifest, or use split.kind: none (or by: slide, which may leak)",
        )  # fmt: skip
    for place in needed:
        if counts[places.index(place)] == 0:
            # A split that the manifest fills may give its last; any other keeps one.
            spare = [count - (place not in filled) for place, count in zip(places, counts, strict=True)]
            giver = max(range(len(places)), key=lambda i: (spare[i], -i))
            counts[giver] -= 1
            counts[places.index(place)] += 1
    return counts


def _placed(
    rows: Sequence[GroupRow],
    places: Mapping[str, Place],
    provenance: Mapping[str, Provenance],
    frozen: Mapping[str, str],
) -> Assignment:
    added = {group: place.key for group, place in places.items()}
    return Assignment(
        places={row.slide_id: places[row.group] for row in rows},
        groups={row.slide_id: row.group for row in rows},
        frozen=dict(sorted({**frozen, **added}.items())),
        provenance=dict(sorted(provenance.items())),
    )


def _conflict(message: str, rows: Sequence[GroupRow], places: Mapping[str, Place]) -> SplitError:
    first = rows[0]
    other = next(row for row in rows if places[row.slide_id] != places[first.slide_id])
    return SplitError(
        message, got="; ".join(f"{row.name}: {places[row.slide_id].key}" for row in (first, other)),
        expected="one split for all its slides", line=other.line, fix="correct the manifest's split or fold column",
    )  # fmt: skip

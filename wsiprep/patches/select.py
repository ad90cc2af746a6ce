"""Which cells are kept, and why the others are not: decided from areas, before a pixel is decoded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from wsiprep.config import Keep, KeepRule, Recipe
from wsiprep.errors import UsageError
from wsiprep.patches.hashing import cell_hashes, lowest
from wsiprep.patches.lesions import Lesions, lesions_met
from wsiprep.patches.sampling import Cells

TOLERANCE = 1e-9
"""Absolute tolerance on every share, in favour of keeping: bounds are inclusive."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]


class Decision(IntEnum):
    """Why a cell is kept or not. The numbers are on disk; never renumber them."""

    KEPT = 0
    UNDER_MIN = 1
    OVER_MAX = 2
    NOT_ANNOTATED = 3
    NO_TISSUE = 4
    TUMOUR_FREE_NOT_SAMPLED = 5
    OVER_QUOTA = 6
    EXCLUDED = 7
    ANCHOR_NOT_NEEDED = 8


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Cells with what is known of them without decoding.

    Attributes:
        cells: where they lie.
        tissue_fraction: float64 (n,), share of the cell's area that is tissue.
        annotated_fraction: float64 (n,), share of the cell's area within the slide that is annotated.
        label_fractions: label -> float64 (n,), area of the label over the cell's area within the
            slide. Labels exclude each other, so they sum to at most ``annotated_fraction``.

    Raises:
        UsageError: an array does not match the cells or has a value that is not finite.
    """

    cells: Cells
    tissue_fraction: Floats
    annotated_fraction: Floats
    label_fractions: Mapping[str, Floats]

    def __post_init__(self) -> None:
        named = {"tissue": self.tissue_fraction, "annotated": self.annotated_fraction, **self.label_fractions}
        for name, values in named.items():
            if values.shape != (len(self.cells),):
                raise UsageError(f"the {name} fractions do not match the cells", got=values.shape, expected=len(self))
            if not np.isfinite(values).all():
                raise UsageError(f"the {name} fractions have a value that is not finite")

    def __len__(self) -> int:
        return len(self.cells)


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """One ``Decision`` per candidate: codes uint8 (n,)."""

    codes: Codes

    @property
    def kept(self) -> Flags:
        """bool (n,): the cells that are packed."""
        return np.equal(self.codes, Decision.KEPT)

    @property
    def counts(self) -> dict[Decision, int]:
        """Cells per decision, zeros included."""
        totals = np.bincount(self.codes, minlength=len(Decision))
        return {decision: int(totals[decision]) for decision in Decision}


def decide(
    candidates: Candidates,
    recipe: Recipe,
    *,
    annotated: bool,
    slide_id: str,
    splits: Collection[str] | None = None,
    excluded: bool = False,
    lesions: Lesions | None = None,
) -> Decisions:
    """Decide each cell of one slide.

    Where nobody annotated the slide, only the tissue rule and the quota apply. Else, in this order:
    a cell with less than ``keep.min_annotated`` annotated (or with nothing annotated at all) is
    NOT_ANNOTATED; a cell without any kept label needs tissue (NO_TISSUE) and luck
    (TUMOUR_FREE_NOT_SAMPLED); a cell with a kept label needs every keep rule (UNDER_MIN, OVER_MAX) and
    no tissue. The kept labels are those of the rules; a recipe without rules keeps every cell with
    tissue or with any of its labels, and draws nothing. A cell that is centred on a small lesion is kept
    where no kept cell meets the lesion (else ANCHOR_NOT_NEEDED) and its share of kept labels is at least
    ``sampling.anchor_min`` and above 0 (else UNDER_MIN). Last comes ``sampling.max_per_slide``.

    A rule with ``splits`` is left to the caller that knows the split: the plan of a slide does not
    (a new split must not pack anything again), passes ``splits=None``, and the cells stay. Seal then
    leaves the rows out of its index whose ``split_rule_codes`` are not KEPT.

    Args:
        candidates: the cells of the slide.
        recipe: ``keep``, ``sampling`` and ``labels`` are read.
        annotated: False for the annotation state ``none``.
        slide_id: goes into the hash of the draws.
        splits: the splits that the slide is in (several with folds), None where not known yet.
        excluded: the slide stands in exclude.csv.
        lesions: the slide's annotated regions, for cells that are centred on one.

    Raises:
        UsageError: the candidates lack a label that the recipe keeps.
    """
    if excluded:
        return Decisions(np.full(len(candidates), Decision.EXCLUDED, dtype=np.uint8))
    has_tissue = candidates.tissue_fraction >= recipe.keep.min_tissue - TOLERANCE
    if annotated:
        codes = _annotated_codes(candidates, recipe, has_tissue, splits)
        anchored = candidates.cells.anchor >= 0
        codes[anchored] = Decision.ANCHOR_NOT_NEEDED
        if recipe.keep.rules:
            _sample_tumour_free(codes, candidates, recipe, slide_id)
        if anchored.any() and lesions is not None:
            _keep_anchored(codes, candidates, recipe, lesions)
    else:
        codes = np.where(has_tissue, Decision.KEPT, Decision.NO_TISSUE).astype(np.uint8)
    _apply_quota(codes, candidates.cells, recipe, slide_id)
    return Decisions(codes)


def _keep_anchored(codes: Codes, candidates: Candidates, recipe: Recipe, lesions: Lesions) -> None:
    """Keep the cells centred on lesions that nothing kept meets, the first ones first."""
    cells = candidates.cells
    share = tumour_share(candidates, kept_labels(recipe))
    enough = share >= recipe.sampling.anchor_min - TOLERANCE
    known = candidates.annotated_fraction >= recipe.keep.min_annotated - TOLERANCE
    places = lesions.index.tolist()
    met = dict(zip(places, lesions_met(lesions, cells, codes == Decision.KEPT).tolist(), strict=True))
    for i in np.flatnonzero(cells.anchor >= 0).tolist():
        if met[int(cells.anchor[i])]:
            continue
        if not known[i]:
            codes[i] = Decision.NOT_ANNOTATED
        elif share[i] <= TOLERANCE or not enough[i]:
            codes[i] = Decision.UNDER_MIN
        else:
            codes[i] = Decision.KEPT
            here = lesions_met(lesions, cells, np.arange(len(cells)) == i)
            met = {index: seen or bool(now) for (index, seen), now in zip(met.items(), here, strict=True)}


def kept_labels(recipe: Recipe) -> tuple[str, ...]:
    """The labels that make a cell worth keeping: those of the keep rules, else all of the recipe."""
    return recipe.keep.labels or recipe.labels


def tumour_share(
    candidates: Candidates, labels: Collection[str], of: Literal["annotated", "cell"] = "annotated"
) -> Floats:
    """float64 (n,): share of ``labels`` in each cell's annotated area, or in the cell; 0 where nothing is annotated.

    Raises:
        UsageError: a label has no fractions.
    """
    return _share(candidates.label_fractions, candidates.annotated_fraction, labels, of)


def split_rule_codes(
    label_fractions: Mapping[str, Floats], annotated_fraction: Floats, keep: Keep, split: str
) -> Codes:
    """uint8 (n,) decisions (KEPT, UNDER_MIN, OVER_MAX) of the rules that are limited to splits, for rows of one split.

    For seal, on the fractions in the rows of annotated slides that were packed. Cells without a kept
    label are not subject to the rules and stay KEPT.

    Raises:
        UsageError: a label has no fractions.
    """
    codes = np.zeros(len(annotated_fraction), dtype=np.uint8)
    limited = tuple(rule for rule in keep.rules if rule.splits is not None and split in rule.splits)
    if not limited:
        return codes
    labelled = _share(label_fractions, annotated_fraction, keep.labels, "cell") > TOLERANCE
    _apply_rules(codes, labelled, limited, label_fractions, annotated_fraction)
    return codes


def _annotated_codes(
    candidates: Candidates, recipe: Recipe, has_tissue: Flags, splits: Collection[str] | None
) -> Codes:
    known = candidates.annotated_fraction
    labelled = tumour_share(candidates, kept_labels(recipe), "cell") > TOLERANCE
    codes = np.where(labelled | has_tissue, Decision.KEPT, Decision.NO_TISSUE).astype(np.uint8)
    rules = tuple(rule for rule in recipe.keep.rules if _applies(rule, splits))
    _apply_rules(codes, labelled, rules, candidates.label_fractions, known)
    # A cell that nobody looked at is neither tumour nor tumour-free, whatever min_annotated says.
    codes[(known < recipe.keep.min_annotated - TOLERANCE) | (known <= TOLERANCE)] = Decision.NOT_ANNOTATED
    return codes


def _applies(rule: KeepRule, splits: Collection[str] | None) -> bool:
    """Whether every split that the slide is in is one of the rule's (else another split needs its cells)."""
    if rule.splits is None:
        return True
    return bool(splits) and all(name in rule.splits for name in splits or ())


def _apply_rules(
    codes: Codes,
    labelled: Flags,
    rules: tuple[KeepRule, ...],
    label_fractions: Mapping[str, Floats],
    annotated_fraction: Floats,
) -> None:
    for rule in rules:
        share = _share(label_fractions, annotated_fraction, rule.labels, rule.of)
        open_ = labelled & (codes == Decision.KEPT)
        codes[open_ & (share < rule.min - TOLERANCE)] = Decision.UNDER_MIN
        codes[open_ & (share > rule.max + TOLERANCE)] = Decision.OVER_MAX


def _share(
    label_fractions: Mapping[str, Floats], annotated_fraction: Floats, labels: Collection[str], of: str
) -> Floats:
    missing = [name for name in labels if name not in label_fractions]
    if missing:
        raise UsageError("labels without fractions", got=missing, expected=sorted(label_fractions))
    total = np.zeros(len(annotated_fraction), dtype=np.float64)
    for name in labels:
        total += label_fractions[name]
    if of == "cell":
        return total
    return np.divide(total, annotated_fraction, out=np.zeros_like(total), where=annotated_fraction > TOLERANCE)


def _sample_tumour_free(codes: Codes, candidates: Candidates, recipe: Recipe, slide_id: str) -> None:
    wanted = recipe.sampling.tumour_free_per_slide
    if wanted == "all":
        return
    free = tumour_share(candidates, kept_labels(recipe), "cell") <= TOLERANCE
    losers = _not_drawn(free & (codes == Decision.KEPT), wanted, candidates.cells, _prefix(recipe, slide_id))
    codes[losers] = Decision.TUMOUR_FREE_NOT_SAMPLED


def _apply_quota(codes: Codes, cells: Cells, recipe: Recipe, slide_id: str) -> None:
    quota = recipe.sampling.max_per_slide
    if quota is not None:
        codes[_not_drawn(codes == Decision.KEPT, quota, cells, _prefix(recipe, slide_id))] = Decision.OVER_QUOTA


def _prefix(recipe: Recipe, slide_id: str) -> str:
    return f"{recipe.sampling.seed}:{slide_id}"


def _not_drawn(pool: Flags, wanted: int, cells: Cells, prefix: str) -> npt.NDArray[np.intp]:
    """Indices of the cells in ``pool`` that are not among its ``wanted`` lowest hashes."""
    indices = np.flatnonzero(pool)
    if len(indices) <= wanted:
        return indices[:0]
    if wanted == 0:
        return indices
    x_lv0, y_lv0 = cells.x_lv0[indices], cells.y_lv0[indices]
    hashes = cell_hashes(prefix, x_lv0, y_lv0, cells.tile[indices])
    winners = lowest(wanted, hashes, x_lv0, y_lv0)
    return np.delete(indices, winners)

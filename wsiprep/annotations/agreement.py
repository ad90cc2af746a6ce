"""How far several people's readings of one slide agree: shares of area, exact from the outlines.

A place counts where both (for kappa over all: all) readings say something of it, a label or background;
what one of them left open (ignore, outside a region of interest, in state ``partial`` outside all
regions) is compared with nobody's. Under ``partial`` a label that one reader drew and another did not
is therefore no disagreement: read ``area_*_px`` beside the shares there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.overlay import read_together
from wsiprep.annotations.regions import AnnotationSet
from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import UsageError
from wsiprep.geometry import Size
from wsiprep.manifest import AnnotationState

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-12
"""Share of the compared area below which chance agreement counts as complete."""


@dataclass(frozen=True, slots=True)
class LabelAgreement:
    """Two readings on one label; areas in level-0 pixels.

    Attributes:
        label: of the recipe.
        reader_a, reader_b: their names.
        area_a_px, area_b_px: what carries the label in each reading, all over the slide.
        intersection_px: what carries it in both.
        union_px: what carries it in either, of what both readings say something of.
        dice: 2 x intersection / (what a has + what b has, of what both say something of); None for 0 / 0.
        iou: intersection / union; None for 0 / 0.
    """

    label: str
    reader_a: str
    reader_b: str
    area_a_px: float
    area_b_px: float
    intersection_px: float
    union_px: float
    dice: float | None
    iou: float | None


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two readings on all classes.

    Attributes:
        compared_px: area that both say something of.
        cohen_kappa: (p_o - p_e) / (1 - p_e), where p_o is the share of the compared area on which the two
            give one class and p_e the sum over classes of the product of their shares (Cohen, Educational
            and Psychological Measurement 20:37, 1960); None where p_e is 1 or nothing is compared.
    """

    reader_a: str
    reader_b: str
    compared_px: float
    cohen_kappa: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of all readings of one slide.

    Attributes:
        readers: names, in order.
        labels: a row for each label and pair.
        pairs: a row for each pair.
        compared_px: area that all say something of.
        fleiss_kappa: (P - P_e) / (1 - P_e) over that area, with every place a subject weighted by its area:
            P is the mean share of agreeing pairs of readers, P_e the sum of squares of the classes' mean
            shares (Fleiss, Psychological Bulletin 76:378, 1971); None where P_e is 1 or nothing is compared.
            Background is a class, so empty glass raises P and P_e alike.
    """

    readers: tuple[str, ...]
    labels: tuple[LabelAgreement, ...]
    pairs: tuple[PairAgreement, ...]
    compared_px: float
    fleiss_kappa: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``slide.json``."""
        return {
            "readers": list(self.readers),
            "labels": [asdict(row) for row in self.labels],
            "pairs": [asdict(row) for row in self.pairs],
            "compared_px": self.compared_px,
            "fleiss_kappa": self.fleiss_kappa,
        }


def agreement(
    readings: Mapping[str, AnnotationSet], labels: Sequence[str], state: AnnotationState, size: Size
) -> Agreement:
    """The table of agreement of two or more readings.

    Args:
        readings: name -> regions.
        labels: of the recipe, in order.
        state: what places outside all regions of a reading mean.
        size: of level 0; nothing outside it counts.

    Raises:
        UsageError: fewer than two readings.
        AnnotationError: an overlay that cannot be computed.
    """
    if len(readings) < 2:
        raise UsageError("agreement is between two readings or more", got=len(readings))
    names = tuple(readings)
    outside = LabelSpec(tuple(labels), state).outside
    together = read_together([r.regions for r in readings.values()], labels, [outside] * len(names), size)
    area, classes = together.areas_px, together.classes
    rows, pairs = [], []
    for a, b in combinations(range(len(names)), 2):
        both = (classes[a] != IGNORE) & (classes[b] != IGNORE)
        joint = _joint(classes[a][both], classes[b][both], area[both], len(labels) + 1)
        pairs.append(PairAgreement(names[a], names[b], float(area[both].sum()), _cohen(joint)))
        for value, label in enumerate(labels, start=1):
            common = float(joint[value, value])
            each = float(joint[value].sum() + joint[:, value].sum())
            union = each - common
            rows.append(
                LabelAgreement(
                    label, names[a], names[b],
                    float(area[classes[a] == value].sum()), float(area[classes[b] == value].sum()),
                    common, union, 2 * common / each if each else None, common / union if union else None,
                )
            )  # fmt: skip
    everybody = (classes != IGNORE).all(axis=0)
    votes = np.stack([(classes[:, everybody] == v).sum(axis=0) for v in range(BACKGROUND, len(labels) + 1)])
    return Agreement(
        names, tuple(rows), tuple(pairs), float(area[everybody].sum()), _fleiss(votes, area[everybody], len(names))
    )


def _joint(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], area: Floats, classes: int) -> Floats:
    """float64 (classes, classes): area by the class of each of two readings."""
    flat: Floats = np.bincount(a.astype(np.int64) * classes + b, area, minlength=classes * classes).astype(np.float64)
    return flat.reshape(classes, classes)


def _cohen(joint: Floats) -> float | None:
    total = joint.sum()
    if total == 0:
        return None
    share = joint / total
    return _beyond_chance(float(np.trace(share)), float(share.sum(axis=1) @ share.sum(axis=0)))


def _fleiss(votes: npt.NDArray[np.int64], area: Floats, readers: int) -> float | None:
    """Args: votes int64 (classes, places), how many readers gave each class; area float64 (places,)."""
    total = area.sum()
    if total == 0:
        return None
    agreeing = ((votes**2).sum(axis=0) - readers) / (readers * (readers - 1))
    shares = votes @ area / (readers * total)
    return _beyond_chance(float(agreeing @ area / total), float(shares @ shares))


def _beyond_chance(observed: float, expected: float) -> float | None:
    return None if 1 - expected < _ROUNDING else (observed - expected) / (1 - expected)

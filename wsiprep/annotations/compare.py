"""What changed between two states of a slide's annotations: areas from each class to each other, exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.overlay import classes as classes_of
from wsiprep.annotations.overlay import overlay_of_slide
from wsiprep.annotations.regions import BACKGROUND_REGION, AnnotationSet
from wsiprep.config import IGNORE
from wsiprep.geometry import Size, Spacing
from wsiprep.manifest import AnnotationState

NOT_ANNOTATED = "not annotated"
"""Class of places with mask value 255."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Regions with what is needed to know every place's class.

    Attributes:
        annotations: the regions.
        labels: of the recipe that they were read by, in order.
        state: what places outside all regions mean.
    """

    annotations: AnnotationSet
    labels: tuple[str, ...]
    state: AnnotationState


@dataclass(frozen=True, slots=True)
class Change:
    """Area that went from one class to another.

    Attributes:
        before, after: a label, ``background`` or ``not annotated``.
        area_px: level-0 pixels.
        area_um2: square micrometres; None where the spacing is not known.
    """

    before: str
    after: str
    area_px: float
    area_um2: float | None


@dataclass(frozen=True, slots=True)
class ClassArea:
    """One class before and after; ``gained_px`` and ``lost_px`` are areas that other classes had or got."""

    name: str
    before_px: float
    after_px: float
    gained_px: float
    lost_px: float


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that changed on one slide.

    Attributes:
        changes: from -> to, the largest first; none where both say the same everywhere.
        classes: every class, labels first.
    """

    changes: tuple[Change, ...]
    classes: tuple[ClassArea, ...]

    @property
    def changed_px(self) -> float:
        """Level-0 pixels whose class changed."""
        return sum((change.area_px for change in self.changes), 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``slide.json``."""
        moves = [{"from": c.before, "to": c.after, "area_px": c.area_px, "area_um2": c.area_um2} for c in self.changes]
        areas = {
            c.name: {"before": c.before_px, "after": c.after_px, "gained": c.gained_px, "lost": c.lost_px}
            for c in self.classes
        }
        return {"changed_px": self.changed_px, "changes": moves, "classes_px": areas}


def changed_areas(old: Reading, new: Reading, size: Size, spacing: Spacing | None = None) -> Changes:
    """Areas whose class changed, from the outlines.

    Places are compared by the name of their class, so the two may be read by recipes with other labels.
    Both readings are laid over each other, so what they share to the last bit changes by exactly nothing.

    Args:
        old, new: the two states.
        size: of level 0; nothing outside it counts.
        spacing: of level 0, for square micrometres.

    Raises:
        AnnotationError: an overlay that cannot be computed.
    """
    names = tuple(dict.fromkeys((*new.labels, *old.labels, BACKGROUND_REGION, NOT_ANNOTATED)))
    regions = [*old.annotations.regions, *new.annotations.regions]
    cut = overlay_of_slide([region.geometry for region in regions], size)
    first = len(old.annotations.regions)
    place = []
    for reading, indices in ((old, range(first)), (new, range(first, len(regions)))):
        outside = LabelSpec(reading.labels, reading.state).outside
        found = classes_of(cut, {i: regions[i] for i in indices}, reading.labels, outside)
        place.append(_places(reading.labels, names)[found])
    count = len(names)
    table = np.bincount(place[0] * count + place[1], cut.areas_px, minlength=count * count).reshape(count, count)
    moved = table - np.diag(np.diag(table))
    per_px = None if spacing is None else spacing.x_um * spacing.y_um
    changes = [
        Change(names[i], names[j], float(moved[i, j]), None if per_px is None else float(moved[i, j]) * per_px)
        for i, j in np.argwhere(moved > 0).tolist()
    ]
    return Changes(
        tuple(sorted(changes, key=lambda c: (-c.area_px, c.before, c.after))),
        tuple(
            ClassArea(
                name, float(table[k].sum()), float(table[:, k].sum()),
                float(moved[:, k].sum()), float(moved[k].sum()),
            )
            for k, name in enumerate(names)
        ),
    )  # fmt: skip


def _places(labels: Sequence[str], names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64 (256,): mask value -> index in ``names``."""
    table = np.full(IGNORE + 1, names.index(NOT_ANNOTATED), dtype=np.int64)
    for value, name in enumerate((BACKGROUND_REGION, *labels)):
        table[value] = names.index(name)
    return table

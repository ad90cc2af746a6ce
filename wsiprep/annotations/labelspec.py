"""Which labels there are, and what places that nobody outlined mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from wsiprep.annotations.regions import SPECIAL_LABELS
from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import UsageError
from wsiprep.manifest import AnnotationState


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """Which labels there are, in the recipe's order, and what places outside all regions mean.

    ``exhaustive`` and ``normal``: background; ``partial`` and ``none``: not annotated.
    """

    labels: tuple[str, ...]
    state: AnnotationState

    def __post_init__(self) -> None:
        if self.state not in get_args(AnnotationState):
            expected = ", ".join(get_args(AnnotationState))
            raise UsageError("unknown annotation state", got=self.state, expected=expected)
        if not self.labels or len(set(self.labels)) != len(self.labels) or set(self.labels) & set(SPECIAL_LABELS):
            raise UsageError("labels must be given, differ and not be reserved", got=", ".join(self.labels))

    @property
    def outside(self) -> int:
        """Mask value of pixels of the slide in no region."""
        return BACKGROUND if self.state in ("exhaustive", "normal") else IGNORE

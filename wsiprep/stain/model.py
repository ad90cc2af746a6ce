"""What a stain fit is, for records and for the transform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from wsiprep.config import digest_of
from wsiprep.errors import StainError
from wsiprep.stain.density import WHITE, White

Method = Literal["macenko", "vahadane"]
Origin = Literal["slide", "cohort", "reference"]
OK = "ok"

_DECIMALS = 8
"""Fits are rounded here: far below what is visible, above what the last bits of another processor change."""


@dataclass(frozen=True, slots=True, eq=False)
class StainFit:
    """The two stains of a slide, of a cohort or of the built-in reference. Equal fits have equal digests.

    Attributes:
        method: ``macenko`` or ``vahadane``.
        matrix: float64 (2, 3), read-only; rows haematoxylin and eosin, optical density in R, G, B, unit length.
        max_concentrations: float64 (2,), read-only, positive; 99th percentile of each stain's amount.
        origin: whose colours they are: this slide's, the cohort's, or the reference's.
        status: ``ok``, or why the slide's own fit was refused and another one stands here.
        diagnostics: what the slide's own fit showed, refused or not.
        white: R, G, B of the slide's empty glass, 1 to 255: Io of its optical densities. A cohort's fit is
            of colours seen on white (255), and so are the built-in references.
    """

    method: Method
    matrix: npt.NDArray[np.float64]
    max_concentrations: npt.NDArray[np.float64]
    origin: Origin = "slide"
    status: str = OK
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    white: White = WHITE

    def __post_init__(self) -> None:
        if self.method not in get_args(Method) or self.origin not in get_args(Origin):
            raise StainError("unknown kind of stain fit", got=(self.method, self.origin))
        object.__setattr__(self, "matrix", _frozen(self.matrix, (2, 3)))
        object.__setattr__(self, "max_concentrations", _frozen(self.max_concentrations, (2,)))
        object.__setattr__(self, "white", tuple(_frozen(np.array(self.white), (3,)).tolist()))
        if min(self.white) < 1 or max(self.white) > 255:
            raise StainError("glass has a colour", got=self.white, expected="R, G, B of 1 to 255")
        lengths = np.linalg.norm(self.matrix, axis=1)
        if not np.allclose(lengths, 1, atol=1e-3):
            raise StainError("stain vectors have unit length", got=lengths.tolist(), expected="1 and 1")
        # Two equal rows have no unique amounts.
        if abs(float(self.matrix[0] @ self.matrix[1])) > 1 - 1e-6:
            raise StainError("the two stain vectors are the same", got=self.matrix.tolist())
        if not (self.max_concentrations > 0).all():
            raise StainError("stain amounts are positive", got=self.max_concentrations.tolist())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` restores them exactly."""
        return {
            "method": self.method,
            "matrix": self.matrix.tolist(),
            "max_concentrations": self.max_concentrations.tolist(),
            "white": list(self.white),
            "origin": self.origin,
            "status": self.status,
            "diagnostics": dict(self.diagnostics),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> StainFit:
        """The fit that ``to_dict`` described.

        Raises:
            StainError: a key is missing or a value is impossible.
        """
        try:
            return cls(
                method=record["method"],
                matrix=np.array(record["matrix"], dtype=np.float64),
                max_concentrations=np.array(record["max_concentrations"], dtype=np.float64),
                white=tuple(float(value) for value in record["white"]),  # type: ignore[arg-type]
                origin=record["origin"],
                status=str(record["status"]),
                diagnostics={str(name): float(value) for name, value in record["diagnostics"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StainError("the record of a stain fit is damaged", got=error) from error

    def digest(self) -> str:
        """sha256 of what decides pixels: method, matrix, amounts and white, not origin or diagnostics."""
        return digest_of([self.method, self.matrix.tolist(), self.max_concentrations.tolist(), list(self.white)])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StainFit):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.digest())


def _frozen(values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise StainError("a stain fit holds finite numbers", got=array.tolist(), expected=f"shape {shape}")
    array = np.round(array, _DECIMALS) + 0.0  # no negative zero: it would change the digest
    array.flags.writeable = False
    return array

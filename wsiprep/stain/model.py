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

TwoStains = Literal["macenko", "vahadane", "ramakrishnan", "hematoxylin"]
"""The methods whose fits are two stain vectors with amounts."""
Moments = Literal["reinhard"]
"""The method whose fit is means and deviations in Lab."""
Method = Literal["macenko", "vahadane", "ramakrishnan", "hematoxylin", "reinhard"]
Origin = Literal["patch", "slide", "cohort", "reference", "image"]
OK = "ok"

_DECIMALS = 8
"""Fits are rounded here: far below what is visible, above what the last bits of another processor change."""


@dataclass(frozen=True, slots=True, eq=False)
class StainFit:
    """The two stains of a slide, a patch, a cohort, an image or the built-in reference. Equal fits have equal digests.

    Attributes:
        method: ``macenko``, ``vahadane``, ``ramakrishnan``, or ``hematoxylin`` (Vahadane's vectors, of which
            haematoxylin alone is drawn).
        matrix: float64 (2, 3), read-only; rows haematoxylin and eosin, optical density in R, G, B, unit length.
        max_concentrations: float64 (2,), read-only, positive; 99th percentile of each stain's amount.
        origin: whose colours they are: this patch's, this slide's, the cohort's, the reference's, an image's.
        status: ``ok``, or why the own fit was refused and another one stands here.
        diagnostics: what the own fit showed, refused or not.
        white: R, G, B of the slide's empty glass, 1 to 255: Io of its optical densities. A cohort's fit is
            of colours seen on white (255), and so are the built-in references.
    """

    method: TwoStains
    matrix: npt.NDArray[np.float64]
    max_concentrations: npt.NDArray[np.float64]
    origin: Origin = "slide"
    status: str = OK
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    white: White = WHITE

    def __post_init__(self) -> None:
        _require_kind(self.method, self.origin, get_args(TwoStains))
        object.__setattr__(self, "matrix", _frozen(self.matrix, (2, 3)))
        object.__setattr__(self, "max_concentrations", _frozen(self.max_concentrations, (2,)))
        object.__setattr__(self, "white", _glass(self.white))
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
            **_common(self),
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
                **_common_of(record),
            )
        except _DAMAGE as error:
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


@dataclass(frozen=True, slots=True, eq=False)
class ReinhardFit:
    """Means and deviations of colours in Lab: what Reinhard et al. (2001) give one picture from another.

    Attributes:
        means: float64 (3,), read-only; of L, a, b as OpenCV's 8-bit Lab counts them: each 0 to 255, a and b
            neutral at 128.
        deviations: float64 (3,), read-only, positive; standard deviations on the same scales.
        origin, status, diagnostics, white: as of ``StainFit``. The moments are of colours as scanned: ``white``
            only says what is glass.
    """

    means: npt.NDArray[np.float64]
    deviations: npt.NDArray[np.float64]
    origin: Origin = "slide"
    status: str = OK
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    white: White = WHITE
    method: Moments = "reinhard"

    def __post_init__(self) -> None:
        _require_kind(self.method, self.origin, get_args(Moments))
        object.__setattr__(self, "means", _frozen(self.means, (3,)))
        object.__setattr__(self, "deviations", _frozen(self.deviations, (3,)))
        object.__setattr__(self, "white", _glass(self.white))
        if self.means.min() < 0 or self.means.max() > 255:
            raise StainError("means of 8-bit Lab", got=self.means.tolist(), expected="0 to 255")
        # A colour without deviation cannot be stretched to another's.
        if not (self.deviations > 0).all():
            raise StainError("deviations are positive", got=self.deviations.tolist())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` restores them exactly."""
        return {
            "method": self.method,
            "means": self.means.tolist(),
            "deviations": self.deviations.tolist(),
            **_common(self),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ReinhardFit:
        """The fit that ``to_dict`` described.

        Raises:
            StainError: a key is missing or a value is impossible.
        """
        try:
            return cls(
                method=record["method"],
                means=np.array(record["means"], dtype=np.float64),
                deviations=np.array(record["deviations"], dtype=np.float64),
                **_common_of(record),
            )
        except _DAMAGE as error:
            raise StainError("the record of a stain fit is damaged", got=error) from error

    def digest(self) -> str:
        """sha256 of what decides pixels: method, moments and white, not origin or diagnostics."""
        return digest_of([self.method, self.means.tolist(), self.deviations.tolist(), list(self.white)])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReinhardFit):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.digest())


Fit = StainFit | ReinhardFit


def fit_from_dict(record: Mapping[str, Any]) -> Fit:
    """The fit that ``to_dict`` of either kind described.

    Raises:
        StainError: no record of a fit, or a damaged one.
    """
    try:
        moments = record["method"] in get_args(Moments)
    except _DAMAGE as error:
        raise StainError("the record of a stain fit is damaged", got=error) from error
    return ReinhardFit.from_dict(record) if moments else StainFit.from_dict(record)


def stain_of(attributes: Mapping[str, Any]) -> tuple[Fit, Fit] | None:
    """Source and target fit in the attributes of a shard, or in the metadata of a slice of the plan.

    None where no stain was fitted, and where nobody's stains are known (the source's origin is ``reference``):
    those pixels stay as they were scanned, whoever normalises.

    Raises:
        StainError: a damaged record.
    """
    value = attributes.get("stain")
    if value is None:
        return None
    try:
        source, target = fit_from_dict(value["source"]), fit_from_dict(value["target"])
    except (KeyError, TypeError) as error:
        raise StainError("the record of a stain fit is damaged", got=error) from error
    return None if source.origin == "reference" else (source, target)


_DAMAGE = (KeyError, TypeError, ValueError, AttributeError)


def _common(fit: Fit) -> dict[str, Any]:
    return {
        "white": list(fit.white),
        "origin": fit.origin,
        "status": fit.status,
        "diagnostics": dict(fit.diagnostics),
    }


def _common_of(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "white": tuple(float(value) for value in record["white"]),
        "origin": record["origin"],
        "status": str(record["status"]),
        "diagnostics": {str(name): float(value) for name, value in record["diagnostics"].items()},
    }


def _require_kind(method: str, origin: str, methods: tuple[str, ...]) -> None:
    if method not in methods or origin not in get_args(Origin):
        raise StainError("unknown kind of stain fit", got=(method, origin), expected=" or ".join(methods))


def _glass(white: White) -> White:
    red, green, blue = _frozen(np.array(white), (3,)).tolist()
    if min(red, green, blue) < 1 or max(red, green, blue) > 255:
        raise StainError("glass has a colour", got=white, expected="R, G, B of 1 to 255")
    return red, green, blue


def _frozen(values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise StainError("a stain fit holds finite numbers", got=array.tolist(), expected=f"shape {shape}")
    array = np.round(array, _DECIMALS) + 0.0  # no negative zero: it would change the digest
    array.flags.writeable = False
    return array

"""``stain.backend: staintools``: fits and maps by that library itself, for results of the papers' time.

Its answers depend on the machine: its Vahadane searches for one second of wall clock, whatever was found by then,
from samples that no seed decides. So no two runs give the same pixels, and a resumed or repaired dataset is not the
same to the byte. Macenko and Reinhard are exact. What it cannot do without us stays ours: it gets copies, since it
writes into its input, and what it cannot fit (no tissue, one stain, one colour) is left as it was and said so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from wsiprep.errors import StainError, UsageError
from wsiprep.stain.model import OK, Fit, Moments, ReinhardFit, StainFit, TwoStains
from wsiprep.stain.normalise import Rgb, require_rgb

METHODS = ("macenko", "vahadane", "reinhard")
_PERCENTILE = 99
_AB_NEUTRAL = 128.0
_L_STEP = 2.55
"""staintools counts L to 100, and a and b from 0; OpenCV's 8-bit Lab, and our fits, count 0 to 255."""
_Numbers = npt.NDArray[Any]


class _CannotFitError(Exception):
    """``args[0]`` is a code of ``refusal.REASONS``."""


def staintools_fit(rgb: Rgb, method: str) -> Fit:
    """The fit of one picture, or of pixels gathered into one, as staintools makes it.

    Args:
        rgb: uint8 (h, w, 3); left as it is.
        method: ``macenko``, ``vahadane`` or ``reinhard``.

    Raises:
        UsageError: staintools is not installed, has no such method, or ``rgb`` is not RGB in uint8.
        StainError: it finds no tissue, or not two stains; the message has a code of ``REASONS``.
    """
    require_rgb(rgb)
    tool = _Tool.of(method)
    try:
        return tool.fit(rgb)
    except _CannotFitError as error:
        raise StainError(f"staintools can fit no stains ({error.args[0]})", got=f"{rgb.shape[:2]} pixels") from error


@dataclass(frozen=True, slots=True)
class Mapped:
    """A picture that staintools mapped, or left.

    Attributes:
        rgb: uint8 (h, w, 3), new.
        status: ``ok``, or why it is as it was: a code of ``REASONS``.
    """

    rgb: Rgb
    status: str


class StaintoolsNormaliser:
    """The map to a target's look. Call it with uint8 (h, w, 3) for a new array; ``mapped`` says what was done.

    Args:
        target: the look to have.
        method: ``macenko``, ``vahadane`` or ``reinhard``.
        source: the slide's fit, for all its patches; None fits every patch on its own, as staintools does.

    Raises:
        UsageError: staintools is not installed, has no such method, or the fits are not of its kind.
    """

    way = "staintools"

    def __init__(self, target: Fit, method: str, source: Fit | None = None) -> None:
        self._tool = _Tool.of(method)
        for fit in (target, source):
            if fit is not None and not isinstance(fit, self._tool.kind):
                raise UsageError(f"{method} needs fits of its own kind", got=type(fit).__name__)
        self._target, self._source = target, source

    def __call__(self, rgb: Rgb) -> Rgb:
        """``rgb`` in the target's colours, or a copy of it where it cannot be fitted.

        Raises:
            UsageError: not RGB in uint8.
        """
        return self.mapped(rgb).rgb

    def mapped(self, rgb: Rgb) -> Mapped:
        """The same, with the reason where the colours were left.

        Raises:
            UsageError: not RGB in uint8.
        """
        require_rgb(rgb)
        try:
            return Mapped(self._tool.map(rgb, self._source, self._target), OK)
        except _CannotFitError as error:
            return Mapped(np.array(rgb, order="C"), str(error.args[0]))


class _Tool(ABC):
    """One of staintools' methods."""

    kind: type[StainFit] | type[ReinhardFit]

    @staticmethod
    def of(method: str) -> _Tool:
        if method not in METHODS:
            raise UsageError("staintools has no such method", got=method, expected=", ".join(METHODS))
        try:
            import staintools
        except ImportError as error:
            raise UsageError(
                "stain.backend: staintools needs staintools and spams",
                got=error,
                fix="pip install 'wsiprep[bench]', or leave stain.backend out",
            ) from error
        return _Reinhard(staintools) if method in get_args(Moments) else _Stains(staintools, method)

    @abstractmethod
    def fit(self, rgb: Rgb) -> Fit: ...

    @abstractmethod
    def map(self, rgb: Rgb, source: Fit | None, target: Fit) -> Rgb: ...


class _Stains(_Tool):
    """Macenko and Vahadane: ``StainNormalizer``, step by step."""

    kind = StainFit

    def __init__(self, staintools: Any, method: str) -> None:
        from staintools.miscellaneous.exceptions import TissueMaskException

        self._no_tissue = TissueMaskException
        self._method = cast(TwoStains, method)
        self._normaliser = staintools.StainNormalizer(method)

    def fit(self, rgb: Rgb) -> StainFit:
        matrix = self._matrix(rgb)
        try:
            return StainFit(self._method, matrix, _largest(_amounts(rgb, matrix)))
        except StainError as error:
            raise _CannotFitError("single_stain") from error

    def map(self, rgb: Rgb, source: Fit | None, target: Fit) -> Rgb:
        assert isinstance(target, StainFit)
        matrix = self._matrix(rgb) if source is None else cast(StainFit, source).matrix
        amounts = _amounts(rgb, matrix)
        largest = _largest(amounts) if source is None else cast(StainFit, source).max_concentrations
        if not (np.isfinite(amounts).all() and largest.min() > 0):
            raise _CannotFitError("single_stain")
        amounts = amounts * (target.max_concentrations / largest).reshape(1, 2)
        light = 255 * np.exp(-1 * np.dot(amounts, target.matrix))
        return np.asarray(light.reshape(rgb.shape).astype(np.uint8), dtype=np.uint8)

    def _matrix(self, rgb: Rgb) -> _Numbers:
        try:
            matrix = self._normaliser.extractor.get_stain_matrix(np.array(rgb, order="C"))
        except self._no_tissue as error:
            raise _CannotFitError("too_little_tissue") from error
        except np.linalg.LinAlgError as error:
            raise _CannotFitError("single_stain") from error
        if not np.isfinite(matrix).all():
            raise _CannotFitError("single_stain")
        return np.asarray(matrix)


class _Reinhard(_Tool):
    """``ReinhardColorNormalizer``, with moments from a fit. It knows no glass, and paints it."""

    kind = ReinhardFit

    def __init__(self, staintools: Any) -> None:
        self._new = staintools.ReinhardColorNormalizer

    def fit(self, rgb: Rgb) -> ReinhardFit:
        means, deviations = (np.array(v).reshape(3) for v in self._new().get_mean_std(np.array(rgb, order="C")))
        try:
            return ReinhardFit(means * (_L_STEP, 1, 1) + (0, _AB_NEUTRAL, _AB_NEUTRAL), deviations * (_L_STEP, 1, 1))
        except StainError as error:
            raise _CannotFitError("grey_or_black") from error

    def map(self, rgb: Rgb, source: Fit | None, target: Fit) -> Rgb:
        tool = self._new()
        tool.target_means, tool.target_stds = _in_its_units(target)
        given = None if source is None else _in_its_units(source)
        tool.get_mean_std = _measured(tool.get_mean_std) if given is None else lambda _: given
        return np.asarray(tool.transform(np.array(rgb, order="C")), dtype=np.uint8)


def _measured(measure: Any) -> Any:
    def measured(rgb: Rgb) -> Any:
        means, deviations = measure(rgb)
        if not np.min(deviations) > 0:
            raise _CannotFitError("grey_or_black")
        return means, deviations

    return measured


def _in_its_units(fit: Fit) -> tuple[_Numbers, _Numbers]:
    assert isinstance(fit, ReinhardFit)
    scale = np.array([_L_STEP, 1.0, 1.0])
    return (fit.means - (0, _AB_NEUTRAL, _AB_NEUTRAL)) / scale, fit.deviations / scale


def _amounts(rgb: Rgb, matrix: _Numbers) -> _Numbers:
    """Amounts (n, 2); staintools writes into the picture that it is given."""
    from staintools.miscellaneous.get_concentrations import get_concentrations

    return np.asarray(get_concentrations(np.array(rgb, order="C"), matrix))


def _largest(amounts: _Numbers) -> _Numbers:
    return np.asarray(np.percentile(amounts, _PERCENTILE, axis=0))

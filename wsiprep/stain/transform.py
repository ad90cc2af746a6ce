"""The map from one fit's colours to another's, in the fastest way that a number of patches pays for.

Every way gives the same colours, to the bit; they differ in what they cost before the first pixel and at each one
(per core of a shared 2.5 GHz Xeon, 512 px patches; benchmarks/stain_apply.py):

``plain``  sums of table entries in numpy (``exponents``): ready at once, 25 MP/s
``fused``  the same sums in compiled code: 245 MP/s, after 0.1 CPU s for LLVM
``table``  colours looked up that were mapped before: 80 to 190 MP/s, after 0.15 to 0.35 CPU s a slide; 64 MB

``normalise`` is their definition: values differ from it by one level where its exact value is within 0.08 of a whole
number, which are 0.5 % of them, or 1 % with a measured white.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Literal, cast, get_args

from wsiprep.errors import UsageError
from wsiprep.stain.exponents import Planes, exponents
from wsiprep.stain.model import Fit, Moments, ReinhardFit, StainFit, TwoStains
from wsiprep.stain.moments import LabShift
from wsiprep.stain.normalise import Rgb, normalise, require_rgb
from wsiprep.stain.table import Table

Way = Literal["plain", "fused", "table"]

_PATCH_PX = 512
FUSED_FROM_PX = 12 << 18
"""0.1 s of importing llvmlite and compiling, at 9 ms less a patch of 512 px."""
TABLE_FROM_PX = 16 << 18
"""Of Reinhard's map, which is not compiled: a table has paid for itself after 2 to 30 patches of 512 px."""


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A map of colours. Call it with uint8 (h, w, 3), read-only and strided ones too, for a new array.

    Safe to call from many threads at once; the arithmetic releases the GIL. Pickled, it takes its fits along and
    not its tables.

    Attributes:
        source, target, method: what is mapped to what, and how.
        way: how it is computed: ``plain``, ``fused`` or ``table``.
        asked: the way that was asked for, or ``auto``. ``plain`` is used in place of ``fused`` for Reinhard's
            moments, which have no kernel, and for stains of which ``exponents`` has no tables.
    """

    source: Fit
    target: Fit
    method: str
    way: Way
    asked: str
    _map: Callable[[Rgb], Rgb] = field(repr=False, compare=False)

    def __call__(self, rgb: Rgb) -> Rgb:
        """``rgb`` in the target's colours.

        Raises:
            UsageError: not RGB in uint8.
        """
        require_rgb(rgb)
        return self._map(rgb)

    def __reduce__(self) -> tuple[object, ...]:
        return _made, (self.source, self.target, self.method, self.way, self.asked)


def normaliser(
    source: Fit,
    target: Fit,
    *,
    method: str,
    n_patches: int | None = None,
    way: str = "auto",
    patch_size_px: int = _PATCH_PX,
) -> Normaliser:
    """The map from the colours of ``source`` to those of ``target``.

    Args:
        source: fit of the slide or patch that the pixels are from.
        target: the look to have.
        method: ``macenko`` and ``vahadane`` (amounts by the non-negative lasso), ``ramakrishnan``
            (max(X pinv(W), 0)), ``hematoxylin`` (the first stain alone) or ``reinhard`` (moments in Lab).
        n_patches: how many patches it will map, for ``auto``; None is few.
        way: ``plain``, ``fused``, ``table``, or ``auto``: for many patches ``fused`` (``table`` for Reinhard's
            moments), else ``plain``. Where every patch has a fit of its own, ask ``way_of_own_fits`` once for
            all of them.
        patch_size_px: side of those patches, for ``auto``.

    Raises:
        UsageError: an unknown method or way, fits that are not of the method's kind, or ``fused`` where llvmlite
            cannot be imported.
    """
    _check(source, target, method, way)
    wanted = way
    if way == "auto":
        wanted = way_of_own_fits(n_patches or 0, patch_size_px)
        if isinstance(source, ReinhardFit):
            wanted = "table" if (n_patches or 0) * patch_size_px**2 >= TABLE_FROM_PX else "plain"
    return _made(source, target, method, wanted, way)


def way_of_own_fits(n_patches: int, patch_size_px: int = _PATCH_PX) -> Way:
    """The way for maps that are used once each: what a table remembers is of no use to the next patch.

    Args:
        n_patches: how many patches this process will map.
        patch_size_px: their side.
    """
    many = n_patches * patch_size_px**2 >= FUSED_FROM_PX
    return "fused" if many and find_spec("llvmlite") is not None else "plain"


def _check(source: Fit, target: Fit, method: str, way: str) -> None:
    if way not in ("auto", *get_args(Way)):
        raise UsageError("unknown way to normalise", got=way, expected=", ".join(("auto", *get_args(Way))))
    known = (*get_args(TwoStains), *get_args(Moments))
    if method not in known:
        raise UsageError("unknown stain method", got=method, expected=", ".join(known))
    kind = ReinhardFit if method in get_args(Moments) else StainFit
    if not isinstance(source, kind) or not isinstance(target, kind):
        raise UsageError(
            f"{method} maps between two fits of its own kind",
            got=f"{type(source).__name__} to {type(target).__name__}",
            expected=f"{kind.__name__} to {kind.__name__}",
        )


def _made(source: Fit, target: Fit, method: str, wanted: str, asked: str) -> Normaliser:
    if isinstance(source, ReinhardFit):
        used, mapped = _plain(LabShift(source, cast(ReinhardFit, target)), wanted)
    else:
        used, mapped = _two_stains(source, cast(StainFit, target), method, wanted)
    return Normaliser(source, target, method, used, asked, mapped)


def _two_stains(source: StainFit, target: StainFit, method: str, wanted: str) -> tuple[Way, Callable[[Rgb], Rgb]]:
    tables = exponents(source, target, method)
    if tables is None:
        return _plain(partial(normalise, source=source, target=target, method=method), wanted)
    if wanted != "fused":
        return _plain(Planes(tables), wanted)
    try:
        from wsiprep.stain.fused import Fused
    except ImportError as error:
        fix = "pip install llvmlite, or way='plain'"
        raise UsageError("the fused kernel needs llvmlite", got=error, fix=fix) from error
    return "fused", Fused(tables)


def _plain(mapped: Callable[[Rgb], Rgb], wanted: str) -> tuple[Way, Callable[[Rgb], Rgb]]:
    return ("table", Table(mapped)) if wanted == "table" else ("plain", mapped)

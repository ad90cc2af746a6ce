"""Spacing and objective power from file metadata, with a rule for what is believed."""

from __future__ import annotations

import math
import re

from wsiprep.geometry import Spacing

FINEST_UM = 0.02
COARSEST_UM = 25.0
"""um/px outside these come from default tags (72 dpi is 353 um/px), not from a scanner."""

_CENTIMETRE, _INCH = 3, 2
_UM_PER_UNIT = {_CENTIMETRE: 10_000.0, _INCH: 25_400.0}


def believable_spacing(x_um: float | None, y_um: float | None) -> Spacing | None:
    """The spacing, or None where a value is missing or no microscope would have it."""
    if x_um is None or y_um is None:
        return None
    if not all(math.isfinite(v) and FINEST_UM <= v <= COARSEST_UM for v in (x_um, y_um)):
        return None
    return Spacing(x_um, y_um)


def aperio_field(description: str, name: str) -> str | None:
    """The value of ``|name = value`` in an Aperio image description, or None."""
    found = re.search(rf"\|\s*{re.escape(name)}\s*=\s*([^|]*)", description)
    return found.group(1).strip() if found else None


def number(text: object) -> float | None:
    """A finite number, or None for anything else (also for ``""`` and None)."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def resolution_spacing(x_per_unit: object, y_per_unit: object, unit: object) -> Spacing | None:
    """Spacing from the TIFF tags XResolution, YResolution (rationals) and ResolutionUnit.

    Only centimetres and inches are physical units; unit 1 (none) says nothing.
    """
    um = _UM_PER_UNIT.get(int(unit)) if isinstance(unit, int) else None
    x, y = _rational(x_per_unit), _rational(y_per_unit)
    if um is None or not x or not y or x < 0 or y < 0:
        return None
    return believable_spacing(um / x, um / y)


def _rational(value: object) -> float | None:
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return None
    return float(value[0]) / float(value[1])

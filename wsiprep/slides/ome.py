"""What an OME-TIFF says of its first image: spacing with units, channels, planes."""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat

from wsiprep.geometry import Spacing
from wsiprep.slides.metadata import believable_spacing, number

MAX_CHARACTERS = 2**24
"""A description beyond this is not read for its spacing."""

_UM_PER_UNIT = {
    "\N{MICRO SIGN}m": 1.0,
    "\N{GREEK SMALL LETTER MU}m": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
"""Other units of OME (``pixel``, ``reference frame``) are no lengths."""


@dataclass(frozen=True, slots=True)
class OmePixels:
    """The first ``Pixels`` element.

    Attributes:
        spacing: of PhysicalSizeX and PhysicalSizeY, None where they are missing, no lengths or not credible.
        channels: SizeC.
        planes: SizeZ x SizeT.
    """

    spacing: Spacing | None
    channels: int
    planes: int


class _FoundError(Exception):
    """Ends the parsing at the first ``Pixels``."""


def ome_pixels(description: str) -> OmePixels | None:
    """The first ``Pixels`` of an OME-XML description; None where there is none, or none that can be trusted.

    Document types and entities are refused: OME-XML has none, and they are how XML is attacked.
    """
    if len(description) > MAX_CHARACTERS:
        return None
    found: dict[str, str] = {}
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.rsplit(" ", 1)[-1] == "Pixels":
            found.update(attributes)
            raise _FoundError

    def refuse(*_: object) -> None:
        raise ValueError

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(description.encode(), True)
    except _FoundError:
        return OmePixels(
            believable_spacing(_length_um(found, "X"), _length_um(found, "Y")),
            _count(found, "SizeC"),
            _count(found, "SizeZ") * _count(found, "SizeT"),
        )
    except (expat.ExpatError, ValueError):
        return None
    return None


def _length_um(attributes: dict[str, str], axis: str) -> float | None:
    value = number(attributes.get(f"PhysicalSize{axis}"))
    unit = _UM_PER_UNIT.get(attributes.get(f"PhysicalSize{axis}Unit", "um"))
    return None if value is None or unit is None else value * unit


def _count(attributes: dict[str, str], name: str) -> int:
    value = number(attributes.get(name, "1"))
    return max(1, int(value)) if value is not None else 1

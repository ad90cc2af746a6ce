"""What an OME-TIFF says of its first image: spacing with units, channels, planes.

And the check that a TIFF is one plane of 8-bit colour at all. OpenSlide and tiffslide would take the first
channel, the first plane or the upper 8 bits of what is not, without a word.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

from wsiprep.errors import SlideError
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


def check_plain_colour(tif: Any, file: str | os.PathLike[str]) -> OmePixels | None:
    """Refuse what no backend can read as 8-bit colour without a choice that belongs to the user.

    Args:
        tif: a ``tifffile.TiffFile``.
        file: its path, for the message.

    Returns:
        What an OME-TIFF says of its pixels, None for other TIFFs.

    Raises:
        SlideError: more or fewer than 8 bits a sample, or an OME-TIFF of several channels, focal planes or times.
    """
    first = tif.pages[0]
    if first.bitspersample != 8:
        raise SlideError(
            "the bits per sample of the slide are not 8",
            got=f"{first.bitspersample} bits",
            expected="8-bit RGB or grey",
            fix="convert it with the scaling that suits the scanner; none is guessed here",
            file=file,
        )
    ome = ome_pixels(str(first.description)) if tif.is_ome else None
    samples = int(first.samplesperpixel)
    if ome is not None and (ome.planes > 1 or (ome.channels > 1 and ome.channels != samples)):
        raise SlideError(
            "the slide is an OME-TIFF of several channels, focal planes or times",
            got=f"{ome.channels} channels, {ome.planes} planes, {samples} samples a pixel",
            expected="one plane of 8-bit RGB, the samples of a pixel side by side",
            fix="export the RGB plane alone, for example with bfconvert",
            file=file,
        )
    return ome


def _length_um(attributes: dict[str, str], axis: str) -> float | None:
    value = number(attributes.get(f"PhysicalSize{axis}"))
    unit = _UM_PER_UNIT.get(attributes.get(f"PhysicalSize{axis}Unit", "um"))
    return None if value is None or unit is None else value * unit


def _count(attributes: dict[str, str], name: str) -> int:
    value = number(attributes.get(name, "1"))
    return max(1, int(value)) if value is not None else 1

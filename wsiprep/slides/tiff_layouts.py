"""Which TIFF layouts need a reader of their own: overlaps, stage positions, restart markers.

NDPI has one here (``ndpi.py``), for most files; all others, and the rest of NDPI, are OpenSlide's.

What a file claims to be is told by its tags, as OpenSlide and tifffile do it. A file that claims a vendor's
layout and is damaged must not be read as a plain TIFF: its first page may be the label, and tiles that
cannot be found would be white.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsiprep.slides.protocol import BackendRefusalError, ForeignLayoutError

_OTHER_READERS = (
    "ndpi", "philips", "scn", "bif", "avs", "indica", "ndtiff", "mmstack", "imagej", "lsm", "stk", "fluoview",
    "scanimage", "mdgel", "nih", "eer", "sis",
)  # fmt: skip
HAMAMATSU = "hamamatsu"
_VENDORS = {"ndpi": HAMAMATSU, "scn": "leica", "philips": "philips", "bif": "ventana"}
_NDPI_FLAG = 65420
_WORDS = ("MedScan", "iScan")
"""In the vendor's own tag they are the vendor; elsewhere in the text they may stand for tiles that overlap."""


def is_ndpi(tif: Any) -> bool:
    """Whether a ``tifffile.TiffFile`` is Hamamatsu's, by the one tag that OpenSlide knows it by."""
    return _NDPI_FLAG in tif.pages[0].tags


def vendor_layout(tif: Any) -> str | None:
    """The vendor, as OpenSlide names it, whose reader alone may place the tiles; None for all other TIFFs.

    Args:
        tif: a ``tifffile.TiffFile``.
    """
    if is_ndpi(tif):
        return HAMAMATSU
    flavour = _flavour(tif)
    if flavour in _VENDORS:
        return _VENDORS[flavour]
    first = tif.pages[0]
    if text_tag(first, "Software").startswith("MedScan"):
        return "trestle"
    return "ventana" if "<iScan" in text_tag(first, "XMP") else None


def refuse_foreign(tif: Any, path: Path | str) -> None:
    """Leave every layout but plain tiles and Aperio's to other readers.

    Raises:
        ForeignLayoutError: only OpenSlide may read it, and only as this vendor's.
        BackendRefusalError: another backend may read it.
    """
    vendor = vendor_layout(tif)
    if vendor is not None:
        raise ForeignLayoutError("its layout needs the vendor's own reader", got=vendor, file=path)
    first = tif.pages[0]
    texts = [str(first.description), text_tag(first, "Software"), text_tag(first, "XMP")]
    flavour = _flavour(tif) or next((word for word in _WORDS if any(word in text for text in texts)), None)
    if flavour is not None:
        raise BackendRefusalError("its layout needs the vendor's own reader", got=flavour, file=path)


def text_tag(page: Any, name: str) -> str:
    """The value of a tag as text, ``""`` where there is none."""
    tag = page.tags.get(name)
    value = None if tag is None else tag.value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _flavour(tif: Any) -> str | None:
    return next((name for name in _OTHER_READERS if getattr(tif, f"is_{name}", False)), None)

"""The header facts that leave a slide: an allow-list, because headers carry names, dates and barcodes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wsiprep.geometry import Box, Size

ALLOWED = frozenset(
    {
        "openslide.vendor",
        "openslide.mpp-x",
        "openslide.mpp-y",
        "openslide.objective-power",
        "openslide.bounds-x",
        "openslide.bounds-y",
        "openslide.bounds-width",
        "openslide.bounds-height",
        "aperio.AppMag",
        "aperio.MPP",
        "aperio.OriginalWidth",
        "aperio.OriginalHeight",
        "hamamatsu.SourceLens",
        "hamamatsu.XOffsetFromSlideCentre",
        "hamamatsu.YOffsetFromSlideCentre",
        "leica.objective",
        "philips.DICOM_PIXEL_SPACING",
        "tiff.ResolutionUnit",
        "tiff.XResolution",
        "tiff.YResolution",
        "ventana.Magnification",
        "ventana.ScanRes",
    }
)
"""Geometry and optics alone, under OpenSlide's names."""

_PLAIN = re.compile(r"[0-9A-Za-z.+-]{1,40}")
"""A number or one short word: free text stays behind even under an allowed name."""


_QUOTED = re.compile(r'"([0-9.eE+-]{1,20})" "([0-9.eE+-]{1,20})"')
"""Philips writes its spacings (mm: of rows, then of columns) so."""


def allowed(properties: Mapping[str, object]) -> dict[str, str]:
    """What of these may be kept, by name; ``tiffslide.*`` counts as ``openslide.*``."""
    kept: dict[str, str] = {}
    for raw, value in properties.items():
        name = raw.replace("tiffslide.", "openslide.", 1) if raw.startswith("tiffslide.") else raw
        text = "" if value is None else str(value).strip()
        quoted = _QUOTED.fullmatch(text)
        if quoted and name == "philips.DICOM_PIXEL_SPACING":
            kept[name] = " ".join(quoted.groups())
        elif name in ALLOWED and _PLAIN.fullmatch(text):
            kept[name] = text
    return dict(sorted(kept.items()))


def bounds_of(properties: Mapping[str, str], size: Size) -> Box | None:
    """The scanned part of level 0 (``openslide.bounds-*``), None where it is not named in full or is empty."""
    values = [properties.get(f"openslide.bounds-{side}", "") for side in ("x", "y", "width", "height")]
    if not all(re.fullmatch(r"[0-9]{1,10}", value) for value in values):
        return None
    box = Box(*(int(value) for value in values)).intersection(Box(0, 0, size.width_px, size.height_px))
    return box if box.area_px else None

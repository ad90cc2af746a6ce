"""Tissue on an overview image: Otsu on saturation within the arc of stain hues, or on optical density."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.config import Tissue
from wsiprep.errors import UsageError
from wsiprep.tissue.mask import BoolPlane, TissueMask
from wsiprep.tissue.otsu import Threshold, otsu, otsu_with_contrast

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MIN_SATURATION = 0.03
"""Below it a pixel is grey: its hue is noise, and it is not tissue."""
MIN_VALUE = 0.10
"""Below it (of 1) a pixel is black: its saturation is noise, as in the black padding of some scanners."""
MIN_CONTRAST_S = 0.04
"""Least difference of mean saturation between tissue and glass: less is the noise of an empty slide."""
MIN_CONTRAST_OD = 0.10
"""The same for the sum of the three optical densities."""
MIN_CONTRAST_HUE_DEG = 30.0
"""The same for the hue: less is the width of one stain, not a second colour."""

HUE_CENTRE_DEG = 305.0
HUE_HALF_WIDTH_DEG = (65.0, 95.0)
"""The stain arc: 240 (blue) over 305 (magenta) to 10 (red) at its narrowest, 210 to 40 at its widest.

Otsu decides between the two. Its input is the distance of the hue from magenta, which has no seam at red
(0/360) and none inside the arc; free of bounds it would cut haematoxylin from eosin wherever a slide has
no other colour (Otsu gives 51 to 62 degrees on three real H&E slides, whose tissue lies at 278 to 346).
Green, yellow, cyan and most blue pens fall outside at any setting; red pen has the hue of eosin and stays.
"""


@dataclass(frozen=True, slots=True)
class _Raw:
    """A mask before cleaning."""

    mask: BoolPlane
    method: str
    thresholds: dict[str, float]


def find_tissue(rgb: Image, downsample: int, spacing_um: float, settings: Tissue, stain_type: str = "he") -> TissueMask:
    """The tissue of a slide from its overview.

    Thresholding, median filter, then holes below ``min_hole_um2`` filled (4-connected), then pieces below
    ``min_speck_um2`` dropped (8-connected). An image without contrast (white, black, grey, noise) has none.

    Args:
        rgb: uint8 (h, w, 3), the whole slide.
        downsample: level-0 pixels per pixel of ``rgb``.
        spacing_um: um/px of ``rgb``.
        settings: the recipe's section; ``method`` must not be ``given``.
        stain_type: ``he``, or ``ihc``, whose brown lies outside the arc: hue is then ignored.

    Raises:
        UsageError: the image is not RGB, the spacing is not positive, or the method is ``given``.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise UsageError("tissue is found on RGB", got=f"{rgb.dtype} {rgb.shape}", expected="uint8 (h, w, 3)")
    if not spacing_um > 0:
        raise UsageError("the spacing of the overview must be positive", got=spacing_um, expected="um/px")
    if stain_type not in ("he", "ihc"):
        raise UsageError("unknown kind of stain", got=stain_type, expected="he or ihc")
    if settings.method == "given":
        raise UsageError("a given tissue mask is read, not found", fix="call read_given with the mask's path")
    if rgb.size == 0:
        return TissueMask.of(np.zeros(rgb.shape[:2], dtype=np.bool_), downsample, settings.method, {})
    raw = _by_density(rgb) if settings.method == "od" else _by_saturation(rgb, settings.method, stain_type)
    cleaned = clean(raw.mask, spacing_um, settings)
    thresholds = {**raw.thresholds, "share_raw": _share(raw.mask), "share": _share(cleaned)}
    return TissueMask.of(cleaned, downsample, raw.method, thresholds)


def _by_density(rgb: Image) -> _Raw:
    table = -np.log(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)
    density = table[rgb[..., 0]] + table[rgb[..., 1]] + table[rgb[..., 2]]
    cut = otsu_with_contrast(density, MIN_CONTRAST_OD)
    return _Raw(density > cut.value, "od", {"density": cut.value, "contrast": cut.contrast})


def _by_saturation(rgb: Image, method: str, stain_type: str) -> _Raw:
    hue, saturation = _hue_and_saturation(rgb)
    cut = _cut(saturation)
    plain = saturation > cut.value
    if method == "s" or stain_type == "ihc":
        return _Raw(plain, "s", {"saturation": cut.value, "contrast": cut.contrast})
    distance = np.abs((hue - np.float32(HUE_CENTRE_DEG) + 180) % 360 - 180)
    half_width = _half_width(distance[saturation >= MIN_SATURATION])
    in_arc = distance <= half_width
    # Ink counts as colourless in a second cut: strong ink pulls the first one above pale tissue.
    cut = _cut(np.where(plain & ~in_arc, np.float32(0), saturation))
    mask = (saturation > cut.value) & in_arc
    thresholds = {
        "saturation": cut.value,
        "contrast": cut.contrast,
        "hue_centre_deg": HUE_CENTRE_DEG,
        "hue_half_width_deg": half_width,
        "share_raw_s": _share(plain),
        "share_raw_hsv": _share(mask),
    }
    return _Raw(mask, "hsv", thresholds)


def _hue_and_saturation(rgb: Image) -> tuple[Floats, Floats]:
    """Hue in degrees and saturation in [0, 1], float32 (h, w); black pixels have saturation 0."""
    hsv: Floats = np.asarray(cv2.cvtColor(rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2HSV), np.float32)
    saturation = np.where(hsv[..., 2] >= MIN_VALUE, hsv[..., 1], np.float32(0))
    return hsv[..., 0], saturation


def _half_width(distance: Floats) -> float:
    """Half the width of the stain arc, in degrees, from the hue distances of the coloured pixels."""
    narrow, wide = HUE_HALF_WIDTH_DEG
    cut = otsu(distance)
    # Without a second colour there is nothing for Otsu to separate.
    return min(max(cut.value, narrow), wide) if cut.contrast >= MIN_CONTRAST_HUE_DEG else narrow


def _cut(saturation: Floats) -> Threshold:
    cut = otsu_with_contrast(saturation, MIN_CONTRAST_S)
    return Threshold(max(cut.value, MIN_SATURATION), cut.contrast)


def clean(mask: BoolPlane, spacing_um: float, settings: Tissue) -> BoolPlane:
    """Median filter, small holes filled, small pieces dropped; areas in um2."""
    plane: Image = mask.astype(np.uint8)
    if settings.median_px > 1:
        plane = np.asarray(cv2.medianBlur(plane, settings.median_px | 1), np.uint8)
    pixel_um2 = spacing_um * spacing_um
    plane = _without_small(plane, 0, settings.min_hole_um2 / pixel_um2)
    return _without_small(plane, 1, settings.min_speck_um2 / pixel_um2).astype(np.bool_)


def _without_small(plane: Image, value: int, min_px: float) -> Image:
    """``plane`` with the components of ``value`` that have fewer than ``min_px`` pixels inverted."""
    if min_px <= 1:
        return plane
    # Complementary connectivities, so that a diagonal line of tissue separates the holes on its two sides.
    connectivity = 8 if value else 4
    _, labels, stats, _ = cv2.connectedComponentsWithStats((plane == value).astype(np.uint8), connectivity=connectivity)
    areas = stats[:, cv2.CC_STAT_AREA]
    small = areas < min_px
    small[0] = False
    return np.where(small[labels], np.uint8(1 - value), plane)


def _share(mask: BoolPlane) -> float:
    return float(np.count_nonzero(mask)) / mask.size

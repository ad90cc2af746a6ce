"""A synthetic slide as a source of rows: swatches of tissue, put where the layout wants them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.geometry import Size
from wsiprep.synthetic import texture
from wsiprep.synthetic.layout import LOW, Layout, fill_rows, low_map

RGB = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

BLOCK_PX = 256
SOFT_PX = 8
"""Half the width over which tumour turns into stroma, centred on the outline."""


@dataclass(frozen=True, slots=True)
class Swatches:
    """Seamless (S, S, 3) uint8 tiles of each tissue; their sides differ, so that their mixture does not repeat."""

    stroma: RGB
    stroma_across: RGB
    inflamed: RGB
    tumour: RGB
    glands: RGB
    fat: RGB
    glass: RGB


def make_swatches(rng: np.random.Generator, palette: texture.Palette, *, large: bool) -> Swatches:
    """One slide's tissues; sides in blocks of 256 px (``large``: 5 or 6, else 2 or 3)."""
    long, short = (6 * BLOCK_PX, 5 * BLOCK_PX) if large else (2 * BLOCK_PX, 2 * BLOCK_PX)
    angle = float(rng.uniform(0, np.pi))
    return Swatches(
        stroma=texture.stroma(rng, long, palette, angle),
        stroma_across=texture.stroma(rng, short, palette, angle + float(rng.uniform(0.8, 1.6))),
        inflamed=texture.inflamed(rng, short, palette, angle),
        tumour=texture.tumour(rng, long, palette, glands=False),
        glands=texture.tumour(rng, short, palette, glands=True),
        fat=texture.fat(rng, 4 * BLOCK_PX if large else 2 * BLOCK_PX, palette),
        glass=texture.glass(rng, 2 * BLOCK_PX, palette),
    )


class Painting:
    """The pixels of one layout, made a band of rows at a time."""

    def __init__(self, rng: np.random.Generator, layout: Layout, swatches: Swatches) -> None:
        size = layout.size
        side = max(size.width_px, size.height_px)
        self._layout, self._swatches = layout, swatches
        outlines = tuple(lesion.outline for lesion in layout.lesions)
        cover = low_map((*layout.tissue, *outlines), size, 0.006 * side)
        near = low_map(outlines, size, 0.03 * side)
        ragged = (0.08 * _low_cloud(rng, size, side // 24) + 0.05 * _low_cloud(rng, size, side // 80)) * (near < 0.05)
        tears = np.clip(_low_cloud(rng, size, side // 6) - 2.0, 0, None) * (near < 0.05)
        self._maps: dict[str, tuple[Field, float]] = {
            # (map, steepness): the weight is clip(steepness * map + 0.5, 0, 1)
            "tissue": (cover + ragged - tears - np.float32(0.5), 9.0),
            "across": (_low_cloud(rng, size, side // 5), 3.0),
            "inflamed": (_low_cloud(rng, size, side // 7) - np.float32(0.95), 4.0),
            "fat": (_low_cloud(rng, size, side // 5) - np.float32(1.15) - 4 * near, 12.0),
            "glands": (_low_cloud(rng, size, side // 6), 5.0),
        }

    @property
    def size(self) -> Size:
        return self._layout.size

    def tumour_rows(self, y: int, y_end: int) -> npt.NDArray[np.uint8]:
        """Rows of the tumour mask, 1 where a pixel's centre is inside a tumour and outside its holes."""
        return fill_rows(self._layout.rings, self.size.width_px, y, y_end)

    def rows(self, y: int, y_end: int) -> RGB:
        width = self.size.width_px
        out = np.empty((y_end - y, width, 3), np.uint8)
        rim = 2 * SOFT_PX
        hard = self.tumour_rows(y - rim, y_end + rim).astype(np.float32)
        blurred = cv2.blur(hard, (2 * SOFT_PX + 1,) * 2, borderType=cv2.BORDER_REPLICATE)
        soft = np.asarray(blurred, np.float32)[rim:-rim]
        # Blocks keep to multiples of their side whatever rows are asked for, so that no piece wraps.
        for start in range(y - y % BLOCK_PX, y_end, BLOCK_PX):
            top, bottom = max(y, start), min(y_end, start + BLOCK_PX)
            for x in range(0, width, BLOCK_PX):
                x_end = min(width, x + BLOCK_PX)
                area = (x, top, x_end, bottom)
                out[top - y : bottom - y, x:x_end] = self._block(area, soft[top - y : bottom - y, x:x_end])
        return out

    def _block(self, area: tuple[int, int, int, int], tumour: Field) -> RGB:
        s = self._swatches
        tissue = self._weight("tissue", area)
        if not tissue.any():
            return _piece(s.glass, area)
        image = _piece(s.stroma, area)
        if not (tumour >= 1).all():
            image = _mix(image, _piece(s.stroma_across, area), self._weight("across", area))
            image = _mix(image, _piece(s.inflamed, area), self._weight("inflamed", area))
            image = _mix(image, _piece(s.fat, area), self._weight("fat", area))
        if tumour.any():
            growth = _mix(_piece(s.tumour, area), _piece(s.glands, area), self._weight("glands", area))
            image = _mix(image, growth, tumour)
        return _mix(_piece(s.glass, area), image, tissue)

    def _weight(self, name: str, area: tuple[int, int, int, int]) -> Field:
        low, steepness = self._maps[name]
        x, y, x_end, y_end = area
        offset = 0.5 / LOW - 0.5
        place = np.array([[1 / LOW, 0, x / LOW + offset], [0, 1 / LOW, y / LOW + offset]])
        fine = cv2.warpAffine(
            low, place, (x_end - x, y_end - y),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(np.clip(np.float32(steepness) * fine + np.float32(0.5), 0, 1), np.float32)


def _low_cloud(rng: np.random.Generator, size: Size, wavelength_px: int) -> Field:
    low = size.reduced(LOW)
    side = max(low.width_px, low.height_px)
    return texture.cloud(rng, side, max(2, wavelength_px // LOW))[: low.height_px, : low.width_px]


def _piece(swatch: RGB, area: tuple[int, int, int, int]) -> RGB:
    x, y, x_end, y_end = area
    side = swatch.shape[0]
    # Blocks start at multiples of 256 and swatches are as long as some blocks: no piece wraps.
    return np.ascontiguousarray(swatch[y % side : y % side + y_end - y, x % side : x % side + x_end - x])


def _mix(below: RGB, above: RGB, weight: Field) -> RGB:
    if not weight.any():
        return below
    if weight.min() >= 1:
        return above
    return np.asarray(cv2.blendLinear(below, above, 1 - weight, np.ascontiguousarray(weight)), np.uint8)

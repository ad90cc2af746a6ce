"""The picture of a whole slide that people see, apart from the one on which tissue is decided."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.slides import Slide
from wsiprep.slides.overview import read_damaged_overview

LEAST_SIDE_PX = 1024
"""Longer side of the picture: this much and less than twice as much, unless the slide has fewer pixels."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A picture of the whole slide.

    Attributes:
        image: uint8 (h, w, 3); the last row and column may reach over the slide's border.
        downsample: level-0 pixels per pixel of it.
    """

    image: npt.NDArray[np.uint8]
    downsample: int

    def to_dict(self) -> dict[str, int]:
        """The record of the picture: its downsample and size."""
        height, width = self.image.shape[:2]
        return {"downsample": self.downsample, "width_px": width, "height_px": height}


def picture_of(slide: Slide, tissue_view: Overview) -> Overview:
    """The slide at about one ``LEAST_SIDE_PX``-th of its longer side.

    Read anew (in blocks, at most 2048 px a side) where that is finer than the view on which tissue is
    decided, else made from that view, by an integer factor either way.

    What cannot be decoded is white; the record says how much of the tissue's view that is.
    """
    size = slide.info.size
    wanted = max(1, max(size.width_px, size.height_px) // LEAST_SIDE_PX)
    if tissue_view.downsample > wanted:
        return Overview(*read_damaged_overview(slide, wanted)[:2])
    return _reduced(tissue_view, wanted // tissue_view.downsample)


def _reduced(view: Overview, factor: int) -> Overview:
    """Means of ``factor`` x ``factor`` pixels; the last ones of what there is, repeated to a whole square."""
    if factor <= 1:
        return view
    height, width = view.image.shape[:2]
    bottom, right = -height % factor, -width % factor
    whole = cv2.copyMakeBorder(view.image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (whole.shape[1] // factor, whole.shape[0] // factor)
    image = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return Overview(image, view.downsample * factor)

"""What survey wrote of a slide's colours: its glass, and the histograms of its sampled cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StoreError
from wsiprep.stain import WHITE, ColourSample, White


def white_of(record: Mapping[str, Any]) -> White:
    """The colour of a surveyed slide's glass; 255 where survey found none (``glass_reason`` says why)."""
    found = record["glass_rgb"]
    if found is None:
        return WHITE
    red, green, blue = (float(value) for value in found)
    return red, green, blue


def colours_of(slide_id: str, tree: DatasetTree) -> ColourSample:
    """The colours that survey stored.

    Raises:
        StoreError: survey ran without a stain to fit.
    """
    path = tree.slide(slide_id).colours
    try:
        return ColourSample.load(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            "the slide was surveyed without colours", got=str(path), fix="run survey again with this recipe"
        ) from error

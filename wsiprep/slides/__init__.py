"""Whole-slide images: exact pixels by integer coordinates, whichever library decodes the file."""

from wsiprep.slides.cells import PatchReader, PixelSource, read_grid, sources_of
from wsiprep.slides.icc import InSrgb, apply_icc
from wsiprep.slides.identity import slide_identity
from wsiprep.slides.opening import BACKENDS, open_slide
from wsiprep.slides.overview import DamagedOverview, overview_level, read_damaged_overview, read_overview
from wsiprep.slides.plane import Plane, block_mean
from wsiprep.slides.protocol import RGB, BackendRefusalError, DamagedRegionError, Level, Slide, SlideInfo

__all__ = [
    "BACKENDS",
    "RGB",
    "BackendRefusalError",
    "DamagedOverview",
    "DamagedRegionError",
    "InSrgb",
    "Level",
    "PatchReader",
    "PixelSource",
    "Plane",
    "Slide",
    "SlideInfo",
    "apply_icc",
    "block_mean",
    "open_slide",
    "overview_level",
    "read_damaged_overview",
    "read_grid",
    "read_overview",
    "slide_identity",
    "sources_of",
]

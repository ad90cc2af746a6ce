"""Whole-slide images: exact pixels by integer coordinates, whichever library decodes the file."""

from wsiprep.slides.cells import PatchReader, PixelSource, read_grid, sources_of
from wsiprep.slides.identity import slide_identity
from wsiprep.slides.opening import BACKENDS, open_slide
from wsiprep.slides.plane import Plane, block_mean, read_overview
from wsiprep.slides.protocol import RGB, BackendRefusalError, Level, Slide, SlideInfo

__all__ = [
    "BACKENDS",
    "RGB",
    "BackendRefusalError",
    "Level",
    "PatchReader",
    "PixelSource",
    "Plane",
    "Slide",
    "SlideInfo",
    "block_mean",
    "open_slide",
    "read_grid",
    "read_overview",
    "slide_identity",
    "sources_of",
]

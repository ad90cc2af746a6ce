"""Colours as the scanner meant them: from the slide's ICC profile to sRGB."""

from __future__ import annotations

import functools
from pathlib import Path

import imagecodecs
import numpy as np

from wsiprep.errors import SlideError
from wsiprep.geometry import Box
from wsiprep.slides.opened import OpenedSlide
from wsiprep.slides.protocol import RGB, Slide

_PERCEPTUAL = 0


@functools.cache
def _srgb() -> bytes:
    return bytes(imagecodecs.cms_profile("srgb"))


def apply_icc(rgb: RGB, profile: bytes) -> RGB:
    """The pixels in sRGB, by LittleCMS with the perceptual intent.

    Args:
        rgb: (H, W, 3) uint8 in the colours of ``profile``.
        profile: an ICC profile of an RGB device.

    Raises:
        SlideError: the profile is damaged or not one of RGB.
    """
    if not rgb.size:
        return rgb
    try:
        flat = np.ascontiguousarray(rgb)
        out = imagecodecs.cms_transform(
            flat, profile, _srgb(), colorspace="RGB", outcolorspace="RGB", intent=_PERCEPTUAL
        )
    except (ValueError, RuntimeError, TypeError) as error:
        raise SlideError(
            "the ICC profile of the slide cannot be used",
            got=str(error) or type(error).__name__,
            expected="an ICC profile of RGB",
            fix="set icc: ignore in the recipe",
        ) from error
    return np.asarray(out, dtype=np.uint8).reshape(rgb.shape)


class InSrgb(OpenedSlide):
    """A slide whose pixels are converted from its own ICC profile to sRGB as they are read.

    Stored pixels are converted before anything is averaged; white that stands for unwritten tiles goes through
    the profile like all the rest. ``info`` is that of the slide beneath; closing this closes it.

    Args:
        slide: any open slide.
        file: its path, for the messages.

    Raises:
        SlideError: the slide has no profile, or one that cannot be used.
    """

    def __init__(self, slide: Slide, *, file: str | Path | None = None) -> None:
        profile = slide.icc_profile()
        if profile is None:
            raise SlideError(
                "the slide has no ICC profile, so its colours cannot be converted to sRGB",
                expected="a profile in the file (TIFF tag 34675)",
                fix="set icc: ignore in the recipe, or leave the slide out",
                file=file,
            )
        try:
            apply_icc(np.zeros((1, 1, 3), np.uint8), profile)
        except SlideError as error:
            error.file = None if file is None else str(file)
            raise
        self._slide = slide
        self._profile = profile
        self.info = slide.info

    @property
    def beneath(self) -> Slide:
        """The slide that is converted: its tiles may be planned and counted, but not reduced before they are."""
        return self._slide

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``; in sRGB."""
        return apply_icc(self._slide.read_level(level, box), self._profile)

    def show_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.show_level``; in sRGB."""
        return apply_icc(self._slide.show_level(level, box), self._profile)

    def icc_profile(self) -> bytes | None:
        """The profile that the pixels are converted from."""
        return self._profile

    def close(self) -> None:
        """Close the slide beneath."""
        self._slide.close()

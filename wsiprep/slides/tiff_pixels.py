"""How the pixels of a TIFF page are coded, where the plain reader can decode them exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsiprep.slides.decode import (
    BLACK_IS_ZERO,
    COMPRESSIONS,
    HORIZONTAL,
    JP2K_RGB,
    JP2K_YCBCR,
    JPEG,
    NO_PREDICTOR,
    PHOTOMETRIC_RGB,
    WEBP,
    YCBCR,
    Alpha,
    PixelFormat,
)
from wsiprep.slides.protocol import BackendRefusalError


def pixel_format(page: Any, path: Path | str) -> PixelFormat:
    """The coding of a page.

    Raises:
        BackendRefusalError: one that cannot be read exactly; the message names what it is.
    """
    compression, photometric = int(page.compression), int(page.photometric)
    samples = int(page.samplesperpixel)
    alpha = _alpha(page, samples)
    lossy = compression in (JPEG, JP2K_RGB, JP2K_YCBCR, WEBP)
    predictor = int(page.predictor)
    checks = {
        "compression": (compression in COMPRESSIONS, compression),
        "bits per sample": (page.bitspersample == 8 and page.dtype == np.uint8, f"{page.bitspersample} {page.dtype}"),
        "samples per pixel": (samples in (1, 3) or (samples == 4 and alpha is not None and not lossy), samples),
        "photometric interpretation": (photometric in _photometrics(compression, samples), photometric),
        "planar configuration": (samples == 1 or int(page.planarconfig) == 1, int(page.planarconfig)),
        "predictor": (predictor == NO_PREDICTOR or (predictor == HORIZONTAL and not lossy), predictor),
        "fill order": (int(page.fillorder) == 1, int(page.fillorder)),
        "image depth": (int(page.imagedepth) == 1, int(page.imagedepth)),
    }
    for what, (fits, got) in checks.items():
        if not fits:
            raise BackendRefusalError(f"its {what} cannot be read exactly", got=got, file=path)
    return PixelFormat(compression, photometric, samples, predictor, alpha or Alpha.NONE, page.jpegtables)


def _photometrics(compression: int, samples: int) -> tuple[int, ...]:
    if samples == 1:
        return (BLACK_IS_ZERO,)
    if compression in (JPEG, JP2K_YCBCR, JP2K_RGB):
        return (PHOTOMETRIC_RGB, YCBCR)
    return (PHOTOMETRIC_RGB,)


def _alpha(page: Any, samples: int) -> Alpha | None:
    """Meaning of the fourth sample; None where the file does not say (then nothing is guessed)."""
    if samples < 4:
        return Alpha.NONE
    meanings: dict[tuple[int, ...], Alpha] = {(1,): Alpha.PREMULTIPLIED, (2,): Alpha.STRAIGHT}
    return meanings.get(tuple(int(v) for v in page.extrasamples))

"""The colours of a slide's sampled cells: each cell counted apart, and all of them together."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.errors import StainError
from wsiprep.stain.histogram import ARCHIVE_DAMAGE, ColourHistogram, merge


@dataclass(frozen=True, slots=True)
class ColourSample:
    """Histograms of regions of one slide. What is fitted on all of them does not depend on their order.

    Attributes:
        regions: one histogram a region, such as a sampled cell.
    """

    regions: tuple[ColourHistogram, ...]

    @property
    def total(self) -> ColourHistogram:
        """All regions together."""
        return self.regions[0] if len(self.regions) == 1 else merge(self.regions)

    def save(self) -> bytes:
        """The bytes of an npz file: the regions' codes and counts one after the other, and how many each has."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            codes=_joined([r.codes for r in self.regions], np.uint32),
            counts=_joined([r.counts for r in self.regions], np.int64),
            lengths=np.array([r.codes.size for r in self.regions], dtype=np.int64),
        )
        return buffer.getvalue()

    @classmethod
    def load(cls, data: bytes) -> ColourSample:
        """The sample that ``save`` wrote; a file of ``ColourHistogram.save`` is a sample of one region.

        Raises:
            StainError: damaged, or neither of them.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                codes, counts = arrays["codes"], arrays["counts"]
                lengths = arrays["lengths"] if "lengths" in arrays else np.array([codes.size])
        except ARCHIVE_DAMAGE as error:
            raise StainError(
                "the colour histogram cannot be read", got=error, fix="run the survey of this slide again"
            ) from error
        whole = lengths.ndim == 1 and lengths.dtype == np.int64 and bool((lengths >= 0).all())
        if not whole or codes.shape != counts.shape or codes.shape != (int(lengths.sum()),):
            raise StainError(
                "the colour histogram is damaged: its regions do not add up to its colours",
                got=f"{codes.shape}, {counts.shape}, {lengths.shape}", fix="run the survey of this slide again",
            )  # fmt: skip
        ends = np.cumsum(lengths)[:-1]
        return cls(
            tuple(
                ColourHistogram.checked(region_codes, region_counts)
                for region_codes, region_counts in zip(np.split(codes, ends), np.split(counts, ends), strict=True)
                if lengths.size
            )
        )


def _joined(parts: list[npt.NDArray[Any]], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts]).astype(dtype)

"""Script-made slides and annotations for the demo and the tests; no pixel is from a patient."""

from __future__ import annotations

from wsiprep.synthetic.cohort import CohortFiles, SyntheticSlide, render_cohort
from wsiprep.synthetic.pyramid import ImageSource, RowSource, write_pyramid

__all__ = ["CohortFiles", "ImageSource", "RowSource", "SyntheticSlide", "render_cohort", "write_pyramid"]

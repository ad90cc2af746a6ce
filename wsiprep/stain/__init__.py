"""Stain normalisation: fits from mergeable colour histograms, and the map of one slide's stains to a target's."""

from wsiprep.stain.cohort import fit_cohort, merge_cohort, seen_on_white, tissue_part
from wsiprep.stain.density import WHITE, White
from wsiprep.stain.fit import fit, fit_or_fallback
from wsiprep.stain.glass import Glass, glass_colour
from wsiprep.stain.histogram import ColourHistogram, histogram
from wsiprep.stain.model import Fit, ReinhardFit, StainFit, fit_from_dict, stain_of
from wsiprep.stain.normalise import normalise
from wsiprep.stain.patch import fit_patch
from wsiprep.stain.reference import REFERENCE
from wsiprep.stain.refusal import REASONS
from wsiprep.stain.reinhard import pixel_moments
from wsiprep.stain.sample import ColourSample
from wsiprep.stain.transform import Normaliser, normaliser, way_of_own_fits

__all__ = [
    "REASONS",
    "REFERENCE",
    "WHITE",
    "ColourHistogram",
    "ColourSample",
    "Fit",
    "Glass",
    "Normaliser",
    "ReinhardFit",
    "StainFit",
    "White",
    "fit",
    "fit_cohort",
    "fit_from_dict",
    "fit_or_fallback",
    "fit_patch",
    "glass_colour",
    "histogram",
    "merge_cohort",
    "normalise",
    "normaliser",
    "pixel_moments",
    "seen_on_white",
    "stain_of",
    "tissue_part",
    "way_of_own_fits",
]

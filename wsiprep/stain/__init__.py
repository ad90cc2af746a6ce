"""Stain normalisation: fits from mergeable colour histograms, and the map of one slide's stains to a target's."""

from wsiprep.stain.cohort import fit_cohort, merge_cohort, seen_on_white
from wsiprep.stain.density import WHITE, White
from wsiprep.stain.fit import REASONS, fit, fit_or_fallback
from wsiprep.stain.glass import Glass, glass_colour
from wsiprep.stain.histogram import ColourHistogram, histogram
from wsiprep.stain.model import Fit, ReinhardFit, StainFit, fit_from_dict, stain_of
from wsiprep.stain.normalise import normalise
from wsiprep.stain.reference import REFERENCE
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
    "glass_colour",
    "histogram",
    "merge_cohort",
    "normalise",
    "normaliser",
    "seen_on_white",
    "stain_of",
    "way_of_own_fits",
]

"""Annotations: files of outlines in, regions out; regions in, masks and exact area shares out."""

from wsiprep.annotations.asap import read_asap
from wsiprep.annotations.geojson import read_regions, write_regions
from wsiprep.annotations.labelmap import LabelMap
from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.reading import KNOWN_FORMATS, read_annotations
from wsiprep.annotations.regions import AnnotationSet, Region, SlideFrame
from wsiprep.annotations.source import Fractions, LabelSource
from wsiprep.annotations.writers import write_asap

__all__ = [
    "KNOWN_FORMATS",
    "AnnotationSet",
    "Fractions",
    "LabelMap",
    "LabelSource",
    "LabelSpec",
    "Region",
    "SlideFrame",
    "read_annotations",
    "read_asap",
    "read_regions",
    "write_asap",
    "write_regions",
]

"""Annotations: files of outlines in, regions out; regions in, masks and exact area shares out."""

from wsiprep.annotations.asap import read_asap
from wsiprep.annotations.geojson import read_regions, write_regions
from wsiprep.annotations.labelmap import LabelMap
from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.reading import FORMATS, KNOWN_FORMATS, parse_annotations, read_annotations
from wsiprep.annotations.regions import AnnotationSet, Region, SlideFrame
from wsiprep.annotations.resolve import resolve
from wsiprep.annotations.shapes import ParsedFile, Shape
from wsiprep.annotations.source import Fractions, LabelSource
from wsiprep.annotations.writers import write_asap

__all__ = [
    "FORMATS",
    "KNOWN_FORMATS",
    "AnnotationSet",
    "Fractions",
    "LabelMap",
    "LabelSource",
    "LabelSpec",
    "ParsedFile",
    "Region",
    "Shape",
    "SlideFrame",
    "parse_annotations",
    "read_annotations",
    "read_asap",
    "read_regions",
    "resolve",
    "write_asap",
    "write_regions",
]

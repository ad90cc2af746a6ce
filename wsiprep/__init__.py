"""Whole-slide images and annotations in; exact, verified, sharded segmentation datasets out.

>>> import wsiprep
>>> dataset = wsiprep.Dataset("dataset")              # doctest: +SKIP
>>> image, mask, meta = dataset.read(0)               # doctest: +SKIP

The names below are imported when they are first used, so that ``import wsiprep`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "AnnotationSet": "wsiprep.annotations",
    "Dataset": "wsiprep.store",
    "DatasetTree": "wsiprep.artifacts",
    "LabelMap": "wsiprep.annotations",
    "PatchDataset": "wsiprep.training",
    "Plane": "wsiprep.slides",
    "Recipe": "wsiprep.config",
    "WsiprepError": "wsiprep.errors",
    "create_model": "wsiprep.models",
    "find_tissue": "wsiprep.tissue",
    "load_recipe": "wsiprep.config",
    "open_slide": "wsiprep.slides",
    "read_annotations": "wsiprep.annotations",
    "read_manifest": "wsiprep.manifest",
    "tile": "wsiprep.stages.api",
}

__all__ = [
    "AnnotationSet",
    "Dataset",
    "DatasetTree",
    "LabelMap",
    "PatchDataset",
    "Plane",
    "Recipe",
    "WsiprepError",
    "__version__",
    "create_model",
    "find_tissue",
    "load_recipe",
    "open_slide",
    "read_annotations",
    "read_manifest",
    "tile",
]

if TYPE_CHECKING:
    from wsiprep.annotations import AnnotationSet, LabelMap, read_annotations
    from wsiprep.artifacts import DatasetTree
    from wsiprep.config import Recipe, load_recipe
    from wsiprep.errors import WsiprepError
    from wsiprep.manifest import read_manifest
    from wsiprep.models import create_model
    from wsiprep.slides import Plane, open_slide
    from wsiprep.stages.api import tile
    from wsiprep.store import Dataset
    from wsiprep.tissue import find_tissue
    from wsiprep.training import PatchDataset


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'wsiprep' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""croissant.json: the dataset for machines (MLCommons Croissant 1.0, JSON-LD)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from wsiprep.store.schema import index_schema

_TERMS = (
    "citeAs", "column", "examples", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "separator", "source", "subField", "transform",
)  # fmt: skip
_MEANINGS = {
    "slide_id": "slide that the patch was cut from",
    "patient": "patient of the slide; no patient is in two splits unless the dataset says that it leaks",
    "centre": "centre that the slide comes from",
    "source": "source of the recipe that the slide belongs to",
    "shard": "Zarr group that holds the pixels",
    "row": "place of the patch along the first axis of the group's arrays",
    "split": "split of the patch",
    "fold": "fold of the patch, where the split has folds",
    "tile": "tile of a collection that the patch was cut from",
    "x_lv0": "left edge in level-0 pixels of the slide or tile",
    "y_lv0": "top edge in level-0 pixels of the slide or tile",
    "width_lv0": "width in level-0 pixels",
    "height_lv0": "height in level-0 pixels",
    "scale": "level-0 pixels per pixel of the patch along x",
    "scale_y": "level-0 pixels per pixel of the patch along y",
    "spacing_um": "micrometres per pixel of the patch",
    "source_level": "pyramid level that was read",
    "from_stored": "whether the pixels are a stored level of the pyramid and not an area mean",
    "dct_factor": "how much JPEG tiles were reduced while they were decoded, 1 for not at all",
    "stain_origin": "whose stains the patch was taken to have when it was normalised",
    "annotated_fraction": "share of the cell's area that is annotated",
    "tissue_fraction": "share of the cell's area that is tissue",
    "ignore_px": "mask pixels that are not annotated",
    "digest": "xxh3-128 of image and mask",
}


def _context() -> dict[str, Any]:
    context: dict[str, Any] = {name: f"cr:{name}" for name in _TERMS}
    return context | {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
    }


def render_croissant(record: Mapping[str, Any], index_sha256: str, index_size: int) -> dict[str, Any]:
    """The JSON-LD of a dataset.

    Args:
        record: what goes into ``dataset.json``.
        index_sha256: sha256 (hex) of ``index.parquet``.
        index_size: its size in bytes.
    """
    return {
        "@context": _context(),
        "@type": "sc:Dataset",
        "name": record["name"],
        "description": _description(record),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": record["licence"],
        "version": f"{record['version']}.0.0",
        "url": "README.md",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "index.parquet",
                "name": "index.parquet",
                "description": "A row for each patch.",
                "contentUrl": "index.parquet",
                "contentSize": f"{index_size} B",
                "encodingFormat": "application/x-parquet",
                "sha256": index_sha256,
            },
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "description": "Zarr v3 groups, one for each slide, with the arrays image and mask.",
                "encodingFormat": "application/vnd.zarr",
                "includes": "shards/*/*.zarr/**/*",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "patches",
                "name": "patches",
                "description": "The patches: where each lies, its split and its share of every label.",
                "key": [{"@id": "patches/shard"}, {"@id": "patches/row"}],
                "field": [_field(column, record["labels"]) for column in index_schema(record["labels"])],
            }
        ],
    }


def _description(record: Mapping[str, Any]) -> str:
    made = "Synthetic images made by a script. " if record["synthetic"] else ""
    return (
        f"{made}{record['counts']['patches']} patches of {record['patch_size_px']} px with segmentation masks "
        f"({', '.join(record['labels'])}) from {record['counts']['slides']} whole-slide images."
    )


def _field(column: pa.Field, labels: list[str]) -> dict[str, Any]:
    name = column.name
    return {
        "@type": "cr:Field",
        "@id": f"patches/{name}",
        "name": name,
        "description": _MEANINGS.get(name) or _meaning(name, labels),
        "dataType": _data_type(column.type),
        "source": {"fileObject": {"@id": "index.parquet"}, "extract": {"column": name}},
    }


def _meaning(name: str, labels: list[str]) -> str:
    stem, _, kind = name.rpartition("_")
    if stem in labels:
        return f"share of the cell's area that is {stem}" if kind == "fraction" else f"mask pixels that are {stem}"
    return f"{'sum of squares' if stem == 'sumsq' else 'sum'} of channel {kind} over the patch"


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "sc:Text"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Integer" if pa.types.is_integer(kind) else "sc:Float"

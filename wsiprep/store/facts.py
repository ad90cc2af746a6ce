"""What ``dataset.json`` says about a dataset: digests, counts, statistics, backends, versions."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

import wsiprep
from wsiprep.config import IGNORE, Recipe, recipe_digest
from wsiprep.config.dataset import licence_record
from wsiprep.store.codecs import ChunkCodec
from wsiprep.store.digest import dataset_digest, pixels_digest
from wsiprep.store.receipts import Receipt
from wsiprep.store.schema import SCHEMA_VERSION
from wsiprep.store.splits import leaks
from wsiprep.store.statistics import fold_counts, split_counts, training_statistics


def dataset_record(
    recipe: Recipe, index: pa.Table, slides: pa.Table, receipts: Mapping[str, Receipt]
) -> dict[str, Any]:
    """The record of a dataset, all but the list of its files.

    Args:
        recipe: the resolved recipe.
        index: ``schema.index_schema``.
        slides: a row per slide, as in ``slides.parquet``.
        receipts: slide id -> receipt of the slides that are in.
    """
    size = recipe.sampling.patch_size_px
    done = {s: r for s, r in sorted(receipts.items()) if r.state == "done"}
    used = Counter(index["slide_id"].to_pylist())
    pixels = pixels_digest((s, r.digest) for s, r in done.items())
    places = zip(*(index[c].to_pylist() for c in ("slide_id", "row", "split", "fold")), strict=True)
    splits = split_counts(index, recipe.labels, size)
    folds = recipe.split.folds if recipe.split.kind == "folds" else None
    return {
        "schema_version": SCHEMA_VERSION,
        "name": recipe.name,
        "title": recipe.title,
        "version": recipe.version,
        "licence": recipe.licence,
        "licence_terms": licence_record(recipe.licence, recipe.dataset),
        "synthetic": recipe.synthetic,
        "labels": list(recipe.labels),
        "ignore": IGNORE,
        "patch_size_px": size,
        "codec": ChunkCodec(recipe.store.codec, recipe.store.zstd_level, recipe.store.jpeg_quality).describe(),
        "recipe_digest": recipe_digest(recipe),
        "pixels_digest": pixels,
        "dataset_digest": dataset_digest(pixels, recipe_digest(recipe), places),
        "split": {
            "kind": recipe.split.kind,
            "by": recipe.split.by,
            "folds": folds,
            # Whatever the split is by: a patient in two places is said.
            "leaks": recipe.split.by == "patch" or bool(leaks(index, "patient")),
        },
        "counts": {
            "patches": index.num_rows,
            "slides": slides.num_rows,
            "patients": _patients(index, slides),
            "states": dict(sorted(Counter(slides["state"].to_pylist()).items())),
            "splits": splits,
            "folds": fold_counts(index, recipe.labels, size),
        },
        "bytes": _bytes(index, done, splits),
        "statistics": training_statistics(index, size, folds),
        "backends": _backends(done.values()),
        "slides": slides["slide_id"].to_pylist(),
        "shards": [
            {
                "slide_id": slide_id,
                "path": receipt.shard,
                "digest": receipt.digest,
                "n_patches": receipt.n_patches,
                "n_used": used[slide_id],
                "files": [f.to_dict() for f in receipt.files],
            }
            for slide_id, receipt in done.items()
        ],
        "versions": _versions(),
    }


def _patients(index: pa.Table, slides: pa.Table) -> int:
    """Different patients: those of the patches, and of slides without one (a collection's are its tiles')."""
    packed = set(index["slide_id"].to_pylist())
    rest = zip(slides["slide_id"].to_pylist(), slides["patient"].to_pylist(), strict=True)
    return len({*index["patient"].to_pylist(), *(patient for slide_id, patient in rest if slide_id not in packed)})


def _bytes(index: pa.Table, receipts: Mapping[str, Receipt], splits: Mapping[str, Any]) -> dict[str, Any]:
    """Stored bytes, in all and per split; a shard of several splits counts by its share of patches."""
    pairs = Counter(zip(index["slide_id"].to_pylist(), index["split"].to_pylist(), strict=True))
    per_split = dict.fromkeys(splits, 0)
    for (slide_id, split), n in sorted(pairs.items()):
        receipt = receipts[slide_id]
        per_split[split] += receipt.size * n // receipt.n_patches
    return {"total": sum(r.size for r in receipts.values()), "splits": per_split}


def _backends(receipts: Iterable[Receipt]) -> dict[str, dict[str, int]]:
    """How many slides asked for which backend, and which one read them."""
    counts: dict[str, Counter[str]] = {"requested": Counter(), "used": Counter()}
    for receipt in receipts:
        backend = receipt.provenance.get("backend", {})
        for kind, counter in counts.items():
            counter[str(backend.get(kind, "unknown"))] += 1
    return {kind: dict(sorted(counter.items())) for kind, counter in counts.items()}


def _versions() -> dict[str, str]:
    names = ("imagecodecs", "numcodecs", "numpy", "pyarrow", "simplejpeg")
    return {"wsiprep": wsiprep.__version__} | {n: importlib.metadata.version(n) for n in names}

"""inspect: what wsiprep sees in a slide or in a dataset folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.errors import UsageError
from wsiprep.slides import open_slide


def inspect_path(path: Path, backend: str = "auto") -> dict[str, Any]:
    """Facts about a slide file or a dataset folder, as plain values.

    Raises:
        SlideError: the file is no slide.
        UsageError: the folder is no dataset.
    """
    if path.is_dir() and not path.suffix:
        return _dataset_facts(path)
    return slide_facts(path, backend)


def slide_facts(path: Path, backend: str = "auto") -> dict[str, Any]:
    """Header facts of one slide."""
    with open_slide(path, backend) as slide:
        info = slide.info
    spacing = info.spacing
    return {
        "slide": path.name,
        "size_px": f"{info.size.width_px} x {info.size.height_px}",
        "spacing_um": None if spacing is None else [round(spacing.x_um, 6), round(spacing.y_um, 6)],
        "objective_power": info.objective_power,
        "vendor": info.vendor,
        "compression": info.compression,
        "backend": info.backend,
        "backend_note": info.backend_note or None,
        "identity": info.identity,
        "levels": [
            {
                "level": level.index,
                "size_px": f"{level.size.width_px} x {level.size.height_px}",
                "stored_px": f"{level.stored_size.width_px} x {level.stored_size.height_px}",
                "downsample": level.factor if level.factor is not None else "ambiguous: not used",
            }
            for level in info.levels
        ],
    }


def _dataset_facts(path: Path) -> dict[str, Any]:
    tree = DatasetTree(path)
    if tree.dataset_record.exists():
        record: dict[str, Any] = read_json(tree.dataset_record)
        shown = ("name", "title", "licence", "synthetic", "labels", "patch_size_px", "split", "counts", "bytes")
        digests = ("dataset_digest", "pixels_digest", "recipe_digest", "backends", "versions")
        return {"dataset": path.name, "sealed": True} | {k: record[k] for k in (*shown, *digests)}
    if not tree.recipe.exists() and not tree.slide_ids():
        raise UsageError(
            "this folder is no dataset of wsiprep", got=str(path), expected="a slide, or a folder that wsiprep wrote"
        )
    return {
        "dataset": path.name,
        "sealed": False,
        "surveyed": len(tree.slide_ids()),
        "packed": len(tree.receipt_ids()),
    }


def show(facts: Mapping[str, Any], *, as_json: bool) -> str:
    """The facts as indented JSON, or as aligned lines for people."""
    if as_json:
        return json.dumps(facts, indent=1, sort_keys=True)
    lines: list[str] = []
    for key, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines.append(f"{key}:")
            lines += [
                "  " + "  ".join(f"{k} {v}" for k, v in item.items() if not isinstance(v, (list, dict)))
                for item in value
            ]
        elif isinstance(value, Mapping):
            lines.append(f"{key}:")
            lines += [f"  {k}: {v}" for k, v in value.items()]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)

"""inspect: what wsiprep sees in a slide or in a dataset folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.errors import UsageError
from wsiprep.geometry import Size
from wsiprep.slides import Level, open_slide

T = TypeVar("T", int, float)


def inspect_path(path: str | Path, backend: str = "auto") -> dict[str, Any]:
    """Facts about a slide (file or URL) or a dataset folder, as plain values.

    Raises:
        SlideError: the file is no slide.
        UsageError: the folder is no dataset.
    """
    if _is_dataset(path):
        return _dataset_facts(Path(path))
    return slide_facts(path, backend)


def _is_dataset(path: str | Path) -> bool:
    return Path(path).is_dir() and not Path(path).suffix


def slide_facts(path: str | Path, backend: str = "auto") -> dict[str, Any]:
    """Header facts of one slide."""
    with open_slide(path, backend) as slide:
        info = slide.info
    spacing = info.spacing
    return {
        "slide": Path(path).name,
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
                "downsample": _factor(level),
            }
            for level in info.levels
        ],
    }


def _factor(level: Level) -> int | str:
    if level.factor is not None:
        return level.factor
    return "ambiguous: not used" if level.shown_factor is None else f"{level.shown_factor}: overviews only"


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


@dataclass(frozen=True, slots=True)
class OverlayOptions:
    """The options of ``inspect --overlay`` as they were typed; None where nothing was asked for."""

    annotations: Path | None = None
    slide_id: str | None = None
    spacing_um: float | None = None
    downsample: int | None = None
    slide_spacing_um: float | None = None
    at: str | None = None
    size_px: str | None = None
    grid_lv0: int | None = None
    recipe_path: Path | None = None
    overrides: tuple[str, ...] = ()
    manifest: Path | None = None
    backend: str = "auto"

    def require_none(self) -> None:
        """Refuse options of an overlay where none is drawn.

        Raises:
            UsageError: there is one.
        """
        for field in fields(self):
            if field.name != "backend" and getattr(self, field.name) not in (None, ()):
                raise UsageError(
                    f"{_OPTION_NAMES.get(field.name, '--' + field.name.replace('_', '-'))} is for an overlay",
                    fix="add --overlay OUT.png, or leave it out",
                )


_OPTION_NAMES = {"slide_id": "--slide", "recipe_path": "--recipe", "overrides": "--set"}


def draw_overlay(path: str, out: Path, asked: OverlayOptions) -> dict[str, Any]:
    """Write the picture of a slide, or of a slide of a dataset folder; returns the facts that it shows.

    Raises:
        UsageError: options that exclude each other or are malformed, a window off the slide.
        DataError: the slide or its annotations cannot be trusted.
        StorageError: the picture cannot be written.
    """
    # The drawing needs OpenCV; a look at a header does not.
    from wsiprep.stages.overlay import require_picture, write_overlay
    from wsiprep.stages.overlay_subjects import Asked, dataset_subject, slide_subject, surveyed_row
    from wsiprep.stages.overlay_view import WINDOW, Window
    from wsiprep.stages.rows import recipe_for, rows_from_tree, rows_of

    require_picture(out)
    if asked.at is None and asked.size_px is not None:
        raise UsageError("--size-px is the size of a window", fix="say where it is with --at X,Y")
    window = Window(
        None if asked.at is None else _pair(asked.at, "--at", float),
        WINDOW if asked.size_px is None else Size(*_pair(asked.size_px, "--size-px", int)),
        asked.grid_lv0,
    )
    scale = (asked.spacing_um, asked.downsample, asked.slide_spacing_um, asked.backend)
    if _is_dataset(path):
        if asked.slide_id is None or asked.annotations is not None:
            raise UsageError(
                "a dataset's overlay is of one of its slides, with the annotations that were surveyed", got=path,
                fix="name it with --slide ID, and leave --annotations out",
            )  # fmt: skip
        tree = DatasetTree(Path(path))
        recipe = recipe_for(asked.recipe_path, asked.overrides, tree)
        named = asked.manifest is not None or asked.recipe_path is not None
        rows = rows_of(recipe, asked.recipe_path, asked.manifest) if named else rows_from_tree(tree)
        row = surveyed_row(tree, rows, asked.slide_id)
        with dataset_subject(tree, row, Asked(recipe, *scale)) as subject:
            return write_overlay(subject, out, window)
    if asked.slide_id is not None or asked.manifest is not None:
        raise UsageError("--slide and --manifest are for a dataset folder", got=path)
    plain = asked.recipe_path is None and not asked.overrides
    found = None if plain else recipe_for(asked.recipe_path, asked.overrides, None)
    with slide_subject(path, asked.annotations, Asked(found, *scale)) as subject:
        return write_overlay(subject, out, window)


def _pair(text: str, option: str, kind: type[T]) -> tuple[T, T]:
    parts = text.split(",")
    try:
        first, second = (kind(part) for part in parts)
        if not (abs(first) < 1e9 and abs(second) < 1e9):
            raise ValueError("out of range")
    except ValueError as error:
        raise UsageError(f"{option} takes two numbers", got=text, expected=f"for example {option} 4096,512") from error
    return first, second


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

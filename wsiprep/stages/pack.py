"""pack: the kept cells of one slide, decoded, normalised, masked and published as one shard.

Cells are read in row order (tile rows of the file), so that each compressed tile is decoded once.
Reading, normalising and encoding run on threads, which all release the interpreter's lock; appending
stays in the order of the plan, so the bytes do not depend on the number of threads.

Memory: the cache of the slide's tiles (``slides.tile_cache``), and for each thread up to
``AHEAD_PER_THREAD`` patches that wait for their turn; nothing grows with the slide.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsiprep.artifacts import DatasetTree, read_json, write_bytes
from wsiprep.config import Recipe, pack_digest
from wsiprep.errors import DataError, SlideError, StoreError
from wsiprep.manifest import SlideRow
from wsiprep.progress import Reporter
from wsiprep.slides import DamagedRegionError
from wsiprep.stages.cells import grid_of
from wsiprep.stages.normalising import PatchColours, patch_colours
from wsiprep.stages.pictures import SheetItem, contact_sheet, jpeg_bytes
from wsiprep.stages.revisions import REVISION
from wsiprep.stages.scene import Scene, open_scene
from wsiprep.stages.staging import staged
from wsiprep.stages.tables import table_metadata
from wsiprep.store import DamagedPatch, PatchRecord, Receipt, ShardSpec, record_outcome, write_shard
from wsiprep.store.encode import EncodedPatch, PatchEncoder
from wsiprep.store.tables import parse_parquet

PREVIEW_PATCHES = 16
PREVIEW_QUALITY = 90
AHEAD_PER_THREAD = 4
WHITE_FILL, BLACK_FILL = 255, 0
_PLAN_ONLY = {"col", "row", "anchor", "tile"}


@dataclass(frozen=True, slots=True)
class PlanSlice:
    """One slide's part of the plan: its kept cells and everything else that decides its shard."""

    cells: pa.Table
    metadata: dict[str, Any]
    digest: str


Made = tuple[EncodedPatch | DamagedPatch, SheetItem | None]
"""What a thread makes of a cell: a patch for the shard, and for some a picture."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What a worker thread needs to make one patch."""

    scene: Scene
    recipe: Recipe
    colours: PatchColours
    preview: frozenset[int]
    encoder: PatchEncoder

    def make(self, number: int, cell: Mapping[str, Any]) -> Made:
        side = self.recipe.sampling.patch_size_px
        grid = grid_of(cell["x_lv0"], cell["y_lv0"], cell["width_lv0"], cell["height_lv0"], side)
        name = self.scene.tile_name(cell["tile"])
        fill = WHITE_FILL if self.recipe.sampling.pad == "white" else BLACK_FILL
        try:
            reader, labels = self.scene.at(cell["tile"])
            raw = reader.read(grid, fill)
        except DamagedRegionError as error:
            return DamagedPatch(name, cell["x_lv0"], cell["y_lv0"], str(error.got or error.message)), None
        image, stain_origin = self.colours.of(raw)
        mask = labels.mask(grid)
        inside = labels.inside_roi(grid) if self.recipe.sampling.outside_roi == "pad" else None
        if inside is not None:
            image = np.where(inside[..., np.newaxis], image, np.uint8(fill))
        instance = labels.instances(grid) if self.recipe.annotations.instances else None
        found = reader.source_of(grid)
        row = {k: v for k, v in cell.items() if k not in _PLAN_ONLY} | {
            "tile": name,
            "scale": grid.scale_x,
            "scale_y": grid.scale_y,
            "spacing_um": self.scene.spacing_um(cell["tile"]) * grid.scale_x,
            "source_level": found.source_level,
            "from_stored": found.from_stored,
            "dct_factor": found.dct_factor,
            "stain_origin": stain_origin,
        }
        record = PatchRecord(image=image, mask=mask, row=row, instance=instance)
        return self.encoder.encode(record), SheetItem.of(image, raw, mask) if number in self.preview else None


def pack(
    row: SlideRow,
    recipe: Recipe,
    tree: DatasetTree,
    reporter: Reporter,
    *,
    threads: int = 1,
    stage: Path | None = None,
) -> Receipt:
    """Write one slide's shard and its receipt.

    Args:
        threads: that read, normalise and encode; the bytes do not depend on it.
        stage: a scratch folder that the slide is copied to and read from.

    Raises:
        SlideError: the slide is not the one that was surveyed, or too much of it cannot be decoded.
        AnnotationError: its labels are not the ones that were surveyed.
        StoreError: it was not planned, or not since it was surveyed.
        StorageError: the disk is full or unwritable; nothing half is published (exit 74).
    """
    recipe = recipe.for_source(row.source)
    part = read_slice(tree, row.slide_id)
    record = read_json(tree.slide(row.slide_id).record)
    _require_planned(record, part, row)
    with (
        staged(row.located(), stage, reporter) as here,
        open_scene(here, recipe, tree.slide(row.slide_id), record) as scene,
    ):
        if scene.identity != part.metadata["identity"]:
            raise SlideError(
                "the slide is not the file that was surveyed", got=scene.identity[:12],
                expected=part.metadata["identity"][:12], file=row.slide, fix="run survey and plan again",
            )  # fmt: skip
        spec = _spec(row, recipe, record, part, scene)
        receipt = _write(scene, recipe, tree, spec, part, reporter, threads)
    damaged = len(receipt.provenance.get("damaged", ()))
    if damaged:
        reporter.say(f"{row.slide_id}: {damaged} cell(s) cannot be decoded; its receipt lists them", level="warning")
    reporter.say(f"pack {row.slide_id}: {receipt.n_patches} patches", digest=receipt.digest[:12])
    return receipt


def _require_planned(record: Mapping[str, Any], part: PlanSlice, row: SlideRow) -> None:
    """Refuse a slice of the plan that was made from another survey than the one that lies there now."""
    planned = part.metadata
    same = all(record.get(name) == planned[name] for name in ("scale", "pixels", "spacing_um"))
    if not same or (record.get("annotation") or {}).get("digest") != planned["annotation_digest"]:
        raise StoreError(
            "the slide was surveyed again since the plan was made", got=row.slide_id, fix="run wsiprep plan again"
        )


def pack_or_record(
    row: SlideRow,
    recipe: Recipe,
    tree: DatasetTree,
    reporter: Reporter,
    *,
    threads: int = 1,
    stage: Path | None = None,
) -> Receipt:
    """As ``pack``, but bad data becomes a receipt of state ``failed``, so that a workflow goes on."""
    try:
        return pack(row, recipe, tree, reporter, threads=threads, stage=stage)
    except DataError as error:
        reporter.say(str(error), level="error", slide=row.slide_id)
        part = tree.plan_slice(row.slide_id)
        plan_digest = hashlib.sha256(part.read_bytes()).hexdigest() if part.exists() else ""
        return record_outcome(
            tree, row.slide_id, "failed", reason=f"{error.code}: {error}", provenance={"plan_digest": plan_digest}
        )


def read_slice(tree: DatasetTree, slide_id: str) -> PlanSlice:
    """One slide's slice of the plan.

    Raises:
        StoreError: the plan keeps nothing of this slide, or was not made yet.
    """
    path = tree.plan_slice(slide_id)
    if not path.exists():
        raise StoreError(
            "the plan has no slice for this slide", got=str(path),
            fix="run wsiprep plan; a slide that keeps nothing has none",
        )  # fmt: skip
    # Parsed and digested from the same bytes: a new plan may replace the file in between.
    data = path.read_bytes()
    table = parse_parquet(data, path)
    return PlanSlice(table, table_metadata(table), hashlib.sha256(data).hexdigest())


def _spec(row: SlideRow, recipe: Recipe, record: dict[str, Any], part: PlanSlice, scene: Scene) -> ShardSpec:
    attributes = {
        "revision": REVISION["pack"],
        "pack_digest": pack_digest(recipe),
        "slide": {"identity": scene.identity, "size_px": _size(record)},
        "spacing_um": record["spacing_um"],
        "scale": record["scale"],
        "pixels": record["pixels"],
        "annotation_state": row.annotation_state,
        "annotation_digest": part.metadata["annotation_digest"],
        "stain": part.metadata["stain"],
        "synthetic": recipe.synthetic,
    }
    return ShardSpec(
        slide_id=row.slide_id,
        labels=recipe.labels,
        patch_size_px=recipe.sampling.patch_size_px,
        store=recipe.store,
        attributes=attributes,
        provenance={"backend": record["backend"], "plan_digest": part.digest},
        instances=recipe.annotations.instances,
    )


def _size(record: Mapping[str, Any]) -> list[int] | None:
    size = record["size"]
    return None if size is None else [size["width_px"], size["height_px"]]


def _write(
    scene: Scene, recipe: Recipe, tree: DatasetTree, spec: ShardSpec, part: PlanSlice, reporter: Reporter, threads: int
) -> Receipt:
    count = part.cells.num_rows
    step = max(1, count // PREVIEW_PATCHES)
    source = _Source(
        scene=scene,
        recipe=recipe,
        colours=patch_colours(recipe, part.metadata["stain"], count),
        preview=frozenset(range(0, count, step)[:PREVIEW_PATCHES]),
        encoder=spec.encoder(),
    )
    sheet: list[SheetItem] = []
    allowed = int(recipe.max_damaged * count)
    damaged = 0
    rows = part.cells.to_pylist()
    _announce(scene, recipe, rows)
    with reporter.task(f"pack {spec.slide_id}", count) as task:

        def patches() -> Generator[EncodedPatch | DamagedPatch, None, None]:
            nonlocal damaged
            with contextlib.closing(_in_order(source, rows, threads)) as made:
                for patch, item in made:
                    if isinstance(patch, DamagedPatch):
                        damaged += 1
                        if damaged > allowed or damaged == count:
                            raise _too_damaged(patch, damaged, count, recipe)
                    if item is not None:
                        sheet.append(item)
                    task.advance()
                    yield patch

        # Closed here and not when the error that ends it is forgotten: threads must not read a slide that is closed.
        with contextlib.closing(patches()) as given:
            receipt = write_shard(tree, spec, given, count)
    normalised = part.metadata["stain"] is not None and recipe.stain.when == "pack"
    _preview(tree.preview(spec.slide_id), sheet, normalised=normalised)
    return receipt


def _announce(scene: Scene, recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> None:
    """Tell a slide which patches come, so that it decodes each of its tiles once. Collections have whole tiles."""
    if all(row["tile"] == 0 for row in rows):
        side = recipe.sampling.patch_size_px
        grids = [grid_of(r["x_lv0"], r["y_lv0"], r["width_lv0"], r["height_lv0"], side) for r in rows]
        scene.at(0)[0].plan(grids)


def _too_damaged(patch: DamagedPatch, damaged: int, count: int, recipe: Recipe) -> SlideError:
    return SlideError(
        "too many cells of the slide cannot be decoded",
        got=f"{damaged} so far, the last one at x {patch.x_lv0}, y {patch.y_lv0}: {patch.reason}",
        expected=f"at most {recipe.max_damaged:.1%} of {count}",
        fix="fetch the file again, list the slide in exclude.csv, or raise max_damaged",
    )


def _in_order(source: _Source, rows: list[dict[str, Any]], threads: int) -> Generator[Made, None, None]:
    """Patches in the order of the plan; at most a few per thread are in memory at a time."""
    if threads <= 1:
        for number, row in enumerate(rows):
            yield source.make(number, row)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="pack") as pool:
        try:
            for number, row in enumerate(rows):
                waiting.append(pool.submit(source.make, number, row))
                if len(waiting) >= threads * AHEAD_PER_THREAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _preview(path: Path, sheet: list[SheetItem], *, normalised: bool) -> None:
    if sheet:
        write_bytes(path, jpeg_bytes(contact_sheet(sheet, normalised=normalised), PREVIEW_QUALITY))

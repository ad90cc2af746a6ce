"""tile: survey, plan and pack of one slide into a dataset folder, without a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe, load_recipe, parse_override, recipe_from_mapping
from wsiprep.errors import PlanError, SlideError, TissueError, UsageError
from wsiprep.manifest import SlideRow, slug
from wsiprep.progress import Reporter
from wsiprep.slides.collections import is_collection
from wsiprep.stages.decided import decide_slide
from wsiprep.stages.pack import pack
from wsiprep.stages.plan import write_slice
from wsiprep.stages.rows import recipe_of_tree, record_recipe, require_same_recipe
from wsiprep.stages.staging import staged
from wsiprep.stages.stains import fit_stains, require_target_alone
from wsiprep.stages.survey import survey
from wsiprep.store import Receipt

COMMON_GROUPS = {
    "Tumor": "tumour", "tumor": "tumour", "Tumour": "tumour", "tumour": "tumour", "metastases": "tumour",
    "_0": "tumour", "_1": "tumour", "_2": "background", "Exclusion": "background", "exclusion": "background",
    "normal": "background", "Normal": "background",
}  # fmt: skip
"""What ``tile --annotations`` takes groups for where no recipe says: CAMELYON's and ASAP's usual names."""

GIVEN = "given"
"""The ``tissue.method`` of masks that somebody else made."""


@dataclass(frozen=True, slots=True)
class TileRequest:
    """The options of ``wsiprep tile``; None where nothing was asked for."""

    slide: str
    annotations: Path | None = None
    patch_size_px: int | None = None
    spacing_um: float | None = None
    downsample: int | None = None
    slide_spacing_um: float | None = None
    patient: str = ""
    tissue: Path | None = None
    recipe_path: Path | None = None
    overrides: tuple[str, ...] = ()


def tile(
    request: TileRequest, tree: DatasetTree, reporter: Reporter, *, threads: int = 1, stage: Path | None = None
) -> Receipt:
    """Cut one slide into patches; returns the receipt of its shard.

    Raises:
        UsageError: options that exclude each other; the folder was made with another recipe.
        StainError: a stain target that needs other slides, or an image without stains. Nothing is written then.
        DataError: the slide, its annotations or its tissue mask cannot be trusted, or no cell is kept.
    """
    recipe = tile_recipe(request, tree)
    require_same_recipe(tree, recipe)
    row = _row(request)
    _require_mask(row.located(), recipe)
    # Before anything is written: a folder keeps the recipe that it was begun with.
    require_target_alone(recipe, tree, request.recipe_path)
    with staged(row.located(), stage, reporter) as here:
        record = survey(here, recipe, tree, reporter)
        record_recipe(tree, recipe)
        decided = decide_slide(here, record, recipe, tree)
        if not decided.kept_count:
            counts = ", ".join(f"{n} {name}" for name, n in decided.reasons().items())
            raise PlanError(
                "no cell of the slide is kept", got=counts or "no cell fits into the slide", file=request.slide,
                expected=f"cells with tissue >= {recipe.keep.min_tissue:g}, or within the recipe's keep rules",
                fix="look at overview.jpg and tissue.png in the slide's folder; a smaller --patch-size-px, another "
                "tissue.method or a lower keep.min_tissue may be right",
            )  # fmt: skip
        write_slice(decided, recipe, tree, fit_stains([record], recipe, tree, recipe_path=request.recipe_path))
        return pack(here, recipe, tree, reporter, threads=threads)


def tile_recipe(request: TileRequest, tree: DatasetTree) -> Recipe:
    """The recipe of one tile command: a file, the folder's own, or the defaults, with the options on top."""
    if request.spacing_um is not None and request.downsample is not None:
        raise UsageError("--spacing-um and --downsample exclude each other")
    if request.recipe_path is not None:
        recipe = load_recipe(request.recipe_path, request.overrides)
    elif tree.recipe.exists() and not _has_options(request):
        recipe = recipe_of_tree(tree)
    else:
        defaults: dict[str, Any] = {
            "name": "tile",
            "downsample": 1,
            "annotations": {"groups": COMMON_GROUPS},
            "split": {"kind": "none"},
        }
        recipe = recipe_from_mapping(defaults, request.overrides)
    plain = recipe.model_dump(mode="json")
    if request.patch_size_px is not None:
        plain["sampling"]["patch_size_px"] = request.patch_size_px
    if request.spacing_um is not None:
        plain |= {"spacing_um": request.spacing_um, "downsample": None}
    if request.downsample is not None:
        plain |= {"spacing_um": None, "downsample": request.downsample}
    if request.tissue is not None:
        _refuse_another_method(request)
        plain["tissue"]["method"] = GIVEN
    return recipe if plain == recipe.model_dump(mode="json") else recipe_from_mapping(plain)


def _refuse_another_method(request: TileRequest) -> None:
    """A mask and a method that would not look at it cannot both be meant."""
    for item in request.overrides:
        keys, value = parse_override(item)
        if keys == ("tissue", "method") and value != GIVEN:
            raise UsageError(
                "--tissue and a method that finds tissue exclude each other", got=f"--set {item}",
                expected=f"tissue.method={GIVEN}, which --tissue sets", fix="leave one of them out",
            )  # fmt: skip


def _require_mask(row: SlideRow, recipe: Recipe) -> None:
    """The mask that the recipe asks for: named, there, and of use for this kind of slide."""
    ready_cut = is_collection(row.slide)
    if row.tissue is None:
        if recipe.tissue.method == GIVEN and not ready_cut:
            raise UsageError(
                "the recipe takes the tissue from a file, and none is named", got=f"tissue.method: {GIVEN}",
                fix="name the slide's mask with --tissue",
            )  # fmt: skip
        return
    if not Path(row.tissue).is_file():
        raise TissueError("there is no such tissue mask", got=row.tissue, expected="a file", fix="check the path")
    if ready_cut:
        raise UsageError(
            "ready-cut tiles have no tissue mask: every cell counts as tissue", got=f"--tissue {row.tissue}",
            fix="leave --tissue out",
        )  # fmt: skip


def _has_options(request: TileRequest) -> bool:
    asked = (request.patch_size_px, request.spacing_um, request.downsample)
    return bool(request.overrides) or any(value is not None for value in asked)


def _row(request: TileRequest) -> SlideRow:
    is_url = "://" in request.slide
    if not is_url and not Path(request.slide).exists():
        raise SlideError("there is no such slide", got=request.slide, fix="check the path")
    path = request.slide if is_url else str(Path(request.slide).absolute())
    raw_id = Path(request.slide).name.split(".")[0]
    annotations = None if request.annotations is None else str(request.annotations)
    tissue = None if request.tissue is None else str(request.tissue)
    return SlideRow(
        slide_id=slug(raw_id),
        raw_id=raw_id,
        slide=path,
        slide_ref=request.slide,
        annotation=annotations,
        annotation_ref=annotations,
        annotation_state="none" if annotations is None else "exhaustive",
        patient=request.patient,
        spacing_um=request.slide_spacing_um,
        tissue=tissue,
        tissue_ref=tissue,
    )

"""A slide that is surveyed and planned, ready to be packed any number of times."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_slide import BenchSlide

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.geometry import Box
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.stages.pack import pack, read_slice
from wsiprep.stages.plan import plan
from wsiprep.stages.survey import survey
from wsiprep.store import Receipt

TUMOUR = {"min": 0.05, "max": 0.995}
GROUPS = {"tumor": "tumour", "exclusion": "background"}


@dataclass(frozen=True, slots=True)
class Planned:
    """One slide of a dataset folder, up to its plan."""

    row: SlideRow
    recipe: Recipe
    tree: DatasetTree

    def survey(self) -> dict[str, Any]:
        return survey(self.row, self.recipe, self.tree, NullReporter())

    def plan(self) -> dict[str, Any]:
        return plan([self.row], self.recipe, self.tree, NullReporter(), cohort_fallback=False)

    def pack(self, threads: int = 1) -> Receipt:
        return pack(self.row, self.recipe, self.tree, NullReporter(), threads=threads)

    def unpack(self) -> None:
        """Away with the shard and its receipt."""
        shutil.rmtree(self.tree.shard_folder(self.row.slide_id), ignore_errors=True)
        self.tree.receipt(self.row.slide_id).unlink(missing_ok=True)

    def cells(self) -> list[Box]:
        """The kept cells in the order in which they are packed, level-0 pixels."""
        names = ("x_lv0", "y_lv0", "width_lv0", "height_lv0")
        return [Box(*(cell[n] for n in names)) for cell in read_slice(self.tree, self.row.slide_id).cells.to_pylist()]

    def output_mp(self) -> float:
        """Megapixels of the patches."""
        return len(self.cells()) * self.recipe.sampling.patch_size_px**2 / 1e6


def of_slide(
    subject: BenchSlide,
    folder: Path,
    *,
    level0: bool = False,
    tumour: bool = False,
    codec: str = "blosc-lz4",
    stain: str = "none",
    name: str = "slide",
    overrides: Mapping[str, Any] | None = None,
) -> Planned:
    """A slide that is to be surveyed and planned in ``folder``.

    Args:
        subject: the slide.
        folder: the dataset's.
        level0: patches at level 0; else at the spacing of the subject.
        tumour: keep cells with 5 to 99.5 % tumour; else cells with at least 10 % tissue, without its outlines.
        codec, stain: of the recipe.
        name: id of the slide.
        overrides: further keys of the recipe.
    """
    scale: dict[str, Any] = {"downsample": 1} if level0 else {"spacing_um": subject.spacing_um}
    recipe = recipe_from_mapping(
        {
            "name": "benchmark",
            "annotations": {"groups": GROUPS},
            "tissue": {"method": "given" if subject.tissue else "hsv"},
            "sampling": {"patch_size_px": subject.patch_size_px},
            "keep": {"min_tissue": 0.1, "rules": [{"labels": ["tumour"], **TUMOUR}] if tumour else []},
            "split": {"kind": "none"},
            "store": {"codec": codec},
            "stain": {"method": stain},
            **scale,
            **(overrides or {}),
        }
    )
    annotations = str(subject.annotations) if tumour else None
    row = SlideRow(
        slide_id=name,
        raw_id=name,
        slide=str(subject.slide),
        slide_ref=subject.slide.name,
        annotation=annotations,
        annotation_ref=annotations,
        annotation_state="exhaustive" if tumour else "none",
        tissue=str(subject.tissue) if subject.tissue else None,
        tissue_ref=subject.tissue.name if subject.tissue else None,
    )
    return Planned(row, recipe, DatasetTree(folder))

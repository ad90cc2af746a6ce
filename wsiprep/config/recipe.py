"""The recipe: what to make of the slides. Typed, validated, frozen; docs/recipe.md is its manual.

A recipe is data. Every section is one frozen model, defaults are the papers' where they speak, and
nothing here reads a file. Labels are 1, 2, ... in the order of ``labels``; 0 is background and 255
is "not annotated".
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

IGNORE = 255
"""Mask value of pixels that nobody annotated; left out of losses, metrics and fractions."""

BACKGROUND = 0
"""Mask value of annotated pixels that carry none of the recipe's labels."""

LABEL_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED_GROUPS = ("background", "ignore", "drop")
RESERVED_LABELS = (*RESERVED_GROUPS, "tissue", "annotated")

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    """A frozen part of a recipe; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class Annotations(Section):
    """How groups of an annotation file become labels."""

    groups: dict[str, str] = Field(
        default_factory=dict,
        description="group in the file -> a label of this recipe, or background (subtracted after the "
        "union), ignore (255) or drop (left out, counted). Groups named like a label map to it.",
    )
    unknown_group: Literal["error", "drop"] = Field("error", description="a group that is not mapped")
    invalid_rings: Literal["even-odd", "non-zero", "error"] = Field(
        "even-odd", description="the rule by which a self-intersecting ring becomes an area"
    )


class Tissue(Section):
    """Where there is tissue: Otsu on a low level."""

    method: Literal["hsv", "s", "od", "given"] = Field(
        "hsv", description="hsv: saturation AND hue inside the stain arc; s; od (optical density); given (a file)"
    )
    spacing_um: Positive = Field(16.0, description="um/px of the level it is decided on, about")
    median_px: int = Field(7, ge=0, le=31, description="side of the median filter, 0 for none")
    min_hole_um2: float = Field(60_000.0, ge=0, description="smaller holes are filled")
    min_speck_um2: float = Field(60_000.0, ge=0, description="smaller pieces are dropped")


class Sampling(Section):
    """Where the cells lie."""

    kind: Literal["grid"] = Field("grid", description="grid: a regular grid over the slide")
    patch_size_px: int = Field(512, ge=16, le=8192)
    stride_px: int | None = Field(None, ge=1, description="default: the patch size (no overlap)")
    edge: Literal["drop", "pad"] = Field("drop", description="cells over the border: left out, or padded white / 255")
    tumour_free_per_slide: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        0, description="cells with none of the kept labels: the n with the lowest hash, or all"
    )
    max_per_slide: int | None = Field(None, ge=1, description="at most so many cells a slide, by lowest hash")
    seed: int = 0

    @property
    def stride(self) -> int:
        return self.patch_size_px if self.stride_px is None else self.stride_px


class KeepRule(Section):
    """Keep a cell whose share of ``labels`` lies in [min, max], both inclusive (1e-9)."""

    labels: tuple[str, ...] = Field(min_length=1)
    min: Fraction = 0.05
    max: Fraction = 0.995
    of: Literal["annotated", "cell"] = Field("annotated", description="share of the annotated area or of the cell")
    splits: tuple[str, ...] | None = Field(None, description="apply in these splits only (elsewhere cells stay)")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Keep(Section):
    """Which cells become patches."""

    rules: tuple[KeepRule, ...] = ()
    min_tissue: Fraction = Field(0.10, description="for cells without a kept label and slides without annotation")
    min_annotated: Fraction = Field(0.5, description="cells with less annotated area are rejected")

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that any rule asks for, in order, once each."""
        return tuple(dict.fromkeys(name for rule in self.rules for name in rule.labels))


class Stain(Section):
    """Stain normalisation, fitted once a slide."""

    method: Literal["none", "macenko", "vahadane"] = "none"
    target: Literal["reference", "cohort"] = Field(
        "reference", description="reference: the built-in matrix; cohort: fitted on the slides of the train split"
    )
    sample_cells: int = Field(12, ge=1, le=256, description="tissue cells read at full resolution for the fit")
    min_tissue_px: int = Field(20_000, ge=1, description="fewer stained pixels fall back: cohort, then reference")


class Split(Section):
    """Who trains, who validates, who tests."""

    kind: Literal["ratio", "folds", "official", "none"] = Field(
        "ratio", description="ratio; k folds; official (the manifest's split column must be complete); none"
    )
    by: Literal["patient", "slide", "centre", "patch"] = Field("patient", description="patch leaks and is marked so")
    # Floats, because defaults are not validated and 8 and 8.0 have different digests.
    ratio: dict[str, Positive] = Field(default_factory=lambda: {"train": 8.0, "val": 1.0, "test": 1.0})
    folds: int = Field(5, ge=3, le=100, description="one tests, one validates, the rest train")
    seed: int = 0

    @field_validator("ratio")
    @classmethod
    def _named(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if not LABEL_PATTERN.fullmatch(name) or name == "all":
                raise ValueError(f"a split cannot be called {name!r}")
        if not value:
            raise ValueError("at least one split is needed")
        return value


class Store(Section):
    """How shards are stored."""

    codec: Literal["zstd", "blosc-lz4", "none"] = Field("zstd", description="always with a checksum on each chunk")
    zstd_level: int = Field(1, ge=-7, le=22)
    patches_per_shard_file: int = Field(64, ge=1, le=4096)


class Training(Section):
    """What ``snakemake benchmark`` trains on the dataset. Not part of the dataset's digest."""

    models: tuple[str, ...] = Field((), description="model cards to train; none by default")
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] | None = Field(None, description="folds to train; default all of a k-fold split")
    epochs: int = Field(70, ge=1)
    batch_size: int = Field(6, ge=1)
    learning_rate: Positive = 1e-4
    loss: Literal["ce", "dice", "dice_ce"] = "ce"
    augmentation: Literal["none", "flips"] = "none"
    crop_px: int | None = Field(None, ge=16, description="random training crops of this side; default whole patches")
    precision: Literal["32", "16-mixed", "bf16-mixed"] = "32"
    options: dict[str, dict[str, int | float | str | bool]] = Field(
        default_factory=dict, description="per model: keyword arguments of create_model"
    )


class SourceOverride(Section):
    """What one source does differently; the manifest's ``source`` column picks it."""

    downsample: int | None = Field(None, ge=1)
    spacing_um: Positive | None = None
    expect_um: tuple[Positive, ...] | None = None
    groups: dict[str, str] | None = None


class Recipe(Section):
    """What to make of the slides; see the module's docstring."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    version: int = Field(1, ge=1, description="of the recipe; part of every digest")
    title: str = ""
    licence: str = Field("unknown", description="SPDX name of the data's licence, carried into the card")
    synthetic: bool = Field(False, description="the pixels are made by a script; said wherever results are shown")
    labels: tuple[str, ...] = Field(("tumour",), min_length=1, max_length=250)
    downsample: int | None = Field(None, ge=1, description="N x the file's spacing")
    spacing_um: Positive | None = Field(None, description="um/px of the patches")
    expect_um: tuple[Positive, ...] = Field(
        (), description="spacings of the files; 2 % off any of them stops the slide"
    )
    pixels: Literal["stored", "level0"] = Field(
        "stored", description="the pyramid's own level where it fits, or the area mean of level 0"
    )
    mix_pixels: bool = Field(False, description="allow stored levels and area means in one dataset")
    backend: Literal["auto", "tiff", "openslide", "tiffslide"] = Field("auto", description="slide reader")
    annotations: Annotations = Annotations()
    tissue: Tissue = Tissue()
    sampling: Sampling = Sampling()
    keep: Keep = Keep()
    stain: Stain = Stain()
    split: Split = Split()
    store: Store = Store()
    sources: dict[str, SourceOverride] = Field(default_factory=dict)
    max_failed: float = Field(0.0, ge=0.0, lt=1.0, description="share of slides that may fail before plan stops")
    training: Training = Training()
    manifest: str | None = Field(None, description="the manifest's path, relative to the recipe; not in the digest")
    data_root: str | None = Field(
        None, description="folder that the manifest's paths are relative to; not in the digest"
    )

    @field_validator("labels")
    @classmethod
    def _label_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not LABEL_PATTERN.fullmatch(name) or name in RESERVED_LABELS:
                raise ValueError(f"a label cannot be called {name!r} (lower-case letters, digits, _)")
        if len(set(value)) != len(value):
            raise ValueError("labels must differ")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.downsample is None) == (self.spacing_um is None):
            raise ValueError("give exactly one of downsample and spacing_um")
        groups = [self.annotations.groups, *(s.groups or {} for s in self.sources.values())]
        for mapping in groups:
            for group, label in mapping.items():
                if label not in self.labels and label not in RESERVED_GROUPS:
                    allowed = ", ".join((*self.labels, *RESERVED_GROUPS))
                    raise ValueError(f"group {group!r} maps to {label!r}, which is none of {allowed}")
        for rule in self.keep.rules:
            for label in rule.labels:
                if label not in self.labels:
                    raise ValueError(f"keep names {label!r}, which is none of {', '.join(self.labels)}")
        for name, source in self.sources.items():
            if source.downsample is not None and source.spacing_um is not None:
                raise ValueError(f"source {name!r}: give one of downsample and spacing_um")
        return self

    @model_validator(mode="after")
    def _splits_known(self) -> Self:
        known = {"train", "val", "test", *self.split.ratio}
        for rule in self.keep.rules:
            # With folds a cell is in another split for each fold, so no row could be left out of just one.
            if rule.splits is not None and self.split.kind in ("folds", "none"):
                raise ValueError(f"a keep rule for some splits needs fixed splits, not split.kind {self.split.kind}")
            for name in rule.splits or ():
                if self.split.kind == "ratio" and name not in known:
                    raise ValueError(f"keep names the split {name!r}, which the recipe does not make")
        if self.split.by == "patch" and self.sampling.stride < self.sampling.patch_size_px:
            raise ValueError("patches that overlap cannot be split by patch: raise the stride, or split by patient")
        if self.stain.target == "cohort" and (self.split.kind == "folds" or self.split.by == "patch"):
            # Every slide trains in some fold, so a target fitted on "the train split" would see the test slides.
            raise ValueError("stain.target cohort needs one fixed train split: use reference with folds or by patch")
        if not self.keep.rules and self.sampling.tumour_free_per_slide not in (0, "all"):
            raise ValueError("tumour_free_per_slide needs a keep rule: without one every cell with tissue is kept")
        return self

    def label_value(self, label: str) -> int:
        """Mask value of a label: its 1-based place in ``labels``."""
        return self.labels.index(label) + 1

    @property
    def group_map(self) -> dict[str, str]:
        """group -> label, background, ignore or drop; a group named like a label maps to it."""
        return {name: name for name in self.labels} | dict(self.annotations.groups)

    def for_source(self, source: str | None) -> Recipe:
        """This recipe with the overrides of one source applied."""
        override = self.sources.get(source or "")
        if override is None:
            return self
        update: dict[str, object] = {}
        if override.downsample is not None or override.spacing_um is not None:
            update |= {"downsample": override.downsample, "spacing_um": override.spacing_um}
        if override.expect_um is not None:
            update["expect_um"] = override.expect_um
        if override.groups is not None:
            update["annotations"] = self.annotations.model_copy(update={"groups": override.groups})
        return self.model_copy(update=update)

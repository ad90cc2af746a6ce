"""The recipe: what to make of the slides. Typed, validated, frozen; docs/recipe.md is its manual.

A recipe is data. Every section is one frozen model, defaults are the papers' where they speak, and
nothing here reads a file. Labels are 1, 2, ... in the order of ``labels``; 0 is background and 255
is "not annotated".
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from wsiprep.config.dataset import DatasetSpec
from wsiprep.config.section import Section

IGNORE = 255
"""Mask value of pixels that nobody annotated; left out of losses, metrics and fractions."""

BACKGROUND = 0
"""Mask value of annotated pixels that carry none of the recipe's labels."""

LABEL_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED_GROUPS = ("background", "ignore", "roi", "drop")
"""What a group may become beside a label; annotations/regions.py says what each does to a mask."""

RESERVED_LABELS = (*RESERVED_GROUPS, "tissue", "annotated")

AnnotationFormat = Literal["auto", "asap", "imagescope", "ndpa", "geojson", "labelme", "coco", "dsa", "raster"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class RasterLabels(Section):
    """How the values of a label raster or an instance map become labels."""

    values: dict[int, str] = Field(
        default_factory=dict,
        description="value of a pixel -> a label of this recipe, background or ignore; a value that is not listed "
        "is an error. With instances, values of the class that a row or channel names are not listed here",
    )
    channels: tuple[str, ...] = Field(
        (), description="labels (or background, ignore) of the last axis of a stack of masks, such as PanNuke's six"
    )
    overlap: Literal["first", "last", "error"] = Field(
        "error", description="which channel wins where several are set; error refuses the tile"
    )
    instances: bool = Field(False, description="values are ids of instances (0 is none), all of the label given below")
    label: str | None = Field(None, description="the label of every instance of an instance map without classes")
    variable: str = Field("inst_map", description="variable of a .mat file")
    spacing_um: Positive | None = Field(None, description="um/px of the raster, in place of what its file says")


class Annotations(Section):
    """How groups of an annotation file become labels."""

    format: AnnotationFormat = Field(
        "auto", description="format of the annotation files; auto takes it from the content of each"
    )
    groups: dict[str, str] = Field(
        default_factory=dict,
        description="group in the file -> a label of this recipe, or background (subtracted after the "
        'union), ignore (255), roi (only inside is annotated) or drop (left out, counted). The group "" '
        "stands for shapes without one. Groups named like a label, background, ignore or roi map to that.",
    )
    origin: Literal["bounds", "slide"] = Field(
        "bounds",
        description="where GeoJSON counts from on slides with a scanned part (MIRAX, Leica): its corner, as QuPath "
        "writes it, or the corner of the slide",
    )
    unknown_group: Literal["error", "drop"] = Field("error", description="a group that is not mapped")
    invalid_rings: Literal["even-odd", "non-zero", "error"] = Field(
        "even-odd", description="the rule by which a self-intersecting ring becomes an area"
    )
    annotators: Literal["choose", "union", "majority"] = Field(
        "choose", description="what several people's readings of one slide become; choose takes `annotator`'s"
    )
    annotator: str | None = Field(None, description="whose reading choose takes; default the annotation column's")
    instances: bool = Field(False, description="write an instance array: one id for each annotated object")
    raster: RasterLabels = RasterLabels()


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

    kind: Literal["grid", "roi", "box", "whole"] = Field(
        "grid",
        description="grid: a regular grid over the slide; roi: a grid in each region of interest; box: one crop "
        "for each of them, scaled to the patch; whole: the whole slide or tile as one patch, scaled to it",
    )
    patch_size_px: int = Field(512, ge=16, le=8192)
    stride_px: int | None = Field(None, ge=1, description="default: the patch size (no overlap)")
    edge: Literal["drop", "pad"] = Field("drop", description="cells over the border: left out, or padded (mask 255)")
    pad: Literal["white", "black"] = Field("white", description="colour of padded pixels")
    origin: Literal["slide", "bounds"] = Field(
        "slide", description="where a grid begins: corner of the slide, or of its scanned part (MIRAX, Leica)"
    )
    outside_roi: Literal["keep", "pad"] = Field(
        "keep",
        description="pixels of a cell outside its region of interest: as scanned, or padded; mask 255 either way",
    )
    aspect: Literal["expand", "stretch"] = Field(
        "expand", description="box and whole: expand the shorter side to a square, or stretch it"
    )
    anchor: Literal["none", "lesion"] = Field(
        "none", description="lesion: beside the grid, one cell centred on each small region that no kept cell meets"
    )
    anchor_min: Fraction = Field(0.0, description="least share of kept labels in such a cell, in place of a rule's min")
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
    """Stain normalisation."""

    method: Literal["none", "macenko", "vahadane", "ramakrishnan", "reinhard", "hematoxylin"] = Field(
        "none",
        description="vahadane, macenko, ramakrishnan (fast Vahadane: a median of regions); reinhard (moments of the "
        "colours); hematoxylin (vahadane's vectors, haematoxylin alone drawn again)",
    )
    when: Literal["pack", "load"] = Field(
        "pack", description="load: the shard keeps the scanned pixels and the fit beside them; loaders normalise"
    )
    per: Literal["slide", "patch"] = Field(
        "slide", description="one fit a slide, or one a patch (seams between neighbours: for results of old papers)"
    )
    target: Literal["reference", "cohort", "image", "slide"] = Field(
        "reference",
        description="reference: the built-in matrix; cohort: fitted on the slides of the train split; image: "
        "fitted on target_image; slide: the fit of target_slide",
    )
    target_image: str | None = Field(None, description="PNG, JPEG or TIFF with the wanted look, relative to the recipe")
    target_slide: str | None = Field(None, description="slide_id whose look the others get")
    backend: Literal["wsiprep", "staintools"] = Field(
        "wsiprep",
        description="staintools: that library's own fit and map of every patch (extra bench), for old results",
    )
    sample_cells: int = Field(12, ge=1, le=256, description="tissue cells read at full resolution for the fit")
    min_tissue_px: int = Field(20_000, ge=1, description="fewer stained pixels fall back: cohort, then reference")

    @model_validator(mode="after")
    def _whole_target(self) -> Self:
        for kind, value in (("image", self.target_image), ("slide", self.target_slide)):
            if (self.target == kind) != (value is not None):
                raise ValueError(f"target: {kind} and target_{kind} belong together")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.per == "patch" and self.when == "load":
            raise ValueError("per: patch needs when: pack (the shard keeps one fit a slide for loaders)")
        if self.backend == "staintools":
            if self.method not in ("none", "macenko", "vahadane", "reinhard"):
                raise ValueError(f"staintools has no {self.method}")
            if self.per != "patch":
                raise ValueError("backend: staintools needs per: patch, because it fits every picture on its own")
        return self


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

    codec: Literal["blosc-lz4", "zstd", "none", "jpegxl", "jpeg"] = Field(
        "blosc-lz4",
        description="always with a checksum on each chunk; jpegxl (lossless) and jpeg (not) hold images, masks are "
        "zstd then, and readers other than wsiprep need its codec",
    )
    zstd_level: int = Field(1, ge=-7, le=22)
    jpeg_quality: int = Field(95, ge=50, le=100, description="of codec jpeg, with 4:4:4 chroma")
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
    augment_on: Literal["loader", "device"] = Field(
        "loader", description="where patches are flipped: in the loader's workers or on the device; the same flips"
    )
    jitter: float = Field(0.0, ge=0.0, lt=1.0, description="strength of colour jitter in training, 0 for none")
    stain: Literal["fit", "macenko", "vahadane", "ramakrishnan", "reinhard", "hematoxylin", "augment"] | None = Field(
        None,
        description="of a dataset with stain.when load: fit normalises as the dataset's recipe says, a method's name "
        "asks for that one, augment varies the amounts in training",
    )
    order: Literal["random", "stream"] = Field(
        "random", description="stream reads shard file after shard file, mixing window_files of them: for slow disks"
    )
    window_files: int = Field(8, ge=1, description="shard files that stream mixes at a time")
    save_every_steps: int | None = Field(None, ge=1, description="a checkpoint within the epoch, to go on from")
    crop_px: int | None = Field(None, ge=16, description="random training crops of this side; default whole patches")
    precision: Literal["32", "16-mixed", "bf16-mixed"] = "32"
    options: dict[str, dict[str, int | float | str | bool]] = Field(
        default_factory=dict, description="per model: keyword arguments of create_model"
    )


class Collection(Section):
    """How rows of the manifest whose slide is a folder or stack of ready-cut tiles are read."""

    images: str = Field(
        "{tile}.png", description="path of a tile in the folder, {tile} once; .npy stacks have no such pattern"
    )
    labels: str | None = Field(
        None, description="path of its labels in the folder of the annotation column (or the same one), {tile} once"
    )
    table: str | None = Field(
        None, description="CSV in the folder with a column tile and any of patient, tissue, split, fold, spacing_um"
    )
    tissue: str | None = Field(None, description=".npy with the tissue of each tile of a stack, such as types.npy")
    patient: str | None = Field(
        None, description="regular expression on the tile's name; its first group is the patient"
    )
    split: dict[str, str] = Field(
        default_factory=dict, description="regular expression on the tile's name -> its split; the first match wins"
    )

    @field_validator("images", "labels")
    @classmethod
    def _one_place(cls, value: str | None) -> str | None:
        if value is not None and value.count("{tile}") != 1:
            raise ValueError(f"{value!r} needs {{tile}} exactly once")
        return value

    @field_validator("patient")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None and _compiled(value).groups < 1:
            raise ValueError(f"{value!r} has no group, such as (TCGA-..-....)")
        return value

    @field_validator("split")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value:
            _compiled(pattern)
        return value


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


class SourceOverride(Section):
    """What one source does differently; the manifest's ``source`` column picks it."""

    downsample: int | None = Field(None, ge=1)
    spacing_um: Positive | None = None
    expect_um: tuple[Positive, ...] | None = None
    groups: dict[str, str] | None = None
    format: AnnotationFormat | None = Field(None, description="as annotations.format")
    raster: RasterLabels | None = Field(None, description="as annotations.raster")
    collection: Collection | None = Field(None, description="as collection")
    resample: Literal["none", "area", "zoom"] | None = Field(None, description="as resample")
    manifest: str | None = Field(
        None, description="this source's own manifest, relative to the recipe; its rows need no source column"
    )
    data_root: str | None = Field(None, description="folder that its paths are relative to")


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
    resample: Literal["none", "area", "zoom"] = Field(
        "none",
        description="where spacing_um is no integer multiple of the file's: stop; area (the mean of level 0 under "
        "each pixel); zoom (area, and collections may also be enlarged, labels by nearest)",
    )
    icc: Literal["ignore", "srgb"] = Field(
        "ignore", description="srgb: colours are converted by the file's ICC profile; a file without one is an error"
    )
    max_damaged: Fraction = Field(
        0.05, description="share of a slide's cells that may be undecodable (left out, listed) before the slide fails"
    )
    decode: Literal["exact", "dct"] = Field(
        "exact",
        description="where the wanted level is missing: exact, the area mean of level 0; dct, JPEG tiles are made "
        "smaller while they are decoded (about twice as fast, not the same pixels), recorded per patch",
    )
    mix_pixels: bool = Field(False, description="allow stored levels and area means in one dataset")
    backend: Literal["auto", "tiff", "openslide", "tiffslide", "image"] = Field("auto", description="slide reader")
    annotations: Annotations = Annotations()
    collection: Collection = Collection()
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
    confined: bool = Field(
        False, description="all files of the manifest must lie below data_root, links resolved; not in the digest"
    )
    dataset: DatasetSpec | None = Field(
        None, description="what is known of a published dataset, see [datasets](datasets.md); not in the digest"
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
    def _scaled(self) -> Self:
        if self.sampling.kind in ("box", "whole"):
            if (self.downsample, self.spacing_um) != (None, None):
                raise ValueError(
                    f"sampling.kind {self.sampling.kind} scales each crop to the patch: leave downsample and "
                    "spacing_um out"
                )
        elif (self.downsample is None) == (self.spacing_um is None):
            raise ValueError("give exactly one of downsample and spacing_um")
        for name, source in self.sources.items():
            if source.downsample is not None and source.spacing_um is not None:
                raise ValueError(f"source {name!r}: give one of downsample and spacing_um")
        return self

    @model_validator(mode="after")
    def _known_labels(self) -> Self:
        rasters = [self.annotations.raster, *(s.raster for s in self.sources.values() if s.raster is not None)]
        for raster in rasters:
            for label in (*raster.values.values(), *raster.channels, *((raster.label,) if raster.label else ())):
                if label not in (*self.labels, "background", "ignore"):
                    allowed = ", ".join((*self.labels, "background", "ignore"))
                    raise ValueError(f"annotations.raster names {label!r}, which is none of {allowed}")
        groups = [self.annotations.groups, *(s.groups or {} for s in self.sources.values())]
        for group, label in (item for mapping in groups for item in mapping.items()):
            if label not in self.labels and label not in RESERVED_GROUPS:
                allowed = ", ".join((*self.labels, *RESERVED_GROUPS))
                raise ValueError(f"group {group!r} maps to {label!r}, which is none of {allowed}")
        for label in (name for rule in self.keep.rules for name in rule.labels):
            if label not in self.labels:
                raise ValueError(f"keep names {label!r}, which is none of {', '.join(self.labels)}")
        return self

    @model_validator(mode="after")
    def _stains_at_load(self) -> Self:
        # Known before a slide is packed, and not when the first model trains.
        if self.training.stain is not None and (self.stain.method == "none" or self.stain.when != "load"):
            raise ValueError(
                f"training.stain: {self.training.stain} needs a stain.method and stain.when: load, so that scanned "
                f"pixels and fits are packed (here: {self.stain.method}, {self.stain.when})"
            )
        return self

    @model_validator(mode="after")
    def _same_licence(self) -> Self:
        if self.dataset is not None and self.dataset.licence.spdx != self.licence:
            raise ValueError(f"licence {self.licence!r} is not the dataset section's {self.dataset.licence.spdx!r}")
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
        sampling = self.sampling
        overlap = sampling.stride < sampling.patch_size_px or sampling.kind in ("roi", "box")
        if self.split.by == "patch" and (overlap or sampling.anchor != "none"):
            raise ValueError(
                "patches that may overlap (a stride below the patch, regions, boxes, anchored cells) cannot be split "
                "by patch: split by patient"
            )
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
        """group -> label, background, ignore, roi or drop; a group named like one of the first four maps to it."""
        own = {name: name for name in (*self.labels, "background", "ignore", "roi")}
        return own | dict(self.annotations.groups)

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
        annotations = {
            name: value
            for name, value in (("groups", override.groups), ("format", override.format), ("raster", override.raster))
            if value is not None
        }
        if annotations:
            update["annotations"] = self.annotations.model_copy(update=annotations)
        if override.collection is not None:
            update["collection"] = override.collection
        if override.resample is not None:
            update["resample"] = override.resample
        return self.model_copy(update=update)

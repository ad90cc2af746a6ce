"""What is known of a published dataset: its layouts, counts, checksums, groups, exclusions and licence.

The section ``dataset`` of a recipe. It says what a copy of the data should look like on disk and
what its names mean; the rest of the recipe says what to make of it. It changes no pixel and no label
by itself, so it is in no digest; what follows from it stands in the manifest that
``wsiprep dataset check`` writes. docs/datasets.md is its manual.
"""

from __future__ import annotations

import re
import string
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wsiprep.config.licence import Citation, Licence, licence_of
from wsiprep.config.published import Expectation, PublishedPatches, TileNote
from wsiprep.config.section import Section, compiled

Algorithm = Literal["md5", "sha1", "sha256", "sha512"]

ANY_CLASS = "*"
"""The class whose state rule serves the classes that have none of their own."""


def places_of(pattern: str) -> tuple[str, ...]:
    """Names of the places of a path pattern, in order, once each.

    >>> places_of("training/{class}/{slide}.tif")
    ('class', 'slide')

    Raises:
        ValueError: an unbalanced brace, a nameless place, or a path that leaves its folder.
    """
    parts = pattern.split("/")
    if not pattern or pattern.startswith("/") or "\\" in pattern or any(p in (".", "..") for p in parts):
        raise ValueError(f"{pattern!r} must be a relative path with /, without . and ..")
    names: dict[str, None] = {}
    for _, name, spec, conversion in string.Formatter().parse(pattern):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"{pattern!r}: {{{name}}} is no place; a place is a name, such as {{slide}}")
        names[name] = None
    return tuple(names)


def licence_record(spdx: str, spec: DatasetSpec | None) -> dict[str, Any]:
    """What a dataset's record and card say of the licence, its limits and what to cite.

    Args:
        spdx: the recipe's ``licence``.
        spec: its dataset section, or None; then the limits are those that the name spells out.
    """
    licence = licence_of(spdx) if spec is None else spec.licence
    return {
        "spdx": licence.spdx,
        "redistribute_derived": licence.redistribute_derived,
        "non_commercial": licence.non_commercial,
        "share_alike": licence.share_alike,
        "limits": list(licence.limits),
        "citation": [] if spec is None else [c.model_dump(mode="json", exclude_none=True) for c in spec.citation],
        "homepage": "" if spec is None else spec.homepage,
    }


class Items(Section):
    """Slides (or collections of ready-cut tiles) of one path pattern, and what goes with each.

    A pattern is a path with places in braces: ``training/{class}/{slide}.tif``. All else in it is
    matched letter by letter, so brackets, commas and blanks of real names stand as they are. A place
    takes what is not ``/``; ``where`` narrows it. The same place twice must take the same text.
    """

    path: str = Field(description="pattern of the slide's file; of a collection: a folder (with / at the end) or stack")
    kind: Literal["slide", "collection"] = "slide"
    id: str = Field("{slide}", description="the row's id, made of places of the path")
    slide_class: str | None = Field(None, description="class; default: the place {class}, else `classes`")
    where: dict[str, str] = Field(default_factory=dict, description="place -> regular expression that it must match")
    annotation: tuple[str, ...] = Field((), description="patterns of the annotation file, of the path's places")
    pairing: Literal["only", "first"] = Field(
        "only", description="several annotation files of one slide: an error, or the first pattern's"
    )
    tissue: str | None = Field(None, description="pattern of a given tissue mask")
    sidecars: tuple[str, ...] = Field((), description="patterns of other files that may lie beside it")
    source: str | None = Field(None, description="source of the recipe that its rows belong to")

    @model_validator(mode="after")
    def _places(self) -> Self:
        known = set(places_of(self.path))
        for name, pattern in self.where.items():
            if name not in known:
                raise ValueError(f"where names {name!r}, which is no place of {self.path!r}")
            if compiled(pattern).groups:
                raise ValueError(f"where {name!r}: use (?:...) for groups")
        for text in (self.id, *self.annotation, *(() if self.tissue is None else (self.tissue,))):
            missing = set(places_of(text)) - known
            if missing:
                raise ValueError(f"{text!r} has places that {self.path!r} lacks: {', '.join(sorted(missing))}")
        for text in self.sidecars:
            places_of(text)
        if self.kind == "slide" and self.path.endswith("/"):
            raise ValueError(f"{self.path!r} names a folder: say kind: collection")
        return self


class ClassTable(Section):
    """A table of the release that says what each slide is, such as CAMELYON17's stages."""

    path: str = Field(description="its file; a pattern without places")
    header: bool = Field(True, description="whether the first line names the columns")
    slide: str | int = Field(description="column of the slide's name or file name (a number counts from 0)")
    value: str | int = Field(description="column of the value")
    drop: str | None = Field(None, description="regular expression of names that are no slides")
    values: dict[str, str] = Field(description="value -> class; another value is an error")
    column: str | None = Field(None, description="manifest column that the value is passed on in")

    @field_validator("drop")
    @classmethod
    def _drop(cls, value: str | None) -> str | None:
        return None if value is None else compiled(value).pattern


class Layout(Section):
    """One way in which the data lie on disk."""

    note: str = Field("", description="where copies of this layout come from")
    items: tuple[Items, ...] = Field(min_length=1)
    table: ClassTable | None = None
    allowed: tuple[str, ...] = Field((), description="patterns of other files; a folder (with / at the end) holds any")
    recipe: dict[str, Any] = Field(
        default_factory=dict, description="keys of the recipe that differ for this layout, merged into the copy"
    )

    @field_validator("allowed")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            places_of(pattern)
        return value


class Part(Section):
    """Another dataset that this one consists of, in a folder of its own."""

    dataset: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,79}$", description="its name in the list")
    folders: tuple[str, ...] = Field(min_length=1, description="names of its folder; the first that is there")

    @field_validator("folders")
    @classmethod
    def _inside(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for folder in value:
            places_of(folder)
        return value


class Checksums(Section):
    """Digests of files: a list in the release, or one literal digest."""

    algorithm: Algorithm
    file: str | None = Field(None, description="list of the release, lines as md5sum writes them")
    path: str | None = Field(None, description="file that has `digest`")
    digest: str | None = None
    source: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.file is None) == (self.path is None) or (self.path is None) != (self.digest is None):
            raise ValueError("give file, or path with digest")
        length = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}[self.algorithm]
        if self.digest is not None and not re.fullmatch(rf"[0-9a-f]{{{length}}}", self.digest):
            raise ValueError(f"{self.digest!r} is no {self.algorithm} digest in lower-case hexadecimal")
        return self


class GroupRule(Section):
    """How a name tells a patient, a centre or a split. The first rule that matches wins.

    The result is ``value``, else the expression's first group; with ``divide`` the group is a whole
    number that is divided, rounding down; ``names`` then translates.
    """

    match: str = Field(description="regular expression that the whole id must match")
    value: str | None = None
    divide: int | None = Field(None, ge=1)
    names: dict[str, str] = Field(default_factory=dict)
    provenance: Literal["released", "derived"] = Field(
        "derived", description="released: the publisher says so; derived: it is read out of the name"
    )
    source: str
    unverified: bool = False

    @model_validator(mode="after")
    def _has_result(self) -> Self:
        if self.value is None and compiled(self.match).groups < 1:
            raise ValueError(f"{self.match!r} has no group, and there is no value")
        if self.value is not None and self.divide is not None:
            raise ValueError("a fixed value is not divided")
        return self

    def result(self, name: str) -> str | None:
        """What the rule makes of an id; None where it does not match.

        >>> GroupRule(match=r"patient_(\\d{3})_.*", divide=20, source="x").result("patient_047_node_1")
        '2'
        """
        found = re.fullmatch(self.match, name)
        if found is None:
            return None
        text = self.value if self.value is not None else found[1]
        if self.divide is not None:
            text = str(int(text) // self.divide)
        return self.names.get(text, text)


class StateRule(Section):
    """What the presence or absence of an annotation file means for slides of a class."""

    with_file: Literal["exhaustive", "partial", "error"] = "exhaustive"
    without_file: Literal["normal", "none", "exclude", "error"] = Field(
        "error", description="exclude: state none, and listed in exclude.csv"
    )
    reason: str = Field("", description="why, for exclude.csv and the manifest")
    source: str = ""


class Fact(Section):
    """Something that is known of single slides. A row of the facts CSV is one of an exact id."""

    slide: str = Field(description="regular expression of ids, whole; in the CSV an exact id")
    slide_class: str | None = None
    annotation_state: Literal["exhaustive", "partial", "normal", "none"] | None = None
    annotation: Literal["required"] | None = Field(None, description="required: it must have its annotation file")
    patient: str | None = None
    centre: str | None = None
    split: str | None = None
    spacing_um: Annotated[float, Field(gt=0.0)] | None = None
    exclude: str | None = Field(None, description="reason to leave the slide out")
    optional: bool = Field(False, description="sources disagree about `exclude`: applied on request only")
    withdrawn: bool = Field(False, description="not in the published counts any more")
    note: str = ""
    source: str
    unverified: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        compiled(self.slide)
        if (self.optional or self.withdrawn) and not self.exclude:
            raise ValueError("optional and withdrawn belong to an exclude with a reason")
        if self.optional and self.withdrawn:
            raise ValueError("a withdrawn slide is left out in any case")
        return self


class RoiFiles(Section):
    """Images cut out of slides, whose names carry the level-0 box: their size must be the box's."""

    path: str = Field(description="pattern with the places x0, y0, x1 and y1")
    where: dict[str, str] = Field(default_factory=dict)
    note: str = ""

    @field_validator("path")
    @classmethod
    def _corners(cls, value: str) -> str:
        missing = {"x0", "y0", "x1", "y1"} - set(places_of(value))
        if missing:
            raise ValueError(f"{value!r} lacks {', '.join(sorted(missing))}")
        return value


class DatasetSpec(Section):
    """What a copy of a published dataset should look like, and what its names mean."""

    homepage: str = ""
    citation: tuple[Citation, ...] = ()
    licence: Licence
    facts: str | None = Field(None, description="CSV beside the recipe with what is known of single slides")
    layouts: dict[str, Layout] = Field(default_factory=dict, description="by name; the first that matches is used")
    parts: dict[str, Part] = Field(default_factory=dict, description="source -> dataset, instead of layouts")
    classes: dict[str, str] = Field(
        default_factory=dict, description="class -> regular expression of ids, for patterns without {class}"
    )
    states: dict[str, StateRule] = Field(default_factory=dict, description="class (or *) -> what a file means")
    patient: tuple[GroupRule, ...] = ()
    centre: tuple[GroupRule, ...] = ()
    split: tuple[GroupRule, ...] = ()
    fold: tuple[GroupRule, ...] = Field((), description="numbers from 0 on, for split.kind folds")
    slides: tuple[Fact, ...] = Field((), description="facts by regular expression; rows of the CSV win over them")
    rois: tuple[RoiFiles, ...] = ()
    tiles: tuple[TileNote, ...] = Field((), description="what is known of single tiles of collections")
    expect: tuple[Expectation, ...] = ()
    patches: tuple[PublishedPatches, ...] = Field((), description="patches of each split that a paper reports")
    checksums: tuple[Checksums, ...] = ()
    unverified: tuple[str, ...] = Field((), description="what no document confirmed; said by show and check")

    @field_validator("facts")
    @classmethod
    def _beside(cls, value: str | None) -> str | None:
        if value is not None and (places_of(value) or "/" in value):
            raise ValueError(f"{value!r} must be the name of a file beside the recipe")
        return value

    @field_validator("classes")
    @classmethod
    def _classes(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value.values():
            compiled(pattern)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.layouts) == bool(self.parts):
            raise ValueError("a dataset has layouts, or parts that have them")
        if self.layouts and not self.states:
            raise ValueError("states must say what an annotation file means, at least for '*'")
        for expectation in self.expect:
            unknown = set(expectation.layouts) - set(self.layouts)
            if unknown:
                raise ValueError(f"expect names layouts that there are not: {', '.join(sorted(unknown))}")
        return self

    @property
    def unverified_facts(self) -> tuple[str, ...]:
        """Every fact that no document confirmed: the list, and what is marked in its place."""
        marked = [f"{e.what} {e.slide_class or ''} {e.count}: {e.source}" for e in self.expect if e.unverified]
        marked += [f"{f.slide}: {f.note or f.exclude}: {f.source}" for f in self.slides if f.unverified]
        rules = (("patient", self.patient), ("centre", self.centre), ("split", self.split), ("fold", self.fold))
        marked += [f"{n} of {r.match}: {r.source}" for n, group in rules for r in group if r.unverified]
        return (*self.unverified, *marked)

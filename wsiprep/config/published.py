"""What somebody published of a dataset: counts, patches of a paper, and warnings of single tiles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from wsiprep.config.section import Section, compiled

Severity = Literal["error", "warning"]


class Expectation(Section):
    """A count that somebody published, with its source."""

    what: Literal["slides", "annotations", "patients", "tiles"] = "slides"
    slide_class: str | None = Field(None, description="of this class (or classes, separated by |); default all")
    match: str | None = Field(None, description="of ids that this regular expression matches whole")
    count: int = Field(ge=0)
    accept: tuple[int, ...] = Field((), description="other counts that a source gives")
    layouts: tuple[str, ...] = Field((), description="only in these layouts")
    source: str
    severity: Severity = "error"
    unverified: bool = False

    @field_validator("match")
    @classmethod
    def _match(cls, value: str | None) -> str | None:
        return None if value is None else compiled(value).pattern


class PublishedPatches(Section):
    """How many patches a paper made, for ``dataset compare``; its slides and rules are rarely known in full."""

    split: str = Field(description="train, val or test; all: of the whole dataset")
    count: int = Field(ge=0)
    source: str


class TileNote(Section):
    """What is known of tiles by their names, such as names that stand for other pixels in other copies."""

    match: str = Field(description="regular expression that the tile's whole name must match")
    note: str
    source: str

    @field_validator("match")
    @classmethod
    def _match(cls, value: str) -> str:
        return compiled(value).pattern

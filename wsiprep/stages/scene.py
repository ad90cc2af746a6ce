"""Pixels and labels of what one row of the manifest holds: a slide, or the tiles of a collection."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self

from wsiprep.annotations import LabelSource
from wsiprep.artifacts import SlideFolder
from wsiprep.config import Recipe
from wsiprep.errors import SlideError
from wsiprep.manifest import SlideRow
from wsiprep.slides import PatchReader, Slide, open_slide
from wsiprep.stages.labels import packed_labels
from wsiprep.stages.survey import pixels_of


class Scene(Protocol):
    """What pack cuts patches from. Thread-safe."""

    @property
    def identity(self) -> str:
        """Fingerprint of the files, as survey recorded it."""
        ...

    def at(self, tile: int) -> tuple[PatchReader, LabelSource]:
        """Pixels and labels of one tile; a slide is its own tile 0."""
        ...

    def tile_name(self, tile: int) -> str | None:
        """The tile's name; None for slides."""
        ...


class SlideScene(AbstractContextManager["SlideScene"]):
    """One slide, as survey understood it.

    Raises:
        SlideError: it cannot be opened.
        AnnotationError: its regions cannot be read.
    """

    def __init__(self, row: SlideRow, recipe: Recipe, folder: SlideFolder, record: dict[str, Any]) -> None:
        self._slide: Slide = open_slide(row.slide, recipe.backend)
        try:
            self._reader = PatchReader(self._slide, pixels_of(recipe))
            self._labels = packed_labels(row, recipe, self._slide.info, folder, record)
        except BaseException:
            self._slide.close()
            raise

    @property
    def identity(self) -> str:
        return self._slide.info.identity

    def at(self, tile: int) -> tuple[PatchReader, LabelSource]:
        if tile != 0:
            raise SlideError("the plan has tiles and this is a slide", got=tile, fix="run survey and plan again")
        return self._reader, self._labels

    def tile_name(self, tile: int) -> str | None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slide.close()


def open_scene(row: SlideRow, recipe: Recipe, folder: SlideFolder, record: dict[str, Any]) -> SlideScene:
    """The scene of one row, as survey recorded it."""
    return SlideScene(row, recipe, folder, record)

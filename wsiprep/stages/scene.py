"""Pixels and labels of what one row of the manifest holds: a slide, or the tiles of a collection."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol, Self

from wsiprep.annotations import LabelSource
from wsiprep.artifacts import SlideFolder
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError, SlideError
from wsiprep.geometry import Box, Spacing
from wsiprep.manifest import SlideRow
from wsiprep.slides import DamagedRegionError, PatchReader, Slide, open_slide
from wsiprep.slides.collection_tiles import TileImage
from wsiprep.slides.collections import open_collection
from wsiprep.stages.labels import packed_labels, require_same
from wsiprep.stages.records import pixels_of
from wsiprep.stages.tiles import annotation_place, is_surveyed_collection, labels_of_tile, read_tiles

OPEN_TILES = 32
"""Decoded tiles with their labels that stay in memory: of 1000 x 1000 px, about 100 MB."""


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

    def spacing_um(self, tile: int) -> float:
        """um/px of level 0 along x; the tiles of a collection may differ."""
        ...


class SlideScene(AbstractContextManager["SlideScene"]):
    """One slide, as survey understood it.

    Raises:
        SlideError: it cannot be opened.
        AnnotationError: its regions cannot be read.
    """

    def __init__(self, row: SlideRow, recipe: Recipe, folder: SlideFolder, record: dict[str, Any]) -> None:
        self._spacing_um = float(record["spacing_um"]["used"])
        self._slide: Slide = open_slide(row.slide, recipe.backend, icc=recipe.icc)
        try:
            self._reader = PatchReader(self._slide, pixels_of(recipe), recipe.decode)
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

    def spacing_um(self, tile: int) -> float:
        return self._spacing_um

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slide.close()


class CollectionScene(AbstractContextManager["CollectionScene"]):
    """The tiles of one collection, as survey understood them. Tiles that were used last stay open.

    Raises:
        SlideError: it cannot be opened.
        AnnotationError: its labels are not the ones that were surveyed.
    """

    def __init__(self, row: SlideRow, recipe: Recipe, folder: SlideFolder, record: dict[str, Any]) -> None:
        known = record["annotation"]
        self._labelled = known["state"] in ("exhaustive", "partial")
        place = annotation_place(row)
        self._collection = open_collection(row.slide, recipe.collection, annotation=place, labels=self._labelled)
        self._recipe = recipe
        self._row = row
        self._tiles = read_tiles(folder)
        self._infos = {tile.name: tile for tile in self._collection.tiles}
        if known["stack"] and place is not None:
            require_same(place, recipe, known["stack"])
        self._open = lru_cache(maxsize=OPEN_TILES)(self._opened)

    @property
    def identity(self) -> str:
        return self._collection.identity

    def at(self, tile: int) -> tuple[PatchReader, LabelSource]:
        return self._open(tile)

    def tile_name(self, tile: int) -> str | None:
        return self._tiles[tile].tile

    def spacing_um(self, tile: int) -> float:
        return self._tiles[tile].spacing_um

    def _opened(self, number: int) -> tuple[PatchReader, LabelSource]:
        known = self._tiles[number]
        info = self._infos.get(known.tile)
        if info is None or info.identity != known.identity:
            raise SlideError(
                "a tile is not the one that was surveyed", got=known.tile, file=self._collection.path,
                fix="run survey and plan again",
            )  # fmt: skip
        spacing = Spacing(known.spacing_um, known.spacing_um)
        state = self._row.annotation_state
        labels = labels_of_tile(info, state, self._recipe, spacing)
        if labels.digest != known.annotation_digest:
            raise AnnotationError(
                "the labels of a tile are not the ones that were surveyed", got=known.tile, file=info.labels,
                fix="run survey and plan again",
            )  # fmt: skip
        try:
            # Into memory at once: files of tiles that are no longer needed must not stay open.
            with self._collection.open(info) as slide:
                pixels = slide.read_level(0, Box(0, 0, info.size.width_px, info.size.height_px))
                tile = TileImage(pixels, info.identity, slide.info.vendor)
        except SlideError as error:
            raise DamagedRegionError(error.message, got=error.got, file=error.file) from error
        return PatchReader(tile, pixels_of(self._recipe), self._recipe.decode), labels.source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.cache_clear()


def open_scene(
    row: SlideRow, recipe: Recipe, folder: SlideFolder, record: dict[str, Any]
) -> SlideScene | CollectionScene:
    """The scene of one row, as survey recorded it."""
    row = row.located()
    if is_surveyed_collection(record):
        return CollectionScene(row, recipe, folder, record)
    return SlideScene(row, recipe, folder, record)

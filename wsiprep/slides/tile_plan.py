"""How often the patches that are going to be read need each tile, and how many tiles they need at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from wsiprep.geometry import Box, Size

AHEAD_PATCHES = 32
"""Patches that threads may be ahead of the slowest one: so much longer a tile may be needed."""


@dataclass(frozen=True, slots=True)
class TileRange:
    """The tiles [row, row_end) x [column, column_end) of a level."""

    row: int
    row_end: int
    column: int
    column_end: int
    columns: int

    @classmethod
    def under(cls, box: Box, tile: Size, columns: int) -> TileRange:
        """The tiles that a box of pixels lies on.

        Args:
            columns: tiles in a row of the level.
        """
        if not box.area_px:
            return cls(0, 0, 0, 0, columns)
        return cls(
            box.y // tile.height_px, -(-box.y_end // tile.height_px),
            box.x // tile.width_px, -(-box.x_end // tile.width_px), columns,
        )  # fmt: skip

    def indices(self) -> list[int]:
        """Their indices, row by row."""
        columns = range(self.column, self.column_end)
        return [row * self.columns + column for row in range(self.row, self.row_end) for column in columns]


@dataclass
class _Uses:
    """Of one kind of tiles; arrays (rows, columns).

    Attributes:
        tile_bytes: decoded bytes of a tile.
        count: patches that need it.
        last: number of the last of them.
        patches: of each patch the number and its rows and columns of tiles.
    """

    tile_bytes: int
    count: npt.NDArray[np.int32]
    last: npt.NDArray[np.int64]
    patches: list[tuple[int, slice, slice]] = field(default_factory=list)

    @cached_property
    def first(self) -> npt.NDArray[np.int64]:
        """The number of the first patch that needs a tile; anything where none does."""
        first = np.zeros_like(self.last)
        for patch, rows, columns in reversed(self.patches):
            first[rows, columns] = patch
        return first


@dataclass(slots=True)
class TilePlan:
    """Collects what the patches need, in the order in which they will be read."""

    _kinds: dict[int, _Uses] = field(default_factory=dict)
    _patches: int = 0

    def add(self, patch: int, kind: int, tiles: TileRange, rows: int, tile_bytes: int) -> None:
        """A patch needs these tiles.

        Args:
            patch: its number in the order of reading, ascending from call to call.
            kind: of the tiles.
            rows: of tiles in their level.
            tile_bytes: decoded bytes of one.
        """
        uses = self._kinds.get(kind)
        if uses is None:
            shape = (rows, tiles.columns)
            uses = self._kinds[kind] = _Uses(tile_bytes, np.zeros(shape, np.int32), np.zeros(shape, np.int64))
        where = slice(tiles.row, tiles.row_end), slice(tiles.column, tiles.column_end)
        uses.count[where] += 1
        uses.last[where] = patch
        uses.patches.append((patch, *where))
        self._patches = patch + 1

    def counts(self) -> dict[int, list[int]]:
        """For each kind, how many patches need each tile."""
        return {kind: uses.count.ravel().tolist() for kind, uses in self._kinds.items()}

    def order(self) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """The kinds and indices (int64) of all tiles as they are needed first; those of a patch by kind and index."""
        kinds, indices, firsts = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for kind, uses in self._kinds.items():
            used = np.flatnonzero(uses.count)
            kinds.append(np.full(len(used), kind))
            indices.append(used)
            firsts.append(uses.first.ravel()[used])
        kind_of, index, first = np.concatenate(kinds), np.concatenate(indices), np.concatenate(firsts)
        by_use = np.lexsort((index, kind_of, first))
        kind_of, index = kind_of[by_use], index[by_use]
        changes = np.flatnonzero(np.diff(kind_of)) + 1
        for part in np.split(np.arange(len(index)), changes):
            if len(part):
                yield int(kind_of[part[0]]), index[part]

    def peak_bytes(self) -> int:
        """Most bytes of tiles that are needed again at a time, with threads ``AHEAD_PATCHES`` apart."""
        change = np.zeros(self._patches + AHEAD_PATCHES + 2, np.int64)
        for uses in self._kinds.values():
            used = uses.count > 0
            np.add.at(change, uses.first[used], uses.tile_bytes)
            np.add.at(change, uses.last[used] + AHEAD_PATCHES + 1, -uses.tile_bytes)
        return int(np.cumsum(change).max(initial=0))

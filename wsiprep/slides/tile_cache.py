"""Decoded tiles of one open slide: each is decoded once, by one thread, and kept no longer than it is needed.

Without a plan the tiles used last are kept, up to a number of bytes. With a plan, which says how many patches need
each tile, a tile is dropped with the last of them, and nothing else is kept. Only what the plan needs at the same
time beyond the limit pushes out tiles that are decoded again; that is counted.

A tile that is dropped gives its memory to the next one: fresh memory costs a sixth of what decoding into it costs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from wsiprep.slides.protocol import RGB

Key = tuple[int, int]
"""The kind of a tile (a level, as it is or reduced), numbered by the owner of the cache, and the tile's index."""

SPARE_BYTES = 4 * 2**20
"""Memory of dropped tiles that is held for the next ones."""


@dataclass(slots=True)
class _Entry:
    """A tile that is there (``tile``), or that a thread decodes at the moment.

    Attributes:
        readers: threads that wait for it or copy from it: its memory is theirs.
        done: what those that wait for it wait on; made by the first of them.
        own_memory: whether it lies in memory that may be used again.
    """

    tile: RGB | None = None
    readers: int = 1
    done: threading.Event | None = None


def _awaited(entry: _Entry, done: threading.Event) -> RGB | None:
    done.wait()
    return entry.tile


class TileCache:
    """The tiles of a slide. Thread-safe; no tile is decoded under its lock.

    Every ``acquire`` is followed by a ``release`` of the same key; in between the tile may be read, never written.

    Args:
        limit_bytes: of tiles that are kept while nobody reads them. Those in use come on top: at most one a thread.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._usual_bytes = self.limit_bytes = limit_bytes
        self._held_bytes = self._spare_bytes = 0
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._spare: dict[tuple[int, ...], list[RGB]] = {}
        self._uses: Mapping[int, list[int]] = {}
        self._open_tiles = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of the tiles that are there, in use or not."""
        return self._held_bytes

    def acquire(self, key: Key, decode: Callable[[Key], RGB]) -> RGB:
        """The tile, decoded if it is not there. Of several threads that want it one decodes, the others wait.

        Args:
            decode: makes the tile, in memory of ``buffer`` or its own. What it raises is raised here; a thread
                that waited then tries by itself.
        """
        while True:
            with self._lock:
                entry = self._entries.get(key)
                if entry is None:
                    entry = self._entries[key] = _Entry()
                    break
                entry.readers += 1
                if entry.tile is not None:
                    self._entries.move_to_end(key)
                    return entry.tile
                done = entry.done = entry.done or threading.Event()
            tile = _awaited(entry, done)
            if tile is not None:
                return tile
        try:
            tile = decode(key)
        except BaseException:
            with self._lock:
                del self._entries[key]
            self._tell(entry)
            raise
        with self._lock:
            entry.tile = tile
            self._held_bytes += tile.nbytes
            if self._held_bytes > self.limit_bytes:
                self._shrink()
        self._tell(entry)
        return tile

    def _tell(self, entry: _Entry) -> None:
        # Read after the tile was set under the lock: who comes later sees the tile and makes no event.
        if entry.done is not None:
            entry.done.set()

    def release(self, key: Key) -> None:
        """The tile is not read any more."""
        with self._lock:
            entry = self._entries[key]
            entry.readers -= 1
            if entry.readers:
                return
            if self._open_tiles and not self._needed(key):
                self._drop(key)
            elif self._held_bytes > self.limit_bytes:
                self._shrink()

    def buffer(self, shape: tuple[int, int, int]) -> RGB:
        """A uint8 array with anything in it: for a tile, or for what is given back with ``give_back``."""
        with self._lock:
            spare = self._spare.get(shape)
            if spare:
                found = spare.pop()
                self._spare_bytes -= found.nbytes
                return found
        return np.empty(shape, np.uint8)

    def give_back(self, memory: RGB) -> None:
        """Keep an array for the next ``buffer`` of its shape; the caller holds no other reference to it."""
        with self._lock:
            self._keep_spare(memory)

    def plan(self, uses: Mapping[int, list[int]], limit_bytes: int) -> None:
        """Replace the plan.

        Args:
            uses: for each kind, how many patches need each tile. The cache counts them down.
            limit_bytes: while the plan is open.
        """
        with self._lock:
            self._uses = uses
            self._open_tiles = sum(len(counts) - counts.count(0) for counts in uses.values())
            self.limit_bytes = limit_bytes if self._open_tiles else self._usual_bytes
            for key in [k for k, entry in self._entries.items() if not entry.readers and not self._needed(k)]:
                self._drop(key)
            self._shrink()

    def finish(self, kind: int, indices: Iterable[int]) -> None:
        """One patch that was planned, and needed these tiles, has been read."""
        with self._lock:
            uses = self._uses.get(kind)
            if uses is None:
                return
            for index in indices:
                if not uses[index]:
                    continue
                uses[index] -= 1
                if uses[index]:
                    continue
                self._open_tiles -= 1
                entry = self._entries.get((kind, index))
                if entry is not None and not entry.readers:
                    self._drop((kind, index))
            if not self._open_tiles:
                self._uses, self.limit_bytes = {}, self._usual_bytes

    def clear(self) -> None:
        """Drop all that nobody reads, and the plan."""
        with self._lock:
            self._uses, self._open_tiles = {}, 0
            for key in [k for k, entry in self._entries.items() if not entry.readers]:
                self._drop(key)
            self._spare.clear()
            self._spare_bytes = 0

    def _needed(self, key: Key) -> bool:
        uses = self._uses.get(key[0])
        return uses is not None and uses[key[1]] > 0

    def _shrink(self) -> None:
        """Drop the tiles used longest ago until the rest fits."""
        excess, victims = self._held_bytes - self.limit_bytes, []
        for key, entry in self._entries.items():
            if excess <= 0:
                break
            if not entry.readers and entry.tile is not None:
                victims.append(key)
                excess -= entry.tile.nbytes
        for key in victims:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        tile = self._entries.pop(key).tile
        assert tile is not None
        self._held_bytes -= tile.nbytes
        self._keep_spare(tile)

    def _keep_spare(self, memory: RGB) -> None:
        # A decoder's own result may be a view of something, or of bytes.
        if self._spare_bytes + memory.nbytes <= SPARE_BYTES and memory.flags.owndata and memory.flags.c_contiguous:
            self._spare.setdefault(memory.shape, []).append(memory)
            self._spare_bytes += memory.nbytes

"""Decoded tiles of one open slide: each is decoded once, by one thread, and kept no longer than it is needed.

Without a plan the tiles used last are kept, up to a number of bytes. With a plan, which says how many patches need
each tile, a tile is dropped with the last of them, and nothing else is kept. Only what the plan needs at the same
time beyond the limit pushes out tiles that are decoded again; that is counted.

A tile that is dropped gives its memory to the next one: fresh memory costs a sixth of what decoding into it costs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wsiprep.slides.protocol import RGB

Key = tuple[int, int]
"""The kind of a tile (a level, as it is or reduced), numbered by the owner of the cache, and the tile's index."""

SPARE_BYTES = 16 * 2**20
"""Memory of dropped tiles that is held for the next ones."""


@dataclass(slots=True, eq=False)
class CachedTile:
    """A tile that is there, or that one thread decodes at the moment.

    Attributes:
        key: of the tile.
        pixels: None until it is there. To be read between ``claim`` and ``release``, never to be written.
        readers: threads that wait for it or read it: its memory is theirs.
        done: what those wait on who claimed it while another thread decodes it; made by the first of them.
    """

    key: Key
    pixels: RGB | None = None
    readers: int = 1
    done: threading.Event | None = None

    def awaited(self) -> RGB | None:
        """The pixels as soon as the thread that decodes them has them, None if it failed."""
        if self.pixels is None and self.done is not None:
            self.done.wait()
        return self.pixels


class Claim(NamedTuple):
    """What one read of some tiles is to do.

    Attributes:
        own: positions of the tiles that the caller decodes, with where to put them, or None where nobody else will
            want the tile.
        others: positions of the tiles that are there, or that other threads decode.
    """

    own: list[tuple[int, CachedTile | None]]
    others: list[tuple[int, CachedTile]]


class TileCache:
    """The tiles of a slide. Thread-safe; no tile is decoded under its lock.

    A reader claims its tiles at once, decodes its ``own``, publishes them, and only then waits for ``others``: so
    two readers never wait for each other.

    Args:
        limit_bytes: of tiles that are kept while nobody reads them. Those in use come on top.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._usual_bytes = self.limit_bytes = limit_bytes
        self._held_bytes = self._spare_bytes = 0
        self._entries: OrderedDict[Key, CachedTile] = OrderedDict()
        self._spare: dict[tuple[int, ...], list[RGB]] = {}
        self._uses: Mapping[int, list[int]] = {}
        self._open_tiles = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of the tiles that are there, in use or not."""
        return self._held_bytes

    def claim(self, kind: int, indices: Sequence[int]) -> Claim:
        """Say who decodes which of these tiles. Of several threads that want one, one does.

        Each tile of ``own`` that has a place must be published or abandoned, and everything in a place released.
        """
        own: list[tuple[int, CachedTile | None]] = []
        others: list[tuple[int, CachedTile]] = []
        with self._lock:
            uses = self._uses.get(kind)
            for position, index in enumerate(indices):
                key = (kind, index)
                found = self._entries.get(key)
                if found is not None:
                    found.readers += 1
                    if found.pixels is None:
                        found.done = found.done or threading.Event()
                    self._entries.move_to_end(key)
                    others.append((position, found))
                elif self._open_tiles and (uses is None or uses[index] <= 1):
                    own.append((position, None))
                else:
                    self._entries[key] = made = CachedTile(key)
                    own.append((position, made))
        return Claim(own, others)

    def publish(self, tile: CachedTile, pixels: RGB) -> None:
        """A tile of one's own is there."""
        with self._lock:
            tile.pixels = pixels
            self._held_bytes += pixels.nbytes
            self._shrink()
        # Whoever claims it after this sees the pixels; whoever did before has made the event.
        if tile.done is not None:
            tile.done.set()

    def abandon(self, tile: CachedTile) -> None:
        """A tile of one's own cannot be had; those that wait for it try by themselves. One that is there stays."""
        with self._lock:
            if tile.pixels is None and self._entries.get(tile.key) is tile:
                del self._entries[tile.key]
        if tile.done is not None:
            tile.done.set()

    def release(self, tiles: Iterable[CachedTile]) -> None:
        """These are not read any more by this reader."""
        with self._lock:
            for tile in tiles:
                tile.readers -= 1
                # An abandoned tile is no entry any more.
                gone = tile.readers or tile.pixels is None
                if not gone and self._open_tiles and not self._needed(tile.key):
                    self._drop(tile.key)
            self._shrink()

    def buffer(self, shape: tuple[int, int, int]) -> RGB:
        """A uint8 array with anything in it: for a tile, or for what is given back with ``give_back``."""
        with self._lock:
            spare = self._spare.setdefault(shape, [])
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
            self._uses, self._open_tiles, self.limit_bytes = {}, 0, self._usual_bytes
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
        if excess <= 0:
            return
        for key, entry in self._entries.items():
            if excess <= 0:
                break
            if not entry.readers and entry.pixels is not None:
                victims.append(key)
                excess -= entry.pixels.nbytes
        for key in victims:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        pixels = self._entries.pop(key).pixels
        assert pixels is not None
        self._held_bytes -= pixels.nbytes
        self._keep_spare(pixels)

    def _keep_spare(self, memory: RGB) -> None:
        spare = self._spare.get(memory.shape)
        # Only what is asked for again; and a decoder's own result may be a view of something else.
        if spare is not None and self._spare_bytes + memory.nbytes <= SPARE_BYTES and memory.flags.owndata:
            spare.append(memory)
            self._spare_bytes += memory.nbytes

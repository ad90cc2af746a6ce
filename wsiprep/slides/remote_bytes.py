"""The bytes of a slide behind a URL, fetched in few large requests through fsspec."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from wsiprep.errors import SlideError, UsageError, WsiprepError
from wsiprep.slides.byte_blocks import MAX_BLOCK_BYTES, ByteBlocks
from wsiprep.slides.byte_source import Ranges
from wsiprep.slides.remote_file import RemoteFile

BUFFER_BYTES = 64 * 2**20
"""Compressed bytes that are kept per open slide."""

BLOCK_BYTES = 2**20
"""What is read without having been announced is fetched in aligned blocks of so much."""

HEADER_BLOCK_BYTES = 64 * 2**10
"""The same for headers, whose parts are small and far apart."""

AHEAD_BLOCKS = 4
"""Announced blocks that are fetched before they are read, each by a thread of its own."""

_Range = tuple[int, int]


@dataclass(slots=True, eq=False)
class _Flight:
    """A request under way, and the ranges (offset, bytes) that are cut out of what it brings."""

    ranges: Sequence[_Range]
    block: int | None
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def start(self) -> int:
        return min(offset for offset, _ in self.ranges)

    @property
    def stop(self) -> int:
        return max(offset + count for offset, count in self.ranges)


class RemoteBytes:
    """The bytes behind a URL. Thread-safe: of several threads that want the same bytes one fetches them.

    Ranges that were announced are fetched with their neighbours (``ByteBlocks``), up to ``AHEAD_BLOCKS`` blocks
    ahead of what is read, and dropped when they have been read, unless they were announced more than once. All other
    reads go through aligned blocks of ``BLOCK_BYTES``, of which the ones used last are kept. Both together keep
    ``buffer_bytes`` at most; on top come the blocks under way, one for each thread that reads and ``AHEAD_BLOCKS``, of
    ``MAX_BLOCK_BYTES`` and a range.

    Args:
        url: any that fsspec opens.
        buffer_bytes: see above.

    Raises:
        SlideError: it leads nowhere, or the server does not say how long the file is, or gives no parts of it.
        StorageError: the server fails for good, or refuses access.
        UsageError: a package for such URLs is not installed.
    """

    is_remote = True

    def __init__(self, url: str, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.name: Path | str = url
        self._file = RemoteFile(url)
        self.size = self._file.size
        self._most_bytes, self._held_bytes = buffer_bytes, 0
        self._held: OrderedDict[_Range, bytes] = OrderedDict()
        self._flights: dict[_Range, _Flight] = {}
        self._blocks, self._asked, self._latest = self._blocks_of(np.empty((0, 2), np.int64)), set[int](), -1
        self._lock = threading.Lock()
        self._closed = False
        self._ahead: ThreadPoolExecutor | None = None

    @property
    def requests(self) -> int:
        """How often the server was asked, tries that failed included."""
        return self._file.requests

    @property
    def fetched_bytes(self) -> int:
        """Bytes that it gave."""
        return self._file.fetched_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept for later reads."""
        return self._held_bytes

    def announce(self, ranges: Ranges) -> None:
        """See ``ByteSource.announce``."""
        blocks = self._blocks_of(ranges)
        with self._lock:
            self._blocks, self._asked, self._latest = blocks, set(), -1

    def read(self, offset: int, count: int) -> bytes:
        """See ``ByteSource.read``."""
        self._check(offset, count)
        if not count:
            return b""
        block = self._blocks.block_of(offset, count)
        if block is not None:
            self._fetch_ahead(block)
            return self._range((offset, count), keep=self._blocks.is_repeated(offset, count))
        if count > self._most_bytes // 4:
            return self._range((offset, count), keep=False)
        return self._aligned(offset, count, min(BLOCK_BYTES, self._most_bytes // 8))

    def open(self) -> BinaryIO:
        """See ``ByteSource.open``."""
        return cast(BinaryIO, _Handle(self))

    def read_header(self, offset: int, count: int) -> bytes:
        """Like ``read``, of small parts that lie far apart."""
        self._check(offset, count)
        small = count <= HEADER_BLOCK_BYTES
        return self._aligned(offset, count, HEADER_BLOCK_BYTES) if small else self.read(offset, count)

    def close(self) -> None:
        """See ``ByteSource.close``."""
        with self._lock:
            self._closed = True
            self._held.clear()
            self._held_bytes = 0
            ahead, self._ahead = self._ahead, None
            # Those ahead that have not begun never will; whoever waits for one finds the source closed.
            flights = list(self._flights.values())
        for flight in flights:
            flight.done.set()
        if ahead is not None:
            ahead.shutdown(wait=False, cancel_futures=True)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the slide is closed", file=self.name)

    def _check(self, offset: int, count: int) -> None:
        self._check_open()
        if offset < 0 or count < 0 or offset + count > self.size:
            raise SlideError(
                "the slide is shorter than it says", got=f"{self.size} bytes",
                expected=f"{count} bytes at {offset}", fix="fetch it again", file=self.name,
            )  # fmt: skip

    def _blocks_of(self, ranges: Ranges) -> ByteBlocks:
        return ByteBlocks(ranges, self._most_bytes // 4, max_block_bytes=min(MAX_BLOCK_BYTES, self._most_bytes // 8))

    def _aligned(self, offset: int, count: int, step: int) -> bytes:
        parts = []
        for start in range(offset // step * step, offset + count, step):
            data = self._range((start, min(step, self.size - start)), keep=True)
            parts.append(data[max(0, offset - start) : offset + count - start])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _range(self, wanted: _Range, *, keep: bool) -> bytes:
        """A range as it is held, or fetched now with those that are fetched together with it."""
        while True:
            with self._lock:
                self._check_open()
                data = self._taken(wanted, keep=keep)
                if data is not None:
                    return data
                flight = self._flights.get(wanted)
                own = None if flight is not None else self._started(wanted)
            if own is not None:
                return self._flown(own, wanted, keep=keep)[wanted]
            assert flight is not None
            flight.done.wait()
            # It is held now; else the flight failed, or others pushed it out: then this thread fetches it.

    def _taken(self, wanted: _Range, *, keep: bool) -> bytes | None:
        data = self._held.get(wanted)
        if data is None:
            return None
        if keep:
            self._held.move_to_end(wanted)
        else:
            del self._held[wanted]
            self._held_bytes -= len(data)
        return data

    def _started(self, wanted: _Range) -> _Flight:
        """A flight for a range, with its whole block the first time."""
        block = self._blocks.block_of(*wanted)
        flight = None if block is None or block in self._asked else self._block_started(block)
        if flight is None:
            # Not announced, or dropped since its block was fetched.
            self._flights[wanted] = flight = _Flight([wanted], None)
        return flight

    def _block_started(self, block: int) -> _Flight | None:
        self._asked.add(block)
        fresh = [r for r in self._blocks.ranges(block) if r not in self._flights and r not in self._held]
        if not fresh:
            return None
        flight = _Flight(fresh, block)
        self._flights.update(dict.fromkeys(fresh, flight))
        return flight

    def _fetch_ahead(self, block: int) -> None:
        """Start the blocks after this one, when it is read for the first time."""
        if block == self._latest or not AHEAD_BLOCKS:
            return
        with self._lock:
            if self._closed or block >= self._blocks.count:
                return
            self._latest = block
            if self._ahead is None:
                self._ahead = ThreadPoolExecutor(AHEAD_BLOCKS, "wsiprep-ahead")
            for number in range(block + 1, min(block + 1 + AHEAD_BLOCKS, self._blocks.count)):
                flight = None if number in self._asked else self._block_started(number)
                if flight is not None:
                    self._ahead.submit(self._flown_ahead, flight)

    def _flown_ahead(self, flight: _Flight) -> None:
        try:
            self._flown(flight, persistent=False)
        except WsiprepError:
            # Whoever reads the block tries again, and tells.
            return

    def _flown(
        self, flight: _Flight, wanted: _Range | None = None, *, keep: bool = True, persistent: bool = True
    ) -> dict[_Range, bytes]:
        """Fetch; hold what was fetched, but for what is ``wanted`` now and not to be kept.

        Returns:
            what was wanted.
        """
        start, stop = flight.start, flight.stop
        found: dict[_Range, bytes] = {}
        try:
            data = self._file.fetch(start, stop, persistent=persistent)
            found = {(at, count): data[at - start : at - start + count] for at, count in flight.ranges}
        finally:
            with self._lock:
                for fetched in flight.ranges:
                    self._flights.pop(fetched, None)
                if not found and flight.block is not None:
                    self._asked.discard(flight.block)
                for fetched, part in found.items():
                    if (fetched != wanted or keep) and not self._closed:
                        self._hold(fetched, part)
            flight.done.set()
        return {} if wanted is None else {wanted: found[wanted]}

    def _hold(self, fetched: _Range, data: bytes) -> None:
        if len(data) > self._most_bytes:
            return
        self._held_bytes += len(data) - len(self._held.pop(fetched, b""))
        self._held[fetched] = data
        while self._held_bytes > self._most_bytes:
            _, dropped = self._held.popitem(last=False)
            self._held_bytes -= len(dropped)


class _Handle(io.RawIOBase):
    """A source as a file whose reads are never short, without a buffer of its own."""

    def __init__(self, source: RemoteBytes) -> None:
        super().__init__()
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._source.size - self._at))
        view[:count] = self._source.read_header(self._at, count)
        self._at += count
        return count

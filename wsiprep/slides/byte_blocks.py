"""Which announced byte ranges are fetched together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsiprep.slides.byte_source import Ranges

MAX_GAP_BYTES = 256 * 2**10
"""Bytes between two ranges that are fetched and thrown away rather than asked around: what a connection of
100 Mbit/s brings in the 20 ms that another request takes. ``benchmarks/remote.py`` measures both sides of it."""

MAX_BLOCK_BYTES = 8 * 2**20
"""Beyond this a request costs next to nothing by itself, and a block only delays its first range."""


class ByteBlocks:
    """Ranges in the order of their use, merged into blocks.

    The ranges are first cut into windows, each of ``window_bytes`` in the order of use, and merged within a window
    by their place in the file. So whatever the order is, the ranges of a block are used soon after one another, and
    what has to be kept until then is about a window.

    Holds five numbers a range: a large slide has a million.

    Attributes:
        count: number of blocks, which are numbered in the order of use.

    Args:
        ranges: int64 (n, 2), offset and bytes, in the order of use; repeated ones count where they are first.
        window_bytes: see above.
        max_gap_bytes: bytes between two ranges of a block that nobody wants.
        max_block_bytes: of a block, beyond which it takes no more ranges.
    """

    def __init__(
        self,
        ranges: Ranges,
        window_bytes: int,
        max_gap_bytes: int = MAX_GAP_BYTES,
        max_block_bytes: int = MAX_BLOCK_BYTES,
    ) -> None:
        ranges = ranges[ranges[:, 1] > 0]
        found, first, uses = np.unique(ranges, axis=0, return_index=True, return_counts=True)
        self._repeated = frozenset(map(tuple, found[uses > 1].tolist()))
        ranges = ranges[np.sort(first)]
        window = (np.cumsum(ranges[:, 1]) - ranges[:, 1]) // window_bytes
        by_block = np.lexsort((ranges[:, 0], window))
        offsets, counts, window = ranges[by_block, 0], ranges[by_block, 1], window[by_block]
        self._offsets, self._counts = offsets, counts
        self._block = _blocks(offsets, offsets + counts, window, max_gap_bytes, max_block_bytes)
        self.count = int(self._block[-1]) + 1 if len(self._block) else 0
        self._starts = np.searchsorted(self._block, np.arange(self.count + 1))
        self._by_offset = np.argsort(offsets, kind="stable")
        self._sorted = offsets[self._by_offset]

    def block_of(self, offset: int, count: int) -> int | None:
        """The block that a range belongs to, None where it was not announced exactly so."""
        place = int(self._sorted.searchsorted(offset))
        while place < len(self._sorted) and self._sorted[place] == offset:
            number = self._by_offset[place]
            if self._counts[number] == count:
                return int(self._block[number])
            place += 1
        return None

    def is_repeated(self, offset: int, count: int) -> bool:
        """Whether a range was announced more than once: some writers store equal tiles once."""
        return (offset, count) in self._repeated

    def ranges(self, block: int) -> list[tuple[int, int]]:
        """Offset and bytes of the ranges of a block, by offset."""
        part = slice(self._starts[block], self._starts[block + 1])
        return list(zip(self._offsets[part].tolist(), self._counts[part].tolist(), strict=True))


def _blocks(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], window: npt.NDArray[np.int64], gap: int, most: int
) -> npt.NDArray[np.int64]:
    """int64 (n,): the block of each range, ascending from 0. The ranges are ordered by window, then by offset."""
    if not len(starts):
        return np.empty(0, np.int64)
    reach = np.empty_like(ends)
    # The ends of an earlier window say nothing of this one.
    fresh = np.flatnonzero(np.diff(window, prepend=window[0] - 1))
    for begin, stop in zip(fresh, [*fresh[1:], len(starts)], strict=True):
        reach[begin:stop] = np.maximum.accumulate(ends[begin:stop])
    apart = np.ones(len(starts), np.bool_)
    apart[1:] = (window[1:] != window[:-1]) | (starts[1:] - reach[:-1] > gap)
    segment = np.cumsum(apart) - 1
    origin = starts[apart][segment]
    piece = (starts - origin) // most
    apart[1:] |= piece[1:] != piece[:-1]
    blocks: npt.NDArray[np.int64] = np.cumsum(apart) - 1
    return blocks

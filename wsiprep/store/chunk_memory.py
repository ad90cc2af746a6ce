"""Memory for encoded chunks, used again once nobody looks at it.

A chunk of a patch is too large for the allocator's own lists: fresh memory costs the kernel a fault for each of its
200 pages, and a patch packed with lz4 a sixth more time (``benchmarks/chunk_codecs.py --settings``).
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

KEPT = 16
"""Blocks that wait for their next use; others are given back to the system."""


class ChunkMemory:
    """Lends memory and takes it back when the last view on it dies. Thread-safe."""

    def __init__(self, kept: int = KEPT) -> None:
        self._free: deque[bytearray] = deque(maxlen=kept)

    @property
    def waiting(self) -> int:
        """Blocks that are lent to nobody."""
        return len(self._free)

    def lend(self, size: int) -> npt.NDArray[np.uint8]:
        """uint8 (size,) with any content. Nobody else has it while a view on it is alive."""
        try:
            block = self._free.pop()
        except IndexError:
            block = bytearray(size)
        if len(block) < size:
            block = bytearray(size)
        view = np.frombuffer(block, np.uint8)
        weakref.finalize(view, self._free.append, block).atexit = False
        # A slice keeps the view alive, and so the loan. Never more than was asked for: Blosc gives up packing
        # where the room ends, so that more room would be other bytes.
        return view[:size]

"""The plain TIFF reader: look a tile up, fetch it, decode it. Nothing is resampled or blended.

It gives the pixels that the file holds, at 4 to 5 times OpenSlide's speed, for tiled and striped
8-bit RGB, RGBA and grey TIFFs (Aperio SVS included) in the codecs of ``decode.COMPRESSIONS``. Tiles
that were never written (byte count 0) are white background, as generic TIFF and Aperio writers mean
them; alpha is composited on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsiprep.errors import SlideError
from wsiprep.geometry import Box
from wsiprep.slides.byte_source import byte_source
from wsiprep.slides.identity import handle_identity, slide_identity
from wsiprep.slides.opened import OpenedSlide, icc_digest
from wsiprep.slides.properties import allowed
from wsiprep.slides.protocol import (
    RGB,
    BackendRefusalError,
    ForeignLayoutError,
    LevelRead,
    SlideInfo,
    TileCounts,
    level_for,
)
from wsiprep.slides.tiff_layouts import HAMAMATSU
from wsiprep.slides.tiff_tables import TileTable, read_header
from wsiprep.slides.tile_reader import TileReader

CACHE_BYTES = 64 * 2**20
"""Decoded tiles kept per open slide; enough for three rows of 256 px tiles of a 4x level 25,000 px wide."""

PLAN_BYTES = 384 * 2**20
"""Most of them that a plan may ask for: a row of 512 px tiles of level 0 of a slide 125,000 px wide, twice."""

_PROBES = 5
"""Tiles of a kind that are tried before the file counts as unreadable."""


class TiledTiff(OpenedSlide):
    """A slide read by its tile tables. See the module for what it can read.

    An open slide holds ``cache_bytes`` of decoded tiles at most; after ``plan`` those and what the plan needs at a
    time, together ``plan_bytes`` at most: for patches in rows, the tiles under one row of patches, reduced where the
    patches are. On top come ``tile_cache.SPARE_BYTES``, and for each thread that reads two decoded tiles; behind a
    URL also compressed bytes, see ``RemoteBytes``.

    Args:
        path: a local file, or a URL (str).
        requested: the backend that the user asked for, recorded in ``info``.
        cache_bytes: decoded tiles to keep.
        plan_bytes: decoded tiles to keep at most while there is a plan.

    Raises:
        BackendRefusalError: another backend may read it.
        SlideError: missing, damaged, truncated or absurd.
    """

    def __init__(
        self, path: Path | str, *, requested: str = "tiff", cache_bytes: int = CACHE_BYTES, plan_bytes: int = PLAN_BYTES
    ) -> None:
        self._path = path
        self._source = byte_source(path)
        try:
            self._describe(requested, cache_bytes, plan_bytes)
            self._probe()
        except BaseException:
            self._source.close()
            raise

    def _describe(self, requested: str, cache_bytes: int, plan_bytes: int) -> None:
        path, source = self._path, self._source
        header = read_header(path, source)
        self._tables = header.tables
        self._icc = header.icc
        self._tiles = TileReader(
            header.tables, [level.size for level in header.levels], source.read, path, cache_bytes, plan_bytes,
            source.announce if source.is_remote else None,
        )  # fmt: skip
        self.info = SlideInfo(
            size=header.tables[0].size,
            levels=header.levels,
            spacing=header.spacing,
            backend_requested=requested,
            backend="tiff",
            vendor=header.vendor,
            objective_power=header.objective_power,
            identity=self._identity(header.page_tables),
            compression=header.tables[0].pixels.name,
            backend_note="",
            properties=allowed(header.properties),
            icc_digest=icc_digest(header.icc),
        )

    def _identity(self, page_tables: Sequence[bytes] | None) -> str:
        """That of the path; of a URL with the bytes that the header took already."""
        if not self._source.is_remote:
            return slide_identity(self._path, page_tables)
        with self._source.open() as handle:
            return handle_identity(handle, page_tables)

    def icc_profile(self) -> bytes | None:
        """The ICC profile of the first page, None where there is none."""
        return self._icc

    def _probe(self) -> None:
        """Decode one tile of each kind, so that what only the stream tells (sub-sampled JPEG 2000) shows now."""
        seen: set[tuple[int, int, int]] = set()
        for level, table in enumerate(self._tables):
            kind = (table.pixels.compression, table.pixels.photometric, table.pixels.samples)
            written = np.flatnonzero(table.counts)
            if kind in seen or not written.size:
                continue
            seen.add(kind)
            self._probe_kind(level, table, written)

    def _probe_kind(self, level: int, table: TileTable, written: npt.NDArray[np.int64]) -> None:
        """The first tile that decodes will do: a few damaged ones are met when they are read."""
        failure: SlideError | None = None
        for index in written[np.linspace(0, len(written) - 1, _PROBES).astype(np.int64)]:
            try:
                self._tiles.probe(level, int(index))
            except SlideError as error:
                failure = failure or error
            else:
                return
        assert failure is not None
        # A vendor's layout that is damaged must not be shown by the next reader as something else.
        refusal = ForeignLayoutError if self.info.vendor == HAMAMATSU else BackendRefusalError
        raise refusal(
            "its tiles cannot be decoded exactly", got=failure.got or failure.message, file=self._path
        ) from failure

    @property
    def tile_counts(self) -> TileCounts:
        """See ``TileSlide.tile_counts``."""
        return self._tiles.counts

    def decoded_tiles(self, level: int) -> npt.NDArray[np.int64]:
        """See ``TileSlide.decoded_tiles``."""
        return self._tiles.decoded(level)

    def can_reduce(self, level: int, factor: int, dct: int = 1) -> bool:
        """See ``TileSlide.can_reduce``."""
        return self._tiles.can_reduce(level, factor, dct)

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``."""
        level_for(self.info, level, box)
        return self._tiles.read(LevelRead(level, box))

    def read_reduced(self, read: LevelRead, out: RGB | None = None) -> RGB:
        """See ``TileSlide.read_reduced``."""
        return self._tiles.read(read, out)

    def plan(self, patches: Sequence[Sequence[LevelRead]]) -> None:
        """See ``TileSlide.plan``."""
        self._tiles.plan(patches)

    def finish(self, patch: Sequence[LevelRead]) -> None:
        """See ``TileSlide.finish``."""
        self._tiles.finish(patch)

    def close(self) -> None:
        """Free the file and the tiles; closing twice is harmless."""
        self._tiles.clear()
        self._source.close()

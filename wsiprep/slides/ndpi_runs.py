"""The runs of blocks between the restart markers of one NDPI level, put together to tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsiprep.errors import SlideError
from wsiprep.geometry import Size
from wsiprep.slides.decode import PixelFormat
from wsiprep.slides.ndpi_jpeg import JpegHead
from wsiprep.slides.protocol import DamagedRegionError, ForeignLayoutError
from wsiprep.slides.tile_table import Fetch, TileTable

TILE_HEIGHT_PX, TILE_AREA_PX = 256, 2**20
"""A tile has as many runs, a power of two, as fit into both: less would be calls, more would be waste."""

_WALKED_RUNS, _WALKED_BYTES = 16, 2**20
_SAMPLED_RUNS = 64
_MOST_BYTES_PER_PX = 16
"""Of a coded run; its worst case is 11. More is a table that skips markers, and must not be fetched."""

_EOI = b"\xff\xd9"
_MARKER_BYTES = 2


def _restart(number_: int) -> bytes:
    return bytes((0xFF, 0xD0 + number_ % 8))


@dataclass(frozen=True, slots=True, eq=False)
class RunTable(TileTable):
    """The runs of one level, put together to tiles.

    Attributes:
        head: of the stream.
        run: pixels of a run.
        runs_down: runs of a tile; those at the lower border may have fewer.
        starts: int64[runs + 1], where each run begins, row by row, and where the stream ends.
        level: for messages, as ``file``.
    """

    head: JpegHead
    run: Size
    runs_down: int
    starts: npt.NDArray[np.int64]
    level: int
    file: Path | str

    def tile_size(self, row: int) -> Size:
        """The pixels that a tile of this row decodes to: whole runs across, what the level has of it down."""
        return Size(self.tile.width_px, min(self.tile.height_px, self.size.height_px - row * self.tile.height_px))

    def stored(self, index: int, fetch: Fetch) -> bytes:
        """A tile as a JPEG of its own.

        Raises:
            DamagedRegionError: there is no restart marker where the table has one.
        """
        row, column = divmod(index, self.columns)
        parts = [self.head.sized(self.tile_size(row))]
        first = row * self.runs_down * self.columns + column
        last = min(first + self.runs_down * self.columns, len(self.starts) - 1)
        for place, run in enumerate(range(first, last, self.columns)):
            parts.append(self._run(run, fetch))
            parts.append(_restart(place))
        parts[-1] = _EOI
        return b"".join(parts)

    def ranges(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """See ``TileTable.ranges``: the runs of each tile."""
        row, column = np.divmod(indices, self.columns)
        runs = (row * self.runs_down * self.columns + column)[:, None] + np.arange(self.runs_down) * self.columns
        runs = runs[runs < len(self.starts) - 1]
        starts = self.starts[runs] - np.where(runs > 0, _MARKER_BYTES, 0)
        return np.stack((starts, self.starts[runs + 1] - starts), axis=1)

    def _run(self, run: int, fetch: Fetch) -> bytes:
        """The coded bytes of a run, found between the markers that must be around it."""
        before = _restart(run - 1) if run else b""
        after = _restart(run) if run + 2 < len(self.starts) else _EOI
        start, end = int(self.starts[run]) - len(before), int(self.starts[run + 1])
        if end - start > _MOST_BYTES_PER_PX * self.run.area_px:
            raise self._damaged(run, f"{end - start} bytes", f"at most {_MOST_BYTES_PER_PX} bytes a pixel")
        data = fetch(start, end - start)
        if not data.startswith(before) or data[-2:] != after:
            got = f"{data[: len(before)].hex()} and {data[-2:].hex()} around bytes {start} to {end}"
            raise self._damaged(run, got, f"{before.hex()} and {after.hex()}")
        return data[len(before) : -2]

    def _damaged(self, run: int, got: str, expected: str) -> DamagedRegionError:
        return DamagedRegionError(
            f"restart markers are not where the slide says: level {self.level}, run {run}",
            got=got,
            expected=expected,
            fix="fetch the file again, or list the slide in exclude.csv",
            file=self.file,
        )


def run_table(
    size: Size,
    run: Size,
    starts: npt.NDArray[np.int64],
    pixels: PixelFormat,
    head: JpegHead,
    level: int,
    path: Path | str,
) -> RunTable:
    """The table of a level.

    Args:
        starts: int64[runs + 1] places in the file.
    """
    down = 1
    while 2 * down * run.height_px <= TILE_HEIGHT_PX and 2 * down * run.area_px <= TILE_AREA_PX:
        down *= 2
    columns = -(-size.width_px // run.width_px)
    lengths = np.diff(starts).reshape(-1, columns)
    counts = np.add.reduceat(lengths, np.arange(0, len(lengths), down), axis=0).ravel()
    offsets = starts[:-1].reshape(-1, columns)[::down].ravel()
    tile = Size(run.width_px, run.height_px * down)
    return RunTable(size, tile, True, offsets, counts, pixels, head, run, down, starts, level, path)


def check_starts(read: Fetch, starts: npt.NDArray[np.int64], header_bytes: int, level: int, path: Path | str) -> None:
    """Compare a list of starts with the markers: some all over the level. Each is compared again when its run is read.

    Args:
        read: bytes of the stream.
        starts: int64[runs + 1] places in the stream, the last is its end.

    Raises:
        ForeignLayoutError: the table is right, the markers are not numbered in turn.
        SlideError: the table does not name places of markers.
    """
    if (np.diff(starts[1:]) < 2).any() or starts[1] < header_bytes + 2:
        raise _damaged(level, "not in ascending order within the stream", path)
    if len(starts) == 2:
        return
    inner = len(starts) - 2
    sampled = {int(run) for run in np.linspace(1, inner, _SAMPLED_RUNS)} | set(range(max(1, inner - 7), inner + 1))
    wrong = {run for run in sampled if read(int(starts[run]) - 2, 2) != _restart(run - 1)}
    # Places that are eight markers off have the right numbers: then the last eight have no markers left.
    if 2 * len(wrong) <= len(sampled) and wrong.isdisjoint(range(inner - 7, inner + 1)):
        return
    first = read(0, min(int(starts[-1]), _WALKED_BYTES))
    walked = _walked(first, header_bytes, min(_WALKED_RUNS, inner))
    in_turn = all(first[place - 2 : place] == _restart(i) for i, place in enumerate(walked))
    if walked == starts[1 : len(walked) + 1].tolist() and not in_turn:
        raise ForeignLayoutError("its restart markers are not numbered in turn", got=f"level {level}", file=path)
    raise _damaged(level, f"{len(wrong)} of {len(sampled)} places without their marker", path)


def _walked(data: bytes, place: int, most: int) -> list[int]:
    """Where the first runs after the first begin, found by looking for markers."""
    found: list[int] = []
    while len(found) < most and (place := data.find(b"\xff", place) + 1) and place < len(data):
        if 0xD0 <= data[place] <= 0xD7:
            found.append(place + 1)
    return found


def _damaged(level: int, got: str, path: Path | str) -> SlideError:
    return SlideError(
        f"the table of restart markers of level {level} is damaged",
        got=got,
        expected="a restart marker at each place",
        fix="fetch the file again or leave the slide out",
        file=path,
    )

"""The patches that pack reads, of a slide behind a URL: ranges fetched together, tile by tile, and by tiffslide.

The server is another process on this machine that waits 20 ms before each answer and sends 1 Gbit/s to each
connection; ``--latency-ms`` and ``--mbit`` take others. The patches are those of the 4x level, and some of level 0 in
the same cells, for tiffslide finds no other level of this slide. Seconds are wall seconds, opening included. The ways
differ in how the bytes are asked for alone: `tile by tile` and the widths of the gap read by the same plan and decode
the same tiles once. What the widths cost in bytes is in the table: a gap is thrown away.
"""

from __future__ import annotations

import functools
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from bench_slide import add_slide, slide_of
from harness import Contestant, Measure, arguments, interleaved, quotients, report, results_of, table, wall
from planned import of_slide

from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides import PatchReader, open_slide, remote_bytes
from wsiprep.slides.byte_blocks import MAX_GAP_BYTES, ByteBlocks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from http_server import serving

GAPS_KIB = (0, 64, 256, 1024)
COALESCED, TILE_BY_TILE, TIFFSLIDE, LOCAL = "coalesced", "tile by tile", "tiffslide", "the file itself"


class Server:
    """The server's process: where the slide is, and what it was asked since the last time."""

    def __init__(self, connection: Connection, url: str) -> None:
        self.url, self._connection = url, connection

    def counts(self) -> tuple[int, int]:
        """Answers with a body, and their bytes, since this was called last."""
        self._connection.send("counts")
        requests, sent_bytes = self._connection.recv()
        return int(requests), int(sent_bytes)


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=3)
    add_slide(parser)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--mbit", type=float, default=1000.0, help="per second and connection (default: %(default)s)")
    parser.add_argument("--most-level0", type=int, default=160, help="patches of level 0 (default: %(default)s)")
    options = parser.parse_args(words)
    rounds = 1 if options.smoke else options.rounds
    with tempfile.TemporaryDirectory() as name:
        subject = slide_of(options, Path(name))
        it = of_slide(subject, Path(name) / "out")
        it.survey()
        it.plan()
        side = subject.patch_size_px
        grids = [PixelGrid(cell, side, side) for cell in it.cells()]
        fine = [PixelGrid(part, side, side) for cell in it.cells() for part in parts(cell, side)][: options.most_level0]
        with served(subject.slide, options.latency_ms / 1000, options.mbit / 8 * 1e6) as server:
            measures = compare(subject.slide, server, "4x", grids, rounds)
            measures += compare(subject.slide, server, "level 0", fine, rounds)
    where = f"{options.latency_ms:g} ms, {options.mbit:g} Mbit/s"
    measures = [replace(measure, subject=f"{measure.subject}, {where}") for measure in measures]
    report("remote", measures, libraries=("fsspec", "aiohttp", "tiffslide"), rounds=rounds, results=results_of(options))


def parts(cell: Box, side: int) -> list[Box]:
    """A cell cut into boxes, row by row."""
    rows, columns = range(cell.y, cell.y_end, side), range(cell.x, cell.x_end, side)
    return [Box(x, y, side, side) for y in rows for x in columns]


def compare(path: Path, server: Server, scale: str, grids: Sequence[PixelGrid], rounds: int) -> list[Measure]:
    url = f"{server.url}/{path.name}"
    ways: dict[str, Callable[[], int]] = {
        COALESCED: lambda: by_plan(url, grids),
        "coalesced, 4 threads": lambda: by_plan(url, grids, threads=4),
        "coalesced, nothing ahead": lambda: with_ahead(0, lambda: by_plan(url, grids)),
        TILE_BY_TILE: lambda: with_gap(-1, lambda: by_plan(url, grids)),
        "tile by tile, 4 threads": lambda: with_gap(-1, lambda: by_plan(url, grids, threads=4)),
        LOCAL: lambda: by_plan(path, grids),
    }
    if scale == "level 0":
        ways[TIFFSLIDE] = lambda: patch_by_patch(url, grids)
    for kib in GAPS_KIB:
        if kib * 2**10 != MAX_GAP_BYTES:
            ways[f"coalesced, gaps to {kib} KiB"] = functools.partial(
                with_gap, kib * 2**10, functools.partial(by_plan, url, grids)
            )
    if len({way() for way in ways.values()}) != 1:
        raise SystemExit("the ways give other pixels")
    counts: dict[str, tuple[int, int]] = {}

    def counted(name: str, way: Callable[[], int]) -> None:
        server.counts()
        way()
        counts[name] = server.counts()

    runs = interleaved([Contestant(n, functools.partial(counted, n, way)) for n, way in ways.items()], rounds)
    own = wall(runs[COALESCED])
    rows = [[f"{len(grids)} patches, {scale}", "wall s", "requests", "MB", f"wall / {COALESCED}"]]
    for name, found in runs.items():
        seconds = wall(found)
        requests, sent_bytes = counts[name]
        rows.append([name, f"{statistics.median(seconds):.2f}", str(requests), f"{sent_bytes / 1e6:.1f}",
                     str(quotients(seconds, own))])  # fmt: skip
    print(table(rows))
    subject, median = f"{len(grids)} patches, {scale}", statistics.median(own)
    measures = [
        Measure(f"URL, {scale}: {name} / coalesced", median, "s", quotients(wall(runs[name]), own), subject=subject)
        for name in (TILE_BY_TILE, TIFFSLIDE, LOCAL)
        if name in runs
    ]
    for name in (COALESCED, TILE_BY_TILE):
        measures.append(Measure(f"URL, {scale}: requests, {name}", counts[name][0], "requests", subject=subject))
    return measures


def by_plan(slide: Path | str, grids: Sequence[PixelGrid], threads: int = 1) -> int:
    """Opens the slide and reads all patches as pack does; a sum of some pixels."""
    with open_slide(slide, "tiff") as opened, ThreadPoolExecutor(threads) as pool:
        reader = PatchReader(opened)
        reader.plan(grids)
        return sum(pool.map(lambda grid: int(reader.read(grid)[::7, ::7].sum()), grids))


def patch_by_patch(url: str, grids: Sequence[PixelGrid]) -> int:
    """tiffslide, asked for each patch in turn."""
    with open_slide(url, "tiffslide") as opened:
        reader = PatchReader(opened)
        return sum(int(reader.read(grid)[::7, ::7].sum()) for grid in grids)


def with_gap(gap_bytes: int, work: Callable[[], int]) -> int:
    """Blocks across gaps of so many bytes; -1 makes each range a block, and fetches none ahead."""
    if gap_bytes < 0:

        class Alone(ByteBlocks):
            def __init__(self, ranges, window_bytes, **_) -> None:  # type: ignore[no-untyped-def]
                super().__init__(ranges, window_bytes, -1, 1)

        with mock.patch.object(remote_bytes, "ByteBlocks", Alone):
            return with_ahead(0, work)
    with mock.patch.object(remote_bytes, "ByteBlocks", functools.partial(ByteBlocks, max_gap_bytes=gap_bytes)):
        return work()


def with_ahead(blocks: int, work: Callable[[], int]) -> int:
    """So many blocks are fetched ahead."""
    with mock.patch.object(remote_bytes, "AHEAD_BLOCKS", blocks):
        return work()


@contextmanager
def served(path: Path, latency_s: float, bytes_per_s: float):  # type: ignore[no-untyped-def]
    """A server of the slide's folder in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, path.parent, latency_s, bytes_per_s), daemon=True
    )
    process.start()
    try:
        yield Server(here, here.recv())
    finally:
        here.send("stop")
        process.join()


def serve(connection: Connection, folder: Path, latency_s: float, bytes_per_s: float) -> None:
    with serving(folder, latency_s=latency_s, bytes_per_s=bytes_per_s) as state:
        connection.send(state.url)
        while connection.recv() != "stop":
            with state.lock:
                connection.send((len(state.asked), state.sent_bytes))
                state.forget()


if __name__ == "__main__":
    main()

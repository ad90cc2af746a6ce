"""Bytes of files and URLs: always those of the file, few requests, a bounded buffer, errors that say what to do."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from http_server import Serving, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiprep.errors import SlideError, StorageError, UsageError, WsiprepError
from wsiprep.slides import remote_bytes, remote_file
from wsiprep.slides.byte_blocks import ByteBlocks
from wsiprep.slides.byte_source import LocalBytes, byte_source
from wsiprep.slides.remote_bytes import AHEAD_BLOCKS, BLOCK_BYTES, HEADER_BLOCK_BYTES, RemoteBytes

SIZE = 5_000_011
DATA = np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8).tobytes()
IN_MEMORY = "memory://wsiprep-bytes/a.bin"


@pytest.fixture(scope="module", autouse=True)
def in_memory() -> None:
    with fsspec.open(IN_MEMORY, "wb") as file:
        file.write(DATA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "a.bin").write_bytes(DATA)
    return folder


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "RETRY_AFTER_S", (0.0, 0.0, 0.0))


@pytest.fixture
def remote() -> Iterator[Callable[..., RemoteBytes]]:
    opened: list[RemoteBytes] = []

    def make(url: str, **how: Any) -> RemoteBytes:
        opened.append(RemoteBytes(url, **how))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def ranges(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1, 2)


def rows(count: int, each: int, *, every: int = 1, start: int = 0) -> np.ndarray:
    """Neighbouring tiles of ``each`` bytes, of which every so many is taken."""
    return ranges(*((start + i * each, each) for i in range(0, count, every)))


# --- closing while others read ---------------------------------------------------------------------


def test_a_file_closed_while_it_is_read_is_not_mistaken_for_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, pread, others = LocalBytes(folder / "a.bin"), os.pread, []

    def read_late(file: int, count: int, offset: int) -> bytes:
        source.close()
        others.append(os.open(os.devnull, os.O_RDONLY))  # takes the lowest number that is free
        return pread(file, count, offset)

    monkeypatch.setattr(os, "pread", read_late)
    try:
        assert source.read(1000, 50) == DATA[1000:1050]
    finally:
        os.close(others[0])
    with pytest.raises(UsageError, match="closed"):
        source.read(0, 1)


def test_a_file_that_is_closed_gives_its_descriptor_back(folder: Path) -> None:
    source = LocalBytes(folder / "a.bin")
    before = len(os.listdir("/proc/self/fd"))
    source.close()
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_closing_ends_the_wait_for_a_block_that_was_never_begun(
    remote: Callable[..., RemoteBytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, going, on = remote(IN_MEMORY), threading.Event(), threading.Event()
    fetch = source._file.fetch

    def slow(start: int, stop: int, *, persistent: bool = True) -> bytes:
        if not persistent:
            going.set()
            on.wait(20)
        return fetch(start, stop, persistent=persistent)

    monkeypatch.setattr(source._file, "fetch", slow)
    monkeypatch.setattr(remote_bytes, "ThreadPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    source.announce(ranges((0, 1000), (600_000, 1000), (1_200_000, 1000)))  # far apart: three blocks
    assert source.read(0, 1000) == DATA[:1000]  # the one thread ahead now hangs in the second, the third waits for it
    assert going.wait(20)
    found: list[BaseException] = []

    def wait() -> None:
        try:
            source.read(1_200_000, 1000)
        except UsageError as error:
            found.append(error)

    # A daemon: should the wait not end, the test fails and the run goes on.
    reader = threading.Thread(target=wait, daemon=True)
    reader.start()
    while source._latest != 2:
        time.sleep(0.001)
    source.close()
    reader.join(10)
    on.set()
    assert len(found) == 1


# --- which ranges go together ----------------------------------------------------------------------


@st.composite
def announced(draw: st.DrawFn, size: int = SIZE) -> np.ndarray:
    step = draw(st.sampled_from([1_000, 20_000, 200_000]))
    starts = draw(st.lists(st.integers(0, size - 1), max_size=60))
    if draw(st.booleans()):
        starts.sort()
    return ranges(*((s, draw(st.integers(0, min(step, size - s)))) for s in starts))


@settings(max_examples=150, deadline=None)
@given(
    announced(),
    st.integers(1, 10**6),
    st.sampled_from([0, 1, 1000, 300_000]),
    st.sampled_from([1, 50_000, 10**6]),
)
def test_blocks_are_the_ranges_once_each_and_keep_their_bounds(
    wanted: np.ndarray, window: int, gap: int, most: int
) -> None:
    blocks = ByteBlocks(wanted, window, gap, most)
    unique = {(int(a), int(n)) for a, n in wanted if n}
    found = [r for number in range(blocks.count) for r in blocks.ranges(number)]
    assert sorted(found) == sorted(unique)
    order = list(dict.fromkeys((int(a), int(n)) for a, n in wanted if n))
    place = {r: i for i, r in enumerate(order)}
    used_before = np.concatenate(([0], np.cumsum([n for _, n in order])))
    for number in range(blocks.count):
        parts = blocks.ranges(number)
        assert parts
        assert all(blocks.block_of(*part) == number for part in parts)
        # No range starts more than a block away from the first one, and none lies beyond a gap.
        assert parts[-1][0] - parts[0][0] <= most
        reach = parts[0][0]
        for at, count in parts:
            assert at - reach <= gap
            reach = max(reach, at + count)
        # All of them are used within a window.
        uses = [place[part] for part in parts]
        assert used_before[max(uses)] - used_before[min(uses)] <= window
    assert blocks.block_of(SIZE + 1, 5) is None


def test_neighbours_become_one_block_and_far_ones_do_not() -> None:
    blocks = ByteBlocks(ranges((1000, 100), (5000, 100), (1100, 50), (1000, 100)), 10**9, 3000, 10**9)
    assert [blocks.ranges(i) for i in range(blocks.count)] == [[(1000, 100), (1100, 50)], [(5000, 100)]]
    assert blocks.block_of(1000, 100) == 0
    assert blocks.block_of(1000, 99) is None
    assert ByteBlocks(ranges(), 1).count == 0


def test_what_is_used_much_later_is_another_block_though_it_lies_between() -> None:
    blocks = ByteBlocks(ranges((0, 100), (200, 100), (100, 100)), 200, 1000, 10**9)
    assert [blocks.ranges(i) for i in range(blocks.count)] == [[(0, 100), (200, 100)], [(100, 100)]]


# --- the bytes -------------------------------------------------------------------------------------


def test_a_local_file(folder: Path) -> None:
    source = byte_source(folder / "a.bin")
    assert isinstance(source, LocalBytes)
    assert (source.size, source.is_remote) == (SIZE, False)
    assert source.read(1234, 999) == DATA[1234:2233]
    with pytest.raises(SlideError, match="became shorter"):
        source.read(SIZE - 5, 6)
    with source.open() as handle:
        assert handle.read() == DATA
    source.close()
    source.close()
    with pytest.raises(UsageError, match="closed"):
        source.read(0, 1)
    with pytest.raises(FileNotFoundError):
        byte_source(folder / "none.bin")


@settings(max_examples=60, deadline=None)
@given(announced(), st.sampled_from([40_000, 400_000, 64 * 2**20]), st.data())
def test_any_reads_after_any_announcement_give_the_bytes_of_the_file(
    wanted: np.ndarray, buffer_bytes: int, data: st.DataObject
) -> None:
    source = RemoteBytes(IN_MEMORY, buffer_bytes=buffer_bytes)
    source.announce(wanted)
    order = data.draw(st.permutations(range(len(wanted))))
    others = data.draw(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 90_000)), max_size=10))
    reads = [tuple(wanted[i].tolist()) for i in order] + [(a, min(n, SIZE - a)) for a, n in others]
    reads += reads[: len(reads) // 2]
    for offset, count in data.draw(st.permutations(reads)) if data.draw(st.booleans()) else reads:
        assert source.read(offset, count) == DATA[offset : offset + count]
        assert source.held_bytes <= buffer_bytes
    with source._lock:
        assert source.held_bytes == sum(map(len, source._held.values()))
    source.close()
    assert source.held_bytes == 0


@pytest.mark.parametrize("threads", [2, 6])
def test_threads_that_want_one_block_fetch_it_once(
    folder: Path, remote: Callable[..., RemoteBytes], threads: int
) -> None:
    wanted = rows(200, 20_000)
    with serving(folder, latency_s=0.01) as server:
        source = remote(server.of("a.bin"))
        source.announce(wanted)
        server.forget()
        gate = threading.Barrier(threads)

        def read(number: int) -> bool:
            if number < threads:
                gate.wait()
            at, count = wanted[number].tolist()
            return source.read(at, count) == DATA[at : at + count]

        with ThreadPoolExecutor(threads) as pool:
            assert all(pool.map(read, range(len(wanted))))
        assert server.asked == [(0, 4_000_000)]
        assert source.held_bytes == 0, "all that was announced has been read"
        # And the same for reads that nobody announced: these are held.
        server.forget()
        gate.reset()

        def same(_: int) -> bytes:
            gate.wait()
            return source.read(4_100_000, 10_000)

        with ThreadPoolExecutor(threads) as pool:
            assert set(pool.map(same, range(threads))) == {DATA[4_100_000:4_110_000]}
        assert server.asked == [(3 * BLOCK_BYTES, 4 * BLOCK_BYTES)]


def test_requests_are_fewer_than_ranges_and_gaps_are_fetched_where_that_is_cheaper(
    folder: Path, remote: Callable[..., RemoteBytes]
) -> None:
    with serving(folder) as server:
        source = remote(server.of("a.bin"))
        for every, requests in ((1, 1), (4, 1), (40, 6)):
            wanted = rows(240, 20_000, every=every)
            source.announce(wanted)
            server.forget()
            before = source.requests, source.fetched_bytes
            for at, count in wanted.tolist():
                assert source.read(at, count) == DATA[at : at + count]
            assert len(server.asked) == requests
            assert (source.requests - before[0], source.fetched_bytes - before[1]) == (requests, server.sent_bytes)
        assert server.sent_bytes == 6 * 20_000, "across wide gaps nothing but the ranges"


def test_blocks_ahead_are_fetched_while_the_first_is_read(folder: Path, remote: Callable[..., RemoteBytes]) -> None:
    wanted = ranges(*((i * 400_000, 1000) for i in range(12)))
    with serving(folder) as server:
        source = remote(server.of("a.bin"))
        source.announce(wanted)
        server.forget()
        source.read(*wanted[0].tolist())
        assert source._ahead is not None
        source._ahead.shutdown(wait=True)
        source._ahead = None
        assert sorted(server.asked) == [(at, at + n) for at, n in wanted[: 1 + AHEAD_BLOCKS].tolist()]
        for at, count in wanted[1:].tolist():
            source.read(at, count)
        assert source._ahead is not None
        source._ahead.shutdown(wait=True)
        assert len(server.asked) == len(wanted), "each once"


def test_what_is_pushed_out_of_the_buffer_is_fetched_alone(remote: Callable[..., RemoteBytes]) -> None:
    """Ranges that are never read must not cost more than themselves later."""
    source = remote(IN_MEMORY, buffer_bytes=100_000)
    wanted = rows(60, 5_000)
    source.announce(wanted)
    source.read(*wanted[0].tolist())
    for at in range(1_000_000, 3_000_000, 50_000):
        source.read(at, 10)
    before = source.fetched_bytes
    at, count = wanted[1].tolist()
    assert source.read(at, count) == DATA[at : at + count]
    assert source.fetched_bytes - before == count


def test_a_range_that_many_tiles_share_is_fetched_once(remote: Callable[..., RemoteBytes]) -> None:
    source = remote(IN_MEMORY)
    wanted = [(1000 * i, 1000) for i in range(10)]
    shared = (700_000, 500)
    announced = [each for part in wanted for each in (part, shared)]
    before = source.requests
    source.announce(ranges(*announced))
    for offset, count in announced:
        assert source.read(offset, count) == DATA[offset : offset + count]
    assert source.requests - before == 2
    assert source.held_bytes == shared[1], "all others are dropped when they have been read"


def test_a_range_larger_than_the_buffer_passes_through(remote: Callable[..., RemoteBytes]) -> None:
    source = remote(IN_MEMORY, buffer_bytes=100_000)
    source.announce(ranges((10, 3_000_000)))
    assert source.read(10, 3_000_000) == DATA[10:3_000_010]
    assert source.read(20, 3_000_000) == DATA[20:3_000_020]
    assert source.held_bytes == 0


def test_as_a_file_it_is_the_file(folder: Path, remote: Callable[..., RemoteBytes]) -> None:
    with serving(folder) as server:
        source = remote(server.of("a.bin"))
        server.forget()
        with source.open() as handle:
            assert handle.seek(0, 2) == SIZE
            assert handle.read(5) == b""
            for at, count in ((0, 16), (100, 50), (SIZE - 30, 100), (20_000, 3), (2_500_000, 1_300_000)):
                handle.seek(at)
                assert handle.read(count) == DATA[at : at + count]
                assert handle.tell() == min(SIZE, at + count)
        small = [part for part in server.asked if part and part[1] - part[0] <= HEADER_BLOCK_BYTES]
        assert len(small) == 2, "neighbours in one request, far ones in small ones"
        assert server.sent_bytes < 3 * BLOCK_BYTES


# --- errors ----------------------------------------------------------------------------------------


def error_of(url: str) -> WsiprepError:
    with pytest.raises(WsiprepError) as caught:
        RemoteBytes(url)
    assert caught.value.file == url
    return caught.value


def test_reads_beyond_the_end(remote: Callable[..., RemoteBytes]) -> None:
    source = remote(IN_MEMORY)
    assert source.read(SIZE, 0) == b""
    for offset, count in ((SIZE - 1, 2), (-1, 5), (0, SIZE + 1)):
        with pytest.raises(SlideError, match="shorter"):
            source.read(offset, count)
    source.close()
    with pytest.raises(UsageError, match="closed"):
        source.read(0, 1)


def test_a_server_that_fails_twice_is_asked_again(folder: Path, remote: Callable[..., RemoteBytes]) -> None:
    with serving(folder, failures=2) as server:
        source = remote(server.of("a.bin"))
        server.failures = 2
        assert source.read(5, 5) == DATA[5:10]
        assert server.failures == 0


def test_connections_that_break_off_are_tried_again(folder: Path, remote: Callable[..., RemoteBytes]) -> None:
    with serving(folder) as server:
        source = remote(server.of("a.bin"))
        server.dropped = 0.25
        source.announce(wanted := rows(240, 20_000, every=20))
        for at, count in wanted.tolist():
            assert source.read(at, count) == DATA[at : at + count]
        assert source.requests > 12


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_fails_for_good_is_a_storage_error(
    folder: Path, remote: Callable[..., RemoteBytes], status: int
) -> None:
    with serving(folder, status=status) as server:
        source = remote(server.of("a.bin"))
        server.failures = -1
        before = source.requests
        with pytest.raises(StorageError, match="cannot be read") as caught:
            source.read(0, 10)
        assert (caught.value.exit_code, caught.value.file) == (74, server.of("a.bin"))
        assert str(status) in str(caught.value.got)
        assert source.requests - before == 4
        assert isinstance(error_of(server.of("a.bin")), StorageError), "also when it is opened"
        server.failures = 0
        assert source.read(0, 10) == DATA[:10], "and nothing of it stays"


def test_a_block_that_failed_is_fetched_again_as_a_block(folder: Path, remote: Callable[..., RemoteBytes]) -> None:
    with serving(folder) as server:
        source = remote(server.of("a.bin"))
        source.announce(wanted := rows(100, 20_000))
        server.failures = -1
        with pytest.raises(StorageError):
            source.read(*wanted[0].tolist())
        server.failures = 0
        server.forget()
        for at, count in wanted.tolist():
            assert source.read(at, count) == DATA[at : at + count]
        assert server.asked == [(0, 2_000_000)]


def test_nobody_there_is_a_storage_error(folder: Path) -> None:
    with serving(folder) as server:
        url = server.of("a.bin")
    assert isinstance(error_of(url), StorageError)


def test_no_such_file(folder: Path) -> None:
    with serving(folder) as server:
        for url in (server.of("none.bin"), "memory://wsiprep-bytes/none.bin", f"file://{folder}/none.bin"):
            error = error_of(url)
            assert isinstance(error, SlideError)
            assert "no such slide" in error.message
    assert "folder" in error_of(f"file://{folder}").message
    assert isinstance(error_of("nonsense://x/a.bin"), SlideError)


def test_access_refused_is_not_asked_again(folder: Path) -> None:
    with serving(folder, status=403, failures=-1) as server:
        error = error_of(server.of("a.bin"))
        assert isinstance(error, StorageError)
        assert "refuses access" in error.message
        assert server.refused == 2, "a HEAD and a GET, once"


def test_a_server_without_ranges_or_length_says_what_to_do(folder: Path) -> None:
    with serving(folder, ranges=False) as server:
        error = error_of(server.of("a.bin"))
        assert isinstance(error, SlideError)
        assert "does not give parts" in error.message
        assert "--stage" in str(error.fix)
        assert server.sent_bytes < SIZE, "the whole file is not fetched to find out"
    with serving(folder, length=False) as server:
        error = error_of(server.of("a.bin"))
        assert isinstance(error, SlideError)
        assert "how long" in error.message
        assert "copy" in str(error.fix)


def test_a_file_that_became_shorter(tmp_path: Path, remote: Callable[..., RemoteBytes]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(DATA[:500_000])
    with serving(tmp_path) as server:
        source = remote(server.of("a.bin"))
        path.write_bytes(DATA[:300_000])
        for offset in (290_000, 400_000):
            source.announce(ranges((offset, 50_000)))
            with pytest.raises(SlideError, match="became shorter"):
                source.read(offset, 50_000)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = sys.modules["fsspec.registry"]
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for name in ("http", "https"):
        monkeypatch.delitem(registry._registry, name, raising=False)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    with pytest.raises(UsageError, match="not installed") as caught:
        RemoteBytes("https://127.0.0.1/a.tif")
    assert caught.value.fix == "pip install 'fsspec[http]'"


def test_a_slow_server_is_waited_for(folder: Path, remote: Callable[..., RemoteBytes]) -> None:
    serve: Callable[..., Any] = serving
    with serve(folder, latency_s=0.02, bytes_per_s=2e7) as server:
        assert isinstance(server, Serving)
        source = remote(server.of("a.bin"))
        assert source.read(3, 100_000) == DATA[3:100_003]

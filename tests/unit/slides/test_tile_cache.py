"""The cache of decoded tiles: bounded, one decode for all threads, memory that is nobody else's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wsiprep.slides.protocol import RGB
from wsiprep.slides.tile_cache import SPARE_BYTES, CachedTile, TileCache

SHAPE = (10, 10, 3)
TILE_BYTES = 300


def filled(cache: TileCache, value: int) -> RGB:
    tile = cache.buffer(SHAPE)
    tile[...] = value
    return tile


def read(cache: TileCache, *indices: int, kind: int = 0) -> list[int]:
    """Read tiles as a reader does it, each filled with its index; returns those that had to be decoded."""
    claim = cache.claim(kind, indices)
    held, own = [tile for _, tile in claim.others], []
    for position, place in claim.own:
        own.append(indices[position])
        if place is not None:
            cache.publish(place, filled(cache, indices[position]))
            held.append(place)
    for position, tile in claim.others:
        pixels = tile.awaited()
        assert pixels is not None
        assert (pixels == indices[position]).all(), "memory of a tile in use was given away"
    cache.release(held)
    return own


def test_the_tiles_used_last_are_kept_up_to_the_limit() -> None:
    cache = TileCache(3 * TILE_BYTES + 10)
    for index in range(5):
        assert read(cache, index) == [index]
        assert read(cache, index) == []
        assert cache.held_bytes <= cache.limit_bytes
    assert read(cache, 2, 3, 4) == []
    assert read(cache, 2, 5) == [5], "pushes out the one used longest ago: 3"
    assert read(cache, 2, 4, 5) == []
    assert read(cache, 3) == [3]
    assert read(cache, 3, kind=1) == [3], "another kind of tile is another tile"
    cache.clear()
    assert cache.held_bytes == 0


def test_a_tile_larger_than_the_limit_is_not_kept() -> None:
    cache = TileCache(TILE_BYTES - 1)
    assert read(cache, 0) == [0]
    assert cache.held_bytes == 0
    assert read(cache, 0) == [0]


def test_tiles_in_use_stay_whatever_the_limit() -> None:
    cache = TileCache(TILE_BYTES)
    claim = cache.claim(0, [1, 2, 3])
    for number, (_, place) in enumerate(claim.own):
        assert place is not None
        cache.publish(place, filled(cache, number))
    assert [int(p.pixels[0, 0, 0]) for _, p in claim.own if p is not None and p.pixels is not None] == [0, 1, 2]
    assert cache.held_bytes == 3 * TILE_BYTES
    cache.release([p for _, p in claim.own if p is not None])
    assert cache.held_bytes == TILE_BYTES


def test_with_a_plan_a_tile_goes_with_the_last_patch_that_needs_it() -> None:
    cache = TileCache(0)
    cache.plan({0: [2, 1, 0, 3]}, 10 * TILE_BYTES)
    assert read(cache, 0, 1) == [0, 1]
    assert cache.held_bytes == TILE_BYTES, "tile 1 is needed once alone and never kept"
    cache.finish(0, [0, 1])
    assert read(cache, 0, 3) == [3]
    cache.finish(0, [0, 3])
    assert cache.held_bytes == TILE_BYTES, "tile 0 is gone, tile 3 is needed twice more"
    assert read(cache, 2) == [2], "not of the plan"
    assert read(cache, 3, kind=7) == [3]
    assert cache.held_bytes == TILE_BYTES, "and not kept"
    for _ in range(2):
        assert read(cache, 3) == []
        cache.finish(0, [3])
    assert cache.held_bytes == 0
    assert cache.limit_bytes == 0, "the plan is over"
    cache.finish(0, [3])


def test_a_new_plan_drops_what_it_does_not_need() -> None:
    cache = TileCache(100 * TILE_BYTES)
    read(cache, 0, 1, 2)
    cache.plan({0: [0, 1, 0]}, 100 * TILE_BYTES)
    assert cache.held_bytes == TILE_BYTES
    assert read(cache, 1) == []
    cache.plan({}, 0)
    assert cache.limit_bytes == 100 * TILE_BYTES
    assert read(cache, 0) == [0]
    assert read(cache, 0) == []


def test_a_plan_beyond_the_limit_decodes_again() -> None:
    cache = TileCache(0)
    cache.plan({0: [2, 2, 2]}, 2 * TILE_BYTES)
    assert [read(cache, i) for i in (0, 1, 2)] == [[0], [1], [2]]
    assert cache.held_bytes == 2 * TILE_BYTES
    assert read(cache, 0) == [0]


def test_who_waits_gets_the_tile_of_who_decodes() -> None:
    cache = TileCache(10 * TILE_BYTES)
    mine = cache.claim(0, [5, 6])
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(read, cache, 6, 5) for _ in range(3)]
        for number, (_, place) in enumerate(mine.own):
            assert place is not None
            cache.publish(place, filled(cache, 5 + number))
        assert [future.result(10) for future in waiting] == [[], [], []]
    cache.release([place for _, place in mine.own if place is not None])


def test_an_error_of_one_thread_is_no_tile_for_the_others() -> None:
    cache = TileCache(10 * TILE_BYTES)
    ((_, place),) = cache.claim(0, [5]).own
    assert place is not None
    others = cache.claim(0, [5])
    ((_, theirs),) = others.others
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(theirs.awaited)
        cache.abandon(place)
        assert waiting.result(10) is None
    cache.release([theirs])
    assert cache.held_bytes == 0
    assert read(cache, 5) == [5], "the next one may try again"


@pytest.mark.parametrize("planned", [False, True])
def test_threads_never_see_the_memory_of_another_tile(planned: bool) -> None:
    """Many readers, a limit that is met all the time: ``read`` checks every tile that it did not decode itself."""
    cache = TileCache(3 * TILE_BYTES)
    if planned:
        cache.plan({0: [40] * 20}, 4 * TILE_BYTES)

    def work(seed: int) -> int:
        rng = np.random.default_rng(seed)
        for _ in range(150):
            indices = [int(i) for i in rng.permutation(20)[: int(rng.integers(1, 6))]]
            read(cache, *indices)
            if planned:
                cache.finish(0, indices)
        return seed

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6), timeout=60)) == list(range(6))
    assert cache.held_bytes <= cache.limit_bytes


def test_memory_is_used_again_but_never_without_bound() -> None:
    cache = TileCache(0)
    first = cache.buffer(SHAPE)
    cache.give_back(first)
    assert cache.buffer(SHAPE) is first
    assert cache.buffer(SHAPE) is not first
    cache.give_back(np.zeros((7, 7, 3), np.uint8))
    assert cache.buffer((7, 7, 3)).shape == (7, 7, 3)
    cache.give_back(np.frombuffer(bytes(300), np.uint8).reshape(SHAPE))
    assert cache.buffer(SHAPE).flags.writeable, "what a codec returned is not ours to write to"
    side = 1024
    arrays = [cache.buffer((side, side, 3)) for _ in range(8)]
    for array in arrays:
        cache.give_back(array)
    again = [cache.buffer((side, side, 3)) for _ in range(8)]
    assert len({id(a) for a in arrays} & {id(a) for a in again}) == SPARE_BYTES // (3 * side * side) == 5


def test_a_waiting_thread_is_woken_by_an_event_of_the_tile_alone() -> None:
    tile = CachedTile((0, 0))
    tile.done = threading.Event()
    tile.done.set()
    assert tile.awaited() is None


def test_a_tile_that_is_there_is_not_abandoned() -> None:
    # An error between the two, such as an interrupt: its reader still releases it.
    cache = TileCache(10 * TILE_BYTES)
    cache.plan({0: [2, 1]}, 10 * TILE_BYTES)
    ((_, place),) = cache.claim(0, [0]).own
    assert place is not None
    cache.publish(place, filled(cache, 0))
    cache.finish(0, [0])
    cache.finish(0, [0])
    cache.abandon(place)
    cache.release([place])
    assert cache.held_bytes == 0
    assert read(cache, 0) == [0]

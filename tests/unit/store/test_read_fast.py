"""The fast paths of reading against plain ones: open files, given arrays, batches, threads and forks."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import storecases as cases

from wsiprep.errors import StoreError, UsageError
from wsiprep.store import Dataset
from wsiprep.store.openfiles import OpenFiles
from wsiprep.store.shard import Shard
from wsiprep.store.shardfile import read_range


@pytest.fixture(scope="module", params=["zstd", "blosc-lz4", "none"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fast")
    for number, (slide_id, count) in enumerate((("slide_a", 6), ("slide_b", 4), ("slide_c", 1), ("slide_d", 0))):
        cases.write(root, slide_id, count, seed=number, store={"codec": request.param})
    cases.sealed(root)
    return root


def n_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_given_arrays_are_filled_and_given_back(finished: Path) -> None:
    dataset = Dataset(finished)
    side = cases.SIDE
    for i in (0, 5, -1):
        image, mask = np.full((side, side, 3), 77, np.uint8), np.full((side, side), 77, np.uint8)
        got = dataset.read_pixels(i, image, mask)
        assert got[0] is image
        assert got[1] is mask
        plain = dataset.read(i)
        assert np.array_equal(image, plain[0])
        assert np.array_equal(mask, plain[1])
    shape = (side, side, 3)
    strided, read_only = np.empty((side, side, 6), np.uint8)[..., ::2], np.broadcast_to(np.uint8(0), shape)
    for wrong in (np.empty(shape[:2], np.uint8), np.empty(shape, np.int8), strided, read_only):
        with pytest.raises(UsageError, match="cannot be decoded into"):
            dataset.read_pixels(0, wrong)


def test_a_batch_is_its_patches_in_the_order_that_was_asked_for(finished: Path) -> None:
    dataset = Dataset(finished)
    rows = [10, 0, 4, 4, -2, 7]
    images, masks = dataset.read_batch(rows)
    assert np.array_equal(images, np.stack([dataset.read(i)[0] for i in rows]))
    assert np.array_equal(masks, np.stack([dataset.read(i)[1] for i in rows]))
    again = np.zeros_like(images)
    assert dataset.read_batch(rows, again)[0] is again
    assert np.array_equal(again, images)
    assert dataset.read_batch([])[0].shape == (0, cases.SIDE, cases.SIDE, 3)
    with pytest.raises(UsageError, match="differ in number"):
        dataset.read_batch([1], again)
    with pytest.raises(UsageError, match="no such patch"):
        dataset.read_batch([1, 11])


def test_arrays_that_were_read_stay_as_they_are(finished: Path) -> None:
    """The buffer of the encoded bytes is used again; no patch may be a view of it."""
    dataset = Dataset(finished)
    first = dataset.read_pixels(0)
    kept = [array.copy() for array in first]
    for i in range(len(dataset)):
        dataset.read_pixels(i)
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))


def test_the_columns_are_those_of_the_index(finished: Path) -> None:
    dataset = Dataset(finished)
    for i in (*range(len(dataset)), -1, -11):
        assert dataset.read(i)[2] == dataset.index.slice(i % 11, 1).to_pylist()[0]


def test_shard_files_are_numbered_in_index_order(finished: Path) -> None:
    dataset = Dataset(finished)
    assert dataset.shard_files(np.arange(11)).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3]
    assert dataset.shard_files([10, 0, 5]).tolist() == [2, 0, 1]
    assert dataset.attributes_of(7)["slide_id"] == "slide_b"
    with pytest.raises(UsageError, match="no such patch"):
        dataset.attributes_of(11)


def test_threads_read_what_one_thread_reads_though_files_are_closed_under_them(finished: Path) -> None:
    dataset = Dataset(finished)
    wanted = [dataset.read_pixels(i)[0] for i in range(11)]
    dataset._files.limit = 1
    rng = np.random.default_rng(0)
    orders = [rng.integers(11, size=150).tolist() for _ in range(6)]

    def read(order: list[int]) -> bool:
        return all(np.array_equal(dataset.read_pixels(i)[0], wanted[i]) for i in order)

    before = n_open()
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, orders))
    assert n_open() <= before + 1


def test_threads_that_name_the_same_files_by_paths_of_their_own(tmp_path: Path) -> None:
    """In a process of its own: a table that one thread finds half changed by another ends in a crash."""
    code = f"""
import sys, threading
from pathlib import Path
from wsiprep.store.openfiles import OpenFiles
sys.setswitchinterval(1e-6)
folder, files, wrong = {str(tmp_path)!r}, OpenFiles(limit=4), []
for k in range(12):
    (Path(folder) / str(k)).write_bytes(bytes([k]) * 64)
def read(first):
    try:
        for k in range(first, first + 4000):
            if files.read(Path(folder) / str(k * k % 12), 0, 64)[0] != k * k % 12:
                wrong.append(k)
    except BaseException as error:
        wrong.append(error)
threads = [threading.Thread(target=read, args=(k,)) for k in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
assert not wrong and len(files) <= 4, (wrong[:3], len(files))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_stays_open_for_whoever_still_reads_it(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 100)
    files = OpenFiles(limit=1)
    handle = files._handle(tmp_path / "a")
    files.read(tmp_path / "b", 0, 10)
    assert len(files) == 1
    assert os.pread(handle.fd, 3, 0) == b"aaa"
    number = handle.fd
    del handle
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pread(number, 3, 0)


def test_the_least_recently_read_file_is_closed(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(4)]
    for path in paths:
        path.write_bytes(b"x" * 10)
    files = OpenFiles(limit=3)
    for number in (0, 1, 2, 0, 3):
        files.read(paths[number], 0, 10)
    assert list(files._handles) == [str(paths[number]) for number in (2, 0, 3)]
    before = n_open()
    files.close()
    assert n_open() == before - 3
    assert len(pickle.loads(pickle.dumps(files))) == 0


def test_descriptors_go_with_their_dataset(finished: Path) -> None:
    gc.collect()
    before = n_open()
    for _ in range(5):
        dataset = Dataset(finished)
        dataset.read_batch(range(11))
    shard = Shard(finished / dataset.record["shards"][0]["path"])
    shard.arrays["image"].patches([5, 0])
    assert before < n_open() <= before + 12
    del dataset, shard
    assert n_open() == before


def test_what_is_read_is_what_one_pread_reads(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 40)
    files = OpenFiles()
    for offset, length in ((0, 1), (10, 5000), (10_000, 240), (3, 0), (7, 9000)):
        assert bytes(files.read(path, offset, length)) == read_range(path, offset, length)


def test_short_reads_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems and signals may cut a read short; that is not the end of the file."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)))
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, offset: whole(fd, [views[0][:7]], offset))
    assert bytes(OpenFiles().read(path, 5, 200)) == bytes(range(5, 205))
    with pytest.raises(StoreError, match="truncated"):
        OpenFiles().read(path, 200, 100)


def test_lost_and_cut_files_are_errors_though_they_were_open(tmp_path: Path) -> None:
    cases.sealed(tmp_path)
    dataset = Dataset(tmp_path)
    dataset.read(0)
    path = tmp_path / dataset.record["shards"][0]["path"] / "image" / "c.0.0.0.0"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match=r"truncated|damaged"):
        dataset.read_batch([0, 1, 2, 3])
    path.write_bytes(bytes(len(data)))
    with pytest.raises(StoreError, match="damaged"):
        dataset.read(0)
    path.unlink()
    with pytest.raises(StoreError, match="missing"):
        Dataset(tmp_path)
    again = Shard(path.parent.parent)
    with pytest.raises(StoreError, match="missing"):
        again.arrays["image"].patch(0)


def total(dataset: Dataset, queue: object) -> None:
    queue.put(int(sum(int(dataset.read_pixels(i)[0].sum()) for i in range(len(dataset)))))  # type: ignore[attr-defined]


def test_forks_read_on_while_a_thread_of_the_parent_reads(finished: Path) -> None:
    """The parent has files open and is in the middle of reading whenever a child is made."""
    dataset = Dataset(finished)
    wanted = sum(int(dataset.read_pixels(i)[0].sum()) for i in range(11))
    stop = threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            dataset.read_pixels(3)

    reader = threading.Thread(target=keep_reading)
    reader.start()
    try:
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        children = [context.Process(target=total, args=(dataset, queue)) for _ in range(6)]
        for child in children:
            child.start()
        assert [queue.get() for _ in children] == [wanted] * 6
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * 6
    finally:
        stop.set()
        reader.join()
    assert sum(int(dataset.read_pixels(i)[0].sum()) for i in range(11)) == wanted


@pytest.mark.long
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_started_anew_open_files_of_their_own(finished: Path, method: str) -> None:
    dataset = Dataset(finished)
    wanted = sum(int(dataset.read_pixels(i)[0].sum()) for i in range(11))
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=total, args=(dataset, queue))
    child.start()
    assert queue.get() == wanted
    child.join()

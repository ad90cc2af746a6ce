"""Killed writers, full disks and writers at the same time: old or new, never half."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import storecases as cases

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StorageError, StoreError
from wsiprep.store import Dataset, PatchRecord, appendfile, clean, read_receipt, verify, write_shard

SLOW_PATCHES = 24


def slowly(count: int, pause_s: float) -> Iterator[PatchRecord]:
    for patch in cases.patches(count):
        time.sleep(pause_s)
        yield patch


def write_slowly(root: str, pause_s: float = 0.01) -> None:
    write_shard(DatasetTree(Path(root)), cases.spec(), slowly(SLOW_PATCHES, pause_s), SLOW_PATCHES)


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    """SIGKILL at random moments, each followed by one rerun: the bytes of an undisturbed run."""
    write_slowly(str(tmp_path / "calm"), 0)
    wanted = cases.tree_bytes(tmp_path / "calm")
    context = multiprocessing.get_context("fork")
    moments = random.Random(11)
    left_behind = 0
    for number in range(5):
        root = tmp_path / f"run{number}"
        child = context.Process(target=write_slowly, args=(str(root),))
        child.start()
        while child.is_alive() and not list(root.rglob(".tmp-*")):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.2))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        left_behind += bool(list(root.rglob(".tmp-*")))
        assert not list(root.glob("shards/*/*.zarr")) or read_receipt(DatasetTree(root), "slide_a").state == "done"
        write_slowly(str(root), 0)
        clean(DatasetTree(root))
        assert cases.tree_bytes(root) == wanted
        assert not list(root.rglob(".tmp-*"))
    assert left_behind >= 3, "the writers were not killed while they wrote"


def test_a_writer_killed_between_shard_and_receipt_is_repeated(tmp_path: Path) -> None:
    receipt = cases.write(tmp_path)
    wanted = cases.tree_bytes(tmp_path)
    tree = DatasetTree(tmp_path)
    tree.receipt("slide_a").unlink()
    assert {f.kind for f in verify(tree, deep=True).faults} == {"stray", "unsealed"}
    assert cases.write(tmp_path) == receipt
    assert cases.tree_bytes(tmp_path) == wanted


def test_writers_of_one_target_at_once_end_in_one_valid_result(tmp_path: Path) -> None:
    write_slowly(str(tmp_path / "calm"), 0)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_slowly, args=(str(tmp_path / "race"), 0.004)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0, 0]
    assert cases.tree_bytes(tmp_path / "race") == cases.tree_bytes(tmp_path / "calm")


def test_a_damaged_shard_is_replaced_by_writers_at_once(tmp_path: Path) -> None:
    write_slowly(str(tmp_path), 0)
    wanted = cases.tree_bytes(tmp_path)
    file = tmp_path / read_receipt(DatasetTree(tmp_path), "slide_a").shard / "mask" / "c.0.0.0"
    file.write_bytes(b"x")
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_slowly, args=(str(tmp_path), 0.002)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0, 0]
    clean(DatasetTree(tmp_path))
    assert cases.tree_bytes(tmp_path) == wanted


def write_one(arguments: tuple[str, str, int]) -> None:
    root, slide_id, seed = arguments
    cases.write(Path(root), slide_id, 5 + seed, seed=seed)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_one_process_and_four_write_the_same_tree(tmp_path: Path, method: str) -> None:
    jobs = [(f"slide_{letter}", seed) for seed, letter in enumerate("abcdef")]
    for slide_id, seed in jobs:
        write_one((str(tmp_path / "serial"), slide_id, seed))
    with multiprocessing.get_context(method).Pool(4) as pool:
        pool.map(write_one, [(str(tmp_path / "pool"), slide_id, seed) for slide_id, seed in reversed(jobs)])
    assert cases.tree_bytes(tmp_path / "pool") == cases.tree_bytes(tmp_path / "serial")


def nothing_published(root: Path) -> bool:
    return not list(root.rglob("*.zarr")) and not list(root.rglob("receipts/*.json")) and not list(root.rglob(".tmp-*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_a_storage_error_and_a_rerun_finishes(small_disk: Path, tmp_path: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (190 * 1024))
    with pytest.raises(StorageError) as caught:
        cases.write(small_disk / "out", count=40, store={"codec": "none"})
    assert caught.value.exit_code == 74
    assert "the disk is full" in str(caught.value)
    assert "bytes for 40 patches" in str(caught.value)
    assert "shards/slide_a" in str(caught.value.got)
    assert nothing_published(small_disk)
    filler.unlink()
    cases.write(small_disk / "out", count=40, store={"codec": "none"})
    cases.write(tmp_path / "calm", count=40, store={"codec": "none"})
    assert cases.tree_bytes(small_disk / "out") == cases.tree_bytes(tmp_path / "calm")


def test_a_disk_that_fills_at_any_file_publishes_nothing(small_disk: Path) -> None:
    """Less and less room, so that the error comes at another step each time: chunk, index, metadata, rows."""
    cases.write(small_disk / "out", count=40, store={"codec": "none"})
    need = sum(p.stat().st_blocks * 512 for p in small_disk.rglob("*") if p.is_file())
    shutil.rmtree(small_disk / "out")
    steps = 0
    for missing in range(4096, need, 4096 * 2):
        filler = small_disk / "filler"
        filler.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - need + missing))
        with pytest.raises(StorageError):
            cases.write(small_disk / "out", count=40, store={"codec": "none"})
        assert not list(small_disk.rglob("receipts/*.json"))
        assert not list(small_disk.rglob(".tmp-*"))
        filler.unlink()
        shutil.rmtree(small_disk / "out")
        steps += 1
    assert steps > 5


def limited(root: str, queue: object) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        cases.write(Path(root), count=8, store={"codec": "none"})
    except StorageError as error:
        queue.put((error.exit_code, str(error)))  # type: ignore[attr-defined]
    else:
        queue.put((0, ""))  # type: ignore[attr-defined]


def test_a_file_size_limit_is_a_storage_error(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=limited, args=(str(tmp_path), queue))
    child.start()
    code, message = queue.get()
    child.join()
    assert code == 74
    assert "limit" in message
    assert nothing_published(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failing_system_call_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The k-th fsync or rename fails: no receipt without its shard, and no temporary."""
    real = getattr(os, call)
    for failing in range(3):
        count = 0

        def fail(*arguments: object, k: int = failing) -> None:
            nonlocal count
            count += 1
            if count == k + 1:
                raise OSError(errno.EIO, "planted")
            real(*arguments)

        root = tmp_path / f"{call}{failing}"
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            if call == "rename" and failing > 0:
                continue
            with pytest.raises(StorageError) as caught:
                cases.write(root)
        assert caught.value.exit_code == 74
        assert not list(root.rglob("receipts/*.json"))
        assert not list(root.rglob(".tmp-*"))
        assert not list(root.rglob("*.zarr"))


def test_a_disk_that_loses_bytes_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says that it wrote them: the file is shorter than what went into it."""
    monkeypatch.setattr(appendfile.os, "write", lambda file, data: len(data))
    with pytest.raises(StorageError, match="input/output"):
        cases.write(tmp_path)
    assert nothing_published(tmp_path)


def test_an_interrupted_writer_cleans_up(tmp_path: Path) -> None:
    def until_interrupted() -> Iterator[PatchRecord]:
        yield next(cases.patches(1))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(DatasetTree(tmp_path), cases.spec(), until_interrupted(), 6)
    assert cases.tree_bytes(tmp_path) == {}
    assert nothing_published(tmp_path)


def reseal(root: str) -> None:
    for number in range(16):
        cases.sealed(Path(root), {**cases.PLACES, "slide_b": (("train", "test")[number % 2], None)})


def test_a_reader_sees_the_old_or_the_new_version(tmp_path: Path) -> None:
    """Another process seals anew in a loop while this one opens and reads: never a mix."""
    digests = {}
    for name, count in (("train", 10), ("test", 6)):
        record = cases.sealed(tmp_path, {**cases.PLACES, "slide_b": (name, None)})
        digests[record["dataset_digest"]] = count
    writer = multiprocessing.get_context("fork").Process(target=reseal, args=(str(tmp_path),))
    writer.start()
    seen = []
    while writer.is_alive():
        try:
            dataset = Dataset(tmp_path)
        except StoreError:
            continue  # refused: between the index and the record
        assert len(dataset.split("train")) == digests[dataset.digest]
        assert dataset.record["counts"]["splits"]["train"]["patches"] == digests[dataset.digest]
        seen.append(dataset.digest)
    writer.join()
    assert writer.exitcode == 0
    assert len(seen) > 2

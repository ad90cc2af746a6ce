"""Files that are appended to in blocks past the page cache: the same bytes whatever the disk allows."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import xxhash

from wsiprep.store import appendfile
from wsiprep.store.appendfile import BLOCK_BYTES, AppendFile

SIZES = (0, 1, 4095, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17)


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def written(path: Path, pieces: list[bytes], **options: bool) -> tuple[AppendFile, str]:
    file = AppendFile(path, **options)
    for piece in pieces:
        file.append(piece)
    return file, file.finish()


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_lies_there(tmp_path: Path, size: int, direct: bool) -> None:
    data = noise(size)
    file, digest = written(tmp_path / "f", [data], direct=direct)
    assert (tmp_path / "f").read_bytes() == data
    assert (file.size, digest) == (size, xxhash.xxh3_128_hexdigest(data))


def test_pieces_of_any_size_are_one_after_the_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pieces = [noise(int(n), i) for i, n in enumerate(rng.integers(0, 700_000, 12))]
    views = [memoryview(np.frombuffer(piece, np.uint8).reshape(1, -1)) for piece in pieces]
    written(tmp_path / "f", views)  # type: ignore[arg-type]
    assert (tmp_path / "f").read_bytes() == b"".join(pieces)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no file system in memory here")
def test_a_file_system_in_memory_will_do() -> None:
    path = Path(f"/dev/shm/wsiprep-append-{os.getpid()}")
    try:
        written(path, [noise(BLOCK_BYTES + 5)])
        assert path.read_bytes() == noise(BLOCK_BYTES + 5)
    finally:
        path.unlink(missing_ok=True)


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"here")
    with pytest.raises(FileExistsError):
        AppendFile(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"here"


@pytest.mark.parametrize("limit", [1000, 4096, 100_000])
def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Disks that are nearly full, and signals, cut a write short, also in the middle of a sector."""
    real = os.write
    monkeypatch.setattr(appendfile.os, "write", lambda file, data: real(file, memoryview(data)[:limit]))
    data = noise(BLOCK_BYTES + 99)
    written(tmp_path / "f", [data])
    assert (tmp_path / "f").read_bytes() == data


def test_a_disk_that_takes_the_flag_and_refuses_the_write_gets_buffered_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = os.write, []

    def write(file: int, data: memoryview) -> int:
        if not refused:
            refused.append(len(data))
            raise OSError(errno.EINVAL, "planted")
        return real(file, data)

    file = AppendFile(tmp_path / "f")
    if not file.direct:
        file.close()
        pytest.skip("this file system has no direct writes")
    monkeypatch.setattr(appendfile.os, "write", write)
    data = noise(2 * BLOCK_BYTES)
    file.append(data)
    file.finish()
    assert refused == [BLOCK_BYTES]
    assert not file.direct
    assert (tmp_path / "f").read_bytes() == data


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
def test_errors_of_the_disk_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def write(file: int, data: memoryview) -> int:
        raise OSError(code, os.strerror(code))

    file = AppendFile(tmp_path / "f")
    monkeypatch.setattr(appendfile.os, "write", write)
    # The block is on its way to the disk when append returns; the next one tells.
    file.append(noise(BLOCK_BYTES))
    with pytest.raises(OSError) as caught:
        file.append(noise(BLOCK_BYTES))
    file.close()
    assert (caught.value.errno, caught.value.filename) == (code, str(tmp_path / "f"))


def test_a_file_of_another_size_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that says that it wrote what it did not."""
    monkeypatch.setattr(appendfile.os, "write", lambda file, data: len(data))
    file = AppendFile(tmp_path / "f")
    file.append(b"lost")
    with pytest.raises(OSError, match="another size"):
        file.finish()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        file, _ = written(tmp_path / str(number), [noise(10)])
        file.close()
    given_up = AppendFile(tmp_path / "given up")
    given_up.append(noise(BLOCK_BYTES + 1))
    given_up.close()
    assert len(os.listdir("/proc/self/fd")) == before

"""Every codec: what comes back, what it refuses, and that nothing but the pixels decides the bytes."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chunkcases as cases
import cv2
import imagecodecs
import numpy as np
import pytest
from numcodecs import blosc

from wsiprep.errors import StoreError, UsageError
from wsiprep.store import image_codecs
from wsiprep.store.chunk_memory import ChunkMemory
from wsiprep.store.codecs import ChunkCodec, CodecName, codec_of, crc_bytes
from wsiprep.store.image_codecs import JPEG, JPEGXL, decode_jpegxl, encode_jpegxl
from wsiprep.store.shardfile import ShardFileWriter, read_chunk, read_index

EVERY = list(itertools.product(cases.CODECS, cases.KINDS))
SIZES = [(1, 1), (1, 7), (5, 3), (64, 64), (33, 129)]


@pytest.mark.parametrize(("name", "kind"), EVERY)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_what_is_packed_comes_back(name: CodecName, kind: str, height: int, width: int) -> None:
    array = cases.array(kind, height, width)
    codec = cases.codec_for(name, kind)
    before = array.copy()
    packed = codec.pack(array)
    data = b"".join(packed.parts)
    assert data == codec.encode(array)
    assert np.array_equal(array, before)
    back = codec.decode(data, array.shape, array.dtype)
    assert back.dtype == array.dtype
    assert back.flags.writeable
    assert np.array_equal(back, packed.values)
    if codec.lossy:
        assert np.abs(back.astype(int) - array).mean() < 8  # of quality 95, also on 1 x 7 px of noise
        assert not np.shares_memory(packed.values, array)
    else:
        assert packed.values is array


class _Careless:
    """imagecodecs whose encoder changes a pixel, or breaks the stream, at the first efforts."""

    def __init__(self, efforts: Iterable[int], *, broken: bool) -> None:
        self.efforts, self.broken, self.tried = set(efforts), broken, list[int]()

    def jpegxl_encode(self, image: Any, *, effort: int, **options: Any) -> bytes:
        self.tried.append(effort)
        if effort in self.efforts:
            image = image.copy()
            image[0, 0, 0] ^= 1
        data = bytes(imagecodecs.jpegxl_encode(image, effort=2, **options))
        return data[:-9] if self.broken and effort in self.efforts else data

    def __getattr__(self, name: str) -> Any:
        return getattr(imagecodecs, name)


@pytest.mark.parametrize("broken", [False, True])
def test_jpegxl_is_compared_with_its_pixels(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    """libjxl's fast encoder is not lossless for every image (its issue 4287)."""
    image = cases.texture(20, 31, 1)
    careless = _Careless([1], broken=broken)
    monkeypatch.setattr(image_codecs, "_library", careless)
    out = np.empty_like(image)
    decode_jpegxl(encode_jpegxl(image), out)
    assert careless.tried == [1, 2]
    assert np.array_equal(out, image)
    monkeypatch.setattr(image_codecs, "_library", _Careless([1, 2], broken=broken))
    with pytest.raises(StoreError, match=r"does not give the pixels of a patch back[\s\S]*libjxl"):
        encode_jpegxl(image)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_chunk_is_decoded_into_the_array_that_is_given(name: CodecName, kind: str) -> None:
    array = cases.array(kind, 40, 24)
    codec = cases.codec_for(name, kind)
    data = codec.encode(array)
    batch = np.zeros((3, *array.shape), array.dtype)
    assert codec.decode(memoryview(data), array.shape, array.dtype, batch[1]).base is batch
    assert np.array_equal(batch[1], codec.pack(array).values)
    assert not batch[0].any()
    assert not batch[2].any()
    read_only = np.zeros_like(array)
    read_only.flags.writeable = False
    for wrong in (
        np.zeros((*array.shape, 2), array.dtype)[..., 0],
        np.zeros(array.shape, np.float32),
        np.zeros(array.shape[::-1], array.dtype),
        read_only,
    ):
        with pytest.raises(UsageError, match="cannot be decoded into"):
            codec.decode(data, array.shape, array.dtype, wrong)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_layout_and_byte_order_of_the_input_do_not_matter(name: CodecName, kind: str) -> None:
    array = cases.array(kind, 21, 34)
    codec = cases.codec_for(name, kind)
    data = codec.encode(array)
    assert codec.encode(np.asfortranarray(array)) == data
    assert codec.encode(np.repeat(array, 2, axis=0)[::2]) == data
    assert codec.encode(array.astype(array.dtype.newbyteorder(">"))) == data
    frozen = array.copy()
    frozen.flags.writeable = False
    assert codec.encode(frozen) == data
    big = codec.decode(data, array.shape, array.dtype.newbyteorder(">"))
    assert big.dtype == array.dtype.newbyteorder(">")
    assert np.array_equal(big, codec.pack(array).values)


@pytest.mark.parametrize("name", cases.CODECS)
def test_threads_and_what_was_packed_before_do_not_change_the_bytes(name: CodecName) -> None:
    """Sizes are mixed: Blosc gives up where the room ends, so lent memory must not be roomier than fresh memory."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 4, (16, 16, 3), np.uint8) for _ in range(4)]  # hardly packs at all
    arrays = [*noise, cases.texture(300, 301), *(cases.texture(s, 2 * s, s) for s in (96, 16, 64, 200))]
    codec = ChunkCodec(name)
    alone = [codec.encode(array) for array in arrays]
    order = [int(i) for i in rng.permutation(np.repeat(np.arange(len(arrays)), 12))]
    for threads in (1, 2, 8):
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda i: b"".join(codec.pack(arrays[i]).parts), order))
        assert all(data == alone[i] for i, data in zip(order, found, strict=True))


def test_blosc_is_what_numcodecs_makes() -> None:
    for array in (cases.texture(64, 64), cases.mask(256, 256), np.zeros((9, 9), np.uint8)):
        ours = ChunkCodec("blosc-lz4").encode(array)
        raw = array.reshape(-1)
        theirs = blosc.Blosc(cname="lz4", clevel=3, shuffle=blosc.NOSHUFFLE).encode(raw)
        assert ours == theirs + crc_bytes(theirs)


def test_a_chunk_in_lent_memory_stays_while_it_is_looked_at() -> None:
    codec = ChunkCodec("blosc-lz4")
    kept = [codec.pack(cases.texture(64, 64, seed)).parts for seed in range(40)]
    gc.collect()
    for seed, parts in enumerate(kept):
        assert b"".join(parts) == codec.encode(cases.texture(64, 64, seed))


def test_chunk_memory_is_lent_to_one_at_a_time() -> None:
    memory = ChunkMemory(kept=2)
    first, second = memory.lend(100), memory.lend(100)
    assert not np.shares_memory(first, second)
    place = first.ctypes.data
    piece = memoryview(first[10:20])
    del first
    gc.collect()
    assert memory.waiting == 0  # a piece of it is still looked at
    del piece
    gc.collect()
    assert memory.waiting == 1
    again = memory.lend(60)
    assert again.ctypes.data == place
    assert again.size == 60  # never more than was asked for
    many = [memory.lend(100) for _ in range(5)]
    del many, again, second
    gc.collect()
    assert memory.waiting == 2
    assert memory.lend(1000).size == 1000
    gone = ChunkMemory()
    view = gone.lend(10)
    watch = weakref.ref(gone)
    del gone
    gc.collect()
    assert watch() is None  # a loan keeps its block and not the lender
    view[:] = 1


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("name", cases.CODECS)
def test_flipped_bits_are_found(name: CodecName, kind: str) -> None:
    """200 single bits of each chain."""
    array = cases.array(kind, 96, 96)
    data = cases.codec_for(name, kind).encode(array)
    bits = np.random.default_rng(1).integers(0, 8 * len(data), 200).tolist()
    missed = unnoticed(cases.codec_for(name, kind), data, array, bits)
    assert not missed or cases.codec_for(name, kind).name == "zstd"
    assert len(missed) < 20


@pytest.mark.parametrize("name", cases.CODECS)
def test_every_single_bit_of_a_small_chunk_is_found(name: CodecName) -> None:
    """zstd's checksum is of the content: bits of the frame that lead to the same content are no damage."""
    array = cases.texture(8, 8)
    data = ChunkCodec(name).encode(array)
    missed = unnoticed(ChunkCodec(name), data, array, range(8 * len(data)))
    # RFC 8878, 3.1.1.1.1.3: bit 4 of the frame's descriptor, which is byte 4, is unused.
    assert missed[:1] == ([4 * 8 + 4] if name == "zstd" else [])
    assert len(missed) < 20


def test_blosc_alone_finds_hardly_any_flipped_bit() -> None:
    """Why crc32c is there: the same frames without it decode, to other pixels."""
    array = cases.texture(96, 96)
    frame = ChunkCodec("blosc-lz4").encode(array)[:-4]
    out = np.empty(array.nbytes, np.uint8)
    silent = 0
    for bit in np.random.default_rng(1).integers(0, 8 * len(frame), 200):
        try:
            imagecodecs.blosc_decode(flip(frame, int(bit)), numthreads=1, out=out)
        except RuntimeError:
            continue
        silent += not np.array_equal(out, array.reshape(-1))
    assert silent > 100


def test_flipped_bits_of_an_index_are_found(tmp_path: Path) -> None:
    path = tmp_path / "c.0"
    writer = ShardFileWriter(path, 8)
    for number in range(6):
        writer.add(bytes([number]) * (number + 1))
    writer.finish()
    good = path.read_bytes()
    length = 8 * 16 + 4
    for bit in np.random.default_rng(2).integers(0, 8 * length, 200):
        path.write_bytes(flip(good, 8 * (len(good) - length) + int(bit)))
        with pytest.raises(StoreError, match="index of a shard file is damaged"):
            read_index(path, 8)
    path.write_bytes(good)
    assert read_chunk(path, read_index(path, 8), 5) == b"\5" * 6


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_truncated_chunk_is_an_error(name: CodecName, kind: str) -> None:
    array = cases.array(kind, 12, 12)
    codec = cases.codec_for(name, kind)
    data = codec.encode(array)
    for length in {*range(40), *range(0, len(data), 7), len(data) - 1}:
        with pytest.raises(ValueError):
            codec.decode(data[:length], array.shape, array.dtype)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_chunk_of_another_size_is_an_error(name: CodecName, kind: str) -> None:
    """Whole and sound, but of another patch: neither into too small an array nor into a part of one."""
    codec = cases.codec_for(name, kind)
    data = codec.encode(cases.array(kind, 12, 12))
    for side in (11, 13):
        shape = cases.array(kind, side, side).shape
        with pytest.raises(ValueError, match=r"belong|shape"):
            codec.decode(data, shape, cases.array(kind, 1, 1).dtype)


@pytest.mark.parametrize("field", [b"\xff" * 8, (2**40).to_bytes(8, "little"), b"\0" * 8])
def test_a_length_in_a_header_takes_no_memory(field: bytes) -> None:
    """A zstd frame whose header claims any length at all: refused by what it says, before anything is taken."""
    frame = bytes.fromhex("28b52ffd") + bytes([0b1110_0100]) + field + b"\0" * 20
    with pytest.raises(ValueError, match="bytes where 12 belong"):
        ChunkCodec("zstd").decode(frame, (12,), np.dtype(np.uint8))
    body = bytes.fromhex("02012001") + field[:4] + field[:4] + b"\x20\0\0\0" + b"\0" * 16
    with pytest.raises(ValueError, match="bytes where 12 belong"):
        ChunkCodec("blosc-lz4").decode(body + crc_bytes(body), (12,), np.dtype(np.uint8))


@pytest.mark.parametrize("name", cases.CODECS)
def test_sound_sums_over_nonsense_are_errors_too(name: CodecName) -> None:
    rng = np.random.default_rng(0)
    for length in (0, 1, 15, 16, 300):
        body = rng.bytes(length)
        with pytest.raises(ValueError):
            ChunkCodec(name).decode(body + crc_bytes(body), (9, 9, 3), np.dtype(np.uint8))


@pytest.mark.parametrize("name", ["jpegxl", "jpeg"])
def test_image_codecs_take_images_only(name: CodecName) -> None:
    assert ChunkCodec(name, 7).for_array((9, 9)) == ChunkCodec("zstd", 7)
    assert ChunkCodec(name, 7, 80).for_array((9, 9, 3)) == ChunkCodec(name, 7, 80)
    for wrong in (cases.mask(9, 9), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.uint16)):
        with pytest.raises(UsageError, match="only RGB images"):
            ChunkCodec(name).encode(wrong)


def test_chunks_are_files_that_other_decoders_read() -> None:
    """Less the checksum: OpenCV reads the JPEG, and the JPEG XL is a bare codestream."""
    image = cases.texture(40, 56)
    packed = ChunkCodec("jpeg").pack(image)
    other = cv2.cvtColor(cv2.imdecode(np.frombuffer(b"".join(packed.parts)[:-4], np.uint8), 1), cv2.COLOR_BGR2RGB)
    assert np.abs(other.astype(int) - packed.values).max() <= 2
    assert ChunkCodec("jpegxl").encode(image)[:2] == b"\xff\x0a"


def test_quality_reaches_the_encoder_and_the_record() -> None:
    image = cases.texture(128, 128)
    error, size = {}, {}
    for quality in (50, 80, 95, 100):
        packed = ChunkCodec("jpeg", quality=quality).pack(image)
        error[quality] = float(np.abs(packed.values.astype(int) - image).mean())
        size[quality] = sum(len(part) for part in packed.parts)
    assert sorted(error.values(), reverse=True) == list(error.values())
    assert sorted(size.values()) == list(size.values())
    assert ChunkCodec("jpeg", quality=80).describe() == {
        "codec": "jpeg", "lossy": True, "plain_zarr": False, "quality": 80, "chroma": "4:4:4",
    }  # fmt: skip
    assert ChunkCodec("zstd").describe() == {"codec": "zstd", "lossy": False, "plain_zarr": True}


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_metadata_names_the_codec_again(name: CodecName, kind: str) -> None:
    codec = ChunkCodec(name, 3, 80).for_array((1, 1, 3) if kind == "image" else (1, 1))
    chain = codec.metadata(cases.array(kind, 1, 1).dtype)
    again = codec_of(chain)
    assert again.metadata(cases.array(kind, 1, 1).dtype) == chain
    assert again.name == codec.name
    assert again.describe() == codec.describe()
    checked = chain[-1]["name"] == "crc32c" or chain[-1]["configuration"].get("checksum") is True
    assert checked
    assert (chain[0]["name"] in (JPEG, JPEGXL)) != codec.plain


@pytest.mark.parametrize("name", cases.CODECS)
def test_other_threads_run_while_a_chunk_is_packed_or_unpacked(name: CodecName) -> None:
    """With a switch interval of a minute another thread only runs where the GIL is given up."""
    image = cases.texture(512, 512)
    codec = ChunkCodec(name)
    data = codec.encode(image)
    out = np.empty_like(image)
    assert overlaps(lambda: codec.pack(image))
    assert overlaps(lambda: codec.decode(data, image.shape, image.dtype, out)) or name == "none"
    assert not overlaps(lambda: sum(range(50_000)), tries=20)


def test_no_codec_of_the_default_path_imports_zarr_or_numcodecs() -> None:
    code = (
        "import sys, numpy as np\n"
        "from wsiprep.store.codecs import ChunkCodec\n"
        "for name in ('blosc-lz4', 'none', 'jpegxl', 'jpeg'):\n"
        "    ChunkCodec(name).encode(np.zeros((8, 8, 3), np.uint8))\n"
        "print(sorted({'zarr', 'numcodecs', 'torch', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ (1 << bit % 8)]) + data[bit // 8 + 1 :]


def unnoticed(codec: ChunkCodec, data: bytes, array: np.ndarray[Any, Any], bits: Iterable[int]) -> list[int]:
    """The bits that may be flipped without an error; other pixels without one fail the test."""
    missed = []
    for bit in bits:
        try:
            back = codec.decode(flip(data, bit), array.shape, array.dtype)
        except ValueError:
            continue
        assert np.array_equal(back, array), bit
        missed.append(bit)
    return missed


def overlaps(work: Callable[[], object], tries: int = 300) -> bool:
    """Whether another Python thread moved during one of the calls."""
    steps, stop = [0], threading.Event()

    def walk() -> None:
        while not stop.is_set():
            steps[0] += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    other = threading.Thread(target=walk)
    other.start()
    try:
        for _ in range(tries):
            before = steps[0]
            work()
            if steps[0] != before:
                return True
            time.sleep(0)
        return False
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        other.join()

"""For any array: every codec gives back its values, in memory that was used before or not, and notices damage."""

from __future__ import annotations

from typing import Any

import chunkcases as cases
import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.store.codecs import ChunkCodec, codec_of

KINDS = st.sampled_from(cases.KINDS)
NAMES = st.sampled_from(cases.CODECS)


@st.composite
def arrays(draw: st.DrawFn, kind: str) -> npt.NDArray[Any]:
    """Flat, smooth, few-valued or noise, of any small size: what packs to nothing and what does not pack at all."""
    height, width = draw(st.integers(1, 48)), draw(st.integers(1, 48))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.integers(1, 256))
    shape = (height, width, 3) if kind == "image" else (height, width)
    if kind == "image" and draw(st.booleans()):
        return cases.texture(height, width, int(rng.integers(100)))
    noise = rng.integers(0, values, shape)
    if kind == "instance":
        return (noise * rng.integers(-(2**23), 2**23)).astype(np.int32)
    return noise.astype(np.uint8)


@given(st.data(), NAMES, KINDS, st.integers(-7, 6), st.integers(50, 100))
def test_any_array_comes_back(data: st.DataObject, name: Any, kind: str, level: int, quality: int) -> None:
    array = data.draw(arrays(kind))
    codec = ChunkCodec(name, level, quality).for_array(array.shape)
    packed = codec.pack(array)
    chunk = b"".join(packed.parts)
    assert chunk == codec.encode(array) == codec.encode(np.asfortranarray(array))
    out = np.full_like(array, 7)
    assert codec.decode(chunk, array.shape, array.dtype, out) is out
    assert np.array_equal(out, packed.values)
    assert codec.lossy or np.array_equal(out, array)
    reader = codec_of(codec.metadata(array.dtype))
    assert np.array_equal(reader.decode(chunk, array.shape, array.dtype), packed.values)


@given(st.data(), NAMES, KINDS)
def test_any_flipped_bit_is_an_error_or_no_change(data: st.DataObject, name: Any, kind: str) -> None:
    array = data.draw(arrays(kind))
    codec = ChunkCodec(name).for_array(array.shape)
    chunk = bytearray(codec.encode(array))
    bit = data.draw(st.integers(0, 8 * len(chunk) - 1))
    chunk[bit // 8] ^= 1 << bit % 8
    try:
        back = codec.decode(bytes(chunk), array.shape, array.dtype)
    except ValueError:
        return
    assert codec.name == "zstd"  # whose checksum is of the content and not of the frame
    assert np.array_equal(back, array)


@given(st.data(), NAMES)
def test_chunks_of_many_patches_do_not_mix(data: st.DataObject, name: Any) -> None:
    """Chunks are kept while others are packed, dropped and packed again, as threads and a writer do it."""
    images = [data.draw(arrays("image")) for _ in range(3)]
    codec = ChunkCodec(name)
    alone = [codec.encode(image) for image in images]
    kept: list[tuple[int, Any]] = []
    for number in data.draw(st.lists(st.integers(-1, 2), max_size=20)):
        if number < 0:
            kept = kept[1:]
        else:
            kept.append((number, codec.pack(images[number]).parts))
        assert all(b"".join(parts) == alone[n] for n, parts in kept)


@given(st.data(), NAMES)
def test_what_jpeg_gives_back_is_packed_no_worse(data: st.DataObject, name: Any) -> None:
    """Digests are of the values that come back: packing those again is allowed to change JPEG only."""
    image = data.draw(arrays("image"))
    codec = ChunkCodec(name)
    seen = codec.pack(image).values
    again = codec.pack(seen).values
    assert codec.lossy or np.array_equal(again, image)
    assert int(np.abs(again.astype(int) - seen).max()) <= (64 if codec.lossy else 0)

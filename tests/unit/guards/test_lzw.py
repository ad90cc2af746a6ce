"""LZW streams: sound ones pass and decode as before, those with undefined codes never reach the decoder."""

from __future__ import annotations

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from wsiprep.guards.lzw import check_codes, decode_lzw


def plain_codes(data: bytes) -> list[int]:
    """The codes of a stream one bit at a time, by the text of TIFF 6.0: the oracle of the widths."""
    bits = "".join(f"{byte:08b}" for byte in data)
    place, width, free, codes = 0, 9, 258, []
    while place + width <= len(bits):
        code = int(bits[place : place + width], 2)
        codes.append(code)
        place += width
        if code == 257:
            break
        if code == 256:
            width, free, first = 9, 258, True
            continue
        if not first:
            free += 1
        first = False
        if free in (511, 1023, 2047):
            width += 1
    return codes


@pytest.mark.parametrize("high", [0, 1, 3, 40, 255])
@pytest.mark.parametrize("count", [1, 2, 300, 4096, 70_000])
def test_what_was_encoded_comes_back(high: int, count: int) -> None:
    data = np.random.default_rng(count).integers(0, high + 1, count).astype(np.uint8).tobytes()
    stream = imagecodecs.lzw_encode(data)
    assert decode_lzw(stream, count) == data
    assert plain_codes(stream)[-1] == 257


def test_streams_of_libtiff_pass(tmp_path) -> None:
    image = np.random.default_rng(1).integers(0, 9, (300, 400), dtype=np.uint8)
    path = tmp_path / "lzw.tif"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, 1])
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        assert int(page.compression) == 5
        rows = -(-300 // len(page.dataoffsets))
        found = b""
        for k, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
            tif.filehandle.seek(offset)
            found += decode_lzw(tif.filehandle.read(count), min(rows, 300 - k * rows) * 400)
    assert found == image.tobytes()


def coded(codes: list[tuple[int, int]]) -> bytes:
    bits = "".join(f"{code:0{width}b}" for code, width in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def test_a_code_that_no_table_has_is_named() -> None:
    with pytest.raises(ValueError, match="code 300 at bit 18 is not defined"):
        check_codes(coded([(256, 9), (7, 9), (300, 9), (257, 9)]))
    with pytest.raises(ValueError, match="code 258 at bit 9 is not defined"):
        check_codes(coded([(256, 9), (258, 9), (257, 9)]))
    check_codes(coded([(256, 9), (7, 9), (258, 9), (257, 9)]))  # the entry that is just being made


def test_a_table_that_is_never_cleared_overflows() -> None:
    widths = [9] * 254 + [10] * 512 + [11] * 1024 + [12] * 3000
    with pytest.raises(ValueError, match="overflows"):
        check_codes(coded([(256, 9), *((5, width) for width in widths)]))


def test_what_follows_the_end_is_not_looked_at_and_a_cut_stream_passes_to_the_decoder() -> None:
    check_codes(coded([(256, 9), (7, 9), (257, 9), (511, 9), (511, 9)]))
    check_codes(b"")
    check_codes(b"\x80")
    check_codes(imagecodecs.lzw_encode(bytes(range(256)) * 20)[:-7])


def test_random_streams_are_refused_or_decoded() -> None:
    """Without the check, streams like these end the process within 20,000 tries."""
    rng = np.random.default_rng(3)
    whole = imagecodecs.lzw_encode(rng.integers(0, 3, 4096).astype(np.uint8).tobytes())
    outcomes = {"decoded": 0, "refused": 0}
    for number in range(4000):
        if number % 2:
            stream = b"\x80" + rng.bytes(int(rng.integers(0, 3000)))
        else:
            stream = whole[int(rng.integers(0, len(whole))) :]
        try:
            decode_lzw(stream, int(rng.choice([1, 256, 4096])))
            outcomes["decoded"] += 1
        except (ValueError, RuntimeError):
            outcomes["refused"] += 1
    assert outcomes["refused"] > 3000

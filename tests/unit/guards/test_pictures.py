"""PNG and BMP before and instead of a decoder: whole files pass, damaged ones are errors and nothing worse."""

from __future__ import annotations

import struct

import cv2
import imagecodecs
import numpy as np
import pytest

from wsiprep.guards.bmp import bmp_size, read_bmp
from wsiprep.guards.png import check_png, chunks

IMAGE = np.random.default_rng(2).integers(0, 255, (37, 53, 3), dtype=np.uint8)
PNG = imagecodecs.png_encode(IMAGE)
BMP_24 = cv2.imencode(".bmp", IMAGE[..., ::-1])[1].tobytes()
BMP_8 = cv2.imencode(".bmp", IMAGE[..., 0])[1].tobytes()


def test_chunks_of_a_png() -> None:
    found = list(chunks(PNG))
    assert (found[0][0], found[-1]) == (b"IHDR", (b"IEND", b""))
    check_png(PNG)
    check_png(PNG + b"what comes after the end")


@pytest.mark.parametrize("cut", [0, 7, 20, 40, len(PNG) // 2, len(PNG) - 1])
def test_a_cut_png_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match=r"begin|ends early|cut short"):
        check_png(PNG[:cut])


def test_every_flipped_bit_of_a_png_is_seen() -> None:
    for place in range(8, len(PNG) - 12, 13):
        with pytest.raises(ValueError):
            check_png(PNG[:place] + bytes([PNG[place] ^ 16]) + PNG[place + 1 :])


def test_bmp_of_24_bits() -> None:
    found = read_bmp(BMP_24)
    assert found.palette is None
    assert (found.rgb == IMAGE).all()
    assert bmp_size(BMP_24) == (53, 37, 24, 0)


def test_bmp_of_8_bits_gives_indices_and_colours() -> None:
    found = read_bmp(BMP_8)
    assert (found.values == IMAGE[..., 0]).all()
    assert (found.rgb == IMAGE[..., :1]).all()


def test_bmp_from_the_top_down() -> None:
    rows = b"".join(row.tobytes() + bytes(-159 % 4) for row in IMAGE[..., ::-1])
    head = bytearray(BMP_24[:54])
    struct.pack_into("<i", head, 22, -37)
    assert (read_bmp(bytes(head) + rows).rgb == IMAGE).all()


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, b"XX", "header"), (18, b"\0\0\0\0", "damaged"), (22, b"\0\0\0\0", "damaged"), (26, b"\3\0", "planes"),
        (28, b"\20\0", "16 bits"), (30, b"\1\0\0\0", "compression 1"), (10, b"\1\0\0\0", "ends early"),
        (18, b"\xff\xff\0\0", "ends early"), (10, b"\xff\xff\xff\x7f", "ends early"),
    ],
)  # fmt: skip
def test_a_damaged_bmp_is_refused(place: int, value: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_bmp(BMP_24[:place] + value + BMP_24[place + len(value) :])
    with pytest.raises(ValueError):
        read_bmp(BMP_24[: len(BMP_24) // 2])


def test_an_index_without_a_colour_is_refused() -> None:
    small = bytearray(BMP_8)
    struct.pack_into("<I", small, 46, 9)
    with pytest.raises(ValueError, match="not in a palette of 9"):
        _ = read_bmp(bytes(small)).rgb


def test_random_damage_ends_in_values_or_an_error() -> None:
    rng = np.random.default_rng(4)
    for source in (BMP_24, BMP_8):
        for _ in range(500):
            data = bytearray(source)
            for place in rng.integers(0, 60, 3).tolist():
                data[place] ^= 1 << int(rng.integers(0, 8))
            try:
                width, height, _, _ = bmp_size(bytes(data))
                if width * height < 1_000_000:
                    assert read_bmp(bytes(data)).values.shape[:2] == (height, width)
            except ValueError:
                pass

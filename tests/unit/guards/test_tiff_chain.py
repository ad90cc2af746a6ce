"""The chain of directories: what is refused, and what is none of its business."""

from __future__ import annotations

import io
import struct

import pytest

from wsiprep.errors import SlideError
from wsiprep.guards import tiff_chain
from wsiprep.guards.tiff_chain import check_chain

ENTRY = {"classic": 12, "big": 20, "ndpi": 12}


def chain(kind: str, order: str, links: list[int | None], entries: int = 2, code: int = 65420) -> bytes:
    """Empty directories one after the other; ``links`` overrides where each leads (None: to the next one)."""
    link, count = {"classic": ("I", "H"), "big": ("Q", "Q"), "ndpi": ("Q", "H")}[kind]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if kind == "big" else 42)
    head += struct.pack(order + "HHQ", 8, 0, 16) if kind == "big" else struct.pack(order + link, 16)
    out = head.ljust(16, b"\0")
    entry = struct.pack(order + "H", code).ljust(ENTRY[kind], b"\0")
    size = struct.calcsize(order + count) + entries * ENTRY[kind] + struct.calcsize(order + link)
    for n, leads in enumerate(links):
        following = 0 if n == len(links) - 1 else 16 + (n + 1) * size
        out += struct.pack(order + count, entries) + entry * entries
        out += struct.pack(order + link, following if leads is None else leads)
    return out


@pytest.fixture(params=["<", ">"])
def order(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=["classic", "big", "ndpi"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    found: str = request.param
    if found == "ndpi":
        # A file beyond 4 GiB is NDPI's own variant: pretend that all are.
        monkeypatch.setattr(tiff_chain, "_CLASSIC_LIMIT_BYTES", 0)
    return found


def test_a_chain_with_an_end_passes(kind: str, order: str) -> None:
    check_chain(io.BytesIO(chain(kind, order, [None] * 5)), "a.tif")


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_a_loop_is_told(kind: str, order: str, back_to: int) -> None:
    size = (len(chain(kind, order, [None] * 3)) - 16) // 3
    with pytest.raises(SlideError, match="circle") as caught:
        check_chain(io.BytesIO(chain(kind, order, [None, None, 16 + back_to * size])), "a.tif")
    assert caught.value.file == "a.tif"


def test_every_cut_through_the_chain_is_told(kind: str, order: str) -> None:
    data = chain(kind, order, [None] * 3)
    first = len(chain(kind, order, [None]))
    for end in range(17 if kind != "ndpi" else first, len(data)):
        with pytest.raises(SlideError, match="truncated"):
            check_chain(io.BytesIO(data[:end]), "a.tif")


def test_a_link_beyond_the_end_is_told(kind: str, order: str) -> None:
    with pytest.raises(SlideError, match="truncated"):
        check_chain(io.BytesIO(chain(kind, order, [None, 2**31])), "a.tif")


@pytest.mark.parametrize("data", [b"", b"II", b"\xff\xd8\xff\xe0" * 9, b"II" + bytes(30), b"MM\0\x07" + bytes(30)])
def test_what_is_no_tiff_passes(data: bytes) -> None:
    check_chain(io.BytesIO(data), "a")


def test_a_long_classic_file_that_is_no_ndpi_is_left_to_tifffile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_chain, "_CLASSIC_LIMIT_BYTES", 0)
    check_chain(io.BytesIO(chain("ndpi", "<", [16], code=256)), "a.tif")
    check_chain(io.BytesIO(chain("classic", "<", [None, None], code=256)), "a.tif")

"""Threads of pack end with it: none reads a slide that is closed, whatever went wrong."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipelinecases import temporaries
from slide_files import texture
from stagecases import Case, asap, box, case, write_slide

from wsiprep.errors import StorageError
from wsiprep.geometry import PixelGrid
from wsiprep.slides import DamagedRegionError, PatchReader
from wsiprep.stages import pack as packing
from wsiprep.stages.scene import SlideScene
from wsiprep.store.shardfile import ShardFileWriter


@pytest.fixture
def planned(tmp_path: Path) -> Case:
    write_slide(tmp_path / "s.tif", texture(660, 500, seed=3), 0.5)
    asap(tmp_path / "s.xml", [("Tumor", box(0, 0, 640, 490))])
    it = case(tmp_path, [{"slide_id": "s", "slide": "s.tif", "annotation": "s.xml"}], downsample=1,
              sampling={"patch_size_px": 64})  # fmt: skip
    it.survey()
    it.plan()
    return it


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened to the slide, in order: ``read`` at the end of each patch, ``close``."""
    events: list[str] = []
    read, leave = PatchReader.read, SlideScene.__exit__

    def slowly(self: PatchReader, grid: PixelGrid, fill: int = 255) -> Any:
        time.sleep(0.02)
        try:
            return read(self, grid, fill)
        finally:
            events.append("read")

    def closed(self: SlideScene, *error: Any) -> Any:
        events.append("close")
        return leave(self, *error)

    monkeypatch.setattr(PatchReader, "read", slowly)
    monkeypatch.setattr(SlideScene, "__exit__", closed)
    return events


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def damaged(*_: object) -> None:
    raise DamagedRegionError("it does not decode")


@pytest.mark.parametrize(
    ("where", "name", "failure", "error"),
    [
        (ShardFileWriter, "add", full_disk, StorageError),
        (packing.SheetItem, "of", full_disk, StorageError),
        (PatchReader, "source_of", damaged, DamagedRegionError),
    ],
)
def test_no_thread_reads_on_when_pack_fails(
    planned: Case, late: list[str], monkeypatch: pytest.MonkeyPatch,
    where: type, name: str, failure: Callable[..., None], error: type[Exception],
) -> None:  # fmt: skip
    monkeypatch.setattr(where, name, failure)
    with pytest.raises(error):
        planned.pack(threads=3)
    time.sleep(0.2)
    assert "read" in late
    assert late[-1] == "close"
    assert temporaries(planned.tree.root) == []

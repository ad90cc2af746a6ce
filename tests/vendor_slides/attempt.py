"""Open a slide and read all of it in a process of its own, so that a crash or a hang is one failed test."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 30


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: ``error`` is "" where everything was read."""

    error: str
    exit_code: int
    message: str
    backend: str
    spacing: Any
    size: tuple[int, int]
    digests: tuple[str, ...]


def attempt(path: Path, backend: str = "auto") -> Outcome:
    """Open ``path`` and read every level that has a factor, in another process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vendor_slides.attempt", "wsiprep.slides.openslide_backend", "tiffslide", "zarr"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(path, backend, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(LIMIT_S):
            raise AssertionError(f"{path.name} hangs")
        outcome: Outcome = receiver.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"{path.name} kills the process: {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    return outcome


def _work(path: Path, backend: str, sender: Any) -> None:
    import hashlib

    from wsiprep.errors import WsiprepError
    from wsiprep.geometry import Box
    from wsiprep.slides import open_slide

    try:
        with open_slide(path, backend) as slide:
            digests = []
            for level in slide.info.levels:
                if level.factor is not None:
                    pixels = slide.read_level(level.index, Box(0, 0, level.size.width_px, level.size.height_px))
                    digests.append(hashlib.sha256(pixels.tobytes()).hexdigest())
            size = (slide.info.size.width_px, slide.info.size.height_px)
            sender.send(Outcome("", 0, "", slide.info.backend, slide.info.spacing, size, tuple(digests)))
    except WsiprepError as error:
        sender.send(Outcome(type(error).__name__, error.exit_code, str(error), "", None, (0, 0), ()))
    except Exception as error:  # noqa: BLE001
        # What wsiprep did not expect: the test must see it as such.
        sender.send(Outcome(type(error).__name__, 1, repr(error), "", None, (0, 0), ()))

"""Slides on slow storage: a copy on scratch for as long as a stage reads it.

A slide is copied with all the files that belong to it (the folder of a MIRAX slide, the images of a VMS key file, the
other instances of a DICOM series), under their own names, so that its identity stays what it is. URLs are fetched.
Collections of ready-cut tiles are read where they are: each of their files is read once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from wsiprep.errors import SlideError, StorageError, WsiprepError, from_os_error
from wsiprep.manifest import SlideRow
from wsiprep.progress import Reporter
from wsiprep.slides.collections import is_collection
from wsiprep.slides.companions import mirax_parts, series_parts, vms_parts
from wsiprep.slides.identity import is_url
from wsiprep.slides.remote_file import RemoteFile
from wsiprep.temporaries import TEMPORARY_PREFIX, is_being_made, is_made_here, temporary_name

SPARE_BYTES = 64 * 2**20
"""Room that stays free on the scratch disk."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file to copy: from where, to which path below the copy's folder, and how large."""

    source: str
    name: str
    size: int


@contextlib.contextmanager
def staged(row: SlideRow, folder: Path | None, reporter: Reporter) -> Iterator[SlideRow]:
    """The row with its slide on scratch; the copy is removed afterwards. Without a folder, the row itself.

    Copies that killed processes of this host left in the folder are removed first. Errors name the slide and not
    its copy.

    Raises:
        SlideError: the slide is not there.
        StorageError: the scratch folder is full or cannot be written (exit 74).
    """
    if folder is None or is_collection(row.slide):
        yield row
        return
    files = _files(row.slide)
    place = folder / temporary_name()
    try:
        _remove_leftovers(folder)
        _require_room(folder, sum(file.size for file in files), row)
        place.mkdir(parents=True)
        for file in files:
            _copy(file, place / file.name)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise from_os_error(error, path=error.filename or folder) from error
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    reporter.say(f"{row.slide_id}: {sum(file.size for file in files) / 1e6:.0f} MB copied to scratch")
    try:
        yield replace(row, slide=str(place / files[0].name))
    except WsiprepError as error:
        copy = str(place / files[0].name)
        if error.file == copy:
            error.file = row.slide
        if isinstance(error.got, str):
            error.got = error.got.replace(copy, row.slide)
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _files(slide: str) -> list[_File]:
    """The slide's files, the slide itself first."""
    if is_url(slide):
        return [_remote(slide)]
    path = Path(slide)
    if not path.is_file():
        raise SlideError("there is no such slide", got=slide, expected="a file", fix="check the path", file=slide)
    parts = [*mirax_parts(path), *vms_parts(path), *(part.path for part in series_parts(path) if part.path != path)]
    try:
        return [_File(str(p), p.relative_to(path.parent).as_posix(), p.stat().st_size) for p in (path, *parts)]
    except OSError as error:
        raise from_os_error(error, path=error.filename or path) from error


def _remote(url: str) -> _File:
    parts = urlsplit(url)
    return _File(url, PurePosixPath(parts.path or parts.netloc).name or "slide", RemoteFile(url, in_parts=False).size)


def _copy(file: _File, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_url(file.source):
        RemoteFile(file.source, in_parts=False).copy(target)
    else:
        shutil.copyfile(file.source, target)
    if target.stat().st_size != file.size:
        raise SlideError(
            "the slide changed while it was copied, or the copy stopped early",
            got=f"{target.stat().st_size} bytes", expected=f"{file.size} bytes", fix="run the stage again",
            file=file.source,
        )  # fmt: skip


def _require_room(folder: Path, needed: int, row: SlideRow) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise StorageError(
            "the scratch folder has no room for the slide",
            got=f"{free} bytes free in {folder}",
            expected=f"{needed + SPARE_BYTES} bytes for {row.slide_id}",
            fix="name another folder with --stage, run fewer jobs at once, or read the slide where it is",
        )


def _remove_leftovers(folder: Path) -> None:
    """Copies of processes of this host that are no more; those of other hosts cannot be judged."""
    if not folder.is_dir():
        return
    for name in os.listdir(folder):
        if name.startswith(TEMPORARY_PREFIX) and is_made_here(name) and not is_being_made(name):
            shutil.rmtree(folder / name, ignore_errors=True)

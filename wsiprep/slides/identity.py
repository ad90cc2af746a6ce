"""A cheap fingerprint of a slide file: no need to read gigabytes to notice that a file changed."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

from wsiprep.errors import SlideError
from wsiprep.guards.tiff_chain import check_chain
from wsiprep.slides.companions import SeriesPart, mirax_parts, series_parts, vms_parts

END_BYTES = 64 * 1024

TIFF_PARSE_ERRORS = (
    tifffile.TiffFileError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error,
    OverflowError, ZeroDivisionError, RuntimeError, EOFError, MemoryError,
)  # fmt: skip
"""What tifffile raises on damaged headers; OSError is left out because that is the disk's fault."""


def is_url(path: str | Path) -> bool:
    """Whether the path names something that fsspec has to open (``s3://...``)."""
    return "://" in str(path)


def slide_identity(path: str | Path, tables: Sequence[bytes] | None = None) -> str:
    """sha256 (hexadecimal) over the file's size, its first and last 64 KiB and its TIFF tile tables.

    The tables (offsets and byte counts of every tile and strip of every page) change with any
    re-encoding of any tile; files that are no TIFF are known by size and both ends alone. MIRAX and
    VMS slides are known also by the names and sizes of their data files; a DICOM slide by size and both
    ends of every instance of its series in the folder, whichever of them is named.

    Args:
        tables: ``page_tables`` of the file, where it has been parsed already.

    Raises:
        SlideError: the file is missing or cannot be read.
        StorageError: the server of a URL fails.
    """
    try:
        if is_url(path):
            from wsiprep.slides.remote_bytes import RemoteBytes

            source = RemoteBytes(str(path))
            try:
                with source.open() as remote:
                    return handle_identity(remote)
            finally:
                source.close()
        place = Path(path)
        series = series_parts(place)
        if series:
            return _of_series(series)
        with place.open("rb") as local:
            return _fingerprint(local, place, tables)
    except OSError as error:
        raise SlideError("the slide cannot be read", got=error.strerror or str(error), file=path) from error


def handle_identity(handle: BinaryIO, tables: Sequence[bytes] | None = None) -> str:
    """``slide_identity`` of a slide that is one file, which is open."""
    return _fingerprint(handle, None, tables)


def _fingerprint(handle: BinaryIO, path: Path | None, tables: Sequence[bytes] | None) -> str:
    digest = hashlib.sha256()
    _add_ends(digest, handle)
    for table in _tables(handle) if tables is None else tables:
        digest.update(table)
    if path is not None:
        for part in mirax_parts(path) or vms_parts(path):
            digest.update(f"{part.name} {part.stat().st_size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _of_series(parts: list[SeriesPart]) -> str:
    digest = hashlib.sha256(b"wsiprep slide 1 dicom %d\n" % len(parts))
    for part in parts:
        with part.path.open("rb") as handle:
            _add_ends(digest, handle)
    return digest.hexdigest()


def _add_ends(digest: hashlib._Hash, handle: BinaryIO) -> None:
    size = handle.seek(0, 2)
    digest.update(b"wsiprep slide 1 %d\n" % size)
    handle.seek(0)
    digest.update(handle.read(END_BYTES))
    handle.seek(max(0, size - END_BYTES))
    digest.update(handle.read(END_BYTES))


def _tables(handle: BinaryIO) -> Sequence[bytes]:
    try:
        check_chain(handle, "")
        handle.seek(0)
        with tifffile.TiffFile(handle) as tif:
            return page_tables(tif)
    except (SlideError, *TIFF_PARSE_ERRORS):
        # Not a TIFF, or one whose header is damaged: size and both ends have to do.
        return ()


def page_tables(tif: Any) -> Sequence[bytes]:
    """The tile tables of every page, for the identity; none where one of them is damaged."""
    try:
        return tuple(_page_table(page) for page in all_pages(tif))
    except (SlideError, *TIFF_PARSE_ERRORS):
        return ()


def _page_table(page: Any) -> bytes:
    head = np.array([page.imagewidth, page.imagelength, len(page.dataoffsets)], "<i8")
    offsets, counts = (np.array(v, "<i8") for v in (page.dataoffsets, page.databytecounts))
    return head.tobytes() + offsets.tobytes() + counts.tobytes()


def all_pages(tif: Any) -> Iterator[Any]:
    """Every page of the main chain, each followed by its sub-images (SubIFDs)."""
    for page in tif.pages:
        yield page
        if page.subifds:
            yield from page.pages

"""The other files of a slide that is more than one file: MIRAX, Hamamatsu VMS, DICOM."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

from wsiprep.slides.dicom import Instance, instance_of

_KEY_FILES = (b"[Virtual Microscope Specimen]", b"[Uncompressed Virtual Microscope Specimen]")
_KEY_FILE_BYTES = 2**20
_NAMED_FILE = re.compile(rb"^\s*(?:ImageFile|MapFile|OptimisationFile)[^=\r\n]*=[ \t]*([^\r\n]*?)\s*$", re.MULTILINE)
_MAP_FILE = re.compile(rb"^\s*MapFile\s*=[ \t]*([^\r\n]*?)\s*$", re.MULTILINE)

_HEADER_BYTES = (8 * 1024, 512 * 1024)
"""How much of a DICOM file is read for its UIDs: nearly always the first, before sequences of private data more."""


class SeriesPart(NamedTuple):
    """An instance of a DICOM series and its file."""

    instance: Instance
    path: Path


def mirax_parts(path: Path) -> list[Path]:
    """The files in the folder of an .mrxs, sorted; none for other slides."""
    if path.suffix.lower() != ".mrxs":
        return []
    return sorted(p for p in path.with_suffix("").glob("*") if p.is_file())


def vms_parts(path: Path) -> list[Path]:
    """The images that a VMS or VMU key file names and that are there, sorted; none for other slides."""
    return sorted({p for p in _named(path, _NAMED_FILE) if p.is_file()})


def is_vms(path: Path) -> bool:
    """Whether this is the key file of a VMS slide, whose images are JPEGs (those of VMU are not)."""
    return _key_file(path).startswith(_KEY_FILES[0])


def vms_map(path: Path) -> Path | None:
    """The low-resolution image that a VMS key file names, None where it names none."""
    return next(iter(_named(path, _MAP_FILE)), None)


def series_parts(path: Path) -> list[SeriesPart]:
    """Every file in the folder that is an instance of the same DICOM series, by UID; none for other slides.

    Reads the first few KiB of each file in the folder, once per file and process.
    """
    own = _instance(path)
    if own is None:
        return []
    found = [SeriesPart(own, path)]
    for other in path.parent.iterdir():
        if other.name != path.name and other.is_file():
            instance = _instance(other)
            if instance is not None and instance.series == own.series:
                found.append(SeriesPart(instance, other))
    return sorted(found, key=lambda part: (part.instance.uid, part.path.stat().st_size))


def _key_file(path: Path) -> bytes:
    with path.open("rb") as handle:
        head = handle.read(len(_KEY_FILES[1]))
        return head + handle.read(_KEY_FILE_BYTES) if head.startswith(_KEY_FILES) else b""


def _named(path: Path, pattern: re.Pattern[bytes]) -> list[Path]:
    names = [name.decode("utf-8", "surrogateescape") for name in pattern.findall(_key_file(path)) if name]
    # Paths that lead out of the folder are not followed.
    return [path.parent / name for name in names if Path(name).name == name]


def _instance(path: Path) -> Instance | None:
    try:
        stat = path.stat()
        return _cached_instance(path, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=65_536)
def _cached_instance(path: Path, size: int, mtime_ns: int) -> Instance | None:
    del size, mtime_ns
    with path.open("rb") as handle:
        head = b""
        for limit in _HEADER_BYTES:
            head += handle.read(limit - len(head))
            if head[128:132] != b"DICM":
                return None
            found = instance_of(head)
            if found is not None:
                return found
    return None

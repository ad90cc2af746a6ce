"""Paths that a manifest names: what is refused, what they mean, and where they lie on disk.

A manifest of one's own may name any file: absolute paths and ``..`` are how slides on another disk are
reached. A manifest that came with a download is *confined*: whatever it names lies below its data root,
symbolic links included. docs/adr/0008 has the reasons.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from wsiprep.errors import ManifestError
from wsiprep.manifest.names import canonical, control_character

MAX_NAME_BYTES = 255
"""Of one file or folder name, on every file system in use."""

_DRIVE = re.compile(r"[A-Za-z]:(?!//)")


_BELOW = "a relative path below the data root, without .."
_TRUST = "read it unconfined only if you know who wrote the manifest"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which manifest a value stands, for messages."""

    file: Path
    line: int
    column: str

    def error(self, message: str, *, got: str, expected: str | None = None, fix: str | None = None) -> ManifestError:
        """A ManifestError there, that names the column."""
        return ManifestError(
            f"{self.column}: {message}", got=repr(got), expected=expected, fix=fix, file=self.file, line=self.line
        )


def is_url(ref: str) -> bool:
    """Whether a reference is a URL (``scheme://``), which fsspec opens."""
    return "://" in ref


def check_reference(ref: str, place: Place, *, confined: bool = False) -> None:
    """Refuse what may not stand in a manifest.

    Raises:
        ManifestError: control characters; a drive letter or a backslash (paths of Windows mean nothing
            elsewhere); a name over 255 bytes. If confined, also a URL, an absolute path or ``..``.
    """
    found = control_character(ref)
    if found is not None:
        raise place.error("a path has control characters", got=ref, expected=f"no {found}")
    if is_url(ref):
        if confined:
            raise place.error("a confined manifest may not name a URL", got=ref, expected=_BELOW, fix=_TRUST)
        return
    if _DRIVE.match(ref):
        raise place.error(
            "a path starts with a drive letter", got=ref, expected="a path with / between folders",
            fix="write the path as this machine has it (./ in front if the file's name has that colon)",
        )  # fmt: skip
    if "\\" in ref:
        raise place.error(
            "a path has a backslash", got=ref, expected="/ between folders", fix="replace \\ by /, or rename the file"
        )
    parts = ref.split("/")
    long = next((part for part in parts if len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES), None)
    if long is not None:
        raise place.error("a file name is too long", got=f"{long[:40]}...", expected=f"at most {MAX_NAME_BYTES} bytes")
    if confined and (ref.startswith("/") or ".." in parts):
        raise place.error("a confined manifest names a path outside its folder", got=ref, expected=_BELOW, fix=_TRUST)


def resolve(ref: str, root: Path) -> str:
    """Absolute path of a reference; URLs as they are."""
    return ref if is_url(ref) else str((root / ref).absolute())


def require_inside(ref: str, root: Path, place: Place) -> None:
    """Refuse a reference that leaves ``root`` through a symbolic link (the root itself may be one).

    Raises:
        ManifestError: it does.
    """
    real = os.path.realpath(root / ref)
    base = os.path.realpath(root)
    if real != base and not real.startswith(base.rstrip("/") + "/"):
        raise place.error(
            "a confined manifest reaches outside its folder through a link", got=f"{ref} -> {real}",
            expected=f"a file below {base}", fix=_TRUST,
        )  # fmt: skip


def on_disk(path: str) -> str:
    """The path under which a file lies that was named in another Unicode normal form; else ``path`` itself.

    File systems that keep names as they come (ext4, NFS) hold decomposed names of a Mac beside composed
    ones. Only names of the same characters are taken, and only if there is one and the exact name is none.
    """
    if is_url(path) or os.path.lexists(path) or path.isascii():
        return path
    found = Path(Path(path).anchor)
    for part in Path(path).parts[1:]:
        step = found / part
        if not os.path.lexists(step):
            try:
                same = [name for name in os.listdir(found) if canonical(name) == canonical(part)]
            except OSError:
                return path
            if len(same) != 1:
                return path
            step = found / same[0]
        found = step
    return str(found)


def file_key(path: str) -> tuple[int, int] | None:
    """(device, inode) of a local file: equal for all its names, links included; None where there is none."""
    if is_url(path):
        return None
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None

"""What lies in a dataset's folder: files and folders with relative paths, and what cannot be trusted."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from wsiprep.datasets.findings import Finding
from wsiprep.datasets.patterns import composed
from wsiprep.errors import UsageError

PARTIAL_SUFFIXES = (".part", ".partial", ".crdownload", ".download", ".aria2", ".filepart", ".tmp", ".!ut")
"""Endings that browsers and download tools give to what they have not finished."""

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", ".git", ".ipynb_checkpoints"})
MAX_FILES = 5_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file. ``path`` is relative with /; ``identity`` is (size, mtime in ns, inode)."""

    path: str
    size: int
    identity: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Listing:
    """The files and folders of a dataset's folder, keyed by their composed relative path.

    Attributes:
        root: the folder, resolved.
        files: every regular file that lies inside it, links that stay inside included.
        folders: every folder below it, without a slash at the end, with its path as the file system writes it.
        findings: links that leave the folder, names that are no text, unfinished downloads.
        n_junk: files that file managers leave behind.
    """

    root: Path
    files: dict[str, Entry]
    folders: dict[str, str]
    findings: tuple[Finding, ...]
    n_junk: int = 0
    partial: frozenset[str] = field(default_factory=frozenset)


def list_folder(folder: Path) -> Listing:
    """Walk a folder, following links only while they stay in it.

    Raises:
        UsageError: there is no such folder, or it holds more files than any dataset.
    """
    if not folder.is_dir():
        raise UsageError("there is no such folder", got=str(folder), fix="name the folder that holds the dataset")
    root = Path(os.path.realpath(folder))
    walk = _Walk(root)
    walk.visit("")
    return Listing(root, walk.files, walk.folders, tuple(walk.findings), walk.n_junk, frozenset(walk.partial))


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, Entry] = {}
        self.folders: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.partial: set[str] = set()
        self.n_junk = 0
        self._visited = {os.path.realpath(root)}

    def visit(self, relative: str) -> None:
        try:
            items = _sorted(self.root / relative)
        except OSError as error:
            self.findings.append(Finding("unreadable", "error", relative, error.strerror or str(error)))
            return
        for item in items:
            path = f"{relative}/{item.name}" if relative else item.name
            if item.name in JUNK_NAMES or item.name.startswith("._"):
                self.n_junk += 1
            elif not _is_text(item.name):
                shown = path.encode("utf-8", "backslashreplace").decode()
                self.findings.append(Finding("name", "error", shown, "the name is no UTF-8 text: rename the file"))
            elif self._escapes(item, path):
                self.findings.append(
                    Finding("escape", "error", path, "a link out of the folder is not followed: copy the file here")
                )
            else:
                self._take(item, path)

    def _take(self, item: os.DirEntry[str], path: str) -> None:
        try:
            status = item.stat()
        except OSError as error:
            self.findings.append(Finding("unreadable", "error", path, error.strerror or str(error)))
            return
        if stat.S_ISDIR(status.st_mode):
            real = os.path.realpath(self.root / path)
            if item.is_symlink() and real in self._visited:
                return
            self._visited.add(real)
            self.folders[composed(path)] = path
            self.visit(path)
        elif stat.S_ISREG(status.st_mode):
            self._file(path, status)
        else:
            self.findings.append(Finding("special", "error", path, "neither a file nor a folder"))

    def _file(self, path: str, status: os.stat_result) -> None:
        if len(self.files) >= MAX_FILES:
            raise UsageError("the folder holds too many files", got=f"over {MAX_FILES}", fix="name the dataset's own")
        key = composed(path)
        if key in self.files:
            self.findings.append(
                Finding("twin", "error", path, "two names differ only in how Unicode writes them: remove one")
            )
            return
        if path.lower().endswith(PARTIAL_SUFFIXES):
            self.partial.add(key)
            self.findings.append(Finding("partial", "error", path, "half downloaded: finish the download"))
        elif status.st_size == 0:
            self.partial.add(key)
            self.findings.append(Finding("partial", "error", path, "empty file (half downloaded): fetch it again"))
        self.files[key] = Entry(path, status.st_size, (status.st_size, status.st_mtime_ns, status.st_ino))

    def _escapes(self, item: os.DirEntry[str], path: str) -> bool:
        if not item.is_symlink():
            return False
        real = os.path.realpath(self.root / path)
        return os.path.commonpath([real, self.root]) != str(self.root)


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda e: e.name)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return all(ord(c) >= 32 for c in name)


def without_partial_suffix(path: str) -> str:
    """The name that an unfinished download will have.

    >>> without_partial_suffix("a/b.tif.part")
    'a/b.tif'
    """
    lower = path.lower()
    for suffix in PARTIAL_SUFFIXES:
        if lower.endswith(suffix):
            return path[: -len(suffix)]
    return path

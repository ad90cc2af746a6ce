"""Every error that wsiprep raises on purpose, and its exit code.

    WsiprepError                      1   (a bug if it is raised bare)
     +- FindingsError                 2   the tool worked and found faults (verify)
     +- UsageError                   64   the command line or a function's arguments
     +- DataError                    65   something about the input
     |   +- RecipeError                   recipe, --set, resolved configuration
     |   +- ManifestError                 manifest CSV, splits.csv, exclude.csv
     |   +- SlideError                    cannot be opened, decoded or trusted
     |   |   +- SpacingError              um/px missing, contradictory, not an integer step
     |   +- AnnotationError               annotation file: syntax, groups, geometry
     |   +- TissueError                   given tissue masks
     |   +- StainError                    stain fits and targets
     |   +- PlanError                     nothing kept, too many slides failed
     |   +- SplitError                    too few patients, leaks
     |   +- StoreError                    unsealed, foreign or damaged dataset
     |   +- TrainingError                 models, checkpoints, runs
     +- StorageError                 74   full disk, quota, I/O, unwritable
     +- TemporaryError               75   try again (another writer, a vanished shard)

130 and 143 are SIGINT and SIGTERM. docs/exit-codes.md is the user's page.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar


class WsiprepError(Exception):
    """Root of all of them. ``str(error)`` is the whole message for a person.

    Args:
        message: what is wrong, one sentence without a full stop.
        got: the offending value.
        expected: what would have been accepted.
        fix: what to do about it.
        file: the file that the fault is in.
        line: 1-based line in ``file``.
        column: 1-based column in ``file``.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "bug"

    def __init__(
        self,
        message: str,
        *,
        got: object = None,
        expected: object = None,
        fix: str | None = None,
        file: str | os.PathLike[str] | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        self.message = message
        self.got = got
        self.expected = expected
        self.fix = fix
        self.file = None if file is None else os.fspath(file)
        self.line = line
        self.column = column
        super().__init__(message)

    @property
    def where(self) -> str | None:
        """``file:line:column`` as far as known."""
        if self.file is None:
            return None
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n is not None)]
        return ":".join(parts)

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        rows = [head]
        if self.got is not None:
            rows.append(f"  got:      {self.got}")
        if self.expected is not None:
            rows.append(f"  expected: {self.expected}")
        if self.fix is not None:
            rows.append(f"  do:       {self.fix}")
        return "\n".join(rows)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by their args alone; keep the details across processes.
        return (_rebuild, (type(self), self.message, self.details()))

    def details(self) -> dict[str, object]:
        """The keyword arguments that are set, for records and JSON logs."""
        names = ("got", "expected", "fix", "file", "line", "column")
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}


def _rebuild(kind: type[WsiprepError], message: str, details: dict[str, object]) -> WsiprepError:
    return kind(message, **details)  # type: ignore[arg-type]


class FindingsError(WsiprepError):
    """The tool worked and found faults (exit 2)."""

    exit_code = 2
    code = "findings"


class UsageError(WsiprepError):
    """The command line or a function's arguments (exit 64)."""

    exit_code = 64
    code = "usage"


class DataError(WsiprepError):
    """Something about the input (exit 65)."""

    exit_code = 65
    code = "bad-data"


class RecipeError(DataError):
    """A recipe, ``--set``, or the resolved configuration."""

    code = "bad-recipe"


class ManifestError(DataError):
    """A manifest CSV, splits.csv or exclude.csv."""

    code = "bad-manifest"


class SlideError(DataError):
    """A slide that cannot be opened, decoded or trusted."""

    code = "bad-slide"


class SpacingError(SlideError):
    """Pixel size missing, contradictory, or no integer step away."""

    code = "bad-spacing"


class AnnotationError(DataError):
    """An annotation file: syntax, groups or geometry."""

    code = "bad-annotation"


class TissueError(DataError):
    """A given tissue mask."""

    code = "bad-tissue"


class StainError(DataError):
    """A stain fit or target."""

    code = "bad-stain"


class PlanError(DataError):
    """Nothing kept, too many slides failed."""

    code = "bad-plan"


class SplitError(DataError):
    """Too few patients, or one in two splits."""

    code = "bad-split"


class StoreError(DataError):
    """A dataset that is unsealed, foreign or damaged."""

    code = "bad-store"


class TrainingError(DataError):
    """A model, a checkpoint or a run."""

    code = "bad-training"


class StorageError(WsiprepError):
    """Full disk, quota, I/O, unwritable (exit 74)."""

    exit_code = 74
    code = "storage"


class TemporaryError(WsiprepError):
    """Try again (exit 75)."""

    exit_code = 75
    code = "temporary"


_STORAGE_ERRNOS = {
    errno.ENOSPC: "the disk is full (bytes or inodes)",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file-size limit is reached",
    errno.EIO: "the device reports an input/output error",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
    errno.ENOTDIR: "a part of the path is a file",
}


def from_os_error(error: OSError, *, path: str | os.PathLike[str] | None = None) -> WsiprepError:
    """The wsiprep error for an OSError met while writing (exit 74)."""
    name = error.filename if path is None else os.fspath(path)
    reason = _STORAGE_ERRNOS.get(error.errno or 0, error.strerror or str(error))
    fix = "free space or choose another output folder, then run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        fix = "choose an output folder that you may write to"
    return StorageError(f"cannot write: {reason}", got=name, fix=fix)

"""Errors: exit codes, messages, pickling, and OSErrors turned into advice."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest

from wsiprep import errors
from wsiprep.errors import DataError, RecipeError, SlideError, SpacingError, StorageError, WsiprepError, from_os_error


def subclasses(kind: type[WsiprepError]) -> list[type[WsiprepError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in subclasses(child))]


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.WsiprepError, 1),
        (errors.FindingsError, 2),
        (errors.UsageError, 64),
        (errors.DataError, 65),
        (errors.RecipeError, 65),
        (errors.ManifestError, 65),
        (errors.SlideError, 65),
        (errors.SpacingError, 65),
        (errors.AnnotationError, 65),
        (errors.TissueError, 65),
        (errors.StainError, 65),
        (errors.PlanError, 65),
        (errors.SplitError, 65),
        (errors.StoreError, 65),
        (errors.TrainingError, 65),
        (errors.StorageError, 74),
        (errors.TemporaryError, 75),
    ],
)
def test_exit_codes(kind: type[WsiprepError], exit_code: int) -> None:
    assert kind.exit_code == exit_code


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = [kind for kind in subclasses(WsiprepError) if kind.__module__ == errors.__name__]
    assert len(kinds) == 17
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert issubclass(SpacingError, SlideError)
    assert issubclass(SlideError, DataError)


def test_the_message_has_every_part() -> None:
    error = RecipeError("no such key", got="colour", expected="stain", fix="rename it", file="r.yaml", line=3, column=7)
    assert str(error) == ("r.yaml:3:7: no such key\n  got:      colour\n  expected: stain\n  do:       rename it")
    assert str(RecipeError("no such key")) == "no such key"
    assert str(RecipeError("bad", file=Path("r.yaml"), line=3)) == "r.yaml:3: bad"
    assert RecipeError("bad", line=3).where is None


def test_values_that_are_false_are_still_shown() -> None:
    assert "got:      0" in str(DataError("bad", got=0))
    assert DataError("bad", got=0, fix=None).details() == {"got": 0}


@pytest.mark.parametrize("kind", subclasses(WsiprepError), ids=lambda kind: kind.__name__)
def test_errors_survive_pickling(kind: type[WsiprepError]) -> None:
    error = kind("bad", got=(1, 2), expected="3", fix="mend", file="f", line=1, column=2)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.details()) == (str(error), error.details())


@pytest.mark.parametrize(
    ("number", "word", "advice"),
    [
        (errno.ENOSPC, "full", "free space"),
        (errno.EDQUOT, "quota", "free space"),
        (errno.EACCES, "permission", "may write"),
        (errno.EROFS, "read-only", "may write"),
        (errno.ENOTDIR, "is a file", "may write"),
    ],
)
def test_os_errors_become_advice(number: int, word: str, advice: str) -> None:
    error = from_os_error(OSError(number, "system text", "out/file"))
    assert isinstance(error, StorageError)
    assert error.exit_code == 74
    assert word in str(error)
    assert "out/file" in str(error)
    assert advice in str(error)


def test_other_os_errors_keep_their_own_text() -> None:
    assert "system text" in str(from_os_error(OSError(errno.ENAMETOOLONG, "system text")))
    assert "given/path" in str(from_os_error(OSError(errno.ENOSPC, "x", "other"), path=Path("given/path")))

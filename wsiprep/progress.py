"""Progress and messages: events that stages emit, and reporters that show them.

Stages call ``reporter.task(...)`` and ``reporter.say(...)``; who listens is the command line's
business: a bar on a terminal, lines elsewhere, one JSON object a line with ``--log-format json``.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Literal, Protocol, TextIO

Level = Literal["info", "warning", "error"]


class Task(Protocol):
    """Work with a known or unknown number of steps."""

    def advance(self, steps: int = 1) -> None: ...


class Reporter(Protocol):
    """Whoever listens to a stage."""

    def say(self, message: str, *, level: Level = "info", **fields: Any) -> None: ...

    def task(self, label: str, total: int | None = None) -> contextlib.AbstractContextManager[Task]: ...


class _Silent:
    def advance(self, steps: int = 1) -> None:
        """Nothing to show."""


class NullReporter:
    """Says nothing; the default of library calls."""

    def say(self, message: str, *, level: Level = "info", **fields: Any) -> None:
        """Nothing to say."""

    @contextlib.contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Task]:
        yield _Silent()


class _LineTask:
    def __init__(self, reporter: LineReporter, label: str, total: int | None) -> None:
        self._reporter, self._label, self._total = reporter, label, total
        self._done, self._shown = 0, time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._shown >= 10.0:
            self._shown = now
            self._reporter.say(self._label, done=self._done, total=self._total)


class LineReporter:
    """One line a message on a stream; long tasks report every ten seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def say(self, message: str, *, level: Level = "info", **fields: Any) -> None:
        tail = " ".join(f"{k}={v}" for k, v in fields.items() if v is not None)
        head = "" if level == "info" else f"{level}: "
        self._stream.write(f"{head}{message}{' ' + tail if tail else ''}\n")
        self._stream.flush()

    @contextlib.contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Task]:
        yield _LineTask(self, label, total)


class JsonReporter(LineReporter):
    """One JSON object a line, with the fields that every line of a run shares."""

    def __init__(self, stream: TextIO | None = None, **shared: Any) -> None:
        super().__init__(stream)
        self._shared = shared

    def say(self, message: str, *, level: Level = "info", **fields: Any) -> None:
        record = {"time": time.time(), "level": level, "message": message, **self._shared, **fields}
        self._stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        self._stream.flush()


class TerminalReporter:
    """Rich bars and messages on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    def say(self, message: str, *, level: Level = "info", **fields: Any) -> None:
        style = {"info": "", "warning": "yellow", "error": "bold red"}[level]
        tail = " ".join(f"{k}={v}" for k, v in fields.items() if v is not None)
        self._console.print(f"{message} {tail}".rstrip(), style=style or None, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Task]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task_id = progress.add_task(label, total=total)

            class _Bar:
                def advance(self, steps: int = 1) -> None:
                    progress.advance(task_id, steps)

            yield _Bar()


def reporter_for(log_format: str = "auto", **shared: Any) -> Reporter:
    """``auto``: bars on a terminal, lines elsewhere; ``text``: lines; ``json``; ``none``."""
    if log_format == "json":
        return JsonReporter(**shared)
    if log_format == "none":
        return NullReporter()
    if log_format == "auto" and sys.stderr.isatty():
        return TerminalReporter()
    return LineReporter()

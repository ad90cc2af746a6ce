"""The command line. One file a command; heavy imports happen inside commands, so that --help is quick.

Exit codes: 0 done, 1 bug, 2 findings, 64 usage, 65 bad data, 74 disk or I/O, 75 try again,
130 interrupted, 143 terminated. A user's mistake never shows a traceback.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any, NoReturn

import click

from wsiprep import __version__
from wsiprep.errors import UsageError, WsiprepError, from_os_error

COMMANDS = {
    "init": "wsiprep.cli.init",
    "tile": "wsiprep.cli.tile",
    "inspect": "wsiprep.cli.inspect",
    "annotations": "wsiprep.cli.annotations",
    "export": "wsiprep.cli.export",
    "survey": "wsiprep.cli.survey",
    "plan": "wsiprep.cli.plan",
    "pack": "wsiprep.cli.pack",
    "seal": "wsiprep.cli.seal",
    "verify": "wsiprep.cli.verify",
    "clean": "wsiprep.cli.clean",
    "report": "wsiprep.cli.report",
    "train": "wsiprep.cli.train",
    "evaluate": "wsiprep.cli.evaluate",
    "benchmark": "wsiprep.cli.benchmark",
    "models": "wsiprep.cli.models",
    "dataset": "wsiprep.cli.dataset",
    "workflow": "wsiprep.cli.workflow",
    "demo": "wsiprep.cli.demo",
}
"""Command name -> the module whose ``command`` it is; the order of --help."""

EXTRAS = {"torch": "train", "lightning": "train", "torchvision": "train", "snakemake": "workflow"}
"""Packages that only an extra brings -> that extra."""

_BUG_HINT = "this is a bug in wsiprep, not your mistake: please report it with the lines above"


class _LazyGroup(click.Group):
    """Imports a command's module when it is asked for, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="wsiprep")
def cli() -> None:
    """Whole-slide images and annotations in; exact, verified, sharded segmentation datasets out.

    \b
    One slide:       wsiprep tile slide.tif -o dataset
    A cohort:        wsiprep init slides/ --annotations xml/ -o cohort
                     wsiprep workflow init . && snakemake --cores 8 --config recipe=cohort/recipe.yaml out=dataset
    Check and look:  wsiprep verify dataset --deep && wsiprep report dataset
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--log-format=json" in arguments or _follows(arguments, "--log-format", "json")
    # Threads are --threads and nothing else: OpenCV and OpenBLAS would start one a core inside each of them.
    for library in ("OPENCV_FOR_THREADS_NUM", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(library, "1")
    previous = _on_terminate()
    try:
        result = cli.main(args=arguments, prog_name="wsiprep", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (Exception, KeyboardInterrupt, _Terminated) as error:  # noqa: BLE001 - the last line of defence
        for kinds, outcome in _OUTCOMES:
            if isinstance(error, kinds):
                return outcome(error, as_json)
        return _bug()
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _missing_extra(package: str) -> UsageError:
    extra = EXTRAS[package]
    return UsageError(
        f"this command needs {package}, which is not installed",
        expected=f"wsiprep with its [{extra}] extra",
        fix=f"pip install 'wsiprep[{extra}]' (docs/installation.md: name all extras in one call)",
    )


class _Terminated(BaseException):
    """SIGTERM, raised in the main thread so that temporaries are removed on the way out."""


def _on_terminate() -> signal.Handlers | None:
    def handler(_signum: int, _frame: FrameType | None) -> NoReturn:
        raise _Terminated

    try:
        return signal.signal(signal.SIGTERM, handler)  # type: ignore[return-value]
    except ValueError:
        return None  # not in the main thread: the caller owns the signals


def _follows(arguments: list[str], flag: str, value: str) -> bool:
    return (flag, value) in pairwise(arguments)


def _usage(error: click.UsageError, *, as_json: bool) -> int:
    if as_json:
        return _fail(UsageError(error.format_message()), as_json=True)
    if error.ctx is not None:
        sys.stderr.write(error.ctx.get_usage() + "\n")
        sys.stderr.write(f"Try '{error.ctx.command_path} --help' for help.\n\n")
    sys.stderr.write(f"error: {error.format_message()}\n")
    return UsageError.exit_code


def _fail(error: WsiprepError, *, as_json: bool) -> int:
    if as_json:
        from wsiprep.progress import JsonReporter

        details = {k: str(v) for k, v in error.details().items()}
        JsonReporter().say(error.message, level="error", code=error.code, exit_code=error.exit_code, **details)
    else:
        sys.stderr.write(f"error: {error}\n")
    return error.exit_code


def _stopped(how: str, code: int) -> int:
    sys.stderr.write(f"{how}; nothing half was published, run the same command again to go on\n")
    return code


def _bug() -> int:
    traceback.print_exc()
    sys.stderr.write(f"{_BUG_HINT}\n")
    return 1


def _ours(error: WsiprepError, as_json: bool) -> int:
    if type(error).exit_code == 1:
        traceback.print_exc()
    return _fail(error, as_json=as_json)


def _broken_pipe() -> int:
    # Whoever read our output has left: nothing is wrong, and nobody is there to be told more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _lacking(error: ModuleNotFoundError, as_json: bool) -> int:
    return _fail(_missing_extra(error.name), as_json=as_json) if error.name in EXTRAS else _bug()


_OUTCOMES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[Any, bool], int]], ...] = (
    (click.exceptions.Exit, lambda error, _: int(error.exit_code)),
    (click.UsageError, lambda error, as_json: _usage(error, as_json=as_json)),
    (click.ClickException, lambda error, as_json: _fail(UsageError(error.format_message()), as_json=as_json)),
    ((click.Abort, KeyboardInterrupt), lambda *_: _stopped("interrupted", 130)),
    (_Terminated, lambda *_: _stopped("terminated", 143)),
    (WsiprepError, _ours),
    (BrokenPipeError, lambda *_: _broken_pipe()),
    (OSError, lambda error, as_json: _fail(from_os_error(error), as_json=as_json)),
    (ModuleNotFoundError, _lacking),
)
"""What an exception means for the exit code; the first that fits. Anything else is a bug."""

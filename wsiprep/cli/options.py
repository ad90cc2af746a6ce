"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from wsiprep.progress import Reporter

F = TypeVar("F", bound=Callable[..., Any])

OUT = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def log_option(function: F) -> F:
    """``--log-format``."""
    return click.option(
        "--log-format",
        type=click.Choice(["auto", "text", "json", "none"]),
        default="auto",
        show_default=True,
        help="auto: bars on a terminal, lines elsewhere; json: one object a line",
    )(function)


def out_argument(function: F) -> F:
    """The dataset folder as an argument."""
    return click.argument("out", type=OUT)(function)


def out_option(function: F) -> F:
    """The dataset folder as ``--out``."""
    return click.option("-o", "--out", type=OUT, required=True, help="the dataset's folder")(function)


def recipe_option(function: F) -> F:
    """``--recipe`` and ``--set``."""
    function = click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="override a key of the recipe; repeatable"
    )(function)
    return click.option("-r", "--recipe", "recipe_path", type=FILE, help="recipe (YAML); default: the folder's own")(
        function
    )


def manifest_option(function: F) -> F:
    """``--manifest``."""
    return click.option("-m", "--manifest", type=FILE, help="manifest (CSV); default: the recipe's")(function)


def _expanded(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """A folder with ``~`` and environment variables expanded: job scripts name scratch by a variable."""
    if value is None:
        return None
    path = Path(os.path.expandvars(value)).expanduser()
    if "$" in str(path):
        raise click.BadParameter(f"{value!r} names a variable that is not set", context, parameter)
    return path


def stage_option(function: F) -> F:
    """``--stage``."""
    return click.option(
        "--stage",
        type=str,
        metavar="DIR",
        callback=_expanded,
        help="copy the slide to this scratch folder while it is read; variables such as $TMPDIR are expanded",
    )(function)


def reporter(log_format: str, **shared: Any) -> Reporter:
    """The reporter that a command was asked for."""
    from wsiprep.progress import reporter_for

    return reporter_for(log_format, **shared)

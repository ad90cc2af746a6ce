"""One contract over every command: help with an example, exit 64 on bad usage, never a traceback, light --help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from wsiprep.cli import COMMANDS, cli, main

HEAVY = ("torch", "zarr", "dask", "pandas", "skimage", "cv2", "pyarrow", "lightning", "tiffslide")


def commands() -> list[tuple[str, ...]]:
    """Every command and subcommand as the words that call it."""
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, sub) for sub in command.commands]
    return found


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "wsiprep", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_has_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:" in text
    assert f"wsiprep {' '.join(words)}" in text.split("Example:")[1]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_unknown_option_is_exit_64(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--no-such-option"]) == 64
    error = capsys.readouterr().err
    assert "no-such-option" in error.lower()
    assert "Traceback" not in error


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_too_many_arguments_is_exit_64(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, *["x"] * 9]) == 64
    assert "Traceback" not in capsys.readouterr().err


def test_unknown_command_suggests_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tyle"]) == 64
    assert "tile" in capsys.readouterr().err


def test_usage_error_as_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tile", "--log-format", "json"]) == 64
    record = json.loads(capsys.readouterr().err)
    assert (record["level"], record["code"], record["exit_code"]) == ("error", "usage", 64)


@pytest.mark.parametrize("words", [(), *commands()], ids=" ".join)
def test_every_command_has_a_page(words: tuple[str, ...], repository: object) -> None:
    if words:
        page = repository / "docs" / "commands" / f"{words[0]}.md"  # type: ignore[operator]
        assert page.is_file(), f"document the command in {page.name}"
        assert f"wsiprep {' '.join(words)}" in page.read_text(encoding="utf-8")


def imported_by(code: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has after ``code``."""
    script = f"{code}\nimport sys, json\nprint('MODULES', json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV_CORE")}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    line = next(line for line in result.stdout.splitlines() if line.startswith("MODULES "))
    return set(json.loads(line.removeprefix("MODULES ")))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["tile", "--help"], ["train", "--help"], ["models", "--help"]], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = imported_by(f"from wsiprep.cli import main\nassert main({arguments!r}) == 0")
    assert not modules & set(HEAVY)


def test_import_of_the_package_is_light() -> None:
    assert not imported_by("import wsiprep") & {*HEAVY, "numpy", "pydantic"}


def test_module_and_script_are_the_same_program() -> None:
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("wsiprep, version ")


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"  # as if it were not installed
        "from wsiprep.cli import main\n"
        f"sys.exit(main(['train', {str(tmp_path)!r}, '--model', 'unet', '--recipe', {str(tmp_path / 'r.yaml')!r}]))"
    )
    (tmp_path / "r.yaml").write_text("name: r\ndownsample: 1\n")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 64, result.stderr
    assert "wsiprep[train]" in result.stderr
    assert "Traceback" not in result.stderr


def test_tile_imports_nothing_that_it_does_not_need(shared_data: Path, tmp_path: Path) -> None:
    slide = shared_data / "slides" / "celiac_10x.tif"
    arguments = [
        "tile",
        str(slide),
        "-o",
        str(tmp_path / "out"),
        "--log-format",
        "none",
        "--set",
        "sampling.max_per_slide=2",
    ]
    modules = imported_by(f"from wsiprep.cli import main\nassert main({arguments!r}) == 0")
    assert not modules & {"torch", "pandas", "dask", "skimage", "lightning"}

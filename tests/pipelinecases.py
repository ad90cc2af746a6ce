"""Helpers of the end-to-end tests: commands in this process or their own, trees as bytes, Snakemake."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.cli import main
from wsiprep.temporaries import TEMPORARY_PREFIX


def run(*arguments: object) -> None:
    """``wsiprep ...`` in this process (a new one costs seconds of imports); it must succeed."""
    words = [str(a) for a in arguments]
    code = main(words)
    assert code == 0, f"wsiprep {' '.join(words)}: exit {code}"


def build(
    tree: DatasetTree, options: Sequence[object], slide_ids: Iterable[str], *, through: str = "seal", threads: int = 1
) -> DatasetTree:
    """Survey, plan, pack and seal in this process, up to and including the stage ``through``."""
    for slide_id in slide_ids:
        run("survey", slide_id, "-o", tree.root, "--strict", *options)
    if through == "survey":
        return tree
    run("plan", "-o", tree.root, *options)
    if through == "plan":
        return tree
    for slide_id in read_json(tree.plan_record)["kept_slides"]:
        run("pack", slide_id, "-o", tree.root, "--strict", "--threads", threads, *options)
    if through == "seal":
        run("seal", tree.root, *options)
    return tree


def tree_bytes(root: Path) -> dict[str, bytes]:
    """Relative path -> contents of every file below a folder."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def differing(left: Mapping[str, bytes], right: Mapping[str, bytes]) -> list[str]:
    """Names that only one tree has or whose contents differ."""
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def temporaries(root: Path) -> list[Path]:
    """Everything below a folder that is called like a temporary."""
    return sorted(p for p in root.rglob(f"{TEMPORARY_PREFIX}*"))


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a manifest with the columns of its first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def snakemake_command(
    repository: Path, project: Path, *words: str, cores: int = 2, target: str = "dataset"
) -> list[str]:
    """Snakemake on ``project/recipe.yaml`` into ``project/dataset``; ``words`` are further ``--config`` items."""
    return [
        sys.executable, "-m", "snakemake", "--cores", str(cores), "--snakefile", str(repository / "Snakefile"),
        "--directory", str(project), "--config", "recipe=recipe.yaml", "out=dataset", "pack_threads=1", *words,
        "--", "dataset",
    ]  # fmt: skip


def snakemake_environment() -> dict[str, str]:
    """PATH with this interpreter's scripts first, so that jobs run the package under test."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def snakemake(repository: Path, project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = snakemake_command(repository, project, *words)
    return subprocess.run(command, capture_output=True, text=True, check=False, env=snakemake_environment())

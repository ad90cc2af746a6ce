"""Kills at any moment: what is published is whole, one rerun gives the bytes of an uninterrupted run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pipelinecases import build, differing, run, snakemake_command, snakemake_environment, temporaries, tree_bytes
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.store import read_receipt, receipt_is_whole
from wsiprep.synthetic import CohortFiles
from wsiprep.temporaries import TEMPORARY_PREFIX

SLIDE = "synthetic_01"
MANY_PATCHES = ["--set", "downsample=1", "--set", "keep.rules=[]", "--set", "keep.min_tissue=0",
                "--set", "sampling.tumour_free_per_slide=0", "--set", "split.kind=none"]  # fmt: skip
"""1,024 patches of 64 px: the writing takes about as long as the imports."""
SEED = 20240229
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Case:
    """One slide, planned, and its packed tree as an uninterrupted run leaves it."""

    planned: Path
    options: list[object]
    expected: dict[str, bytes]
    write_s: float

    def copy(self, target: Path) -> DatasetTree:
        shutil.copytree(self.planned, target)
        return DatasetTree(target)

    def command(self, tree: DatasetTree) -> list[str]:
        words = ["pack", SLIDE, "-o", tree.root, *self.options]
        return [sys.executable, "-m", "wsiprep", *map(str, words)]


@pytest.fixture(scope="module")
def case(cohort: CohortFiles, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("kill")
    (folder / "recipe.yaml").write_text(SMALL_RECIPE)
    rows = cohort.manifest.read_text().splitlines()
    manifest = cohort.manifest.with_name("one.csv")
    manifest.write_text("\n".join([rows[0], next(row for row in rows if row.startswith(SLIDE))]) + "\n")
    options = ["-r", folder / "recipe.yaml", "-m", manifest, *MANY_PATCHES]
    build(DatasetTree(folder / "planned"), options, [SLIDE], through="plan")
    whole = folder / "whole"
    case = Case(folder / "planned", options, {}, 0.0)
    tree = case.copy(whole)
    # In a process of its own, timed from its first temporary on: in what follows kills fall between these.
    process = subprocess.Popen(case.command(tree), stderr=subprocess.DEVNULL)
    wait_until(lambda: bool(writing(tree)) or process.poll() is not None)
    began = time.monotonic()
    assert process.wait(PATIENCE_S) == 0
    return Case(folder / "planned", options, tree_bytes(whole), time.monotonic() - began)


def writing(tree: DatasetTree) -> list[Path]:
    return list(tree.shard_folder(SLIDE).glob(f"{TEMPORARY_PREFIX}*"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, none of which outlives the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def group_is_alive(leader: int) -> bool:
    """Whether any process of a group, zombies aside, is left."""
    found = subprocess.run(["ps", "-o", "stat=", "-g", str(leader)], capture_output=True, text=True, check=False)
    return any(not line.startswith("Z") for line in found.stdout.split())


def kill(case: Case, tree: DatasetTree, kind: str, moment: random.Random) -> bool:
    """Start pack, kill it somewhere; True if it was writing at that time.

    Kinds: ``process`` is pack alone; in ``group`` a shell, pack's parent, and pack; in ``leader`` the
    shell only, so that pack goes on as an orphan.
    """
    command = case.command(tree)
    if kind != "process":
        command = ["sh", "-c", '"$@"; exit 0', "sh", *command]
    with started(command) as process:
        if moment.random() < 0.8:
            wait_until(lambda: bool(writing(tree)) or process.poll() is not None)
            time.sleep(moment.uniform(0.0, case.write_s))
        else:
            time.sleep(moment.uniform(0.0, 2 * case.write_s))
        if kind == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        caught = bool(writing(tree))
        require_whole(tree)
        if kind == "leader":
            # A second writer at once, while the orphan goes on.
            run(*case.command(tree)[3:])
            wait_until(lambda: not group_is_alive(process.pid))
    return caught


def require_whole(tree: DatasetTree) -> None:
    """Nothing half lies under a final name."""
    if tree.receipt(SLIDE).exists():
        assert receipt_is_whole(tree, read_receipt(tree, SLIDE))
    for shard in tree.shard_folder(SLIDE).glob("*.zarr"):
        assert (shard / "zarr.json").is_file()
        assert (shard / "mask" / "zarr.json").is_file()


def survive(case: Case, folder: Path, kills: int) -> int:
    """Kill, rerun once, clean, compare; how many kills fell into the writing."""
    moment = random.Random(SEED)
    caught = 0
    for number in range(kills):
        kind = ("process", "group", "leader")[number % 3]
        tree = case.copy(folder / f"{number}-{kind}")
        caught += kill(case, tree, kind, moment)
        run(*case.command(tree)[3:])
        run("clean", tree.root)
        assert temporaries(tree.root) == [], f"kill {number} of a {kind}"
        assert differing(case.expected, tree_bytes(tree.root)) == [], f"kill {number} of a {kind}"
        shutil.rmtree(tree.root)
    return caught


def test_five_kills_of_pack(case: Case, tmp_path: Path) -> None:
    assert survive(case, tmp_path, kills=5) >= 1, "no kill fell into the writing: nothing was tested"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_fifty_kills_of_pack(case: Case, tmp_path: Path) -> None:
    assert survive(case, tmp_path, kills=50) >= 15


def test_many_kills_of_one_tree_leave_nothing_that_clean_does_not_remove(case: Case, tmp_path: Path) -> None:
    moment = random.Random(SEED + 1)
    tree = case.copy(tmp_path / "tree")
    for kind in ("process", "group"):
        with started(case.command(tree)) as process:
            before = set(writing(tree))
            wait_until(lambda: bool(set(writing(tree)) - before) or process.poll() is not None)  # noqa: B023
            time.sleep(moment.uniform(0.0, case.write_s / 2))
            (process.kill if kind == "process" else lambda: os.killpg(process.pid, signal.SIGKILL))()
            process.wait()
    run("clean", tree.root, "--dry-run")
    left = temporaries(tree.root)
    run("clean", tree.root)
    assert temporaries(tree.root) == []
    run(*case.command(tree)[3:])
    assert differing(case.expected, tree_bytes(tree.root)) == []
    assert left, "neither kill fell into the writing"


@pytest.mark.parametrize(
    ("sent", "code", "threads"), [(signal.SIGTERM, 143, 1), (signal.SIGTERM, 143, 2), (signal.SIGINT, 130, 2)]
)
def test_a_polite_end_leaves_no_temporary(
    case: Case, tmp_path: Path, sent: signal.Signals, code: int, threads: int
) -> None:
    tree = case.copy(tmp_path / "tree")
    command = [*case.command(tree), "--threads", str(threads)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: bool(writing(tree)) or process.poll() is not None)
    process.send_signal(sent)
    asked = time.monotonic()
    _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, error
    assert time.monotonic() - asked < 10
    assert "Traceback" not in error
    assert "run the same command again" in error
    assert temporaries(tree.root) == []
    assert not tree.receipt(SLIDE).exists()
    assert list(tree.shard_folder(SLIDE).glob("*")) == []
    run(*case.command(tree)[3:])
    assert differing(case.expected, tree_bytes(tree.root)) == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_end_at_any_moment(case: Case, tmp_path: Path, sent: signal.Signals) -> None:
    moment = random.Random(SEED + sent)
    tree = case.copy(tmp_path / "tree")
    codes = []
    for _ in range(15):
        command = [*case.command(tree), "--threads", "2"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if moment.random() < 0.7:
            before = set(writing(tree))
            wait_until(lambda: bool(set(writing(tree)) - before) or process.poll() is not None)  # noqa: B023
        time.sleep(moment.uniform(0.0, case.write_s * 1.2))
        process.send_signal(sent)
        _, error = process.communicate(timeout=10)
        codes.append(process.returncode)
        # 0: it was done already; the negative ones: Python itself was still starting.
        assert process.returncode in (128 + sent, 0, -sent), error
        assert process.returncode != 128 + sent or "Traceback" not in error, error
        assert temporaries(tree.root) == []
        require_whole(tree)
    assert codes.count(128 + sent) >= 5
    run(*case.command(tree)[3:])
    assert differing(case.expected, tree_bytes(tree.root)) == []


def test_clean_spares_the_temporaries_of_a_writer_at_work(case: Case, tmp_path: Path) -> None:
    tree = case.copy(tmp_path / "tree")
    with started(case.command(tree)) as process:
        wait_until(lambda: bool(writing(tree)) or process.poll() is not None)
        os.kill(process.pid, signal.SIGSTOP)
        at_work = writing(tree)
        run("clean", tree.root)
        assert writing(tree) == at_work != []
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(PATIENCE_S) == 0
    assert differing(case.expected, tree_bytes(tree.root)) == []


DERIVED = (".snakemake", "logs", "benchmarks")


def dataset_files(project: Path) -> dict[str, bytes]:
    """The artefacts of a workflow; logs and timings aside."""
    found = tree_bytes(project / "dataset")
    return {name: data for name, data in found.items() if name.split("/")[0] not in DERIVED}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kills_of_snakemake(project: Path, repository: Path, tmp_path: Path) -> None:
    command = snakemake_command(repository, project)
    unlock = [*command[: command.index("--")], "--unlock", "--", "dataset"]
    rerun = [*command[: command.index("--")], "--rerun-incomplete", "--", "dataset"]

    def call(words: list[str]) -> None:
        result = subprocess.run(words, capture_output=True, text=True, check=False, env=snakemake_environment())
        assert result.returncode == 0, result.stdout + result.stderr

    began = time.monotonic()
    call(command)
    whole_s = time.monotonic() - began
    expected = dataset_files(project)
    moment = random.Random(SEED + 2)
    for number in range(4):
        shutil.rmtree(project / "dataset")
        shutil.rmtree(project / ".snakemake")
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env=snakemake_environment(),
        )  # fmt: skip
        time.sleep(moment.uniform(0.1, 1.0) * whole_s)
        # In turn: the leader alone, whose jobs go on as orphans into the rerun, and all of them.
        (process.kill if number % 2 else lambda: os.killpg(process.pid, signal.SIGKILL))()  # noqa: B023
        process.wait()
        call(unlock)
        call(rerun)
        wait_until(lambda: not group_is_alive(process.pid))  # noqa: B023
        run("clean", project / "dataset")
        assert temporaries(project / "dataset") == []
        assert differing(expected, dataset_files(project)) == [], f"kill {number}"
        assert read_json(DatasetTree(project / "dataset").dataset_record)["counts"]["slides"] == 4
        run("verify", project / "dataset", "--deep")

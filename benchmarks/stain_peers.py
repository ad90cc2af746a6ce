"""Stains fitted and mapped patch by patch: wsiprep against staintools and torchstain, each in its own environment.

    python benchmarks/stain_peers.py --install            # makes the environments, then measures
    python benchmarks/stain_peers.py --venv staintools=venv-a --venv torchstain=venv-b

The same pictures go to all, one warm process each, in rounds of A B C, one thread each. The work is the same: fit the
picture, map it to a target that was fitted before. Vahadane is compared by wall clock, since staintools searches for
one second of it whatever the picture; Macenko by CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from harness import Measure, Runs, Used, arguments, cpu, quotients, report, results_of, show, wall
from peers.environments import Peer, folder_of_peers, install, python_of, version_in
from stain_apply import DATA, picture

WORKER = Path(__file__).resolve().parent / "peers" / "stain_worker.py"
PEERS = {
    "staintools": Peer("staintools", ("staintools==2.1.2", "spams-bin==2.6.14"), "staintools"),
    "torchstain": Peer("torchstain", ("torchstain==1.4.1", "scipy", "torch>=2.13,<2.14"), "torchstain"),
}
SUBJECTS = {
    "instanseg": ("stain/instanseg_HE_example.tif", 0, 0),
    "cmu": ("slides_svs/cmu-1-small-region.svs", 700, 700),
    "tcga": ("slides_svs/tcga-cr-7395-01a-01-ts1.svs", 1024, 1024),
}
TARGET = ("stain/instanseg_HE_example.tif", 800, 800)
SIDE = 512
OURS = "wsiprep fused"
LIBRARIES = {
    "vahadane": ("staintools", "wsiprep fused", "wsiprep numpy"),
    "macenko": ("staintools", "torchstain numpy", "torchstain torch", "wsiprep fused", "wsiprep numpy"),
}
LEAST = {
    ("vahadane", "staintools"): 50.0,
    ("macenko", "staintools"): 10.0,
    ("macenko", "torchstain numpy"): 4.0,
    ("macenko", "torchstain torch"): 4.0,
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def crop(name: str, y: int, x: int) -> npt.NDArray[np.uint8]:
    """512 x 512 px of a shared picture."""
    return np.ascontiguousarray(picture(DATA / name)[y : y + SIDE, x : x + SIDE])


@dataclass(frozen=True, slots=True)
class Worker:
    """A warm process with one library."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, python: Path, library: str, method: str, target: Path) -> Worker:
        words = [str(python), str(WORKER), library, method, str(target)]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
        )
        worker = cls(process)
        if worker._line() != "ready":
            raise SystemExit(f"{library} does not start")
        return worker

    def normalise(self, path: Path) -> Used:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return Used(*json.loads(self._line()))

    def close(self) -> None:
        """The worker ends when it has nothing more to read."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended: {self.process.args}")
        return line.strip()


def compared(
    method: str, pythons: dict[str, Path], rounds: int, subjects: Iterable[str], folder: Path
) -> list[Measure]:
    """All libraries on all pictures."""
    target = folder / "target.npy"
    np.save(target, crop(*TARGET))
    measures: list[Measure] = []
    with ExitStack() as stack:
        workers = {}
        for library in LIBRARIES[method]:
            python = pythons.get(library.split()[0])
            if python is None:
                print(f"{library} is left out: it is not installed (--install, or --venv)")
                continue
            workers[library] = Worker.start(python, library, method, target)
            stack.callback(workers[library].close)
        for subject in subjects:
            path = folder / f"{subject}.npy"
            np.save(path, crop(*SUBJECTS[subject]))
            runs: Runs = {library: [] for library in workers}
            for number in range(-1, rounds):
                for library, worker in workers.items():
                    used = worker.normalise(path)
                    if number >= 0:
                        runs[library].append(used)
            print(f"{method}, {subject}")
            show(runs, SIDE * SIDE / 1e6, "MP", OURS)
            measures += judged(method, subject, runs)
    return measures


def judged(method: str, subject: str, runs: Runs) -> list[Measure]:
    """Every peer's seconds over ours."""
    clock, unit = (wall, "wall ms a patch") if method == "vahadane" else (cpu, "CPU ms a patch")
    ours = clock(runs[OURS])
    return [
        Measure(
            f"{method}: {library} / {OURS}", 1000 * float(np.median(ours)), unit,
            quotients(clock(found), ours), LEAST.get((method, library)), subject=subject,
        )
        for library, found in runs.items()
        if library != OURS
    ]  # fmt: skip


def pythons_of(options: argparse.Namespace) -> dict[str, Path]:
    """An interpreter for each library that is there."""
    found = {"wsiprep": Path(sys.executable)}
    for name, peer in PEERS.items():
        if options.install and python_of(name, folder_of_peers()) is None:
            folder_of_peers().mkdir(parents=True, exist_ok=True)
            reason = install(peer, folder_of_peers())
            if reason:
                print(f"{name} is not installable here: {reason}")
        python = python_of(name, folder_of_peers())
        if python is not None:
            found[name] = python
    for given in options.venv:
        name, _, place = given.partition("=")
        if name not in PEERS or not (Path(place) / "bin" / "python").exists():
            raise SystemExit(f"--venv {given}: expected one of {', '.join(PEERS)} and the folder of its environment")
        found[name] = Path(place) / "bin" / "python"
    return found


def main(words: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--install", action="store_true", help="make the peers' environments in the user's cache")
    parser.add_argument(
        "--venv", action="append", default=[], metavar="NAME=FOLDER", help="an environment that is there"
    )
    parser.add_argument("--method", choices=list(LIBRARIES), action="append")
    options = parser.parse_args(words)
    pythons = pythons_of(options)
    rounds, subjects = (1, ["instanseg"]) if options.smoke else (options.rounds, list(SUBJECTS))
    with tempfile.TemporaryDirectory() as folder:
        measures = [
            measure
            for method in options.method or LIBRARIES
            for measure in compared(method, pythons, rounds, subjects, Path(folder))
        ]
    versions = [f"{name} {version_in(python, name)}" for name, python in pythons.items() if name in PEERS]
    print("; ".join(versions))
    report("stain_peers", measures, libraries=("llvmlite", "numpy"), results=results_of(options), rounds=rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

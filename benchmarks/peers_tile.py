"""One slide to files on disk: ``wsiprep tile`` against the tools that write a dataset of their own.

    python benchmarks/peers/environments.py         # once
    python benchmarks/peers_tile.py                 # 157 patches of the 4x level: CPU seconds
    python benchmarks/peers_tile.py --level0        # 2,106 patches of level 0: wall seconds too
    python benchmarks/peers_tile.py --own-tissue    # everybody looks for the tissue by their own rule

All are given the same tissue mask (cells with at least 10 % are kept; hs2p counts on its own resampled mask and keeps
one or two more or fewer), 512 px, one worker, no previews by the peers: less work than their command lines do by
default. They write JPEG (histoslice a file a patch, hs2p a tar), wsiprep a checksummed shard with masks, overview,
preview and receipt, losslessly unless --codec says otherwise.

Two figures are compared. *Whole process*: CPU and wall seconds of the command with its imports and all its children.
*Work*: histoslice's CPU seconds from opening the slide on, taken inside its process, against those of ``wsiprep tile``
less those of a no-op run, which imports the modules that the command ends with and does nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from bench_slide import BenchSlide, add_slide, slide_of
from harness import (
    Contestant,
    Measure,
    Runs,
    arguments,
    cpu,
    differences,
    interleaved,
    quotients,
    report,
    results_of,
    show,
    wall,
)
from peers.environments import folder_of_peers, python_of, version_in

HERE = Path(__file__).resolve().parent
NOOP = "wsiprep, imports alone"
ENVIRONMENTS = "benchmarks/peers/environments.py"
LEAST_WORK, LEAST_WHOLE, LEAST_WALL = 2.0, 3.0, 3.0

# What `wsiprep tile` ends with in sys.modules, in the order in which it came there ...
_LIST_MODULES = """
import json, sys
from wsiprep.cli import main
place = sys.argv.pop(1)
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
with open(place, "w") as stream:
    json.dump(list(sys.modules), stream)
"""
# ... and a process that imports these and nothing else.
_IMPORT_MODULES = """
import importlib, json, sys
with open(sys.argv[1]) as stream:
    names = json.load(stream)
for name in names:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Task:
    """What everybody is asked for."""

    subject: BenchSlide
    tissue: Path | None
    level0: bool

    @property
    def downsample(self) -> int:
        return 1 if self.level0 else 4

    @property
    def side_lv0(self) -> int:
        return self.subject.patch_size_px * self.downsample


def wsiprep_words(task: Task, out: Path, codec: str, threads: int) -> list[str]:
    words: list[object] = ["tile", task.subject.slide, "-o", out, "--patch-size-px", task.subject.patch_size_px]
    words += ["--downsample", task.downsample, "--threads", threads, "--log-format", "none"]
    words += ["--set", f"store.codec={codec}"]
    if task.tissue is not None:
        words += ["--tissue", task.tissue]
    return [str(word) for word in words]


def ours(task: Task, folder: Path, codec: str, threads: int) -> Contestant:
    name = f"wsiprep, {codec}" + (f", {threads} threads" if threads > 1 else "")
    out = folder / f"wsiprep-{codec}-{threads}"
    words = [sys.executable, "-m", "wsiprep", *wsiprep_words(task, out, codec, threads)]
    return Contestant(name, words, before=lambda: shutil.rmtree(out, ignore_errors=True))


def noop(task: Task, folder: Path, codec: str) -> Contestant:
    modules, out = folder / "modules.json", folder / "listed"
    listed = Contestant(
        "listing", [sys.executable, "-c", _LIST_MODULES, str(modules), *wsiprep_words(task, out, codec, 1)]
    )
    listed.run()
    shutil.rmtree(out)
    return Contestant(NOOP, [sys.executable, "-c", _IMPORT_MODULES, str(modules)])


def histoslice(task: Task, folder: Path, python: Path) -> Contestant:
    out, log = folder / "histoslice", folder / "histoslice.log"
    level = {1: 0, 4: 2}[task.downsample]
    words: list[object] = [python, HERE / "peers" / "histoslice_tile.py", task.subject.slide, out]
    words += ["--level", level, "--side-lv0", task.side_lv0]
    if task.tissue is not None:
        words += ["--tissue", task.tissue]
    return Contestant(
        "histoslice", [str(word) for word in words], before=lambda: shutil.rmtree(out, ignore_errors=True), log=log
    )


def hs2p(task: Task, folder: Path, python: Path) -> Contestant:
    out = folder / "hs2p"
    place = folder / "hs2p-in"
    place.mkdir()
    header, line = "sample_id,image_path", f"slide,{task.subject.slide}"
    if task.tissue is not None:
        mask = np.asarray(cv2.imread(str(task.tissue), cv2.IMREAD_GRAYSCALE))
        cv2.imwrite(str(place / "mask.png"), (mask > 0).astype(np.uint8))
        header, line = f"{header},mask_path", f"{line},{place / 'mask.png'}"
    (place / "slides.csv").write_text(f"{header}\n{line}\n")
    config = {
        "csv": str(place / "slides.csv"),
        "output_dir": str(out),
        "save_tiles": True,
        "tiling": {
            "backend": "openslide",
            "params": {
                "requested_spacing_um": 0.25 * task.downsample, "requested_tile_size_px": task.subject.patch_size_px
            },
            "preview": {"save_mask_preview": False, "save_tiling_preview": False},
            "masks": {"min_coverage": {"background": None, "tissue": 0.1}},
        },
        "speed": {"num_workers": 1},
    }  # fmt: skip
    (place / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    words = [python.with_name("hs2p"), place / "config.yaml", "--skip-datetime", "--skip-logging"]
    return Contestant(
        "hs2p",
        [str(word) for word in words],
        before=lambda: shutil.rmtree(out, ignore_errors=True),
        log=folder / "hs2p.log",
    )


def patches_of(name: str, folder: Path) -> int:
    """How many patches the last run of a contestant wrote."""
    if name == "histoslice":
        return sum(1 for _ in (folder / "histoslice").glob("*/tiles/*"))
    if name == "hs2p":
        with tarfile.open(next((folder / "hs2p").rglob("*.tar"))) as tar:
            return len(tar.getmembers())
    out = next(folder.glob("wsiprep-*/receipts"))
    return int(json.loads(next(out.glob("*.json")).read_text())["n_patches"])


def works_of(log: Path, rounds: int) -> list[float]:
    """CPU seconds of histoslice's work part in each counted round."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [float(json.loads(line)["cpu_s"]) for line in lines[-rounds:]]


def measures(runs: Runs, names: Sequence[str], folder: Path, task: Task, rounds: int) -> list[Measure]:
    """The project's first contestant against each peer; the others are reported."""
    kept = patches_of(names[0], folder)
    subject = f"{task.subject.slide.name}, {kept} patches" + ("" if task.tissue else ", own tissue rule")
    found: list[Measure] = []
    judged = task.tissue is not None
    for position, way in enumerate(names):
        first = judged and position == 0
        for peer in (name for name in ("histoslice", "hs2p") if name in runs):
            if task.level0:
                ratio, value = quotients(wall(runs[peer]), wall(runs[way])), statistics.median(wall(runs[way]))
                found.append(
                    Measure(
                        f"{way} / {peer}: wall, whole process",
                        value,
                        "s",
                        ratio,
                        LEAST_WALL if first else None,
                        subject=subject,
                    )
                )
            whole = quotients(cpu(runs[peer]), cpu(runs[way]))
            least = LEAST_WHOLE if first and not task.level0 else None
            value = statistics.median(cpu(runs[way]))
            found.append(Measure(f"{way} / {peer}: CPU, whole process", value, "s", whole, least, subject=subject))
        if "histoslice" in runs:
            work = differences(cpu(runs[way]), cpu(runs[NOOP]))
            ratio = quotients(works_of(folder / "histoslice.log", rounds), work)
            least = LEAST_WORK if first and not task.level0 else None
            found.append(
                Measure(
                    f"{way} / histoslice: CPU, work part", statistics.median(work), "s", ratio, least, subject=subject
                )
            )
    return found


def contestants(task: Task, folder: Path, options: argparse.Namespace) -> tuple[list[str], list[Contestant], list[str]]:
    """Names of the project's own, all of them, and what is missing."""
    own = [ours(task, folder, codec, 1) for codec in options.codec]
    own += [ours(task, folder, options.codec[0], n) for n in options.threads]
    found, missing = [noop(task, folder, options.codec[0]), *own], []
    for name, make in (("histoslice", histoslice), ("hs2p", hs2p)):
        python = python_of(name, options.peers)
        if python is None:
            missing.append(name)
        else:
            found.append(make(task, folder, python))
    return [c.name for c in own], found, missing


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=5)
    add_slide(parser)
    parser.add_argument("--level0", action="store_true", help="patches of level 0")
    parser.add_argument("--own-tissue", action="store_true", help="no mask is given")
    parser.add_argument("--codec", nargs="+", default=["blosc-lz4"], help="of wsiprep; the first is judged")
    parser.add_argument("--threads", type=int, nargs="*", default=[], help="wsiprep with so many threads too")
    parser.add_argument("--peers", type=Path, default=folder_of_peers(), help="folder of the peers' environments")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = slide_of(options, folder)
        task = Task(subject, None if options.own_tissue else subject.tissue, options.level0)
        own, them, missing = contestants(task, folder, options)
        runs = interleaved(them, options.rounds)
        for contestant in them[1:]:
            print(f"{contestant.name}: {patches_of(contestant.name, folder)} patches")
        found = measures(runs, own, folder, task, options.rounds)
        megapixels = patches_of(own[0], folder) * subject.patch_size_px**2 / 1e6
    found += [
        Measure(f"{own[0]} / {peer}", math.nan, f"not installed here, see {ENVIRONMENTS}", target=LEAST_WHOLE)
        for peer in missing
    ]
    show(runs, megapixels, "MP", own[0])
    versions = [f"{n}={version_in(p, n)}" for n in ("histoslice", "hs2p") if (p := python_of(n, options.peers))]
    report(
        "peers_tile",
        found,
        libraries=("simplejpeg",),
        others=versions,
        results=results_of(options),
        rounds=options.rounds,
    )


if __name__ == "__main__":
    main()

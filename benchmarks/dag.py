"""How long Snakemake takes to see what there is to do for many slides: ``snakemake -n``, jobs, seconds and memory.

    python benchmarks/dag.py                     # 10,000 slides
    python benchmarks/dag.py --slides 1000

Two moments are measured: before anything ran (every slide is to be surveyed), and after the plan (every slide is to
be packed; the records that Snakemake looks at are made here, empty slides have no others). A dry run opens no slide,
so the slides are empty files.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from harness import Contestant, Measure, Runs, Spread, arguments, cpu, interleaved, report, results_of, wall

from wsiprep.artifacts import DatasetTree

CHECKOUT = Path(__file__).resolve().parent.parent
RECIPE = """\
name: dag
labels: [tumour]
downsample: 4
split: {by: patient, ratio: {train: 3, test: 1}}
manifest: manifest.csv
"""


def write_project(folder: Path, slides: int) -> None:
    """A recipe, a manifest and empty slides, a hundred to a folder."""
    lines = ["slide,annotation_state"]
    for number in range(slides):
        path = folder / f"slides/{number // 100:04d}/s{number:06d}.svs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        lines.append(f"{path.relative_to(folder)},normal")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)


def write_plan(folder: Path, slides: int) -> None:
    """What survey and plan leave behind, as far as Snakemake looks at it."""
    tree = DatasetTree(folder / "dataset")
    names = [f"s{number:06d}" for number in range(slides)]
    for name in names:
        record = tree.slide(name).record
        record.parent.mkdir(parents=True)
        record.touch()
    # Snakemake compares times: outputs must not be older than what they are made of.
    time.sleep(0.01)
    for path in (tree.root / "plan.parquet", tree.root / "split.parquet"):
        path.touch()
    tree.plan_record.write_text(json.dumps({"kept_slides": names}))
    for name in names:
        path = tree.plan_slice(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def dry_run(name: str, folder: Path) -> Contestant:
    words = [
        sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--quiet", "rules",
        "--snakefile", CHECKOUT / "Snakefile", "--directory", folder,
        "--config", "recipe=recipe.yaml", "out=dataset", "pack_threads=1", "--", "dataset",
    ]  # fmt: skip
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return Contestant(name, [str(word) for word in words], environment=path, log=folder / f"{name}.log")


def jobs_of(log: Path) -> int:
    """The total of the last table of jobs that Snakemake printed."""
    return int(re.findall(r"^total\s+(\d+)", log.read_text(), flags=re.MULTILINE)[-1])


def measures(name: str, slides: int, jobs: int, runs: Runs) -> list[Measure]:
    found, subject = runs[name], f"{slides} slides, {jobs} jobs"
    return [
        Measure(f"snakemake -n {name}: jobs", jobs, "jobs", subject=subject),
        Measure(f"snakemake -n {name}: wall", Spread.of(wall(found)).median, "s", subject=subject),
        Measure(f"snakemake -n {name}: CPU", Spread.of(cpu(found)).median, "s", subject=subject),
        Measure(f"snakemake -n {name}: CPU a job", 1e3 * Spread.of(cpu(found)).median / jobs, "ms", subject=subject),
        Measure(f"snakemake -n {name}: peak memory", max(used.peak_mb for used in found), "MB", subject=subject),
    ]


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--slides", type=int, default=10_000)
    options = parser.parse_args(words)
    slides = 3 if options.smoke else options.slides
    found: list[Measure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, slides)
        for moment in ("before anything ran", "after the plan"):
            if moment == "after the plan":
                write_plan(folder, slides)
            contestant = dry_run(moment, folder)
            runs = interleaved([contestant], options.rounds, warm_up=0)
            assert contestant.log is not None
            found += measures(moment, slides, jobs_of(contestant.log), runs)
    report("dag", found, libraries=("snakemake",), results=results_of(options), rounds=options.rounds)


if __name__ == "__main__":
    main()

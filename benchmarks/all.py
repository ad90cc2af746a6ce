"""Every benchmark in turn, each in a process of its own, and one table of what they wrote.

    python benchmarks/all.py                    # the quick ones, half an hour
    python benchmarks/all.py --slow             # those of minutes too: level 0, workers, 10,000 slides, 10 gigapixels
    python benchmarks/all.py --only pack_floor survey
    python benchmarks/all.py --summary          # runs nothing: the last run of each, from the CSV files

Nothing else should run meanwhile. One that fails is said in the table and the next one runs. Exit status 1 where a
benchmark fails or a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench_slide import folder_of_slides
from harness import RESULTS, table
from peers.environments import folder_of_peers

HERE = Path(__file__).resolve().parent
COLUMNS = ("measure", "value", "unit", "ratio", "low", "high", "target", "met")


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Attributes:
        script: name without suffix, and of its CSV file.
        words: its options beside those below.
        needs: which of this script's own options it is handed: slide, peers or jpeg2000.
        slow: minutes rather than seconds.
    """

    script: str
    words: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    slow: bool = False

    @property
    def title(self) -> str:
        return " ".join((self.script, *self.words))


ENTRIES = (
    Entry("pack_floor", needs=("slide",)),
    Entry("peers_tile", needs=("slide", "peers")),
    Entry("peers_tile", ("--own-tissue",), needs=("slide", "peers")),
    Entry("peers_tile", ("--level0", "--threads", "2"), needs=("slide", "peers"), slow=True),
    Entry("workers", needs=("slide",), slow=True),
    Entry("tumour_cells", needs=("slide",)),
    Entry("growth", needs=("slide",)),
    Entry("survey"),
    Entry("reading"),
    Entry("jpeg2000", needs=("jpeg2000",)),
    Entry("ndpi"),
    Entry("striped"),
    Entry("remote", needs=("slide",)),
    Entry("stain_apply"),
    Entry("stain_peers"),
    Entry("loading", needs=("slide",)),
    Entry("chunk_codecs"),
    Entry("huge_slide", slow=True),
    Entry("dag", slow=True),
)


def command(entry: Entry, options: argparse.Namespace) -> list[str]:
    """The words to run; an option that was not given is left to the script."""
    words = [sys.executable, str(HERE / f"{entry.script}.py"), *entry.words, "--results", str(options.results)]
    if options.rounds:
        words += ["--rounds", str(options.rounds)]
    if "slide" in entry.needs:
        words += ["--slide", str(options.slide)]
    if "peers" in entry.needs:
        words += ["--peers", str(options.peers)]
    if "jpeg2000" in entry.needs:
        words.append(str(options.jpeg2000))
    return words


def rows_of(results: Path, script: str) -> list[dict[str, str]]:
    """Everything that a benchmark ever wrote."""
    path = results / f"{script}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def last_run(results: Path, script: str) -> list[dict[str, str]]:
    """The newest row of each measure and subject, in the order of the file."""
    newest = {(row["measure"], row["subject"]): row for row in rows_of(results, script)}
    return list(newest.values())


def run(entry: Entry, options: argparse.Namespace) -> tuple[list[dict[str, str]], str]:
    """What it wrote, and why it did not run or failed, or ""."""
    if not (HERE / f"{entry.script}.py").exists():
        return [], "there is no such script"
    if "jpeg2000" in entry.needs and options.jpeg2000 is None:
        return [], "left out: name a JPEG 2000 SVS with --jpeg2000"
    before = len(rows_of(options.results, entry.script))
    print(f"\n== {entry.title}", flush=True)
    done = subprocess.run(command(entry, options), check=False)
    found = rows_of(options.results, entry.script)[before:]
    return found, f"failed with exit code {done.returncode}" if done.returncode else ""


def summary(found: dict[str, tuple[list[dict[str, str]], str]]) -> bool:
    """Print all rows as one table; whether nothing failed and no target is missed."""
    lines, good = [["benchmark", *COLUMNS]], True
    for title, (rows, reason) in found.items():
        lines += [[title, *(row[name] for name in COLUMNS)] for row in rows]
        good = good and not any(row["met"] == "no" for row in rows) and not reason.startswith("failed")
        if reason:
            lines.append([title, reason, *[""] * (len(COLUMNS) - 1)])
    print("\n" + table(lines))
    return good


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slow", action="store_true", help="those of minutes too")
    parser.add_argument("--only", nargs="+", choices=sorted({entry.script for entry in ENTRIES}), help="these alone")
    parser.add_argument("--summary", action="store_true", help="run nothing, show the newest figures")
    parser.add_argument("--rounds", type=int, help="counted rounds (default: each benchmark's own)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--slide", type=Path, default=folder_of_slides() / "slide.tif")
    parser.add_argument("--peers", type=Path, default=folder_of_peers())
    parser.add_argument("--jpeg2000", type=Path, help="a JPEG 2000 SVS, for jpeg2000.py")
    options = parser.parse_args(words)
    if options.summary:
        scripts = dict.fromkeys(entry.script for entry in ENTRIES)
        return 0 if summary({name: (last_run(options.results, name), "") for name in scripts}) else 1
    chosen = [
        entry for entry in ENTRIES if (entry.script in options.only if options.only else options.slow or not entry.slow)
    ]
    return 0 if summary({entry.title: run(entry, options) for entry in chosen}) else 1


if __name__ == "__main__":
    raise SystemExit(main())

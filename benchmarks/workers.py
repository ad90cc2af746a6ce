"""Do two workers pack twice as fast as one? Wall seconds, level-0 patches.

    python benchmarks/workers.py        # 2,106 patches: two threads of one process, then two processes on two slides

Three pairs run in turn: ``pack`` with two threads against one, in this process; ``wsiprep pack`` of two slides at once
against one after the other, whole processes; and, as a control, two plain processes that hash at once against one
after the other: what this machine gives at all just now. Where the control is below 2, two cores were not free.
"""

from __future__ import annotations

import json
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench_slide import BenchSlide, add_slide, slide_of
from harness import Contestant, Measure, Runs, arguments, interleaved, quotients, report, results_of, show, wall
from planned import of_slide

LEAST = 1.8
ONE, TWO = "pack, 1 thread", "pack, 2 threads"
IN_TURN, AT_ONCE = "2 slides, one after the other", "2 slides, two processes at once"
HASH_IN_TURN, HASH_AT_ONCE = "control: hashing, one after the other", "control: hashing, two at once"
_HASH = "import hashlib\nfor _ in range({times}): hashlib.sha256(bytes(1 << 20)).digest()"


def two_slides(subject: BenchSlide, folder: Path) -> list[str]:
    """The command lines that pack each of two slides, surveyed and planned here; the second is a copy.

    Each is a dataset of its own, since a dataset refuses the same slide twice.
    """
    recipe = {
        "name": "workers",
        "downsample": 1,
        "manifest": "manifest.csv",
        "tissue": {"method": "given" if subject.tissue else "hsv"},
        "sampling": {"patch_size_px": subject.patch_size_px},
        "split": {"kind": "none"},
        "store": {"codec": "blosc-lz4"},
    }
    copy = folder / f"copy{subject.slide.suffix}"
    folder.mkdir()
    shutil.copyfile(subject.slide, copy)
    found = []
    for name, slide in (("first", subject.slide), ("second", copy)):
        place = folder / name
        place.mkdir()
        (place / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
        (place / "manifest.csv").write_text(f"slide_id,slide,tissue\n{name},{slide},{subject.tissue or ''}\n")
        common = ["--recipe", str(place / "recipe.yaml"), "--out", str(place / "dataset"), "--log-format", "none"]
        wsiprep = [sys.executable, "-m", "wsiprep"]
        for words in (["survey", name], ["plan"]):
            subprocess.run([*wsiprep, *words, *common], check=True, stdout=subprocess.DEVNULL)
        found.append(shlex.join([*wsiprep, "pack", name, *common, "--strict"]))
    return found


def in_turn_and_at_once(
    names: tuple[str, str], lines: list[str], before: Callable[[], object] | None = None
) -> list[Contestant]:
    """Two command lines one after the other, and both at once; either fails where one of them does."""
    first, second = lines
    at_once = f"{first} & a=$!; {second} & b=$!; wait $a && wait $b"
    return [
        Contestant(name, ["sh", "-c", script], before=before)
        for name, script in zip(names, (f"{first} && {second}", at_once), strict=True)
    ]


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__)
    add_slide(parser)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = slide_of(options, folder)
        way = of_slide(subject, folder / "dataset", level0=True)
        way.survey()
        way.plan()
        pair = folder / "pair"
        lines = two_slides(subject, pair)
        hashing = shlex.join([sys.executable, "-c", _HASH.format(times=4 if options.smoke else 2000)])

        def unpack() -> None:
            for made in (*pair.glob("*/dataset/shards"), *pair.glob("*/dataset/receipts")):
                shutil.rmtree(made)

        runs = interleaved(
            [
                Contestant(ONE, lambda: way.pack(1), way.unpack),
                Contestant(TWO, lambda: way.pack(2), way.unpack),
                *in_turn_and_at_once((IN_TURN, AT_ONCE), lines, unpack),
                *in_turn_and_at_once((HASH_IN_TURN, HASH_AT_ONCE), [hashing, hashing]),
            ],
            options.rounds,
        )
        patches, megapixels = len(way.cells()), way.output_mp()
    show(runs, megapixels, "MP", ONE)
    found = measures(runs, f"{subject.slide.name}, {patches} patches")
    report("workers", found, libraries=("simplejpeg", "numcodecs"), results=results_of(options), rounds=options.rounds)


def measures(runs: Runs, subject: str) -> list[Measure]:
    pairs = ((TWO, ONE, LEAST), (AT_ONCE, IN_TURN, LEAST), (HASH_AT_ONCE, HASH_IN_TURN, None))
    return [
        Measure(
            f"{fast} / {slow}: wall",
            statistics.median(wall(runs[fast])),
            "s",
            quotients(wall(runs[slow]), wall(runs[fast])),
            least,
            subject=subject,
        )
        for fast, slow, least in pairs
    ]


if __name__ == "__main__":
    main()

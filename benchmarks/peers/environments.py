"""Environments of their own for the tools that wsiprep is compared with.

    python benchmarks/peers/environments.py                      # into the user's cache
    python benchmarks/peers/environments.py --folder DIR --only histoslice

Each peer gets a virtual environment, so that its requirements meet nobody else's. What cannot be installed is said,
with the last line of the installer, and the comparisons leave it out and say so too. OpenSlide, zarr-python and Pillow
are taken from wsiprep's own environment: they are its dependencies, or of its tests.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool and how it is installed.

    Attributes:
        name: of the tool and of its folder.
        requirements: what pip is given.
        module: what must import afterwards.
    """

    name: str
    requirements: tuple[str, ...]
    module: str


PEERS = (
    Peer("histoslice", ("histoslice==0.6.0",), "histoslice"),
    Peer("hs2p", ("hs2p[openslide]==6.1.0",), "hs2p.api"),
)


def folder_of_peers() -> Path:
    """The folder with an environment for each peer, by default in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "wsiprep-benchmarks" / "peers"


def python_of(name: str, folder: Path) -> Path | None:
    """A peer's interpreter, or None where it is not installed."""
    python = folder / name / "bin" / "python"
    return python if python.exists() else None


def version_in(python: Path, distribution: str) -> str:
    """Version of a distribution in another environment."""
    words = [python, "-c", f"import importlib.metadata as m; print(m.version({distribution!r}))"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def install(peer: Peer, folder: Path) -> str:
    """Make the peer's environment; "" or why it cannot be made."""
    place = folder / peer.name
    python = place / "bin" / "python"
    steps = (
        [sys.executable, "-m", "venv", place],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements],
        [python, "-c", f"import {peer.module}"],
    )
    for words in steps:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=folder_of_peers(), help="default: %(default)s")
    parser.add_argument("--only", choices=[peer.name for peer in PEERS], action="append")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for peer in PEERS:
        if options.only and peer.name not in options.only:
            continue
        reason = install(peer, options.folder)
        failed += bool(reason)
        print(
            f"{peer.name}: " + (f"not installable here: {reason}" if reason else " ".join(peer.requirements)),
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

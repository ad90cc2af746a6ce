"""When and on what a benchmark ran: for the CSV files, without names of machines or paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = ("numpy",)


def circumstances(libraries: Iterable[str], others: Iterable[str], rounds: int) -> dict[str, str]:
    """When, what and on what, the same for all lines of a run; no names of machines, no paths."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "commit": commit(),
        "wsiprep": version_of("wsiprep"),
        "libraries": " ".join([*(f"{n}={version_of(n)}" for n in dict.fromkeys((*LIBRARIES, *libraries))), *others]),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "rounds": str(rounds),
    }


def version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def commit() -> str:
    """Short id of the commit, with a plus where files differ from it; empty outside a checkout."""
    try:
        words = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.machine()


def machine_line() -> str:
    return f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"

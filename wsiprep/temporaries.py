"""Names of things that are being made, from which one can tell whether their maker still lives."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"

_START_TICKS = 19
"""Place of ``starttime`` in /proc/PID/stat behind the command's name."""
_CLOCK_SLACK_S = 2.0


def temporary_name() -> str:
    """A name of its own for every attempt on every host: ``.tmp-{host}-{pid}-{start}-{uuid}``."""
    return f"{TEMPORARY_PREFIX}{_host()}-{os.getpid()}-{int(time.time())}-{uuid.uuid4().hex[:12]}"


def is_made_here(name: str) -> bool:
    """Whether a process of this host made it, alive or not."""
    parts = name.split("-")
    numbered = len(parts) >= 5 and parts[-3].isdecimal() and parts[-2].isdecimal()
    return numbered and "-".join(parts[1:-3]) == _host()


def is_being_made(name: str) -> bool:
    """Whether the process that made it still runs on this host."""
    if not is_made_here(name):
        return False
    parts = name.split("-")
    started = _process_start(int(parts[-3]))
    # A process that began after the temporary was made only has the number of the one that made it.
    return started is not None and started <= int(parts[-2]) + _CLOCK_SLACK_S


def _host() -> str:
    return "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:32]


def _process_start(pid: int) -> float | None:
    """When a process of this host began, in seconds since the epoch; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        ticks = int(stat[_START_TICKS])
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    if stat[0] in "ZX":
        return None
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")

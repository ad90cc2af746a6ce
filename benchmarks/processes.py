"""CPU and wall seconds and peak memory of one function of this process, or of one command with all its processes."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# A process of its own starts the command and waits for it: the kernel hands the peak memory of whoever forks on to
# the forked command, and here that may be a benchmark with numpy and a slide in it.
_LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
child = os.fork()
if child == 0:
    os.close(int(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
_, status, used = os.wait4(child, 0)
took = [time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status)]
os.write(int(sys.argv[1]), json.dumps(took).encode())
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What one run took.

    Attributes:
        cpu_s: user and system seconds of all its threads, and of its child processes that were waited for.
        wall_s: seconds from start to end.
        peak_mb: largest resident memory of one process (MB of 10^6 bytes). Of a function: of this whole process
            while it ran; NaN where the kernel does not tell.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float


def of_call(work: Callable[[], object]) -> Used:
    """A function of this process, with the child processes it waits for."""
    reset = _reset_peak()
    wall, before = time.perf_counter(), _cpu_of_this_process()
    work()
    cpu_s, wall_s = _cpu_of_this_process() - before, time.perf_counter() - wall
    return Used(cpu_s, wall_s, _peak_mb() if reset else math.nan)


def of_command(
    words: Sequence[str], environment: Mapping[str, str] | None = None, log: Path | None = None, timeout_s: float = 3600
) -> Used:
    """A command as a whole process with its imports, and the child processes that it waits for.

    Raises:
        SystemExit: it fails.
        subprocess.TimeoutExpired: it takes longer than ``timeout_s``; it is killed then.
    """
    read, write = os.pipe()
    with open(read, "rb") as told, open(log, "ab") if log else tempfile.TemporaryFile() as output:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(write), *(str(word) for word in words)]
        # A session of its own, so that a timeout ends the command too.
        process = subprocess.Popen(
            launcher, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=_environment() | dict(environment or {}), pass_fds=(write,), start_new_session=True,
        )  # fmt: skip
        os.close(write)
        try:
            process.wait(timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        found = told.read()
        wall_s, cpu_s, peak_kib, code = json.loads(found) if found else (0, 0, 0, process.returncode)
        if code:
            text = (log.read_bytes() if log else _all_of(output)).decode(errors="replace")[-2000:]
            raise SystemExit(f"{words[0]} ended with exit code {code}:\n{text}")
    return Used(cpu_s, wall_s, peak_kib * 1024 / 1e6)


def _environment() -> dict[str, str]:
    """This process's own, but modules are compiled once, as those of an installed package are."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _all_of(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()


def _cpu_of_this_process() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _reset_peak() -> bool:
    """Let the kernel count this process's peak memory anew (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return math.nan

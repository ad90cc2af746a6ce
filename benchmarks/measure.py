"""Interleaved rounds of several contestants, in CPU seconds, and their ratios with a spread."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds (all threads of this process) of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """A warm-up and then ``rounds`` of A B C, A B C, ...: drift of the machine hits all alike."""
    for work in contestants.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            seconds[name].append(cpu_seconds(work))
    return seconds


def show(seconds: Mapping[str, list[float]], units: float, unit: str, baseline: str) -> None:
    """One line a contestant: median rate, and its paired ratio to the baseline with minimum and maximum."""
    machine = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}; {units:g} {unit}; CPU seconds, median of {len(seconds[baseline])} rounds")
    for name, values in seconds.items():
        ratios = [b / v for b, v in zip(seconds[baseline], values, strict=True)]
        rate = units / statistics.median(values)
        spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        print(f"  {name:<34} {rate:>9.1f} {unit}/s   x {baseline}: {spread}")

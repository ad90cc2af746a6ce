"""What ``run.json`` says beside the scores: the model, the machine, the versions."""

from __future__ import annotations

import os
import platform
import resource
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

import wsiprep
from wsiprep.models import card
from wsiprep.models.base import count_parameters

_PACKAGES = ("lightning", "numpy", "torch", "torchvision", "timm", "zarr")


def model_record(name: str, options: dict[str, Any], net: nn.Module) -> dict[str, Any]:
    """The card's names, the options, and the size in both conventions."""
    found = card(name)
    return {
        "name": found.name,
        "title": found.title,
        "paper": found.paper,
        "family": found.family,
        "options": options,
        "pretrained": bool(options.get("pretrained", False)),
        "parameters": asdict(count_parameters(net)),
    }


def versions() -> dict[str, str]:
    """Versions of Python, wsiprep and what the numbers depend on."""
    found = {"python": platform.python_version(), "wsiprep": wsiprep.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """The device that trained, and the machine around it; no host name."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": device.type,
        "device_name": name,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """Peak of the process, and of the device's allocator where it is a GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
    return peak

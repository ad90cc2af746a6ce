"""Reading checkpoints: safely, and only for the run or the network that they are of."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wsiprep.errors import TrainingError

IDENTITY = "wsiprep"
"""Where a checkpoint says what it is of."""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of wsiprep, on the CPU; nothing in it is executed.

    Raises:
        TrainingError: missing, damaged, or not wsiprep's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError("there is no such checkpoint", got=str(path)) from error
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError("the checkpoint cannot be read", got=reason, file=path) from error
    if not isinstance(state, dict) or IDENTITY not in state:
        raise TrainingError("the checkpoint is none of wsiprep's", file=path)
    return state


class OtherRunError(TrainingError):
    """A checkpoint of other settings, another dataset, or with more epochs than are asked for."""

    code = "other-run"


def epochs_done(path: Path, identity: Mapping[str, Any], epochs: int) -> int:
    """Whole epochs that a checkpoint has behind it, if it is of the run with this identity.

    Raises:
        OtherRunError: it is of another run, or further than ``epochs``.
        TrainingError: it cannot be read.
    """
    state = load_checkpoint(path)
    found = state[IDENTITY]
    different = sorted(key for key in identity if identity[key] != found.get(key))
    if different:
        raise OtherRunError(
            "the checkpoint is of another run",
            got=", ".join(f"{key}={found.get(key)}" for key in different),
            expected=", ".join(f"{key}={identity[key]}" for key in different),
            file=path,
            fix="train with the same settings, or without resume to start afresh",
        )
    done = int(state["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    if done > epochs:
        raise OtherRunError(
            "the checkpoint has more epochs behind it than are asked for", got=done, expected=f"<= {epochs}", file=path
        )
    return done

"""Lightning's trainer as it is used here: one device, quiet, with our exit codes."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from wsiprep.errors import UsageError
from wsiprep.training.guarded_lightning import LightningEnvironment, MisconfigurationException, Trainer
from wsiprep.training.task import SegmentationTask

DEVICES = ("auto", "cpu", "cuda", "mps")
_SIGTERM_EXIT = 143
_PRECISIONS: dict[str, Literal["32-true", "16-mixed", "bf16-mixed"]] = {
    "32": "32-true",
    "16-mixed": "16-mixed",
    "bf16-mixed": "bf16-mixed",
}


def make_trainer(device: str, precision: str, *, deterministic: bool, **options: Any) -> Trainer:
    """A Lightning trainer on one device.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        precision: ``32``, ``16-mixed``, ``bf16-mixed``.
        deterministic: enforced on a CPU; elsewhere some kernels have no such form, and torch warns.
        options: further arguments of ``Trainer``.

    Raises:
        UsageError: no such device here, or a precision that it has not.
    """
    if device not in DEVICES:
        raise UsageError("unknown device", got=device, expected=", ".join(DEVICES))
    on_cpu = device == "cpu" or (device == "auto" and not torch.accelerator.is_available())
    if precision == "16-mixed" and on_cpu:
        raise UsageError("16-mixed precision needs a GPU", got=f"device {device}", fix="take bf16-mixed or 32")
    mode: bool | Literal["warn"] = deterministic and (True if on_cpu else "warn")
    try:
        return Trainer(
            accelerator=device,
            devices=1,
            precision=_PRECISIONS[precision],
            deterministic=mode,
            logger=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            # Not Lightning's own SLURM mode: jobs are Snakemake's, which submits and requeues them.
            plugins=[LightningEnvironment()],
            **options,
        )
    except (MisconfigurationException, ValueError) as error:
        raise UsageError(
            "this machine cannot train on that device",
            got=f"{device}: {str(error).splitlines()[0]}",
            fix="auto takes what there is",
        ) from error


def fit(
    trainer: Trainer, task: SegmentationTask, loaders: tuple[DataLoader[Any], DataLoader[Any] | None], last: Path | None
) -> None:
    """``trainer.fit``, but Ctrl-C is a KeyboardInterrupt and SIGTERM exits with 143.

    Args:
        loaders: of training and, where there is one, validation.
        last: checkpoint to go on from.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, *loaders, ckpt_path=last, weights_only=True)
    except SystemExit as error:
        if trainer.received_sigterm:
            raise SystemExit(_SIGTERM_EXIT) from error
        # Lightning turns Ctrl-C into exit 1 and leaves it ignored.
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice and its lines about devices, and with torch's switches put back afterwards."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            yield
        finally:
            logger.setLevel(level)
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark

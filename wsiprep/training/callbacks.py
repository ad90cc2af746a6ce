"""What happens around a training: the table of its epochs, its progress, and its checkpoints."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from pathlib import Path
from typing import Any

from wsiprep.artifacts import write_bytes
from wsiprep.errors import UsageError
from wsiprep.progress import Reporter, Task
from wsiprep.training.guarded_lightning import Callback, LightningModule, ModelCheckpoint, Trainer
from wsiprep.training.metrics import SCORE_NAMES
from wsiprep.training.task import SegmentationTask

BEST, LAST, HISTORY = "best.ckpt", "last.ckpt", "metrics.csv"
COLUMNS = ("epoch", "train_loss", *(f"val_{name}" for name in SCORE_NAMES), "train_seconds", "images")


class History(Callback):
    """Keeps a row an epoch, in the checkpoints and in ``metrics.csv``, and says it.

    The rows travel with the checkpoint, so that a resumed run's table is that of the whole run.
    """

    def __init__(self, path: Path, epochs: int, reporter: Reporter) -> None:
        self.rows: list[dict[str, Any]] = []
        self._path, self._epochs, self._reporter = path, epochs, reporter
        self._started = self._before = self._trained = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "epoch_seconds": time.monotonic() - self._started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
        # Of an epoch that goes on in its middle; one that starts sets the clock anew.
        self._before = float(state_dict["epoch_seconds"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic() - self._before

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._trained = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Validation runs inside the training epoch; its time is not training's.
        self._trained = time.monotonic() - self._started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, SegmentationTask):
            raise UsageError("the history is of a SegmentationTask", got=type(pl_module).__name__)
        loss = pl_module.train_loss()
        found = {name: trainer.callback_metrics.get(f"val_{name}") for name in SCORE_NAMES}
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_loss": loss,
            **{f"val_{name}": None if value is None else float(value) for name, value in found.items()},
            "train_seconds": round(self._trained or time.monotonic() - self._started, 3),
            "images": pl_module.images_seen,
        }
        self.rows.append(row)
        write_bytes(self._path, table_bytes(self.rows))
        shown = {name: f"{row[name]:.4f}" for name in ("train_loss", "val_miou") if row[name] is not None}
        self._reporter.say(f"epoch {row['epoch']} of {self._epochs}: {', '.join(f'{k} {v}' for k, v in shown.items())}")


class StepProgress(Callback):
    """Shows the steps of the training as one task of the reporter, like every other command."""

    def __init__(self, label: str, reporter: Reporter) -> None:
        self._label, self._reporter = label, reporter
        self._stack = contextlib.ExitStack()
        self._task: Task | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch
        total = int(trainer.num_training_batches) * epochs
        self._task = self._stack.enter_context(self._reporter.task(self._label, total))

    def on_train_batch_end(self, *_: object) -> None:
        if self._task is not None:
            self._task.advance()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stack.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stack.close()


class StepCheckpoint(Callback):
    """Writes ``last.ckpt`` after every so many steps of an epoch, so that a killed job loses no more than those."""

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        # After the last step comes the epoch's end, with its scores and a checkpoint of its own.
        if done % self._every == 0 and done < trainer.num_training_batches:
            trainer.save_checkpoint(self._path)


def table_bytes(rows: list[dict[str, Any]]) -> bytes:
    """``metrics.csv``: a row an epoch; empty where nothing was validated."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def checkpoints(folder: Path, every: int | None, *, validated: bool) -> list[Callback]:
    """``last.ckpt`` after each epoch (and ``every`` steps) and, with a validation split, ``best.ckpt`` by its MIoU."""
    steps: list[Callback] = [] if every is None else [StepCheckpoint(folder / LAST, every)]
    # Written at the end of the epoch, after History's row, so that the row is in it.
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    if not validated:
        return [*steps, last]
    best = ModelCheckpoint(
        folder, "best", monitor="val_miou", mode="max", save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [*steps, best, last]

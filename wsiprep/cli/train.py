"""wsiprep train."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from wsiprep.cli import options


@click.command("train", short_help="Train one model on a sealed dataset.")
@options.out_argument
@click.option("--model", required=True, help="a name from wsiprep models list")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--fold", type=click.IntRange(0), help="held-out fold of a k-fold dataset")
@click.option("--epochs", type=click.IntRange(1), help="[default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(1), help="[default: the recipe's]")
@click.option("--learning-rate", type=float, help="[default: the recipe's]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["32", "16-mixed", "bf16-mixed"]), help="[default: the recipe's]")
@click.option("--augmentation", type=click.Choice(["none", "flips"]), help="[default: the recipe's]")
@click.option("--workers", type=click.IntRange(0, 64), default=0, show_default=True, help="loader processes")
@click.option("--option", "model_options", multiple=True, metavar="KEY=VALUE", help="option of the model; repeatable")
@click.option(
    "--resume",
    type=click.Choice(["no", "same", "must"]),
    default="no",
    show_default=True,
    help="go on from the run's last checkpoint; same: start afresh where it is of another run; must: stop there",
)
@options.recipe_option
@options.log_option
def command(
    out: Path,
    model: str,
    seed: int,
    fold: int | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    device: str,
    precision: str | None,
    augmentation: str | None,
    workers: int,
    model_options: tuple[str, ...],
    resume: Literal["no", "same", "must"],
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    log_format: str,
) -> None:
    """Train MODEL on the sealed dataset in OUT; writes OUT/runs/MODEL/seedS/ with checkpoints, metrics and run.json.

    Settings come from the recipe's training section, then from the options here. The best epoch by validation MIoU
    is evaluated on the test split.

    \b
    Example:
      wsiprep train dataset --model unet --option base=16 --epochs 20 --seed 1
    """
    from wsiprep.artifacts import DatasetTree
    from wsiprep.stages.rows import recipe_for
    from wsiprep.stages.train import TrainRequest, train

    tree = DatasetTree(out)
    recipe = recipe_for(recipe_path, overrides, tree)
    request = TrainRequest(
        model=model,
        seed=seed,
        fold=fold,
        device=device,
        workers=workers,
        resume=resume,
        model_options=model_options,
        settings={
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "precision": precision,
            "augmentation": augmentation,
        },
    )
    folder = train(request, recipe, tree, options.reporter(log_format, stage="train", model=model, seed=seed))
    click.echo(f"run: {folder}")

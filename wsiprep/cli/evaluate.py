"""wsiprep evaluate."""

from __future__ import annotations

from pathlib import Path

import click

from wsiprep.cli import options


@click.command("evaluate", short_help="Score a checkpoint on a split.")
@options.out_argument
@click.argument("checkpoint", type=options.FILE)
@click.option("--split", default="test", show_default=True)
@click.option("--fold", type=click.IntRange(0), help="held-out fold of a k-fold dataset")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=6, show_default=True)
@click.option("--workers", type=click.IntRange(0, 64), default=0, show_default=True, help="loader processes")
def command(
    out: Path, checkpoint: Path, split: str, fold: int | None, device: str, batch_size: int, workers: int
) -> None:
    """Score CHECKPOINT on a split of the sealed dataset in OUT; prints JSON.

    \b
    Example:
      wsiprep evaluate dataset dataset/runs/unet/seed0/best.ckpt --split val
    """
    import json

    from wsiprep.training import Evaluation, evaluate_checkpoint

    spec = Evaluation(
        checkpoint=checkpoint,
        root=out,
        split=split,
        fold=fold,
        device=device,
        batch_size=batch_size,
        num_workers=workers,
    )
    click.echo(json.dumps(evaluate_checkpoint(spec), indent=1, sort_keys=True))

"""wsiprep models."""

from __future__ import annotations

import click


@click.group("models", short_help="List the models that can be trained.")
def command() -> None:
    """Models of the papers, with parameter counts.

    \b
    Example:
      wsiprep models list
      wsiprep models show hinet_a
    """


@command.command("list")
def list_models() -> None:
    """One line a model: name, parameters, paper.

    \b
    Example:
      wsiprep models list
    """
    from wsiprep.models import model_cards

    click.echo(f"{'name':<16} {'parameters':>11}  model")
    for card in model_cards():
        count = f"{card.counts[0].trainable:,}" if card.counts else "-"
        click.echo(f"{card.name:<16} {count:>11}  {card.title}: {card.paper}")


@command.command("show")
@click.argument("name")
def show_model(name: str) -> None:
    """Everything on the card of NAME.

    \b
    Example:
      wsiprep models show unet
    """
    import dataclasses

    from wsiprep.models import card

    found = card(name)
    for key in ("name", "title", "paper", "family", "size_divisor", "in_channels", "n_classes"):
        click.echo(f"{key:<14} {getattr(found, key)}")
    for hint in dataclasses.fields(found.recipe):
        click.echo(f"{hint.name:<14} {getattr(found.recipe, hint.name)}")
    click.echo("parameters:")
    for count in found.counts:
        options = ", ".join(f"{k}={v}" for k, v in count.options.items()) or "as it is"
        with_bn = "" if count.with_bn_stats is None else f" ({count.with_bn_stats:,} with BN statistics)"
        click.echo(f"  {count.trainable:>12,}{with_bn}  {options}; {count.source}")

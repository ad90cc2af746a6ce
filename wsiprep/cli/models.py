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

    for card in model_cards():
        click.echo(f"{card.name:<16} {card.title:<40} {card.paper}")


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

    for key, value in dataclasses.asdict(card(name)).items():
        click.echo(f"{key:<20} {value}")

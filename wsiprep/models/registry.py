"""Models by name: cards, their options, and building them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wsiprep.errors import UsageError
from wsiprep.models.cards import ModelCard, Option
from wsiprep.models.table import CARDS

if TYPE_CHECKING:
    from wsiprep.models.base import SegmentationModel

_BY_NAME = {card.name: card for card in CARDS}


def model_cards() -> tuple[ModelCard, ...]:
    """Every model there is, in the order of the table."""
    return CARDS


def card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        UsageError: no such model; names the nearest.
    """
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, n=3, cutoff=0.5)
        fix = f"did you mean {' or '.join(near)}?" if near else "choose one of the models"
        raise UsageError("unknown model", got=name, expected=", ".join(_BY_NAME), fix=fix)
    return _BY_NAME[name]


def model_options(name: str) -> dict[str, Option]:
    """The options of a model and their defaults; what its preset fixes is none."""
    found = card(name)
    parameters = inspect.signature(_factory(found)).parameters.values()
    options: dict[str, Option] = {p.name: p.default for p in parameters if p.name not in found.preset}
    return options | {"n_classes": found.n_classes}


def create_model(name: str, **options: Option) -> SegmentationModel:
    """Build a network (N, 3, H, W) normalised floats -> logits (N, n_classes, H, W).

    Args:
        name: of a card.
        options: what :func:`model_options` lists.

    Raises:
        UsageError: unknown model or option, an option of the wrong type, or a value that the network refuses.
    """
    found = card(name)
    defaults = model_options(name)
    for key, value in options.items():
        _check_option(found, key, value, defaults)
    model: SegmentationModel = _factory(found)(**({"n_classes": found.n_classes} | dict(found.preset) | options))
    return model


def _factory(found: ModelCard) -> Callable[..., Any]:
    module, _, attribute = found.factory.partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return factory


def _check_option(found: ModelCard, key: str, value: Option, defaults: dict[str, Option]) -> None:
    if key in found.preset:
        raise UsageError(
            f"{key!r} is what makes {found.name} this variant",
            got=f"{key}={value}",
            expected=f"{key}={found.preset[key]}",
            fix="leave it out, or take another model of the family",
        )
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, n=1)
        fix = f"did you mean {near[0]}?" if near else None
        raise UsageError(f"unknown option of {found.name}", got=key, expected=", ".join(defaults), fix=fix)
    kind = type(defaults[key])
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise UsageError(
            f"option {key!r} of {found.name} has the wrong type", got=repr(value), expected=f"{kind.__name__}"
        )

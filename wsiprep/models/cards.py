"""What a model is, apart from its code: paper, sizes, published counts, recipe, options. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Option = int | float | str | bool


@dataclass(frozen=True, slots=True)
class PublishedCount:
    """A parameter count that the network has to reproduce exactly.

    Attributes:
        options: of ``create_model``, beside the card's preset.
        trainable: elements of all parameters.
        with_bn_stats: plus BatchNorm's running statistics (Keras' and Paddle's total), where known.
        source: where the figure is from.
    """

    options: Mapping[str, Option]
    trainable: int
    with_bn_stats: int | None
    source: str


@dataclass(frozen=True, slots=True)
class RecipeHint:
    """How the paper trained it; None where it does not say."""

    loss: str
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model by name.

    Attributes:
        name: the name in recipes, on the command line and in ``runs/``.
        title: the name for people.
        paper: where the architecture is from.
        family: models that share a file.
        factory: ``module:callable`` that builds it; imported when the model is created.
        size_divisor: sides are padded to a multiple of it.
        counts: figures that the contract test holds the network to.
        recipe: how it was trained.
        in_channels: of the input, RGB.
        n_classes: logits by default.
        preset: arguments of the factory that make this variant; they are not options.
        narrow: options of a small variant, for tests and small machines.
        abilities: ``pretrained``: has the option of that name and can start from ImageNet weights;
            ``dropout``: has a dropout option.
    """

    name: str
    title: str
    paper: str
    family: str
    factory: str
    size_divisor: int
    counts: tuple[PublishedCount, ...]
    recipe: RecipeHint
    in_channels: int = 3
    n_classes: int = 2
    preset: Mapping[str, Option] = field(default_factory=dict)
    narrow: Mapping[str, Option] = field(default_factory=dict)
    abilities: frozenset[str] = frozenset()

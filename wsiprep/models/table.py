"""Every model card, in one explicit table: adding a model is a file with its network and an entry here."""

from __future__ import annotations

from wsiprep.models.cards import ModelCard, PublishedCount, RecipeHint

_UNET_PAPER = "Ronneberger et al. 2015, U-Net (MICCAI)"
_HINET_PAPER = "Li et al. 2024, HI-Net (metastatic breast cancer segmentation)"
_FPN_PAPER = "Kirillov et al. 2019, Panoptic FPN; as compared with in Li et al. 2024"
_COUNTED = "counted on the reference implementation"
_READING = "counted for this reading; the paper prints none"

_UNET_RECIPE = RecipeHint("ce", None, None, None, "trained in the source papers like the model it is compared with")
_HINET_RECIPE = RecipeHint(
    "ce", 70, 6, 1e-4, "optimiser, schedule and augmentation are not given: Adam, constant rate, none"
)
_NARROW_UNET = {"base": 8}
_NARROW_HINET = {"reading": "narrow", "trunk": "resnet18"}
_HINET_ABILITIES = frozenset({"pretrained", "dropout"})


def _hinet_card(name: str, title: str, counts: tuple[PublishedCount, ...], **preset: str | bool) -> ModelCard:
    switched = {key: value for key, value in _NARROW_HINET.items() if key not in preset}
    return ModelCard(
        name=name,
        title=title,
        paper=_FPN_PAPER if name == "fpn" else _HINET_PAPER,
        family="hinet",
        factory="wsiprep.models.hinet:HINet",
        size_divisor=32,
        counts=counts,
        recipe=_HINET_RECIPE,
        preset=preset,
        narrow=switched,
        abilities=_HINET_ABILITIES,
    )


def _reading(trainable: int, **options: str | bool) -> PublishedCount:
    return PublishedCount(options, trainable, None, _READING)


CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="unet",
        title="U-Net",
        paper=_UNET_PAPER,
        family="unet",
        factory="wsiprep.models.unet:unet",
        size_divisor=16,
        counts=(
            PublishedCount({"n_classes": 1}, 34_527_041, None, _COUNTED),
            PublishedCount(
                {"n_classes": 1, "norm": "none", "up": "deconv", "base": 32}, 7_760_097, None, "UNet++ paper: 7.76 M"
            ),
            PublishedCount({"n_classes": 1, "up": "bilinear", "base": 32}, 7_852_545, None, _COUNTED),
            PublishedCount({"n_classes": 1, "base": 32}, 8_637_345, None, _COUNTED),
            PublishedCount({"n_classes": 1, "up": "nearest", "base": 16}, 1_965_569, None, _COUNTED),
        ),
        recipe=_UNET_RECIPE,
        narrow=_NARROW_UNET,
    ),
    ModelCard(
        name="unet_classic",
        title="U-Net (classic)",
        paper=_UNET_PAPER,
        family="unet",
        factory="wsiprep.models.unet:unet",
        size_divisor=16,
        counts=(
            PublishedCount({"n_classes": 1}, 31_031_745, None, _COUNTED),
            PublishedCount({"n_classes": 2}, 31_031_810, None, _COUNTED),
        ),
        recipe=_UNET_RECIPE,
        preset={"norm": "none", "up": "deconv", "head_kernel": 1, "depth": 5, "paddle_widths": False},
        narrow=_NARROW_UNET,
    ),
    ModelCard(
        name="unet_bn",
        title="U-Net (BatchNorm)",
        paper=_UNET_PAPER + "; the variant with BatchNorm and up-convolutions",
        family="unet",
        factory="wsiprep.models.unet:unet",
        size_divisor=16,
        counts=(PublishedCount({"n_classes": 1}, 34_527_041, None, _COUNTED),),
        recipe=_UNET_RECIPE,
        preset={"norm": "batch", "up": "upconv", "head_kernel": 1, "depth": 5, "paddle_widths": False},
        narrow=_NARROW_UNET,
    ),
    ModelCard(
        name="unet_paddle",
        title="U-Net (PaddleSeg)",
        paper=_UNET_PAPER + "; PaddleSeg's variant, in Zhang et al. 2021 (small cell lung cancer)",
        family="unet",
        factory="wsiprep.models.unet:unet",
        size_divisor=16,
        counts=(PublishedCount({"n_classes": 2}, 13_396_418, 13_404_354, "Zhang et al. 2021: 13.40 M"),),
        recipe=_UNET_RECIPE,
        preset={"norm": "batch", "up": "bilinear", "head_kernel": 3, "depth": 5, "paddle_widths": True},
        narrow=_NARROW_UNET,
    ),
    _hinet_card(
        "hinet",
        "HI-Net",
        (
            _reading(48_113_816),
            _reading(48_821_352, reading="B"),
            _reading(27_932_674, trunk="resnet50", tda=False, shortcut=False),
            _reading(46_924_802, tda=False, shortcut=False),
            _reading(91_166_978, trunk="resnext101_32x8d", tda=False, shortcut=False),
            _reading(48_503_336, shortcut=False),
            _reading(46_535_282, tda=False),
            _reading(28_476_482, reading="B", trunk="resnet50", tda=False, shortcut=False),
            _reading(47_468_610, reading="B", tda=False, shortcut=False),
            _reading(91_710_786, reading="B", trunk="resnext101_32x8d", tda=False, shortcut=False),
            _reading(49_264_488, reading="B", shortcut=False),
            _reading(47_025_474, reading="B", tda=False),
        ),
    ),
    _hinet_card("hinet_b", "HI-Net (reading B)", (_reading(48_821_352),), reading="B"),
    _hinet_card("hinet_tda", "HI-Net, TDA only", (_reading(48_503_336),), tda=True, shortcut=False),
    _hinet_card("hinet_shortcut", "HI-Net, Shortcut only", (_reading(46_535_282),), tda=False, shortcut=True),
    _hinet_card(
        "fpn",
        "FPN (panoptic, semantic head)",
        (_reading(46_924_802), _reading(47_468_610, reading="B"), _reading(27_932_674, trunk="resnet50")),
        tda=False,
        shortcut=False,
    ),
)

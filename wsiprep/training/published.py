"""Figures that papers print, to stand beside ours. Re-printed as published, with what differs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One row of a published table.

    Attributes:
        model: our model card, or the paper's name where there is no such card.
        title: the paper's name of it.
        data: what it was trained and tested on.
        acc, mpa, miou, fwiou: as printed; None where it is not printed.
        source: paper and table.
        note: what to know before comparing.
    """

    model: str
    title: str
    data: str
    acc: float | None
    mpa: float | None
    miou: float | None
    fwiou: float | None
    source: str
    note: str = ""


_HINET_TABLE_4 = "Li et al. 2024 (HI-Net), Table 4"

PUBLISHED_DIFFERENCES = (
    "The published rows were trained on the paper's own patches (7,927 of 512 px from CAMELYON16/17 at a fourth of "
    "the resolution and ICIAR 2018), which are not public as such; split, annotation and preparation differ from ours.",
    "The paper does not give its optimiser, schedule, augmentation, initial weights or seed, and prints one run "
    "without a spread. Ours: Adam, constant rate, and initial weights and augmentation as each row says.",
    "The paper does not say how scores are averaged; its equations sum over the confusion matrix. Ours are pooled over "
    "all annotated pixels of the test split, and its printed Eq. 9 (FWIoU), which lacks the class frequency, is read "
    "with it.",
)

_UNET_NOTE = (
    "Its FWIoU of .861 is higher than HI-Net's .796, though the paper sets HI-Net in bold, and far from its own MIoU "
    "of .774; probably a misprint."
)

_TRANSUNET_NOTE = "Its FWIoU of .792 is higher than HI-Net's .783, though the paper sets HI-Net in bold."

PUBLISHED: tuple[PublishedResult, ...] = (
    PublishedResult("pspnet", "PSPNet", "own data", 0.835, 0.813, 0.708, 0.706, _HINET_TABLE_4),
    PublishedResult("fpn", "FPN", "own data", 0.843, 0.828, 0.697, 0.667, _HINET_TABLE_4),
    PublishedResult("mask_rcnn", "Mask-RCNN", "own data", 0.851, 0.848, 0.701, 0.680, _HINET_TABLE_4),
    PublishedResult("unet", "UNet", "own data", 0.876, 0.870, 0.774, 0.861, _HINET_TABLE_4, _UNET_NOTE),
    PublishedResult("attention_unet", "AttentionUNet", "own data", 0.868, 0.861, 0.762, 0.767, _HINET_TABLE_4),
    PublishedResult("transunet", "TransUNet", "own data", 0.881, 0.875, 0.782, 0.787, _HINET_TABLE_4),
    PublishedResult("hinet", "HI-Net", "own data", 0.904, 0.885, 0.813, 0.796, _HINET_TABLE_4),
    PublishedResult("pspnet", "PSPNet", "CAMELYON series", 0.830, 0.811, 0.685, 0.701, _HINET_TABLE_4),
    PublishedResult("fpn", "FPN", "CAMELYON series", 0.836, 0.820, 0.657, 0.688, _HINET_TABLE_4),
    PublishedResult("mask_rcnn", "Mask-RCNN", "CAMELYON series", 0.842, 0.832, 0.710, 0.695, _HINET_TABLE_4),
    PublishedResult("unet", "UNet", "CAMELYON series", 0.797, 0.784, 0.730, 0.744, _HINET_TABLE_4),
    PublishedResult("attention_unet", "AttentionUNet", "CAMELYON series", 0.859, 0.831, 0.749, 0.751, _HINET_TABLE_4),
    PublishedResult(
        "transunet", "TransUNet", "CAMELYON series", 0.879, 0.871, 0.780, 0.792, _HINET_TABLE_4, _TRANSUNET_NOTE
    ),
    PublishedResult("hinet", "HI-Net", "CAMELYON series", 0.884, 0.876, 0.781, 0.783, _HINET_TABLE_4),
    PublishedResult("pspnet", "PSPNet", "ICIAR 2018", 0.826, 0.803, 0.699, 0.694, _HINET_TABLE_4),
    PublishedResult("fpn", "FPN", "ICIAR 2018", 0.839, 0.833, 0.679, 0.682, _HINET_TABLE_4),
    PublishedResult("mask_rcnn", "Mask-RCNN", "ICIAR 2018", 0.839, 0.836, 0.715, 0.706, _HINET_TABLE_4),
    PublishedResult("unet", "UNet", "ICIAR 2018", 0.848, 0.822, 0.770, 0.749, _HINET_TABLE_4),
    PublishedResult("attention_unet", "AttentionUNet", "ICIAR 2018", 0.850, 0.821, 0.762, 0.755, _HINET_TABLE_4),
    PublishedResult("transunet", "TransUNet", "ICIAR 2018", 0.872, 0.866, 0.792, 0.778, _HINET_TABLE_4),
    PublishedResult("hinet", "HI-Net", "ICIAR 2018", 0.888, 0.873, 0.800, 0.806, _HINET_TABLE_4),
)

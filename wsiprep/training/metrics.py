"""Segmentation scores from one pooled confusion matrix, and the predictors that need no network.

p_ij is the number of pixels of true class i predicted as j; T_i its row sums, P_i its column sums, N
the total (HI-Net, Eq. 7-9; its printed Eq. 9 lacks the frequency T_i / N and is read with it):

    Acc    sum_i p_ii / N
    MPA    mean_i p_ii / T_i
    IoU_i  p_ii / (T_i + P_i - p_ii)
    MIoU   mean_i IoU_i
    FWIoU  sum_i T_i / N * IoU_i

numpy only: nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import TrainingError, UsageError

Matrix = npt.NDArray[np.int64]
NanPolicy = Literal["omit", "zero"]

SCORE_NAMES = ("acc", "mpa", "miou", "fwiou")


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one confusion matrix, all in [0, 1].

    Attributes:
        acc: share of pixels that are right.
        mpa: mean over classes of their recall.
        miou: mean over classes of their intersection over union.
        fwiou: the same, weighted by the classes' frequency in the truth.
        iou: per class; None where the class is neither in the truth nor predicted.
        recall: per class; None where the class is not in the truth.
        dice: per class, 2 IoU / (1 + IoU); None as for ``iou``.
        pixels: annotated pixels counted.
    """

    acc: float
    mpa: float
    miou: float
    fwiou: float
    iou: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    dice: tuple[float | None, ...]
    pixels: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def confusion_matrix(
    truth: npt.NDArray[Any], prediction: npt.NDArray[Any], n_classes: int, *, ignore: int = IGNORE
) -> Matrix:
    """int64 (K, K) counts, rows are true classes, columns predicted ones.

    Args:
        truth: integer mask of any shape; pixels equal to ``ignore`` are left out.
        prediction: integer classes of the same shape.
        n_classes: K.
        ignore: the value of pixels that nobody annotated.

    Raises:
        UsageError: shapes differ, or there are fewer than two classes.
        TrainingError: a class outside 0..K-1.
    """
    if truth.shape != prediction.shape:
        raise UsageError("truth and prediction differ in shape", got=prediction.shape, expected=truth.shape)
    if n_classes < 2:
        raise UsageError("a confusion matrix needs two classes or more", got=n_classes)
    known = truth != ignore
    rows, columns = truth[known].astype(np.int64), prediction[known].astype(np.int64)
    for name, values in (("truth", rows), ("prediction", columns)):
        if values.size and (values.min() < 0 or values.max() >= n_classes):
            strange = sorted(set(np.unique(values).tolist()) - set(range(n_classes)))
            raise TrainingError(f"the {name} has classes that are none", got=strange, expected=f"0..{n_classes - 1}")
    counts = np.bincount(rows * n_classes + columns, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def scores(matrix: npt.NDArray[np.integer[Any]], *, nan_policy: NanPolicy = "omit") -> Scores:
    """The scores of a confusion matrix.

    Args:
        matrix: (K, K) counts, rows are true classes.
        nan_policy: what a class counts in the means of MPA and MIoU where its denominator is zero:
            ``omit`` leaves it out, ``zero`` counts 0 (PaddleSeg).

    Raises:
        UsageError: not a square matrix of counts.
        TrainingError: no pixel was counted.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < 2 or matrix.min() < 0:
        raise UsageError("not a confusion matrix", got=matrix.shape, expected="(K, K) counts, K >= 2")
    counts = matrix.astype(np.float64)
    total = counts.sum()
    if total == 0:
        raise TrainingError("there is no annotated pixel to score", fix="evaluate on a split with annotated patches")
    right, true, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    recall = _ratio(right, true)
    iou = _ratio(right, true + predicted - right)
    return Scores(
        acc=float(right.sum() / total),
        mpa=_mean(recall, nan_policy),
        miou=_mean(iou, nan_policy),
        fwiou=float(np.nansum(true / total * iou)),
        iou=_optional(iou),
        recall=_optional(recall),
        dice=_optional(2 * iou / (1 + iou)),
        pixels=int(total),
    )


def _ratio(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Quotients, NaN where the denominator is zero."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _mean(values: npt.NDArray[np.float64], nan_policy: NanPolicy) -> float:
    return float(np.nanmean(values)) if nan_policy == "omit" else float(np.nan_to_num(values).mean())


def _optional(values: npt.NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(v) else float(v) for v in values)


def trivial_matrices(train_px: Sequence[int], test_px: Sequence[int], labels: Sequence[str]) -> dict[str, Matrix]:
    """Confusion matrices of predictors that look at no pixel: what a model has to beat.

    ``all background``, ``all {label}`` for each label, and ``train majority``: everywhere the class
    that is most frequent in the train split (the prior's best guess; ties go to the lower class).

    Args:
        train_px: annotated pixels per class in the train split, background first.
        test_px: the same in the split that is scored.
        labels: names of classes 1, 2, ...

    Raises:
        UsageError: not one count a class.
    """
    n_classes = len(labels) + 1
    if len(train_px) != n_classes or len(test_px) != n_classes:
        raise UsageError("one count a class is needed", got=(len(train_px), len(test_px)), expected=n_classes)
    guesses = {"all background": BACKGROUND}
    guesses |= {f"all {label}": value for value, label in enumerate(labels, start=1)}
    guesses["train majority"] = int(np.argmax(train_px))
    return {name: _constant(guess, test_px) for name, guess in guesses.items()}


def _constant(guess: int, test_px: Sequence[int]) -> Matrix:
    matrix = np.zeros((len(test_px), len(test_px)), np.int64)
    matrix[:, guess] = test_px
    return matrix

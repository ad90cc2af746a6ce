"""Every formula on masks that can be counted by hand."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from wsiprep.errors import TrainingError, UsageError
from wsiprep.training.metrics import confusion_matrix, scores, trivial_matrices

TRUTH = np.array([[0, 0, 0, 0], [0, 0, 0, 255], [1, 1, 1, 1], [1, 1, 255, 255]], np.uint8)
GUESS = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]], np.uint8)
# annotated: 7 background, of which 2 called tumour; 6 tumour, of which 1 called background


def test_hand_counted_masks():
    matrix = confusion_matrix(TRUTH, GUESS, 2)
    assert matrix.tolist() == [[5, 2], [1, 5]]
    assert matrix.dtype == np.int64
    found = scores(matrix)
    assert found.acc == pytest.approx(10 / 13)
    assert found.recall == pytest.approx((5 / 7, 5 / 6))
    assert found.mpa == pytest.approx((5 / 7 + 5 / 6) / 2)
    assert found.iou == pytest.approx((5 / 8, 5 / 8))
    assert found.miou == pytest.approx(5 / 8)
    assert found.fwiou == pytest.approx(7 / 13 * 5 / 8 + 6 / 13 * 5 / 8)
    assert found.dice == pytest.approx((10 / 13, 10 / 13))
    assert found.pixels == 13
    assert json.loads(json.dumps(found.to_dict()))["pixels"] == 13


def test_a_class_that_is_nowhere_is_left_out_or_counts_zero():
    matrix = np.array([[6, 2, 0], [0, 4, 0], [0, 0, 0]])
    omitted, zero = scores(matrix), scores(matrix, nan_policy="zero")
    assert omitted.iou == (pytest.approx(6 / 8), pytest.approx(4 / 6), None)
    assert omitted.recall == (pytest.approx(6 / 8), 1.0, None)
    assert omitted.dice[2] is None
    assert omitted.miou == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert zero.miou == pytest.approx((6 / 8 + 4 / 6) / 3)
    assert zero.mpa == pytest.approx((6 / 8 + 1) / 3)
    assert omitted.fwiou == zero.fwiou == pytest.approx(8 / 12 * 6 / 8 + 4 / 12 * 4 / 6)


def test_a_class_that_is_only_predicted_has_an_iou_of_zero_and_no_recall():
    found = scores(np.array([[8, 2], [0, 0]]))
    assert found.iou == (0.8, 0.0)
    assert found.recall == (0.8, None)
    assert found.mpa == 0.8
    assert found.miou == 0.4


def test_perfection_and_its_opposite():
    assert scores(np.diag([3, 4, 5])).miou == 1
    worst = scores(np.array([[0, 3], [4, 0]]))
    assert (worst.acc, worst.mpa, worst.miou, worst.fwiou) == (0, 0, 0, 0)


def test_trivial_predictors_of_an_uneven_split():
    found = trivial_matrices([10, 90], [70, 30], ("tumour",))
    assert found["all background"].tolist() == [[70, 0], [30, 0]]
    assert found["all tumour"].tolist() == [[0, 70], [0, 30]]
    # The majority is that of the train split, not of the split that is scored.
    assert found["train majority"].tolist() == found["all tumour"].tolist()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: confusion_matrix(TRUTH, GUESS[:2], 2), UsageError, "shape"),
        (lambda: confusion_matrix(TRUTH, GUESS, 1), UsageError, "two classes"),
        (lambda: confusion_matrix(TRUTH + 2, GUESS, 2), TrainingError, "truth has classes"),
        (lambda: confusion_matrix(TRUTH, GUESS * 3, 2), TrainingError, "prediction has classes"),
        (lambda: scores(np.zeros((2, 2), np.int64)), TrainingError, "no annotated pixel"),
        (lambda: scores(np.ones((2, 3), np.int64)), UsageError, "not a confusion matrix"),
        (lambda: scores(np.array([[1, -1], [0, 1]])), UsageError, "not a confusion matrix"),
        (lambda: trivial_matrices([1, 2], [1], ("tumour",)), UsageError, "one count a class"),
    ],
    ids=["shapes", "one class", "truth", "prediction", "empty", "not square", "negative", "histogram"],
)
def test_what_cannot_be_scored_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("module", ["wsiprep.training", "wsiprep.training.metrics", "wsiprep.training.benchmark"])
def test_scores_and_benchmark_need_no_torch(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'lightning', 'pandas'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_the_package_names_what_it_has():
    import wsiprep.training as training

    assert sorted(training._PLACES) == training.__all__
    assert training.scores is scores
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = training.nothing_of_this_name

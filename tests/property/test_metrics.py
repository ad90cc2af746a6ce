"""Identities that every confusion matrix obeys, and torchmetrics as a second opinion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiprep.training.metrics import confusion_matrix, scores, trivial_matrices

counts = st.integers(0, 10**9)


@st.composite
def matrices(draw, most_classes: int = 5):
    k = draw(st.integers(2, most_classes))
    matrix = draw(hnp.arrays(np.int64, (k, k), elements=counts))
    assume(matrix.sum() > 0)
    return matrix


@st.composite
def masks(draw):
    k = draw(st.integers(2, 4))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=12))
    truth = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([*range(k), 255])))
    guess = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, k - 1)))
    return k, truth, guess


@given(masks())
def test_the_matrix_counts_each_annotated_pixel_once(case):
    k, truth, guess = case
    matrix = confusion_matrix(truth, guess, k)
    for i in range(k):
        for j in range(k):
            assert matrix[i, j] == np.count_nonzero((truth == i) & (guess == j))
    assert matrix.sum() == np.count_nonzero(truth != 255)


@given(masks(), st.integers(0, 12))
def test_parts_add_up_to_the_whole(case, cut):
    k, truth, guess = case
    whole = confusion_matrix(truth, guess, k)
    parts = confusion_matrix(truth[:cut], guess[:cut], k) + confusion_matrix(truth[cut:], guess[cut:], k)
    np.testing.assert_array_equal(parts, whole)


@given(matrices())
def test_scores_lie_between_zero_and_one_and_are_scale_free(matrix):
    found = scores(matrix)
    for value in (found.acc, found.mpa, found.miou, found.fwiou):
        assert 0 <= value <= 1
    again = scores(matrix * 7)
    assert found.miou == pytest.approx(again.miou)
    assert found.acc == pytest.approx(again.acc)


@given(matrices())
def test_iou_is_never_above_recall_and_dice_is_between(matrix):
    found = scores(matrix)
    for iou, recall, dice in zip(found.iou, found.recall, found.dice, strict=True):
        if iou is None or dice is None:
            assert recall is None
            assert iou is dice
            continue
        assert iou <= dice <= 1
        if recall is not None:
            assert iou <= recall + 1e-12
    assert found.fwiou <= found.acc + 1e-12


@given(matrices(2))
def test_two_classes_bound_the_mean_iou_by_the_accuracy(matrix):
    assume((matrix.sum(axis=0) + matrix.sum(axis=1) > 0).all())
    found = scores(matrix)
    assert found.miou <= found.acc / (2 - found.acc) + 1e-12


@given(st.integers(1, 10**6), st.data())
def test_equally_frequent_classes_make_fwiou_the_mean_iou(n, data):
    right = data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))
    matrix = np.array([[right[0], n - right[0]], [n - right[1], right[1]]])
    found = scores(matrix)
    assert found.fwiou == pytest.approx(found.miou)
    assert found.mpa == pytest.approx(found.acc)


@given(matrices(), st.randoms())
def test_the_order_of_the_classes_does_not_matter(matrix, random):
    order = list(range(len(matrix)))
    random.shuffle(order)
    one, other = scores(matrix), scores(matrix[np.ix_(order, order)])
    for name in ("acc", "mpa", "miou", "fwiou"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))
    assert [one.iou[i] for i in order] == list(other.iou)


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), st.lists(st.integers(1, 10**6), min_size=3, max_size=3))
def test_trivial_predictors_score_as_their_definition_says(train_px, test_px):
    matrices = trivial_matrices(train_px, test_px, ("tumour", "stroma"))
    assert list(matrices) == ["all background", "all tumour", "all stroma", "train majority"]
    for number, name in enumerate(["all background", "all tumour", "all stroma"]):
        found = scores(matrices[name])
        assert found.acc == pytest.approx(test_px[number] / sum(test_px))
        assert found.mpa == pytest.approx(1 / 3)
    assert scores(matrices["train majority"]).acc == pytest.approx(test_px[int(np.argmax(train_px))] / sum(test_px))


@given(masks())
def test_torch_counts_the_same_on_its_device(case):
    torch = pytest.importorskip("torch")
    from wsiprep.training.counting import ConfusionCounter

    k, truth, guess = case
    counter = ConfusionCounter(k)
    for part in (slice(None, 3), slice(3, None)):
        counter.add(torch.from_numpy(guess[part].copy()), torch.from_numpy(truth[part].copy()))
    np.testing.assert_array_equal(counter.matrix, confusion_matrix(truth, guess, k))


def test_torchmetrics_agrees():
    torch = pytest.importorskip("torch")
    from wsiprep.models.torchvision_guard import ensure_torchvision

    ensure_torchvision()
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], size=(3, 40, 40), p=[0.5, 0.3, 0.1, 0.1]).astype(np.uint8)
    guess = np.where(rng.random(truth.shape) < 0.7, np.where(truth == 255, 0, truth), 1).astype(np.uint8)
    ours = confusion_matrix(truth, guess, 3)
    found = scores(ours)
    tensors = torch.from_numpy(guess).long(), torch.from_numpy(truth).long()
    options = {"num_classes": 3, "ignore_index": 255}
    np.testing.assert_array_equal(MulticlassConfusionMatrix(**options)(*tensors).numpy(), ours)
    assert float(MulticlassAccuracy(average="micro", **options)(*tensors)) == pytest.approx(found.acc)
    assert float(MulticlassAccuracy(average="macro", **options)(*tensors)) == pytest.approx(found.mpa)
    assert float(MulticlassJaccardIndex(average="macro", **options)(*tensors)) == pytest.approx(found.miou)
    assert float(MulticlassJaccardIndex(average="weighted", **options)(*tensors)) == pytest.approx(found.fwiou)

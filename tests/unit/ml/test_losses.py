"""Losses, against values worked by hand."""

import math

import pytest
import torch

from ml.losses import (
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Focal,
    build_loss,
    class_weights,
)
from ml.recipe import TrainingRecipe

LOGITS = torch.tensor([[math.log(3), 0.0], [0.0, math.log(9)]])
"""Probabilities 0.75 and 0.25, then 0.1 and 0.9."""
TARGETS = torch.tensor([[1.0, 0.0], [1.0, 0.0]])


def test_cross_entropy_is_the_mean_surprise() -> None:
    expected = -(math.log(0.75) + math.log(0.1)) / 2
    assert float(CrossEntropy()(LOGITS, TARGETS)) == pytest.approx(expected)


def test_focal_loss_is_taken_of_each_picture() -> None:
    """Not of the batch's mean, which would weigh a hard picture as an easy one."""
    expected = -(0.25**2 * math.log(0.75) + 0.9**2 * math.log(0.1)) / 2
    assert float(Focal(gamma=2.0)(LOGITS, TARGETS)) == pytest.approx(expected)
    of_the_mean = -(math.log(0.75) + math.log(0.1)) / 2
    assert expected != pytest.approx((1 - math.exp(-of_the_mean)) ** 2 * of_the_mean)


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    weights, soft = torch.tensor([0.5, 2.0]), torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    plain, focal = CrossEntropy(weights, smoothing=0.1), Focal(weights, smoothing=0.1, gamma=0.0)
    assert float(focal(LOGITS, soft)) == pytest.approx(float(plain(LOGITS, soft)))


def test_several_findings_are_judged_each_by_itself() -> None:
    logits, targets = torch.tensor([[math.log(3), -math.log(3)]]), torch.tensor([[1.0, 1.0]])
    expected = -(math.log(0.75) + math.log(0.25)) / 2
    assert float(BinaryCrossEntropy()(logits, targets)) == pytest.approx(expected)
    focal = -(0.25**2 * math.log(0.75) + 0.75**2 * math.log(0.25)) / 2
    assert float(BinaryFocal(gamma=2.0)(logits, targets)) == pytest.approx(focal)


def test_weights_count_classes_and_findings() -> None:
    weights = torch.tensor([0.5, 2.0])
    only_second = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    for plain, weighed in (
        (CrossEntropy(), CrossEntropy(weights)),
        (Focal(gamma=2.0), Focal(weights, gamma=2.0)),
    ):
        expected = 2 * float(plain(LOGITS, only_second))
        assert float(weighed(LOGITS, only_second)) == pytest.approx(expected)
    terms = BinaryCrossEntropy().terms(LOGITS, TARGETS)
    expected = float((terms * weights).mean())
    assert float(BinaryCrossEntropy(weights)(LOGITS, TARGETS)) == pytest.approx(expected)


def test_smoothing_never_asks_for_certainty() -> None:
    """The least loss lies where the probability is that of the smoothed target."""
    smoothed = BinaryCrossEntropy(smoothing=0.2)
    present = torch.ones(1, 1)
    losses = [float(smoothed(torch.full((1, 1), math.log(o)), present)) for o in (3.0, 9.0, 81.0)]
    assert losses[1] < min(losses[0], losses[2])


def test_class_weights_average_to_one_over_the_pictures() -> None:
    counts = torch.tensor([90.0, 10.0])
    balanced, root = class_weights(counts, "balanced"), class_weights(counts, "sqrt")
    assert balanced is not None
    assert root is not None
    assert balanced.tolist() == pytest.approx([5 / 9, 5.0])
    assert float(root[1] / root[0]) == pytest.approx(3.0)
    for weights in (balanced, root):
        assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1.0)
    assert class_weights(counts, "none") is None


def test_recipes_name_losses_and_weights() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    settings = TrainingRecipe(loss="focal", focal_gamma=3.0, class_weights="balanced")
    loss = build_loss(settings, targets, multi_label=True)
    assert isinstance(loss, BinaryFocal)
    assert loss.gamma == 3.0
    assert loss.weights is not None
    assert float(loss.weights.mean()) == pytest.approx(1.0)
    assert isinstance(build_loss(TrainingRecipe(), targets, multi_label=False), CrossEntropy)
    with pytest.raises(ValueError, match="unknown loss hinge; known are cross_entropy, focal"):
        build_loss(TrainingRecipe(loss="hinge"), targets, multi_label=False)
    with pytest.raises(ValueError, match="unknown class weights cube"):
        build_loss(TrainingRecipe(class_weights="cube"), targets, multi_label=False)


def test_no_checkpoint_keeps_a_loss() -> None:
    assert not CrossEntropy(torch.ones(2)).state_dict()

"""What a network is fitted to lower. Every loss takes logits and targets, both (n, c).

Targets may be soft. The class weights (c,) come from ``class_weights``; None counts all alike.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml.recipe import TrainingRecipe

CLASS_WEIGHTS = {"balanced": 1.0, "sqrt": 0.5}
"""The power of its inverse frequency by which a class counts."""


class Loss(nn.Module):
    """What all losses share: class weights and label smoothing, which no checkpoint keeps."""

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, *, smoothing: float = 0.0):
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        self.smoothing = smoothing

    def weighed(self, terms: Tensor) -> Tensor:
        """Terms (n, c), each times its class's weight."""
        return terms if self.weights is None else terms * self.weights


class CrossEntropy(Loss):
    """Of findings that exclude each other: the mean over pictures of -w log softmax."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar."""
        return F.cross_entropy(logits, targets, self.weights, label_smoothing=self.smoothing)


class Focal(Loss):
    """Cross-entropy that all but forgets what is easy, picture by picture (Lin et al. 2017)."""

    def __init__(self, weights: Tensor | None = None, *, smoothing: float = 0.0, gamma: float):
        super().__init__(weights, smoothing=smoothing)
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar: the mean over pictures of -w (1 - p)^gamma log p."""
        share = self.smoothing / targets.shape[1]
        smoothed = targets * (1 - self.smoothing) + share
        log_p = F.log_softmax(logits, dim=1)
        terms = -smoothed * (1 - log_p.exp()) ** self.gamma * log_p
        return self.weighed(terms).sum(dim=1).mean()


class BinaryCrossEntropy(Loss):
    """Of findings that do not exclude each other: the mean over pictures and findings.

    A finding's weight counts its presence and its absence alike, which keeps probabilities true.
    """

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Each picture's loss for each finding (n, c)."""
        smoothed = targets * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar."""
        return self.weighed(self.terms(logits, targets)).mean()


class BinaryFocal(BinaryCrossEntropy):
    """Binary cross-entropy times (1 - p)^gamma, p being the probability of what is so."""

    def __init__(self, weights: Tensor | None = None, *, smoothing: float = 0.0, gamma: float):
        super().__init__(weights, smoothing=smoothing)
        self.gamma = gamma

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Each picture's loss for each finding (n, c)."""
        error = (torch.sigmoid(logits) - targets).abs()
        return error**self.gamma * super().terms(logits, targets)


def build_loss(settings: TrainingRecipe, targets: Tensor, *, multi_label: bool) -> Loss:
    """The recipe's loss for training targets (n, c). Raises ValueError for an unknown name."""
    weights = class_weights(targets.sum(dim=0), settings.class_weights)
    if weights is not None and multi_label:
        weights = weights / weights.mean()
    smoothing = settings.label_smoothing
    if settings.loss == "cross_entropy":
        kind = BinaryCrossEntropy if multi_label else CrossEntropy
        return kind(weights, smoothing=smoothing)
    if settings.loss == "focal":
        focal = BinaryFocal if multi_label else Focal
        return focal(weights, smoothing=smoothing, gamma=settings.focal_gamma)
    raise ValueError(f"unknown loss {settings.loss}; known are cross_entropy, focal")


def class_weights(counts: Tensor, kind: str) -> Tensor | None:
    """What each class counts in the loss (c,), by its number of training pictures (c,).

    ``balanced`` is the inverse frequency, ``sqrt`` its root; they average to 1 over the pictures.
    Raises ValueError for an unknown kind.
    """
    if kind == "none":
        return None
    if kind not in CLASS_WEIGHTS:
        raise ValueError(f"unknown class weights {kind}; known are none, balanced, sqrt")
    frequency = counts / counts.sum()
    weights = frequency.clamp(min=1e-6) ** -CLASS_WEIGHTS[kind]
    return weights / (weights * frequency).sum()

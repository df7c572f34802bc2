"""Optimizers and learning rates by name."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer

from ml.libraries import library
from ml.recipe import TrainingRecipe

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam,
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
}
SCHEDULES = ("cosine", "constant", "step", "plateau")


def build_optimizer(network: nn.Module, settings: TrainingRecipe) -> Optimizer:
    """The recipe's optimizer of all weights, without decay on biases and norms.

    Raises ValueError for an unknown name.
    """
    if settings.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"unknown optimizer {settings.optimizer}; known are {known}")
    groups = library("timm.optim").param_groups_weight_decay(network, settings.weight_decay)
    return OPTIMIZERS[settings.optimizer](groups, lr=settings.learning_rate)


def rate_factor(settings: TrainingRecipe, steps_per_epoch: int) -> Callable[[int], float]:
    """By which the learning rate is multiplied at each step, warm-up included.

    ``plateau`` depends on how training goes, so only its warm-up is here. Raises ValueError for
    an unknown schedule.
    """
    if settings.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ValueError(f"unknown schedule {settings.schedule}; known are {known}")
    warmup = settings.warmup_epochs * steps_per_epoch
    total = settings.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        if settings.schedule == "step":
            taken = step // (settings.step_epochs * steps_per_epoch)
            return float(settings.step_factor**taken)
        return 1.0

    return factor

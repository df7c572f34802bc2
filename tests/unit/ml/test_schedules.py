"""Optimizers and learning rates by name."""

import pytest
import torch

from ml.recipe import TrainingRecipe
from ml.schedules import OPTIMIZERS, build_optimizer, rate_factor


def factors(steps: int = 10, **settings: object) -> list[float]:
    recipe = TrainingRecipe(epochs=4, **settings)  # type: ignore[arg-type]
    factor = rate_factor(recipe, steps)
    return [factor(step) for step in range(4 * steps + 1)]


def test_warm_up_rises_evenly_to_the_full_rate() -> None:
    found = factors(schedule="constant", warmup_epochs=1.0)
    assert found[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert set(found[10:]) == {1.0}


def test_cosine_falls_to_zero() -> None:
    found = factors(warmup_epochs=1.0)
    assert found[10] == 1.0
    assert found[25] == pytest.approx(0.5)
    assert found[40] == pytest.approx(0.0)
    assert found[10:] == sorted(found[10:], reverse=True)


def test_steps_are_taken_after_whole_epochs() -> None:
    found = factors(schedule="step", warmup_epochs=0.0, step_epochs=2, step_factor=0.1)
    assert set(found[:20]) == {1.0}
    assert found[20:40] == pytest.approx([0.1] * 20)


def test_names_that_are_not_known_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown schedule sine; known are cosine"):
        factors(schedule="sine")
    with pytest.raises(ValueError, match="unknown optimizer lion; known are adam, adamw"):
        build_optimizer(torch.nn.Linear(2, 2), TrainingRecipe(optimizer="lion"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_a_loss_and_spares_biases_decay(name: str) -> None:
    layer = torch.nn.Linear(2, 1)
    settings = TrainingRecipe(optimizer=name, learning_rate=0.05, weight_decay=0.01)
    optimizer = build_optimizer(layer, settings)
    decays = {
        group["weight_decay"]: [value.ndim for value in group["params"]]
        for group in optimizer.param_groups
    }
    assert decays == {0.0: [1], 0.01: [2]}
    inputs = torch.tensor([[1.0, 2.0], [2.0, -1.0]])

    def loss() -> torch.Tensor:
        return ((layer(inputs) - 3) ** 2).mean()

    before = loss().item()
    for _ in range(50):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before / 2

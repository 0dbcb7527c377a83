"""What serving computes is what torch computes, to 1e-6; and what both computed when the file was written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desk.learning.policy import MlpPolicy, decide, load_policy, policy_card
from desk.market.features import FEATURES_V1

GOLDEN = Path(__file__).with_name("golden_policy.json")
SIZE = FEATURES_V1.size + 1
TOLERANCE = 1e-6


def policy_of(tensors: dict[str, np.ndarray]) -> MlpPolicy:
    card = policy_card(
        version_id="v1", algorithm="ppo", is_baseline=False, hyperparameters={}, software={}
    )
    return load_policy(card, tensors)


def torch_logits(tensors: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Dense layers with tanh between them, as torch has them."""
    import torch

    depth = len(tensors) // 2
    layers: list[Any] = []
    for number in range(depth):
        weight, bias = tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"]
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, torch.nn.Tanh()] if number < depth - 1 else [layer]
    with torch.no_grad():
        return torch.nn.Sequential(*layers)(torch.from_numpy(rows)).numpy()


def network(widths: list[int], seed: int) -> dict[str, np.ndarray]:
    """Weights as torch begins with them: uniform within the root of a layer's inputs."""
    rng = np.random.default_rng(seed)
    sizes, made = [SIZE, *widths, 3], dict[str, np.ndarray]()
    for number, inputs in enumerate(sizes[:-1]):
        bound = inputs**-0.5
        shape = (sizes[number + 1], inputs)
        made[f"layers.{number}.weight"] = rng.uniform(-bound, bound, shape).astype(np.float32)
        made[f"layers.{number}.bias"] = rng.uniform(-bound, bound, shape[0]).astype(np.float32)
    return made


@pytest.mark.catalogue("M08")
@pytest.mark.parametrize("widths", [[], [16], [32, 16], [64, 64], [256, 256]], ids=str)
def test_m08_serving_answers_like_torch_to_a_millionth(widths: list[int]) -> None:
    tensors = network(widths, seed=len(widths))
    rows = np.random.default_rng(7).normal(0.0, 1.5, (500, SIZE)).astype(np.float32)
    policy = policy_of(tensors)

    logits, theirs = policy.forward(rows), torch_logits(tensors, rows)

    assert np.abs(logits - theirs).max() <= TOLERANCE
    for ours, torchs in zip(logits, theirs, strict=True):
        one, other = decide(ours, policy.levels, 0.0), decide(torchs, policy.levels, 0.0)
        assert abs(one.confidence - other.confidence) <= TOLERANCE
        spread = np.sort(ours)
        if spread[-1] - spread[-2] > 2 * TOLERANCE:
            assert one.target == other.target


@pytest.mark.catalogue("M08")
def test_m08_serving_still_answers_as_when_the_golden_vectors_were_written() -> None:
    golden = json.loads(GOLDEN.read_text())
    tensors = {
        name: np.array(values, dtype=np.float32) for name, values in golden["tensors"].items()
    }
    rows = np.array(golden["observations"], dtype=np.float32)

    logits = policy_of(tensors).forward(rows)

    assert golden["feature_set_id"] == FEATURES_V1.feature_set_id
    np.testing.assert_allclose(logits, golden["torch_logits"], rtol=0, atol=TOLERANCE)

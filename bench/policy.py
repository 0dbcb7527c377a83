"""A policy's answers to the runs that wait at one candle close: one forward pass beside one for each.

The same observations both ways; that every answer is the same is asserted before a figure is
printed. Seconds of CPU of this process.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from bench.figures import Figure, interleaved, median
from desk.learning.policy import MlpPolicy, PolicyAnswer, load_policy, policy_card
from desk.market.features import FEATURES_V1
from serve_apps.policy_batch import PolicyBatch

HIDDEN = (64, 64)
"""As trained policies have them."""
RUNS = (2, 10, 50)
REPETITIONS = 30
ROUNDS = 20
"""Candle closes in each repetition."""
MOST = 0.75
MUCH = 10
"""From so many runs on it has to pay."""


def figures() -> Iterator[Figure]:
    """CPU time of a candle close, batched over not batched."""
    policy = _policy()
    rng = np.random.default_rng(7)
    for runs in RUNS:
        rows = rng.normal(0.0, 1.5, (runs, FEATURES_V1.size + 1)).astype(np.float32)
        limits = rng.random(runs).tolist()
        alone = [policy.answer(row, limit) for row, limit in zip(rows, limits, strict=True)]
        assert asyncio.run(_gathered(policy, rows, limits)) == alone
        assert policy.answers(rows, limits) == alone

        def together(rows: np.ndarray = rows, limits: list[float] = limits) -> None:
            for _ in range(ROUNDS):
                policy.answers(rows, limits)

        def one_by_one(rows: np.ndarray = rows, limits: list[float] = limits) -> None:
            for _ in range(ROUNDS):
                for row, limit in zip(rows, limits, strict=True):
                    policy.answer(row, limit)

        batched, single = interleaved(
            together, one_by_one, repetitions=REPETITIONS, clock=time.process_time
        )
        ours, floor = (median(seconds) / ROUNDS * 1e6 for seconds in (batched, single))
        yield Figure(
            name=f"policy, {runs} runs at one candle close",
            ours=ours,
            floor=floor,
            unit="µs",
            floor_name="one pass for each",
            goal=f"<= {MOST:g}" if runs >= MUCH else "none",
            met=runs < MUCH or ours <= MOST * floor,
            notes={"hidden": str(HIDDEN), "us_per_run": ours / runs},
        )


async def _gathered(policy: MlpPolicy, rows: np.ndarray, limits: list[float]) -> list[PolicyAnswer]:
    batch = PolicyBatch(policy)
    asked = (batch.answers(row[None], limit) for row, limit in zip(rows, limits, strict=True))
    return [answer for [answer] in await asyncio.gather(*asked)]


def _policy() -> MlpPolicy:
    rng = np.random.default_rng(3)
    sizes = (FEATURES_V1.size + 1, *HIDDEN, 3)
    tensors: dict[str, np.ndarray] = {}
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight = rng.normal(0.0, inputs**-0.5, (outputs, inputs))
        tensors[f"layers.{number}.weight"] = weight.astype(np.float32)
        tensors[f"layers.{number}.bias"] = np.zeros(outputs, dtype=np.float32)
    card = policy_card(
        version_id="bench", algorithm="ppo", is_baseline=False, hyperparameters={}, software={}
    )
    return load_policy(card, tensors)

"""Training costs that begin low and grow to the real ones.

At full cost from the first step, the cheapest thing to learn is to do nothing, and a policy that does
nothing explores nothing. The last part of a training is always at full cost.
"""

from dataclasses import replace
from typing import Any

from desk.learning.arrays import MarketArrays
from desk.learning.env import Actions, Flags, Rewards, TradingVectorEnv
from desk.learning.episode import EpisodeSpec
from desk.learning.observation import Observation

STAIRS = 100
"""Steps of the ramp."""


class CostRampEnv(TradingVectorEnv):
    """A `TradingVectorEnv` whose commission rises linearly from a fraction of the real rate to all of it.

    `ramp_steps` counts calls of `step`; from then on every fill costs what it costs in an evaluation.
    Slippage and funding are real throughout.
    """

    def __init__(
        self,
        arrays: MarketArrays,
        num_envs: int,
        spec: EpisodeSpec,
        *,
        first_fraction: float,
        ramp_steps: int,
    ) -> None:
        super().__init__(arrays, num_envs, spec)
        self._full = arrays
        self._first_fraction = first_fraction
        self._ramp_steps = ramp_steps
        self._taken = 0
        self._stair = -1
        self._climb()

    @property
    def cost_fraction(self) -> float:
        """Part of the real commission that fills pay now."""
        climbed = min(self._stair / STAIRS, 1.0)
        return self._first_fraction + (1.0 - self._first_fraction) * climbed

    def step(self, actions: Actions) -> tuple[Observation, Rewards, Flags, Flags, dict[str, Any]]:
        answer = super().step(actions)
        self._taken += 1
        self._climb()
        return answer

    def get_state(self) -> dict[str, Any]:
        return super().get_state() | {"taken": self._taken}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._taken = int(state["taken"])
        self._climb()

    def _climb(self) -> None:
        done = self._taken >= self._ramp_steps
        stair = STAIRS if done else self._taken * STAIRS // self._ramp_steps
        if stair == self._stair:
            return
        self._stair = stair
        rules = self._full.rules
        cheaper = rules._replace(taker_rate=rules.taker_rate * self.cost_fraction)
        self.arrays = self._full if done else replace(self._full, rules=cheaper)

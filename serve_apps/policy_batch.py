"""Observations of several runs that wait for one policy at once: one forward pass answers them all.

At a candle's close every run of an interval asks in the same moment. Nobody is waited for: what has
come in by the time the event loop gets round to it goes together. A row's bytes depend on that row
alone, so that an answer is the same in whatever company it was given.
"""

import asyncio
from itertools import islice

import numpy as np

from desk import meters
from desk.learning.observation import Observation
from desk.learning.policy import MlpPolicy, PolicyAnswer
from desk.wallclock import monotonic_s

MOST_ROWS = 64
"""Rows of one pass; more wait for the next turn of the loop, so that none holds it up for long."""

type _Waiting = tuple[Observation, float, asyncio.Future[list[PolicyAnswer]]]
"""float32[N, F + 1], their threshold, and who waits for N answers."""


class PolicyBatch:
    """Asks one policy. For use from one event loop."""

    def __init__(self, policy: MlpPolicy) -> None:
        self.policy = policy
        self.passes = 0
        """Forward passes so far."""
        self._waiting: list[_Waiting] = []

    async def answers(self, values: Observation, threshold: float) -> list[PolicyAnswer]:
        """Decide on float32[N, F + 1], which must have the policy's size, all in one pass."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[list[PolicyAnswer]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._answer_all, loop)
        self._waiting.append((values, threshold, answered))
        return await answered

    def _answer_all(self, loop: asyncio.AbstractEventLoop) -> None:
        asked, self._waiting = self._next()
        if self._waiting:
            loop.call_soon(self._answer_all, loop)
        asked = [
            one for one in asked if not one[2].done()
        ]  # whose caller has not given up meanwhile
        if not asked:
            return
        thresholds = [limit for values, limit, _ in asked for _ in range(len(values))]
        self.passes += 1
        began_s = monotonic_s()
        meters.POLICY_ROWS.observe(len(thresholds))
        try:
            answers = iter(
                self.policy.answers(np.concatenate([values for values, _, _ in asked]), thresholds)
            )
        except Exception as failed:  # noqa: BLE001 - whatever it is, it is every caller's answer
            for _, _, answered in asked:
                answered.set_exception(failed)
            return
        finally:
            meters.POLICY_PASS.observe(monotonic_s() - began_s)
        for values, _, answered in asked:
            answered.set_result(list(islice(answers, len(values))))

    def _next(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """Who waited longest, up to `MOST_ROWS` rows but at least one caller, and the others."""
        rows = 0
        for number, (values, _, _) in enumerate(self._waiting):
            rows += len(values)
            if number and rows > MOST_ROWS:
                return self._waiting[:number], self._waiting[number:]
        return self._waiting, []

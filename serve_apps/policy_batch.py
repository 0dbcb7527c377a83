"""Observations of several runs that wait for one policy at once: one forward pass answers them all.

At a candle's close every run of an interval asks in the same moment. Nobody is waited for: what has
come in by the time the event loop gets round to it goes together. A row's bytes depend on that row
alone, so that an answer is the same in whatever company it was given.
"""

import asyncio

import numpy as np

from desk import meters
from desk.learning.observation import Observation
from desk.learning.policy import MlpPolicy, PolicyAnswer
from desk.wallclock import monotonic_s

MOST_ROWS = 64
"""Rows of one pass; more wait for the next turn of the loop, so that none holds it up for long."""

type _Waiting = tuple[Observation, float, asyncio.Future[PolicyAnswer]]


class PolicyBatch:
    """Asks one policy. For use from one event loop."""

    def __init__(self, policy: MlpPolicy) -> None:
        self.policy = policy
        self.passes = 0
        """Forward passes so far."""
        self._waiting: list[_Waiting] = []

    async def answer(self, values: Observation, threshold: float) -> PolicyAnswer:
        """Decide on float32[F + 1], which must have the policy's size."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[PolicyAnswer] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._answer_all, loop)
        self._waiting.append((values, threshold, answered))
        return await answered

    def _answer_all(self, loop: asyncio.AbstractEventLoop) -> None:
        rows, self._waiting = self._waiting[:MOST_ROWS], self._waiting[MOST_ROWS:]
        if self._waiting:
            loop.call_soon(self._answer_all, loop)
        rows = [row for row in rows if not row[2].done()]  # whose caller has not given up meanwhile
        if not rows:
            return
        self.passes += 1
        began_s = monotonic_s()
        meters.POLICY_ROWS.observe(len(rows))
        try:
            answers = self.policy.answers(
                np.stack([values for values, _, _ in rows]), [limit for _, limit, _ in rows]
            )
        except Exception as failed:  # noqa: BLE001 - whatever it is, it is every caller's answer
            for _, _, answered in rows:
                answered.set_exception(failed)
            return
        finally:
            meters.POLICY_PASS.observe(monotonic_s() - began_s)
        for (_, _, answered), answer in zip(rows, answers, strict=True):
            answered.set_result(answer)

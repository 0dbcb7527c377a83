"""The policy, asked while the rest of what a decision rests on is still being read.

Of the newest candle the message tells, the others are held from the last decision; the position is not
known yet, so each sign of it is asked about. It is a guess at what will be asked: an answer counts only
where the store then showed just that, and is the one that asking afterwards would have brought.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from actors.candle_messages import CandleClosed
from actors.decision_scene import Scene
from desk.learning.policy import PolicyAnswer
from desk.market.candles import Candles
from desk.market.features import Features, FeatureSet
from desk.runs import Run
from desk.store.candle_window import CandleWindow
from desk.wallclock import monotonic_s

HEAD_START_S = 0.001

type Answers = tuple[PolicyAnswer, PolicyAnswer, PolicyAnswer]
"""For a short position, for none, for a long one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the last decision asked with."""

    version_id: str
    threshold: float
    features: FeatureSet

    @classmethod
    def of(cls, scene: Scene) -> "Question":
        """Of a decision on this scene."""
        run = scene.run
        return cls(
            version_id=run.version_id,
            threshold=run.decision_threshold,
            features=scene.features,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAhead:
    """A question under way."""

    question: Question
    window: Candles
    features: Features
    """float32[F] of the window's newest candle."""
    answers: asyncio.Future[Answers]
    began_s: float

    def has_seen(self, scene: Scene) -> bool:
        """Whether these are the features of that scene."""
        is_same_set = self.question.features.feature_set_id == scene.features.feature_set_id
        return is_same_set and not scene.signals and self.window.equals(scene.window)

    def is_of(self, run: Run) -> bool:
        """Whether that is what the run would ask now."""
        asked = self.question
        return (asked.version_id, asked.threshold) == (run.version_id, run.decision_threshold)

    async def leave(self) -> None:
        """Let the question leave the process before this one is busy with reading the answers of the store.

        A thread that decodes them would hold the interpreter for as long as it takes.
        """
        await asyncio.wait({self.answers}, timeout=HEAD_START_S)

    def drop(self) -> None:
        """Nobody waits for it any more. Does nothing to one that was answered."""
        self.answers.cancel()


def ask_ahead(
    question: Question,
    closed: CandleClosed,
    window: CandleWindow,
    observe: Callable[[FeatureSet, Candles], Features],
    decide_each: Callable[[str, list[float], float], Awaitable[Answers]],
) -> AskedAhead | None:
    """Ask if what will be asked can be guessed; None: signals are read first, or the candle does not
    follow on what is held, or has no features."""
    if closed.candle is None or question.features.sources:
        return None
    presumed = window.followed_by(closed.candle)
    if presumed is None:
        return None
    features = observe(question.features, presumed)
    if not np.isfinite(features).all():
        return None
    began_s = monotonic_s()
    asking = decide_each(question.version_id, features.tolist(), question.threshold)
    answers = asyncio.ensure_future(asking)
    answers.add_done_callback(_heard)
    return AskedAhead(
        question=question, window=presumed, features=features, answers=answers, began_s=began_s
    )


def _heard(answers: asyncio.Future[Answers]) -> None:
    """An error is whoever waits for the answer's; of a question that was dropped it is nobody's."""
    if not answers.cancelled():
        answers.exception()

"""The policy asked while the rest is read: the same decision, or the question is put anew."""

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.asked_ahead import Question, ask_ahead
from actors.candle_messages import CandleClosed
from desk.clock import MINUTE_MS
from desk.learning.policy import PolicyAnswer
from desk.market.candles import Candle
from desk.market.features import FEATURES_V1
from desk.runs import Action, pause
from desk.store.candle_window import CandleWindow
from tests.actors.stage import PAIR, FixedPolicy, Stage


class SeeingPolicy(FixedPolicy):
    """Wants what its observation says, the position's sign included."""

    def __init__(self) -> None:
        super().__init__()
        self.each: list[list[float]] = []
        self.alone: list[list[float]] = []

    def _answer(self, version_id: str, values: list[float]) -> PolicyAnswer:
        digest = hashlib.sha256(np.asarray(values, dtype="<f4").tobytes()).digest()
        return PolicyAnswer(
            target=(-1.0, 0.0, 1.0)[digest[0] % 3],
            confidence=0.9,
            held=False,
            reason="",
            logits=(0.1, 0.2, values[-1]),
            version_id=version_id,
        )

    async def decide(self, version_id: str, values: list[float], threshold: float) -> PolicyAnswer:
        self.alone.append(values)
        return self._answer(version_id, values)

    async def decide_each(
        self, version_id: str, features: list[float], threshold: float
    ) -> tuple[PolicyAnswer, PolicyAnswer, PolicyAnswer]:
        self.each.append(features)
        if self.failure is not None:
            raise self.failure
        await asyncio.sleep(self.hang_s)
        short, flat, long = (
            self._answer(version_id, [*features, sign]) for sign in (-1.0, 0.0, 1.0)
        )
        return short, flat, long


def seeing() -> tuple[Stage, SeeingPolicy]:
    stage, policy = Stage(), SeeingPolicy()
    stage.policy = policy
    stage.loop = stage.new_loop()
    return stage, policy


def untold(closed: CandleClosed) -> CandleClosed:
    return replace(closed, candle=None)


def decided(stage: Stage) -> list[Any]:
    return [
        (one.open_ms, one.observation_sha256, one.target, one.logits, one.action, one.gates)
        for one in stage.decisions()
    ]


def test_a_decision_asked_ahead_is_the_one_that_asking_afterwards_brings() -> None:
    (ahead, asked), (after, alone) = seeing(), seeing()

    for _ in range(12):
        ahead.tell(ahead.next_candle())
        after.tell(untold(after.next_candle()))

    assert decided(ahead) == decided(after)
    assert len({one.action for one in ahead.decisions()}) > 1, "positions were held and left"
    assert (len(asked.alone), len(asked.each)) == (1, 11), "the first one knows nothing to ask with"
    assert (len(alone.alone), len(alone.each)) == (12, 0)


@pytest.mark.parametrize("column", ["close", "volume", "open_ms"])
def test_what_the_store_does_not_show_was_asked_in_vain(column: str) -> None:
    stage, policy = seeing()
    stage.tell(stage.next_candle())
    closed = stage.next_candle()
    assert closed.candle is not None
    wrong = closed.candle._replace(**{column: getattr(closed.candle, column) + MINUTE_MS})

    stage.tell(replace(closed, candle=wrong))

    newest = stage.decisions()[0]
    shown = policy.alone[-1]
    assert len(policy.alone) == 2
    assert newest.observation == tuple(shown)
    assert newest.logits == policy._answer("v1", shown).logits


def test_a_threshold_that_was_changed_meanwhile_is_asked_with_anew() -> None:
    stage, policy = seeing()
    stage.tell(stage.next_candle())
    stage.change_run(lambda run: replace(run, decision_threshold=0.6))

    stage.tell(stage.next_candle())

    assert (len(policy.each), len(policy.alone)) == (1, 2)


@pytest.mark.catalogue("M01")
@pytest.mark.parametrize("trouble", [{"failure": RuntimeError("away")}, {"hang_s": 60.0}])
def test_M01_a_policy_that_does_not_answer_ahead_means_hold(trouble: dict[str, Any]) -> None:
    stage, policy = seeing()
    stage.tell(stage.next_candle())
    for name, value in trouble.items():
        setattr(policy, name, value)

    stage.tell(stage.next_candle())

    newest = stage.decisions()[0]
    assert (newest.action, newest.hold_reason) == (Action.HOLD, "policy_unavailable")
    assert len(policy.alone) == 1, "not asked again: the deadline is one for both"


def test_a_run_that_may_not_decide_drops_the_question(caplog: pytest.LogCaptureFixture) -> None:
    stage, policy = seeing()
    stage.tell(stage.next_candle())
    policy.failure = RuntimeError("nobody hears of it")
    asyncio.run(stage.loop.turn())  # what it knows of the run from now on is old
    stage.change_run(lambda run: pause(run, "operator"))

    stage.tell(stage.next_candle())

    assert (len(policy.each), len(stage.decisions())) == (1, 1)
    assert "never retrieved" not in caplog.text


def test_a_candle_that_does_not_follow_on_the_last_is_not_guessed_from() -> None:
    stage, policy = seeing()
    stage.tell(stage.next_candle())
    stage.store_candles(1)

    stage.tell(stage.next_candle())

    assert (len(policy.each), len(policy.alone)) == (0, 2)


def test_the_window_with_one_more_candle_is_what_the_store_shows_once_it_has_it() -> None:
    stage = Stage()
    window = CandleWindow(stage.store, PAIR, "1m")
    count = FEATURES_V1.lookback
    begun = Candle(stage.next_open_ms, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert window.followed_by(begun) is None, "nothing is held"
    window.newest(count)

    for _ in range(5):
        closed = stage.next_candle()
        assert closed.candle is not None
        presumed = window.followed_by(closed.candle)
        assert presumed is not None
        assert presumed.equals(window.newest(count))
        assert window.followed_by(closed.candle) is None, "it is held already"


def test_signals_are_read_before_anything_is_asked() -> None:
    def never(*_: object) -> Any:
        raise AssertionError("nothing was to be asked")

    stage = Stage()
    window = CandleWindow(stage.store, PAIR, "1m")
    window.newest(FEATURES_V1.lookback)
    with_funding = replace(FEATURES_V1, funding=object())
    question = Question(version_id="v1", threshold=0.0, features=with_funding)

    assert ask_ahead(question, stage.next_candle(), window, never, never) is None

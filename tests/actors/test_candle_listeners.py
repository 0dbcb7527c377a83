"""Who hears of a closed candle, and what the one who tells waits for."""

import asyncio
from typing import Any

import pytest

from actors import doors
from actors.candle_messages import CandleClosed
from actors.doors import CandleListeners
from desk.runs import Mode, Run, RunStatus
from desk.store import kinds
from desk.store.memory import MemoryStore

CLOSED = CandleClosed(pair="BTC-USDT", interval="1m", open_ms=60_000, trace_id="tr1")


class Loops:
    """Decision loops that take their time, in place of the doors to them."""

    def __init__(self, spent_s: float) -> None:
        self._spent_s = spent_s
        self.asked: list[str] = []
        self.decided: list[str] = []

    def door(self, _role: object, key: str, **_: object) -> "Loops._Door":
        return Loops._Door(self, key)

    class _Door:
        def __init__(self, loops: "Loops", key: str) -> None:
            self._loops, self._key = loops, key

        async def ask(self, _call: object, *, within_s: float) -> None:
            assert within_s > 0
            self._loops.asked.append(self._key)
            await asyncio.sleep(self._loops._spent_s)
            self._loops.decided.append(self._key)


def store_with(*names: str, **changes: Any) -> MemoryStore:
    store = MemoryStore()
    for name in names:
        run = Run(
            run_id=name,
            agent_id="desk",
            account="paper",
            mode=Mode.PAPER,
            version_id="v1",
            risk_limit_set_id="default",
            decision_threshold=0.35,
            started_ms=1,
            **{"pair": "BTC-USDT", "interval": "1m", "status": RunStatus.RUNNING} | changes,
        )
        store.put(kinds.RUNS, name, run, at_ms=1)
    return store


def told(store: MemoryStore, loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "Door", loops.door)
    listeners = CandleListeners(("paper",), "paper", store, namespace="test")
    asyncio.run(listeners.tell(CLOSED))


def test_whoever_records_a_candle_waits_for_the_decisions_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loops = Loops(0.05)

    told(store_with("run-1", "run-2"), loops, monkeypatch)

    assert sorted(loops.decided) == ["run-1", "run-2"]


def test_a_loop_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Loops(60.0)
    monkeypatch.setattr(doors, "HEED_S", 0.01)

    told(store_with("run-1"), loops, monkeypatch)

    assert (loops.asked, loops.decided) == (["run-1"], [])


@pytest.mark.parametrize(
    "changes", [{"pair": "ETH-USDT"}, {"interval": "5m"}, {"status": RunStatus.STOPPED}]
)
def test_only_runs_that_decide_on_this_series_are_told(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    loops = Loops(0.0)

    told(store_with("run-1", **changes), loops, monkeypatch)

    assert loops.asked == []

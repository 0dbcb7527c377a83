"""A loss pauses at the mark that shows it, with one alert of its trace; a drawdown may flatten."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from actors.audit import Audit
from actors.closing import Closer
from actors.loss_watch import DRAWDOWN_FLATTEN
from actors.order_executor import Cancel
from actors.risk_ledger import Mark
from actors.run_book import RunBook
from desk.runs import Alert, RunStatus
from desk.store import kinds
from desk.trading import ledger as books
from desk.trading import risk
from desk.trading.orders import Order, OrderState, Side
from tests.actors.fakes import PAIR
from tests.actors.stage import Stage

TIGHT = {"max_daily_loss": Decimal(50), "max_drawdown": Decimal("0.004")}
CRASH = Decimal(30_000)
"""A quarter below where the position was bought: 250 of 10,000 USDT with 1,000 held."""


class Doors:
    """The stage's own actors, as a closer reaches them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.approve, self.execute = stage.approve, stage.execute

    async def cancel(self, client_order_id: str, reason: str) -> Order:
        ask = Cancel(client_order_id=client_order_id, reason=reason)
        return await self.stage.executor.cancel(ask)


@pytest.fixture
def stage() -> Stage:
    """A run that holds 1,000 USDT of the pair."""
    stage = Stage()
    stage.next_candle()
    stage.decide(1.0)
    stage.next_candle()
    assert stage.held > 0
    return stage


def mark(stage: Stage, price: Decimal = CRASH, trace_id: str = "tr-candle") -> None:
    asyncio.run(stage.ledger.mark(Mark(prices={PAIR: price}, trace_id=trace_id)))


def set_limits(stage: Stage, **changes: object) -> None:
    limits = replace(risk.default_limits(), **changes)
    stage.store.put(kinds.RISK_LIMITS, "default", limits, at_ms=0)


def set_policy(stage: Stage, **changes: object) -> None:
    policy = replace(risk.default_paper_policy(), **changes)
    stage.store.put(kinds.ACCOUNT_POLICIES, "paper", policy, at_ms=0)


def alerts(stage: Stage, code: str) -> list[Alert]:
    return [doc.value for doc in stage.store.list(kinds.ALERTS) if doc.value.code == code]


def wishes(stage: Stage) -> list[dict[str, object]]:
    return [doc.value for doc in stage.store.list(kinds.FLATTENINGS)]


@pytest.mark.catalogue("R03")
@pytest.mark.parametrize("limit", sorted(TIGHT))
def test_a_mark_that_reaches_a_loss_limit_of_the_run_pauses_it_without_any_order(
    stage: Stage, limit: str
) -> None:
    set_limits(stage, **{"max_daily_loss": Decimal(5_000), limit: TIGHT[limit]})
    orders = len(stage.orders())

    mark(stage)

    assert (stage.run.status, stage.run.pause_reason) == (RunStatus.PAUSED, limit)
    [alert] = alerts(stage, limit)
    assert (alert.severity, alert.category, alert.trace_id) == ("critical", "risk", "tr-candle")
    assert alert.created_ms == stage.clock.now_ms()
    assert len(stage.orders()) == orders
    [row] = [doc.value for doc in stage.store.list(kinds.AUDIT) if doc.value.action == "run.pause"]
    assert (row.actor, row.trace_id) == ("risk_ledger:paper", "tr-candle")
    assert (row.before["status"], row.after["status"]) == ("running", "paused")


@pytest.mark.catalogue("R03")
def test_further_marks_of_a_paused_run_raise_nothing_more(stage: Stage) -> None:
    set_limits(stage, **TIGHT)

    for _ in range(3):
        mark(stage)

    [alert] = alerts(stage, "max_daily_loss")
    assert alert.count == 1
    assert not alerts(stage, "max_drawdown"), "the first limit speaks"


@pytest.mark.catalogue("R03")
@pytest.mark.parametrize("limit", ["max_daily_loss", "max_drawdown"])
def test_a_mark_that_reaches_a_loss_guardrail_of_the_account_pauses_its_runs(
    stage: Stage, limit: str
) -> None:
    set_policy(stage, **{limit: Decimal("0.02")})
    set_limits(stage, max_daily_loss=Decimal(5_000), max_drawdown=Decimal("0.9"))

    mark(stage)

    assert (stage.run.status, stage.run.pause_reason) == (RunStatus.PAUSED, limit)
    [alert] = alerts(stage, limit)
    assert "account" in alert.detail


def test_a_loss_within_every_limit_pauses_nothing(stage: Stage) -> None:
    mark(stage, Decimal(39_000))

    assert stage.run.status is RunStatus.RUNNING
    assert not stage.store.list(kinds.ALERTS)


@pytest.mark.catalogue("R03")
def test_a_set_that_is_tightened_below_the_loss_pauses_within_a_turn_of_the_ledger(
    stage: Stage,
) -> None:
    set_limits(stage, max_daily_loss=Decimal(5_000), max_drawdown=Decimal("0.9"))
    set_policy(stage, max_daily_loss=Decimal("0.5"), circuit_breaker_loss=Decimal("0.5"))
    mark(stage)
    assert stage.run.status is RunStatus.RUNNING

    set_limits(stage, **TIGHT)
    asyncio.run(stage.ledger.turn())

    assert stage.run.status is RunStatus.PAUSED


def test_a_run_that_is_resumed_while_the_limit_is_reached_is_paused_again(stage: Stage) -> None:
    set_limits(stage, **TIGHT)
    mark(stage)
    stage.change_run(lambda run: replace(run, status=RunStatus.RUNNING, pause_reason=""))

    asyncio.run(stage.ledger.turn())

    assert stage.run.status is RunStatus.PAUSED
    [alert] = alerts(stage, "max_daily_loss")
    assert alert.count == 2


@pytest.mark.catalogue("R02")
def test_exits_pass_after_a_breach(stage: Stage) -> None:
    set_limits(stage, **TIGHT)
    mark(stage)

    asyncio.run(closer(stage).flatten("paper", PAIR, reason="operator", trace_id="tr-exit"))

    assert stage.orders()[-1].side is Side.SELL
    assert stage.orders()[-1].reduce_only


class Died(Exception):
    """The process ended here."""


@pytest.mark.parametrize("method", ["note", "change"])
def test_a_ledger_that_dies_within_a_pause_makes_up_for_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def die(*_: object, **__: object) -> None:
        raise Died

    set_limits(stage, **TIGHT)
    with monkeypatch.context() as patch:
        patch.setattr(*((Audit, "note", die) if method == "note" else (RunBook, "change", die)))
        with pytest.raises(Died):
            mark(stage)
    assert stage.run.status is RunStatus.RUNNING

    stage.ledger = stage.new_ledger()

    assert stage.run.status is RunStatus.PAUSED
    assert len(alerts(stage, "max_daily_loss")) == 1


# --- flatten on drawdown ------------------------------------------------------------------------


def closer(stage: Stage) -> Closer:
    doors = Doors(stage)
    return Closer(stage.store, stage.clock, lambda _: doors, lambda _: doors)


def carry_on(stage: Stage) -> int:
    """As the reconciler does; returns how many orders it took."""

    async def flatten() -> int:
        sent = await closer(stage).flatten_wished("paper")
        await stage.executor.quiet()
        return sent

    return asyncio.run(flatten())


def fall(stage: Stage) -> None:
    set_policy(stage, max_drawdown=Decimal("0.02"), flatten_on_drawdown=True)
    mark(stage)


@pytest.mark.catalogue("R03")
def test_a_drawdown_of_the_account_has_its_positions_closed_reduce_only_and_says_so(
    stage: Stage,
) -> None:
    fall(stage)

    [wish] = wishes(stage)
    assert wish == {
        "account": "paper",
        "pair": PAIR,
        "reason": DRAWDOWN_FLATTEN,
        "trace_id": "tr-candle",
    }
    [alert] = alerts(stage, DRAWDOWN_FLATTEN)
    assert (alert.severity, alert.threshold, alert.trace_id) == ("critical", "0.02", "tr-candle")
    assert "account.flatten" in [doc.value.action for doc in stage.store.list(kinds.AUDIT)]

    assert carry_on(stage) == 1
    assert carry_on(stage) == 0, "one order, however often"
    order = stage.orders()[-1]
    assert (order.reduce_only, order.trace_id) == (True, "tr-candle")
    for _ in range(3):
        stage.next_candle()
    assert stage.held == 0
    assert carry_on(stage) == 0
    assert not wishes(stage), "flat: nothing is left to do"


def test_a_drawdown_flattens_once_however_many_marks_and_restarts_see_it(stage: Stage) -> None:
    fall(stage)
    stage.ledger = stage.new_ledger()
    mark(stage, trace_id="tr-later")

    assert [wish["trace_id"] for wish in wishes(stage)] == ["tr-candle"]
    assert [alert.count for alert in alerts(stage, DRAWDOWN_FLATTEN)] == [1]
    flats = [doc for doc in stage.store.list(kinds.AUDIT) if doc.value.action == "account.flatten"]
    assert len(flats) == 1


def test_a_drawdown_cancels_an_entry_that_is_under_way(stage: Stage) -> None:
    asyncio.run(closer(stage).flatten("paper", PAIR, reason="test", trace_id="tr-exit"))
    stage.next_candle()
    stage.next_candle()
    stage.decide(-0.5)
    entry = stage.orders()[-1]
    assert entry.is_open
    assert not entry.reduce_only
    set_policy(stage, max_drawdown=Decimal("0.00001"), flatten_on_drawdown=True)
    mark(stage)

    carry_on(stage)

    found = stage.store.order(entry.client_order_id)
    assert found is not None
    assert (found.state, found.filled_quantity) == (OrderState.CANCELLED, 0)


def test_an_account_whose_policy_says_so_only_pauses(stage: Stage) -> None:
    set_policy(stage, max_drawdown=Decimal("0.02"))

    mark(stage)

    assert stage.run.status is RunStatus.PAUSED
    assert not wishes(stage)
    ledger = stage.store.ledger("paper")
    assert ledger is not None
    assert books.held_quantity(ledger, PAIR) > 0


def test_a_live_account_flattens_at_five_percent_by_default() -> None:
    policy = risk.default_live_policy()

    assert policy.flatten_on_drawdown
    assert policy.max_drawdown == Decimal("0.05")

"""Live orders that meet trouble, over the real wire: refusals, the kill switch, the dead-man timer."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from desk.errors import BadInput
from desk.runs import RunStatus
from desk.store import kinds
from desk.store.port import Event
from desk.trading import dead_man, orders
from desk.trading.orders import OrderState
from desk.trading.risk import Refused
from tests.actors.fakes import PAIR
from tests.actors.live_stage import LiveStage

WHO: dict[str, Any] = {"actor": "alice", "trace_id": "tr-op"}


@pytest.fixture
def stage(shared_simulator: Any) -> Iterator[LiveStage]:
    """A fresh market at 30 times the wall's speed: the documented rates do not slow the tests."""
    shared_simulator.reset()
    shared_simulator.clock(freeze=False, speed=30)
    yield LiveStage(shared_simulator)
    shared_simulator.clear_faults()
    shared_simulator.clock(speed=1, server_offset_ms=0)
    shared_simulator.reset()


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.catalogue("O18")
def test_O18_a_close_that_finds_nothing_at_the_venue_is_done(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        trade = {"symbol": PAIR, "side": "SELL", "quantity": str(live.held), "reduceOnly": "true"}
        live.simulator.control("POST", "account", {"trade": trade})  # somebody closed it by hand

        order_id = await live.closer.close_trade(
            live.orders()[0].trade_id, None, reason="operator", trace_id="tr2"
        )

        close = live.order(order_id)
        assert (close.state, close.reason) == (OrderState.REJECTED, orders.POSITION_IS_FLAT)
        assert live.alerts() == []
        assert len(live.sent()) == 2
        await live.passes(2)
        assert live.held == 0  # the reconciler books what the hand did

    stage.play(scenario)


@pytest.mark.catalogue("O18")
def test_O18_a_close_that_is_refused_while_something_is_held_is_told_and_may_be_repeated(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        trade_id = live.orders()[0].trade_id
        refusal = {"kind": "code", "code": 101290, "msg": "reduce only refused"}
        live.simulator.fault(refusal, times=1, method="POST", path="trade/order")

        def close() -> Any:
            return live.closer.close_trade(trade_id, None, reason="operator", trace_id="tr2")

        first = live.order(await close())
        told = live.alerts()
        second = await close()
        await live.executor.quiet()

        assert (first.state, first.reason) == (OrderState.REJECTED, "nothing_to_reduce")
        assert told == ["exit_refused"]
        assert second != first.client_order_id  # what failed is over; the new wish is a new order
        assert live.order(second).state is OrderState.FILLED
        assert live.held == 0
        assert await live.venue.positions() == []

    stage.play(scenario)


@pytest.mark.catalogue("O19")
def test_O19_a_size_that_the_venue_refuses_is_final_and_the_filters_are_read_afresh(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        change = {"pair": PAIR, "contract": {"min_notional": 5_000}}
        live.simulator.control("POST", "market", change)

        placement = await live.decide(1.0)
        await asyncio.sleep(0)

        [order] = live.orders()
        filters = live.store.get(kinds.INSTRUMENTS, PAIR)
        assert filters is not None
        assert placement.orders[0].state is OrderState.REJECTED
        assert (order.state, order.reason, order.attempts) == (OrderState.REJECTED, "size", 1)
        assert len(live.sent()) == 1
        assert live.store.reservations("live") == {}
        assert filters.value.min_notional == Decimal(5_000)
        assert (await live.decide(1.0, "d2")).orders == ()  # sized away by the new filters

    stage.play(scenario)


@pytest.mark.catalogue("O19")
def test_O19_a_size_below_the_known_filters_is_stopped_before_anything_is_written(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        [leg] = await live.legs(1.0, "d1")
        change = {"pair": PAIR, "contract": {"min_notional": 5_000}}
        live.simulator.control("POST", "market", change)
        await live.note_filters()
        before = live.books

        verdict = await live.approve(leg, "default")

        assert isinstance(verdict, Refused)
        assert verdict.limit == "notional_below_minimum"
        assert (live.orders(), live.books, live.sent()) == ([], before, [])

    stage.play(scenario)


def test_an_entry_waits_for_isolated_margin_and_one_way_mode(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        live.simulator.control("POST", "account", {"hedged": True})

        refused = await live.decide(1.0)
        live.simulator.control("POST", "account", {"hedged": False})
        await live.decide(1.0, "d2")

        assert refused.orders[0].state is OrderState.NOT_PLACED
        assert refused.orders[0].reason == "hedge_mode"
        assert live.alerts() == ["pair_not_prepared"]
        assert live.orders()[-1].state is OrderState.FILLED
        assert len(live.sent()) == 1
        assert {row["marginType"] for row in live.sent(path="marginType")} == {"ISOLATED"}
        assert {row["leverage"] for row in live.sent(path="leverage")} == {"1"}

    stage.play(scenario)


# --- close and cancel -------------------------------------------------------------------------


def test_one_name_of_a_close_is_one_order_and_another_name_another(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        trade_id, held = live.orders()[0].trade_id, live.held

        async def close(name: str) -> str:
            order_id = await live.control.close_trade(
                trade_id, Decimal("0.0030"), "operator", name=name, **WHO
            )
            await live.executor.quiet()
            return order_id

        first, again, other = await close("a"), await close("a"), await close("b")

        assert first == again != other
        assert live.held == held - 2 * Decimal("0.0030")
        assert [row["reduceOnly"] for row in live.sent()[1:]] == ["true", "true"]

    stage.play(scenario)


@pytest.mark.catalogue("O31")
def test_O31_a_close_that_races_the_stop_reaches_the_venue_once_and_never_flips(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        trade_id = live.orders()[0].trade_id
        live.shock(0.98)  # the stop has fired; our books do not know it yet

        closes = await asyncio.gather(
            *(live.control.close_trade(trade_id, None, "operator", **WHO) for _ in range(5))
        )
        await live.executor.quiet()
        await live.passes(3)

        assert len(set(closes)) == 1
        assert len(live.sent()) == 2
        assert live.held == 0
        assert await live.venue.positions() == []
        assert live.trade(trade_id).reason == "stop_loss"
        assert live.alerts() == []

    stage.play(scenario)


def test_cancelling_a_trade_ends_its_resting_entry_and_only_that(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        resting = await live.rest()

        asked = await live.control.cancel_trade(resting.trade_id, "", **WHO)
        await live.executor.quiet()

        after = live.order(resting.client_order_id)
        assert asked == [resting.client_order_id]
        assert (after.state, after.reason) == (OrderState.CANCELLED, "operator")
        assert await live.venue.open_orders(PAIR) == []
        with pytest.raises(BadInput, match="no entry left"):
            await live.control.cancel_trade(resting.trade_id, "", **WHO)

    stage.play(scenario)


def test_an_entry_that_is_unknown_when_it_is_cancelled_is_cancelled_once_it_is_found(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        live.simulator.fault({"kind": "drop_response"}, times=1, method="POST", path="trade/order")
        live.blind()
        lost = await live.rest()
        await live.control.cancel_trade(lost.trade_id, "", **WHO)
        was = live.order(lost.client_order_id)

        await live.kill_executor()
        await live.turn()

        after = live.order(lost.client_order_id)
        assert (was.state, was.cancel_reason) == (OrderState.UNKNOWN, "operator")
        assert (after.state, after.reason) == (OrderState.CANCELLED, "operator")
        assert len(live.sent()) == 1

    stage.play(scenario)


# --- the kill switch --------------------------------------------------------------------------


@pytest.mark.catalogue("O30")
def test_O30_what_was_unknown_when_the_switch_was_thrown_is_resolved_and_flattened(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        live.simulator.fault({"kind": "drop_response"}, times=1, method="POST", path="trade/order")
        live.blind()
        placement = await live.decide(1.0)  # the venue filled it; nobody here knows
        unknown = placement.orders[0].state

        await live.control.kill(on=True, reason="storm", flatten=True, **WHO)
        committed = len(live.simulator.journal())
        await live.kill_executor()
        await live.turn()
        found = live.held
        await live.passes(3)

        later = [row for row in live.simulator.journal()[committed:] if row["method"] == "POST"]
        sent = [row["params"] for row in later if row["path"].endswith("trade/order")]
        assert unknown is OrderState.UNKNOWN
        assert found > 0
        assert live.held == 0
        assert await live.venue.positions() == []
        assert [row["reduceOnly"] for row in sent] == ["true"]  # no entry after the commit
        assert live.run.status is RunStatus.PAUSED
        assert live.store.list(kinds.FLATTENINGS) == []
        assert live.store.reservations("live") == {}

    stage.play(scenario)


@pytest.mark.catalogue("O30")
def test_O30_a_resting_entry_whose_cancel_was_lost_is_cancelled_after_a_restart(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        resting = await live.rest()
        event = _event()
        live.store.set_kill("all", on=True, reason="storm", event=event)  # then the desk died

        await live.kill_executor()
        await live.turn()
        verdict = await live.approve((await live.legs(1.0, "d2"))[0], "default")

        after = live.order(resting.client_order_id)
        assert (after.state, after.reason) == (OrderState.CANCELLED, "kill_switch")
        assert isinstance(verdict, Refused)
        assert verdict.limit == "kill_switch"
        assert len(live.sent()) == 1

    stage.play(scenario)


def test_lifting_the_switch_ends_the_flattening(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        refusal = {"kind": "code", "code": 109500}
        live.simulator.fault(refusal, times=1, method="POST", path="trade/order")
        live.blind()
        await live.control.kill(on=True, reason="storm", flatten=True, **WHO)
        wished = len(live.store.list(kinds.FLATTENINGS))

        await live.control.kill(on=False, reason="over", flatten=False, **WHO)

        assert wished == 1
        assert live.store.list(kinds.FLATTENINGS) == []

    stage.play(scenario)


# --- the dead-man timer -----------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order counts as resting as soon as it rests."""
    monkeypatch.setattr(dead_man, "RESTS_AFTER_MS", 0)


def timers(live: LiveStage) -> list[str]:
    return [row["type"] for row in live.sent(path="cancelAllAfter")]


@pytest.mark.usefixtures("at_once")
@pytest.mark.catalogue("O28")
def test_O28_the_venue_cancels_what_rests_when_the_executor_is_dead(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.reconcile()
        resting = await live.rest()
        await live.turn()
        armed = live.sent(path="cancelAllAfter")
        live.simulator.clock(server_offset_ms=(dead_man.TIMEOUT_S + 1) * 1_000)  # silence
        live.simulator.control("POST", "market", {"pair": PAIR})
        live.simulator.clock(server_offset_ms=0)
        open_before = await live.venue.open_orders(PAIR)

        await live.kill_executor()
        await live.turn()
        await live.turn()

        after = live.order(resting.client_order_id)
        assert [(row["type"], row["timeOut"]) for row in armed] == [
            ("ACTIVATE", str(dead_man.TIMEOUT_S))
        ]
        assert open_before == []
        assert (after.state, after.reason) == (OrderState.CANCELLED, "venue_cancelled")
        assert (timers(live)[0], timers(live)[-1]) == ("ACTIVATE", "CLOSE")
        assert live.store.reservations("live") == {}
        await live.passes(2)
        assert live.alerts() == []

    stage.play(scenario)


@pytest.mark.usefixtures("at_once")
def test_the_timer_is_not_touched_while_no_entry_rests(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.reconcile()
        await live.decide(1.0)
        await live.turn()

        assert timers(live) == []

    stage.play(scenario)


@pytest.mark.usefixtures("at_once")
@pytest.mark.catalogue("O17")
def test_O17_a_foreign_order_keeps_the_timer_off_and_is_told(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        foreign = {
            "symbol": PAIR,
            "side": "BUY",
            "type": "LIMIT",
            "price": "20000",
            "quantity": "0.01",
        }
        await live.venue.prepare(PAIR, 1)
        price = (await live.mark() * Decimal("0.8")).quantize(Decimal("0.1"))
        live.simulator.control("POST", "account", {"order": {**foreign, "price": str(price)}})
        await live.reconcile()
        await live.rest()

        await live.turn()

        assert timers(live) == []
        assert live.alerts() == ["dead_man_timer_off", "foreign_order"]
        assert len(await live.venue.open_orders(PAIR)) == 2

    stage.play(scenario)


@pytest.mark.usefixtures("at_once")
def test_the_timer_stays_off_while_protective_stops_rest(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(0.4)
        await live.reconcile()
        await live.rest()

        await live.turn()

        assert timers(live) == []
        assert live.alerts() == ["dead_man_timer_off"]

    stage.play(scenario)


# --- small things -----------------------------------------------------------------------------


def _event() -> Event:
    return Event(topic="risk", key="all", data={}, at_ms=0)

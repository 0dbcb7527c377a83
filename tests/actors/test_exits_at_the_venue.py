"""Exits that rest at the exchange, over the real wire: whoever is dead, a position ends at its stop."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from actors.venue_exits import BookExit
from desk.runs import RunStatus
from desk.trading.orders import ExitKind, OrderState, VenueOrderStatus
from desk.trading.risk import Approved
from tests.actors.fakes import PAIR
from tests.actors.live_stage import LiveStage


@pytest.fixture
def stage(shared_simulator: Any) -> Iterator[LiveStage]:
    """A fresh market at 30 times the wall's speed: the documented rates do not slow the tests."""
    shared_simulator.reset()
    shared_simulator.clock(freeze=False, speed=30)
    yield LiveStage(shared_simulator)
    shared_simulator.clock(speed=1, server_offset_ms=0)
    shared_simulator.reset()


def test_an_entry_takes_its_stop_and_its_take_profit_to_the_venue(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)

        [entry] = live.orders()
        resting = {row.exit_kind: row for row in await live.venue.open_orders(PAIR)}
        assert entry.state is OrderState.FILLED
        assert set(resting) == {ExitKind.STOP_LOSS, ExitKind.TAKE_PROFIT}
        stop, take = resting[ExitKind.STOP_LOSS], resting[ExitKind.TAKE_PROFIT]
        assert (stop.trigger_price, take.trigger_price) == (
            entry.stop_loss_price,
            entry.take_profit_price,
        )
        assert stop.quantity == take.quantity == live.held
        assert {stop.parent_order_id, take.parent_order_id} == {entry.venue_order_id}
        assert (stop.reduce_only, stop.client_order_id) == (True, "")

        await live.reconcile()

        noted = live.order(entry.client_order_id)
        assert noted.stop_order_id == stop.venue_order_id
        assert noted.take_order_id == take.venue_order_id
        assert live.alerts() == []  # neither foreign nor missing

    stage.play(scenario)


@pytest.mark.parametrize(
    ("target", "factor", "kind"),
    [
        (1.0, 0.98, ExitKind.STOP_LOSS),
        (1.0, 1.03, ExitKind.TAKE_PROFIT),
        (-1.0, 1.02, ExitKind.STOP_LOSS),
        (-1.0, 0.97, ExitKind.TAKE_PROFIT),
    ],
)
def test_an_exit_that_fired_is_booked_once_as_the_end_of_its_trade(
    stage: LiveStage, target: float, factor: float, kind: ExitKind
) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(target)
        [entry] = live.orders()
        live.shock(factor)

        await live.passes(3)

        _, exit_ = live.orders()
        trade = live.trade(entry.trade_id)
        balance = await live.venue.balance()
        assert live.held == 0
        assert (exit_.state, exit_.exit_kind, exit_.reason) == (OrderState.FILLED, kind, kind)
        assert exit_.attempts == 0
        assert (exit_.trade_id, exit_.run_id) == (entry.trade_id, entry.run_id)
        assert trade.reason == kind
        assert trade.closed_at_ms is not None
        assert trade.position_size == 0
        assert (trade.realized_pnl > 0) is (kind is ExitKind.TAKE_PROFIT)
        assert trade.realized_pnl == (
            (exit_.average_price - entry.average_price) * exit_.filled_quantity * entry.side.sign
        )
        assert trade.fees == entry.fees + exit_.fees > 0
        assert live.books.cash == pytest.approx(balance.balance, abs=Decimal("0.0001"))
        assert live.books.external == 0
        assert live.alerts() == []
        assert live.run.status is RunStatus.RUNNING
        assert len(live.sent()) == 1  # the entry: the venue made its own exit

    stage.play(scenario)


def test_an_exit_that_fired_while_every_process_was_dead_is_found_by_its_id(
    stage: LiveStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        await live.reconcile()  # notes the ids
        live.shock(0.98)
        history = live.venue.orders_between

        async def forgetful(pair: str, start_ms: int, end_ms: int) -> Any:
            rows = await history(pair, start_ms, end_ms)
            return [row for row in rows if row.client_order_id]

        monkeypatch.setattr(live.venue, "orders_between", forgetful)  # older than the history
        live.executor = live.new_executor()
        await live.executor.turn()
        await live.executor.quiet()

        await live.reconcile()

        assert live.held == 0
        assert live.orders()[-1].exit_kind is ExitKind.STOP_LOSS
        assert live.alerts() == []

    stage.play(scenario)


def test_a_crash_between_the_row_of_an_exit_and_its_fill_sends_nothing_and_books_it(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        live.shock(0.98)
        [entry] = live.orders()
        rows = await live.venue.orders_between(
            PAIR, live.clock.now_ms() - 3_600_000, live.clock.now_ms() + 60_000
        )
        [fired] = [row for row in rows if row.exit_kind and row.filled_quantity]
        await live.executor._exits.row_of(_book(entry.client_order_id, fired))  # then it died

        live.executor = live.new_executor()
        await live.executor.turn()
        await live.executor.quiet()

        _, exit_ = live.orders()
        assert (exit_.state, exit_.reason) == (OrderState.FILLED, "stop_loss")
        assert live.held == 0
        assert len(live.sent()) == 1

    stage.play(scenario)


def test_a_flip_leaves_only_the_exits_of_the_new_position(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0, "d1")
        await live.decide(-1.0, "d2")

        await live.passes(2)

        newest = live.orders()[-1]
        resting = await live.venue.open_orders(PAIR)
        assert live.held < 0
        assert {row.parent_order_id for row in resting} == {newest.venue_order_id}
        assert len(resting) == 2
        assert live.alerts() == []

    stage.play(scenario)


def test_a_part_that_is_closed_leaves_the_rest_under_its_stop(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        trade_id, held = live.orders()[0].trade_id, live.held
        await live.closer.close_trade(
            trade_id, Decimal("0.0050"), reason="operator", trace_id="tr2"
        )
        await live.executor.quiet()
        await live.passes(2)
        left = live.held
        live.shock(0.98)

        await live.passes(2)

        assert left == held - Decimal("0.0050")
        assert live.held == 0
        assert live.orders()[-1].filled_quantity == left
        assert live.trade(trade_id).reason == "stop_loss"
        assert live.alerts() == []

    stage.play(scenario)


def test_an_enlarged_position_is_covered_whole(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(0.4, "d1")
        await live.decide(1.0, "d2")
        await live.passes(2)
        covered = sum(
            row.quantity
            for row in await live.venue.open_orders(PAIR)
            if row.exit_kind is ExitKind.STOP_LOSS
        )
        held = live.held
        live.shock(0.97)

        await live.passes(2)

        assert covered == held
        assert live.held == 0
        assert live.alerts() == []

    stage.play(scenario)


def test_a_stop_that_is_gone_is_put_back_and_told(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        await live.reconcile()
        [entry] = live.orders()
        live.simulator.control("POST", "account", {"cancel": int(live.orders()[0].stop_order_id)})

        await live.reconcile()
        after_one = live.alerts()
        await live.passes(3)

        stops = [
            row for row in await live.venue.open_orders(PAIR) if row.exit_kind is ExitKind.STOP_LOSS
        ]
        assert after_one == []  # one glance may fall between two reads
        assert live.alerts() == ["protective_stop_missing"]
        assert [(row.trigger_price, row.quantity) for row in stops] == [
            (entry.stop_loss_price, live.held)
        ]
        assert live.run.status is RunStatus.RUNNING
        live.shock(0.98)
        await live.passes(2)
        assert live.held == 0
        assert live.trade(entry.trade_id).reason == "stop_loss"

    stage.play(scenario)


def test_a_position_beyond_its_lost_stop_is_closed(stage: LiveStage) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        await live.reconcile()
        live.simulator.control("POST", "account", {"cancel": int(live.orders()[0].stop_order_id)})
        live.shock(0.98)
        await live.mark()

        await live.passes(3)

        assert live.held == 0
        assert live.alerts() == ["protective_stop_missing"]
        assert await live.venue.positions() == []

    stage.play(scenario)


def test_an_exit_of_a_position_that_is_over_is_cancelled(
    stage: LiveStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(live: LiveStage) -> None:
        await live.decide(1.0)
        [entry] = live.orders()
        rows = await live.venue.open_orders(PAIR)
        [stop] = [row for row in rows if row.exit_kind is ExitKind.STOP_LOSS]
        await live.decide(0.0, "d2")

        async def a_leftover(*_: Any) -> Any:
            return [stop]  # a venue that leaves exits behind

        monkeypatch.setattr(live.venue, "open_orders", a_leftover)
        monkeypatch.setattr(live.venue, "orders_between", a_leftover)

        await live.passes(2)

        assert live.held == 0
        assert [row["orderId"] for row in live.sent("DELETE")] == [stop.venue_order_id]
        assert entry.venue_order_id == stop.parent_order_id
        assert live.alerts() == []

    stage.play(scenario)


def test_a_stop_on_the_wrong_side_of_the_market_is_refused_with_its_entry(
    stage: LiveStage,
) -> None:
    async def scenario(live: LiveStage) -> None:
        legs = await live.legs(1.0, "d1")
        live.shock(0.97)  # between decision and order the market fell through the stop
        verdict = await live.approve(legs[0], "default")
        assert isinstance(verdict, Approved)

        order = await live.execute(verdict)
        await live.executor.quiet()

        assert order.state is OrderState.REJECTED
        assert live.held == 0
        assert await live.venue.open_orders(PAIR) == []

    stage.play(scenario)


def _book(parent_id: str, report: Any) -> BookExit:
    assert report.status is VenueOrderStatus.FILLED
    return BookExit(parent_id=parent_id, report=report)

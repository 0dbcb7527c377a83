"""The reconciler on the paper account: what differs is put right by its owner, and only what differs."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from actors import heartbeat
from actors.closing import Closer
from actors.commands import ReconcileReport
from actors.reconcile_sides import sides_key
from actors.reconciler import Reconcile, Reconciler, ReconcilerParts
from desk.runs import RunStatus
from desk.store import kinds
from desk.store.port import Event
from desk.trading import ledger as books
from desk.trading.fills import FillSpec
from desk.trading.orders import (
    Order,
    OrderState,
    Side,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
)
from desk.trading.trades import Trade, project
from desk.venues.paper import PaperVenue
from tests.actors.direct_doors import DirectDoors
from tests.actors.fakes import BTC, PAIR
from tests.actors.stage import Stage


class DriftingVenue(PaperVenue):
    """The paper venue with a position, or an order, that nobody here made."""

    drift = Decimal(0)
    foreign: tuple[VenueOrder, ...] = ()
    lost_exits = False

    async def positions(self) -> list[VenuePosition]:
        ours = {row.pair: row for row in await super().positions()}
        held = ours.get(PAIR)
        quantity = (held.quantity if held else Decimal(0)) + self.drift
        price = held.average_price if held else Decimal(40_000)
        drifted = VenuePosition(
            pair=PAIR,
            quantity=quantity,
            average_price=price,
            leverage=1,
            unrealized_pnl=Decimal(0),
        )
        return [drifted] if quantity else []

    async def open_orders(self, pair: str | None = None) -> list[VenueOrder]:
        listed = await super().open_orders(pair)
        kept = [row for row in listed if not (self.lost_exits and row.exit_kind)]
        return [*kept, *self.foreign]


class Office(DirectDoors):
    """A reconciler beside the stage's ledger and executor."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.ledger, self.executor = self.stage.ledger, self.stage.executor
        self.venue = DriftingVenue(
            "paper", self.stage.store, {PAIR: BTC}, self.stage.clock, FillSpec()
        )
        parts = ReconcilerParts(
            account="paper",
            store=self.stage.store,
            clock=self.stage.clock,
            venue=self.venue,
            orders=self,
            ledger=self,
            flattener=Closer(
                self.stage.store, self.stage.clock, lambda _: self.stage, lambda _: self
            ),
            pairs=(PAIR,),
        )
        self.reconciler = Reconciler(lambda: parts)

    def reconcile(self) -> ReconcileReport:
        return asyncio.run(self.reconciler.reconcile(Reconcile()))

    def alerts(self) -> list[str]:
        return [doc.value.code for doc in self.stage.store.list(kinds.ALERTS)]


@pytest.fixture
def office() -> Office:
    return Office()


def test_two_equal_sides_need_nothing(office: Office) -> None:
    office.stage.decide(1.0)
    office.stage.decide(-1.0)
    office.stage.next_candle()
    before = office.stage.store.ledger("paper")

    report = office.reconcile()

    assert (report.updated, report.errors) == (0, 0)
    assert report.checked >= 3
    assert office.stage.store.ledger("paper") == before
    assert office.alerts() == []


def test_fills_that_the_venue_made_and_nobody_booked_are_booked_and_are_no_drift(
    office: Office,
) -> None:
    office.stage.decide(1.0)
    closed = office.stage.store_candles(1)
    asyncio.run(office.venue.settle(PAIR, closed.open_ms))  # the executor died before it booked

    report = office.reconcile()
    again = office.reconcile()

    [order] = office.stage.orders()
    assert report.updated == 1
    assert again.updated == 0
    assert office.stage.held == order.quantity == order.filled_quantity
    assert office.alerts() == []


def test_a_drift_is_booked_only_once_two_passes_saw_it_and_pauses_the_run(office: Office) -> None:
    office.stage.decide(1.0)
    office.stage.next_candle()
    held = office.stage.held
    office.venue.drift = Decimal("0.0050")

    first = office.reconcile()
    after_one = office.stage.held
    second = office.reconcile()
    third = office.reconcile()

    ledger = office.stage.store.ledger("paper")
    assert ledger is not None
    assert (first.updated, second.updated, third.updated) == (0, 1, 0)
    assert after_one == held
    assert books.held_quantity(ledger, PAIR) == held + Decimal("0.0050")
    assert "position_drift" in office.alerts()
    assert office.stage.run.status is RunStatus.PAUSED


@pytest.mark.catalogue("O17")
def test_a_foreign_order_is_reported_and_left_alone(office: Office) -> None:
    office.venue.foreign = (
        VenueOrder(
            client_order_id="somebody",
            venue_order_id="77",
            pair=PAIR,
            side=Side.BUY,
            status=VenueOrderStatus.OPEN,
            quantity=Decimal(1),
            filled_quantity=Decimal(0),
            average_price=Decimal(0),
            fees=Decimal(0),
            reduce_only=False,
            updated_ms=office.stage.clock.now_ms(),
        ),
    )

    office.reconcile()

    assert office.alerts() == ["foreign_order"]
    assert office.stage.run.status is RunStatus.RUNNING


def test_an_order_under_our_name_that_we_do_not_know_pauses_its_pair(office: Office) -> None:
    orphan = VenueOrder(
        client_order_id="t1" + "a" * 24,
        venue_order_id="78",
        pair=PAIR,
        side=Side.BUY,
        status=VenueOrderStatus.OPEN,
        quantity=Decimal(1),
        filled_quantity=Decimal(0),
        average_price=Decimal(0),
        fees=Decimal(0),
        reduce_only=False,
        updated_ms=office.stage.clock.now_ms(),
    )
    office.venue.foreign = (orphan,)

    office.reconcile()

    assert "orphan_order" in office.alerts()
    assert office.stage.run.status is RunStatus.PAUSED


def test_books_that_do_not_add_up_stop_the_accounts_runs(office: Office) -> None:
    before = office.stage.store.ledger("paper")
    assert before is not None
    fence = office.stage.ledger._fence
    office.stage.store.move_ledger(
        before,
        replace(before, cash=before.cash + 1),
        fence=fence,
        request_id="rq-theft",
        event=_event(),
    )

    report = office.reconcile()

    assert report.errors == 1
    assert "invariant_breached" in office.alerts()
    assert office.stage.run.pause_reason == "invariant_breached"


def test_a_light_pass_comes_between_two_full_ones(office: Office) -> None:
    asyncio.run(office.reconciler.turn())
    asyncio.run(office.reconciler.turn())
    office.stage.clock.advance(5 * 60_000)
    asyncio.run(office.reconciler.turn())

    counters = office.reconciler._pulse.counters
    assert (counters["full_passes"], counters["light_passes"]) == (2, 1)


def test_a_full_pass_over_many_pairs_is_no_loop_that_stands_still(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SLICE_S", 0.02)
    pairs = [f"C{number}-USDT" for number in range(12)]
    asked: list[str] = []
    ages_s: list[float] = []

    async def orders_between(pair: str, start_ms: int, end_ms: int) -> list[VenueOrder]:
        await asyncio.sleep(0.1)
        asked.append(pair)
        ages_s.append(office.reconciler._pulse.beat().loop_age_s)
        return []

    monkeypatch.setattr(office.venue, "orders_between", orders_between)
    monkeypatch.setattr(office.reconciler._sides, "_pairs", tuple(pairs))

    asyncio.run(office.reconciler.turn())

    assert asked == sorted(pairs)
    assert max(ages_s) < 0.6, "half of the pass"


# --- protective exits on paper -----------------------------------------------------------------


def enter_under_a_stop(office: Office) -> Order:
    """A filled long entry with a stop 1 % and a take-profit 2 % away."""
    office.stage.change_run(
        lambda run: replace(
            run,
            stop_loss_fraction=Decimal("0.01"),
            take_profit_fraction=Decimal("0.02"),
        )
    )
    office.stage.decide(1.0)
    office.stage.next_candle()
    return office.stage.orders()[0]


def trade_of(office: Office, order: Order) -> Trade:
    ledger = office.stage.store.ledger("paper")
    assert ledger is not None
    return project(
        office.stage.store.orders_of_trade(order.trade_id),
        ledger.positions.get(PAIR),
        mode="paper",
        leverage=Decimal(1),
    )


@pytest.mark.parametrize(("factor", "kind"), [(0.98, "stop_loss"), (1.03, "take_profit")])
def test_a_paper_exit_ends_its_trade_on_the_candle_that_reaches_it(
    office: Office, factor: float, kind: str
) -> None:
    entry = enter_under_a_stop(office)
    quiet = office.reconcile()
    office.stage.price *= factor

    office.stage.next_candle()
    office.reconcile()

    _, exit_ = office.stage.orders()
    trade = trade_of(office, entry)
    assert quiet.errors == 0
    assert (exit_.state, exit_.reason, exit_.attempts) == (OrderState.FILLED, kind, 0)
    assert (trade.reason, trade.position_size) == (kind, 0)
    assert (trade.realized_pnl > 0) is (kind == "take_profit")
    assert office.stage.held == 0
    assert office.alerts() == []
    assert office.stage.run.status is RunStatus.RUNNING


def test_a_paper_exit_that_fired_before_the_executor_died_is_found_by_the_reconciler(
    office: Office,
) -> None:
    entry = enter_under_a_stop(office)
    office.stage.price *= 0.98
    closed = office.stage.store_candles(1)
    asyncio.run(office.venue.settle(PAIR, closed.open_ms))  # nobody booked it

    report = office.reconcile()
    again = office.reconcile()

    assert (report.updated, again.updated) == (1, 0)
    assert office.stage.held == 0
    assert trade_of(office, entry).reason == "stop_loss"
    assert office.alerts() == []


def test_an_entry_and_its_stop_on_one_unheard_candle_are_both_booked(office: Office) -> None:
    office.stage.change_run(lambda run: replace(run, stop_loss_fraction=Decimal("0.001")))
    office.stage.decide(1.0)
    office.stage.store_candles(1)
    office.stage.price *= 0.98

    office.stage.next_candle()
    office.reconcile()

    entry, exit_ = office.stage.orders()
    assert entry.state is exit_.state is OrderState.FILLED
    assert exit_.trade_id == entry.trade_id
    assert office.stage.held == 0
    assert office.alerts() == []


def test_where_no_stop_can_be_put_back_the_run_pauses(office: Office) -> None:
    enter_under_a_stop(office)
    office.venue.lost_exits = True

    first, second = office.reconcile(), office.reconcile()

    assert (first.errors, second.errors) == (0, 1)
    assert "protective_stop_missing" in office.alerts()
    assert office.stage.run.pause_reason == "protective_stop_missing"


def _event() -> Event:
    return Event(topic="test", key="test", data={}, at_ms=0)


def sides(office: Office) -> dict[str, Any]:
    found = office.stage.store.get(kinds.STATE, sides_key("paper"))
    assert found is not None
    return found.value


def test_every_comparison_keeps_what_both_sides_said_before_it_put_anything_right(
    office: Office,
) -> None:
    office.stage.decide(1.0)
    office.stage.next_candle()
    office.reconcile()
    [row] = sides(office)["positions"]
    assert (row["ours"], row["differs"]) == (row["theirs"], False)

    office.venue.drift = Decimal("0.0050")
    office.reconcile()
    office.reconcile()

    [row] = sides(office)["positions"]  # the second one books the drift: it was still there
    assert Decimal(row["theirs"]) - Decimal(row["ours"]) == Decimal("0.0050")
    assert row["differs"]
    office.reconcile()
    [row] = sides(office)["positions"]
    assert not row["differs"]
    assert sides(office)["compared_ms"] == office.stage.clock.now_ms()

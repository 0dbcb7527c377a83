"""The paper venue over a hand-written store: what operators and the executor may rely on."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from desk.clock import ManualClock
from desk.errors import BadInput, NotFound, VenueRejected, VersionConflict
from desk.market.candles import Candle, Candles, sorted_unique
from desk.runs import Mode, Run, RunStatus
from desk.store import kinds
from desk.store.layout import MONEY_REQUEST_TTL_S
from desk.store.port import CandlesAfter, Doc, Event, Kind
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument
from desk.trading.orders import ExitKind, Leg, Order, Side, VenueOrder, VenueOrderStatus
from desk.venues import paper
from desk.venues.paper import PaperVenue
from desk.venues.port import CandleSettled, FundingRate, TradingVenue

MINUTE = 60_000
T0 = 1_699_999_200_000
"""Open time of candle 0; a funding instant comes at minute 120."""
BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)
SPEC = FillSpec(slippage_bps=Decimal(0))


class FakeStore:
    """Documents and candles in dictionaries, with the version checks of the real store."""

    def __init__(self) -> None:
        self.docs: dict[tuple[str, str], Doc[Any]] = {}
        self.candles = Candles.empty()
        self.writes = 0

    def put[T](
        self,
        kind: Kind[T],
        key: str,
        value: T,
        *,
        at_ms: int,
        expected_version: int | None = None,
        event: Event | None = None,
        request_id: str = "",
        remembered_s: int = MONEY_REQUEST_TTL_S,
    ) -> Doc[T]:
        known = self.docs.get((kind.name, key))
        version = known.version if known else 0
        if expected_version not in (None, version):
            raise VersionConflict(key, expected_version or 0, version)
        doc = Doc(key=key, value=value, version=version + 1, at_ms=at_ms)
        self.docs[kind.name, key] = doc
        self.writes += 1
        return doc

    def get[T](self, kind: Kind[T], key: str) -> Doc[T] | None:
        return self.docs.get((kind.name, key))

    def keys_beyond[T](self, kind: Kind[T], kept: int, *, limit: int = 200) -> list[str]:
        raise NotImplementedError("a paper venue has no use for it")

    def list[T](
        self,
        kind: Kind[T],
        *,
        start_ms: int | None = None,
        before_ms: int | None = None,
        limit: int = 200,
    ) -> list[Doc[T]]:
        found = [
            doc
            for (name, _), doc in self.docs.items()
            if name == kind.name
            and (start_ms is None or doc.at_ms >= start_ms)
            and (before_ms is None or doc.at_ms < before_ms)
        ]
        return sorted(found, key=lambda doc: -doc.at_ms)[:limit]

    def delete[T](self, kind: Kind[T], key: str) -> None:
        self.docs.pop((kind.name, key), None)

    def write_candles(self, pair: str, interval: str, candles: Candles) -> int:
        before = len(self.candles)
        self.candles = sorted_unique(Candles.concat([self.candles, candles]))
        return len(self.candles) - before

    def read_candles(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        return self.candles.between(start_ms, end_ms)

    def last_candles(self, pair: str, interval: str, count: int) -> Candles:
        return self.candles.take(slice(-count, None))

    def candles_after(
        self, pair: str, interval: str, first_ms: int, last_ms: int
    ) -> CandlesAfter | None:
        raise NotImplementedError

    def candle_bounds(self, pair: str, interval: str) -> tuple[int, int, int] | None:
        raise NotImplementedError

    def drop_candles(
        self, pair: str, interval: str, before_ms: int, *, expected: int | None = None
    ) -> int:
        raise NotImplementedError


class Desk:
    """One account, its store, its clock, and the venue process that can be killed."""

    def __init__(self, spec: FillSpec = SPEC) -> None:
        self.store, self.clock, self.spec = FakeStore(), ManualClock(T0), spec
        self.venue = self.restart()

    def restart(self) -> PaperVenue:
        self.venue = PaperVenue("paper", self.store, {"BTC-USDT": BTC}, self.clock, self.spec)
        return self.venue

    def close_candle(self, index: int, price: float = 100.0, **parts: float) -> list[str]:
        """Store candle `index` and settle it at its close."""
        self.store_candle(index, price, **parts)
        return self.settle(index)

    def store_candle(self, index: int, price: float = 100.0, **parts: float) -> None:
        row = {"open": price, "high": price, "low": price, "close": price} | parts
        candle = Candle(T0 + index * MINUTE, row["open"], row["high"], row["low"], row["close"], 1)
        self.store.write_candles("BTC-USDT", "1m", Candles.of([candle]))
        self.clock.set(T0 + (index + 1) * MINUTE)

    def settle(self, index: int) -> list[str]:
        return asyncio.run(self.venue.settle("BTC-USDT", T0 + index * MINUTE))

    def submit(self, asked: Order) -> str:
        return asyncio.run(self.venue.submit(asked))

    def cash(self) -> Decimal:
        return asyncio.run(self.venue.balance()).balance

    def held(self) -> Decimal:
        return sum((p.quantity for p in asyncio.run(self.venue.positions())), Decimal(0))


def order(
    index: int,
    side: Side = Side.BUY,
    quantity: str = "0.500",
    *,
    reduce_only: bool = False,
    name: str = "o",
) -> Order:
    """An order decided on the close of candle `index`."""
    return Order(
        client_order_id=f"{name}{index}",
        account="paper",
        run_id="run",
        decision_id=f"d{index}",
        trade_id=f"{name}{index}",
        pair="BTC-USDT",
        leg=Leg.EXIT if reduce_only else Leg.ENTRY,
        side=side,
        quantity=Decimal(quantity),
        reduce_only=reduce_only,
        reference_price=Decimal(100),
        decided_open_ms=T0 + index * MINUTE,
        created_ms=T0 + (index + 1) * MINUTE,
        trace_id="tr",
    )


def test_it_keeps_both_ports() -> None:
    venue = Desk().venue

    ports: tuple[TradingVenue, CandleSettled] = (venue, venue)

    assert ports[0] is ports[1]


def test_an_order_rests_until_the_next_candle_has_closed_and_fills_at_its_open() -> None:
    desk = Desk()
    desk.close_candle(0)
    venue_id = desk.submit(order(0))
    resting = asyncio.run(desk.venue.open_orders("BTC-USDT"))

    changed = desk.close_candle(1, open=101.0, high=102.0, close=102.0)

    assert [o.status for o in resting] == [VenueOrderStatus.OPEN]
    assert changed == ["o0"]
    found = asyncio.run(desk.venue.look_up("BTC-USDT", "o0"))
    assert found is not None
    fills = asyncio.run(desk.venue.fills("BTC-USDT", found))
    assert (found.venue_order_id, found.status) == (venue_id, VenueOrderStatus.FILLED)
    assert [(f.price, f.quantity, f.filled_ms, f.fee) for f in fills] == [
        (Decimal("101.0"), Decimal("0.500"), T0 + MINUTE + 1000, Decimal("0.02525"))
    ]
    assert desk.held() == Decimal("0.5")
    balance = asyncio.run(desk.venue.balance())
    assert balance.balance == Decimal(10_000) - Decimal("0.02525")
    assert balance.equity == balance.balance + Decimal("0.5")
    assert desk.venue.quote("BTC-USDT") == Decimal(102)


def test_the_same_order_sent_twice_is_one_order() -> None:
    desk = Desk()
    desk.close_candle(0)

    assert desk.submit(order(0)) == desk.submit(order(0))
    desk.close_candle(1)
    assert desk.submit(order(0)) == "paper-o0"
    desk.close_candle(2)

    assert desk.held() == Decimal("0.5")


def test_a_candle_settled_twice_moves_the_book_once() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.submit(order(0))
    desk.close_candle(1)
    cash, writes = desk.cash(), desk.store.writes

    assert desk.settle(1) == []
    assert desk.settle(0) == []

    assert (desk.cash(), desk.store.writes) == (cash, writes)


def test_a_flip_closes_and_opens_on_one_candle() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.submit(order(0))
    desk.close_candle(1)
    desk.submit(order(1, Side.SELL, reduce_only=True, name="exit"))
    desk.submit(order(1, Side.SELL, "0.300", name="entry"))

    changed = desk.close_candle(2)

    assert changed == ["exit1", "entry1"]
    assert desk.held() == Decimal("-0.3")


def test_a_reduce_only_order_with_nothing_to_reduce_is_refused_at_once_or_cancelled_later() -> None:
    desk = Desk()
    desk.close_candle(0)
    with pytest.raises(VenueRejected) as refused:
        desk.submit(order(0, Side.SELL, reduce_only=True))
    desk.submit(order(0))
    desk.close_candle(1)
    desk.submit(order(1, Side.SELL, reduce_only=True, name="a"))
    desk.submit(order(1, Side.SELL, reduce_only=True, name="b"))
    desk.close_candle(2)

    first, second = (asyncio.run(desk.venue.look_up("BTC-USDT", name)) for name in ("a1", "b1"))

    assert refused.value.reason == "nothing_to_reduce"
    assert first is not None
    assert first.status is VenueOrderStatus.FILLED
    assert second is not None
    assert (second.status, second.filled_quantity) == (VenueOrderStatus.CANCELLED, 0)
    assert desk.held() == 0


def test_a_cancelled_order_never_fills() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.submit(order(0))

    asyncio.run(desk.venue.cancel("BTC-USDT", "o0"))
    desk.close_candle(1)
    asyncio.run(desk.venue.cancel("BTC-USDT", "o0"))

    found = asyncio.run(desk.venue.look_up("BTC-USDT", "o0"))
    assert found is not None
    assert found.status is VenueOrderStatus.CANCELLED
    assert desk.held() == 0


def test_an_order_later_than_fifteen_seconds_waits_for_the_next_open_and_is_flagged() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.clock.advance(15_001)
    desk.submit(order(0))

    missed = desk.close_candle(1, 101.0)
    met = desk.close_candle(2, 102.0)

    assert (missed, met) == ([], ["o0"])
    book = desk.store.get(paper.paper_books("paper"), "BTC-USDT")
    assert book is not None
    assert [(o.is_late, o.fills[0].price) for o in book.value.orders] == [(True, Decimal(102))]


def test_an_order_in_time_fills_at_the_next_open_even_when_that_candle_is_stored_late() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.clock.advance(15_000)
    desk.submit(order(0))
    desk.store_candle(1, 101.0)
    desk.store_candle(2, 102.0)

    desk.settle(2)

    book = desk.store.get(paper.paper_books("paper"), "BTC-USDT")
    assert book is not None
    assert [(o.is_late, o.fills[0].price) for o in book.value.orders] == [(False, Decimal(101))]


def test_an_order_whose_next_candle_is_settled_already_belongs_to_the_one_after() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.close_candle(1, 101.0)
    desk.clock.set(T0 + MINUTE + 5_000)
    desk.submit(order(0))

    desk.close_candle(2, 102.0)

    book = desk.store.get(paper.paper_books("paper"), "BTC-USDT")
    assert book is not None
    assert [(o.is_late, o.fills[0].price) for o in book.value.orders] == [(True, Decimal(102))]


def test_behind_a_hole_an_order_fills_at_the_next_candle_there_is() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.submit(order(0))

    desk.close_candle(5, 105.0)

    assert asyncio.run(desk.venue.positions())[0].average_price == Decimal(105)


def test_a_decision_on_a_longer_interval_waits_for_that_candles_close() -> None:
    desk = Desk()
    desk.store.put(kinds.RUNS, "run", RUN_OF_FIVE_MINUTES, at_ms=0)
    for index in range(5):
        desk.close_candle(index)
    desk.submit(order(0))

    desk.close_candle(5, 105.0)

    assert asyncio.run(desk.venue.positions())[0].average_price == Decimal(105)


def test_a_killed_venue_loses_nothing() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.submit(order(0))
    desk.restart()
    desk.close_candle(1, 101.0)
    desk.restart()

    found = asyncio.run(desk.venue.look_up("BTC-USDT", "o0"))

    assert found is not None
    assert found.status is VenueOrderStatus.FILLED
    assert desk.held() == Decimal("0.5")
    assert desk.venue.quote("BTC-USDT") == Decimal(101)


def test_a_writer_in_between_is_noticed_and_the_change_starts_again() -> None:
    desk = Desk()
    desk.close_candle(0)
    other = PaperVenue("paper", desk.store, {"BTC-USDT": BTC}, desk.clock, SPEC)
    stored_put, once = desk.store.put, [True]

    def put(*args: Any, **options: Any) -> Doc[Any]:
        if once:
            once.clear()
            asyncio.run(other.submit(order(0, name="theirs")))
        return stored_put(*args, **options)

    desk.store.put = put  # pyright: ignore[reportAttributeAccessIssue]
    desk.submit(order(0, name="ours"))

    assert len(asyncio.run(desk.venue.open_orders())) == 2


def test_funding_is_paid_at_the_boundary_on_the_open_of_the_candle_that_starts_there() -> None:
    desk = Desk()
    put_rate(desk, "0.0001")
    desk.close_candle(118)
    desk.submit(order(118))
    desk.close_candle(119)
    before = desk.cash()

    desk.close_candle(120, 110.0)

    assert desk.cash() == before - Decimal("0.5") * 110 * Decimal("0.0001")
    assert [p.due_ms for p in asyncio.run(desk.venue.funding("BTC-USDT"))] == [T0 + 120 * MINUTE]


def test_a_rate_that_comes_late_is_booked_on_the_position_held_at_its_instant() -> None:
    desk = Desk()
    desk.close_candle(118)
    desk.submit(order(118))
    desk.close_candle(119)
    before = desk.cash()
    desk.close_candle(120, 110.0)
    unpaid = desk.cash()
    desk.submit(order(120, name="more"))
    put_rate(desk, "0.0001")

    desk.close_candle(121, 110.0)
    desk.settle(121)

    fee = Decimal("0.5") * 110 * Decimal("0.0005")
    assert unpaid == before
    assert desk.cash() == before - fee - Decimal("0.5") * 110 * Decimal("0.0001")


def test_regression_5_paper_never_fills_at_price_0() -> None:
    desk = Desk()
    assert desk.venue.quote("BTC-USDT") is None
    desk.submit(order(-1))
    desk.store_candle(0, 0.0)

    with pytest.raises(BadInput, match="price below one tick"):
        desk.settle(0)

    assert asyncio.run(desk.venue.positions()) == []
    assert len(asyncio.run(desk.venue.open_orders())) == 1
    desk.store_candle(0, 100.0)
    desk.settle(0)
    assert asyncio.run(desk.venue.positions())[0].average_price == Decimal(100)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (replace(order(0), quantity=Decimal("0.0005")), "size"),
        (replace(order(0), quantity=Decimal(0)), "size"),
        (replace(order(0), quantity=Decimal("0.001")), "size"),  # below 2 USDT
        (replace(order(0), limit_price=Decimal(99)), "limit"),
    ],
)
def test_what_no_exchange_would_take_is_refused(asked: Order, reason: str) -> None:
    desk = Desk()
    desk.close_candle(0)

    with pytest.raises(VenueRejected) as refused:
        desk.submit(asked)

    assert refused.value.reason == reason


def test_an_unknown_pair_is_named() -> None:
    with pytest.raises(NotFound, match="ETH-USDT"):
        Desk().submit(replace(order(0), pair="ETH-USDT"))


def test_an_unknown_order_is_a_not_found_vote() -> None:
    assert asyncio.run(Desk().venue.look_up("BTC-USDT", "t1nothing")) is None


def test_old_orders_leave_the_book_and_are_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "KEPT_ORDERS", 2)
    monkeypatch.setattr(paper, "_PAGE", 2)
    desk = Desk()
    desk.close_candle(0)
    for index in range(8):
        desk.submit(order(index))
        desk.close_candle(index + 1)

    book = desk.store.get(paper.paper_books("paper"), "BTC-USDT")
    found = asyncio.run(desk.venue.orders_between("BTC-USDT", T0, T0 + 99 * MINUTE))
    oldest = asyncio.run(desk.venue.look_up("BTC-USDT", "o0"))

    assert book is not None
    assert len(book.value.orders) <= 3
    assert [o.client_order_id for o in found] == [f"o{index}" for index in range(8)]
    assert oldest is not None
    assert oldest.filled_quantity == Decimal("0.5")


def test_margin_follows_the_leverage_that_was_prepared() -> None:
    desk = Desk()
    asyncio.run(desk.venue.prepare("BTC-USDT", 5))
    desk.close_candle(0)
    desk.submit(order(0))
    desk.close_candle(1)

    balance = asyncio.run(desk.venue.balance())

    assert asyncio.run(desk.venue.positions())[0].leverage == 5
    assert balance.available == balance.equity - Decimal(10)


def test_an_execution_interval_across_funding_instants_is_refused() -> None:
    with pytest.raises(BadInput, match="divides 8h"):
        Desk(replace(SPEC, interval="12h"))


def put_rate(desk: Desk, rate: str) -> None:
    due_ms = T0 + 120 * MINUTE
    value = FundingRate(pair="BTC-USDT", due_ms=due_ms, rate=Decimal(rate))
    desk.store.put(kinds.funding_rates("BTC-USDT"), str(due_ms), value, at_ms=due_ms)


RUN_OF_FIVE_MINUTES = Run(
    run_id="run",
    agent_id="desk",
    account="paper",
    mode=Mode.PAPER,
    pair="BTC-USDT",
    interval="5m",
    version_id="v",
    risk_limit_set_id="default",
    decision_threshold=0.35,
    status=RunStatus.RUNNING,
    started_ms=0,
)


# --- protective exits -------------------------------------------------------------------------


def protected(index: int, side: Side = Side.BUY, stop: str = "95", take: str = "110") -> Order:
    asked = order(index, side)
    prices = {"stop_loss_price": Decimal(stop), "take_profit_price": Decimal(take)}
    return replace(asked, **prices)


def open_under_exits() -> Desk:
    """A long of 0.5 from 100, a stop at 95, a take-profit at 110."""
    desk = Desk()
    desk.close_candle(0)
    desk.submit(protected(0))
    desk.close_candle(1)
    return desk


def exits_of(desk: Desk) -> dict[ExitKind | None, VenueOrder]:
    return {row.exit_kind: row for row in asyncio.run(desk.venue.open_orders("BTC-USDT"))}


def test_the_exits_of_a_position_rest_under_the_id_of_their_order() -> None:
    desk = open_under_exits()

    resting = exits_of(desk)

    assert set(resting) == {ExitKind.STOP_LOSS, ExitKind.TAKE_PROFIT}
    stop = resting[ExitKind.STOP_LOSS]
    assert (stop.trigger_price, stop.quantity, stop.side) == (
        Decimal(95),
        Decimal("0.5"),
        Side.SELL,
    )
    assert (stop.client_order_id, stop.parent_order_id) == ("", "paper-o0")
    assert asyncio.run(desk.venue.order_by_id("BTC-USDT", stop.venue_order_id)) == stop


@pytest.mark.parametrize(
    ("parts", "kind", "price", "fee"),
    [
        ({"low": 94.0}, ExitKind.STOP_LOSS, "95", "0.02375"),
        (
            {"open": 90.0, "low": 90.0, "close": 90.0, "high": 90.0},
            ExitKind.STOP_LOSS,
            "90",
            "0.0225",
        ),
        ({"high": 111.0}, ExitKind.TAKE_PROFIT, "110", "0.011"),
    ],
)
def test_an_exit_fires_by_the_fill_rules_and_leaves_nothing_behind(
    parts: dict[str, float], kind: ExitKind, price: str, fee: str
) -> None:
    desk = open_under_exits()

    [fired_id] = desk.close_candle(2, **parts)

    fired = asyncio.run(desk.venue.order_by_id("BTC-USDT", fired_id))
    assert fired is not None
    [fill] = asyncio.run(desk.venue.fills("BTC-USDT", replace(fired, client_order_id="t1row")))
    assert (fired.exit_kind, fired.status) == (kind, VenueOrderStatus.FILLED)
    assert (fill.client_order_id, fill.price, fill.fee) == ("t1row", Decimal(price), Decimal(fee))
    assert desk.held() == 0
    assert exits_of(desk) == {}
    assert desk.close_candle(3, low=80.0) == []


def test_a_killed_venue_keeps_its_exits() -> None:
    desk = open_under_exits()
    before = exits_of(desk)

    desk.restart()

    assert exits_of(desk) == before
    assert len(desk.close_candle(2, low=94.0)) == 1


def test_a_flip_brings_the_exits_of_the_new_position_only() -> None:
    desk = open_under_exits()
    desk.submit(order(1, Side.SELL, reduce_only=True, name="c"))
    desk.submit(protected(1, Side.SELL, stop="105", take="90"))

    desk.close_candle(2)

    resting = exits_of(desk)
    assert {row.parent_order_id for row in resting.values()} == {"paper-o1"}
    assert resting[ExitKind.STOP_LOSS].side is Side.BUY
    [stopped] = desk.close_candle(3, high=106.0)
    assert stopped == "paper-o1-stop_loss"
    assert desk.held() == 0


def test_a_stop_that_fires_at_the_open_belongs_to_the_order_before_and_drops_the_close() -> None:
    desk = open_under_exits()
    desk.submit(order(1, Side.SELL, reduce_only=True, name="c"))
    desk.submit(protected(1, Side.SELL, stop="105", take="80"))

    changed = desk.close_candle(2, open=94.0, high=94.0, low=94.0, close=94.0)

    assert changed == ["paper-o0-stop_loss", "c1", "o1"]  # as it is to be booked
    closed = asyncio.run(desk.venue.look_up("BTC-USDT", "c1"))
    assert closed is not None
    assert closed.status is VenueOrderStatus.CANCELLED
    assert desk.held() == Decimal("-0.5")
    assert exits_of(desk)[ExitKind.STOP_LOSS].parent_order_id == "paper-o1"


def test_closing_a_part_keeps_the_exits_for_the_rest() -> None:
    desk = open_under_exits()
    desk.submit(order(1, Side.SELL, "0.200", reduce_only=True, name="c"))

    desk.close_candle(2)

    assert {row.quantity for row in exits_of(desk).values()} == {Decimal("0.3")}
    desk.close_candle(3, low=94.0)
    assert desk.held() == 0


def test_a_take_profit_alone_leaves_no_stop() -> None:
    desk = Desk()
    desk.close_candle(0)
    desk.submit(replace(protected(0, Side.SELL, take="90"), stop_loss_price=None))
    desk.close_candle(1)

    assert set(exits_of(desk)) == {ExitKind.TAKE_PROFIT}
    desk.close_candle(2, high=100_000.0)
    assert desk.held() == Decimal("-0.5")
    desk.close_candle(3, low=89.0)
    assert desk.held() == 0


def test_fired_exits_are_in_the_history_also_after_they_left_the_book(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paper, "KEPT_ORDERS", 0)
    desk = open_under_exits()
    [fired_id] = desk.close_candle(2, low=94.0)
    desk.submit(order(2))
    desk.close_candle(3)

    past = asyncio.run(desk.venue.orders_between("BTC-USDT", T0, T0 + 9 * MINUTE))
    found = asyncio.run(desk.venue.order_by_id("BTC-USDT", fired_id))

    assert found is not None
    assert found in past

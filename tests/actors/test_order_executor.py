"""The executor's promises, without Ray: an order is never lost and never doubled."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# Calling an actor's method without `.remote` is what a shell test is for.

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from unittest import mock

import pytest

from actors import heartbeat, order_executor, venue_talk
from actors.order_executor import Cancel, Execute, ExecutorParts, OrderExecutor
from desk.errors import (
    DuplicateClientId,
    LikelyRefused,
    OutcomeUnknown,
    VenueRejected,
    VenueUnavailable,
)
from desk.store import kinds
from desk.store.port import Event
from desk.trading import orders
from desk.trading.orders import Order, OrderState, Side, VenueOrder
from desk.trading.risk import Approved
from tests.actors.fakes import PAIR, Desk, ScriptedVenue, desk_with_books, drop_answer


class Gone(BaseException):
    """The process ended: nothing after it runs."""


def executor_of(desk: Desk, venue: ScriptedVenue, **settings: object) -> OrderExecutor:
    fast = {"lookup_schedule_s": (0.0,) * 50, "fill_schedule_s": (0.0,) * 5} | settings
    parts = ExecutorParts(
        account="paper",
        owner="test",
        store=desk.store,
        venue=venue,
        clock=desk.clock,
        pairs=(PAIR,),
        **fast,  # pyright: ignore[reportArgumentType]
    )
    return OrderExecutor(lambda: parts)


def ask(order: Order) -> Execute:
    return Execute(approved=Approved(value=order, limits_set_id="default"))


def run(work: Callable[[], Awaitable[object]], executor: OrderExecutor) -> None:
    async def until_quiet() -> None:
        await work()
        await executor.quiet()

    asyncio.run(until_quiet())


def stored_order(desk: Desk, order: Order) -> Order:
    found = desk.store.order(order.client_order_id)
    assert found is not None
    return found


@pytest.fixture
def desk() -> Desk:
    return desk_with_books()


@pytest.fixture(autouse=True)
def leaving() -> object:
    with mock.patch.object(heartbeat.os, "_exit", side_effect=Gone) as exited:
        yield exited


def test_an_order_goes_out_once_and_its_fill_is_in_the_books(desk: Desk) -> None:
    venue = ScriptedVenue()
    executor, order = executor_of(desk, venue), desk.intent()

    run(lambda: executor.execute(ask(order)), executor)

    after, ledger = stored_order(desk, order), desk.store.ledger("paper")
    assert after.state is OrderState.FILLED
    assert venue.submitted == [order.client_order_id]
    assert ledger is not None
    assert ledger.positions[PAIR].quantity == Decimal("0.0100")
    assert ledger.fees == Decimal("0.2")
    assert desk.store.reservations("paper") == {}


def test_sending_is_stored_before_the_venue_hears(desk: Desk) -> None:
    venue, seen = ScriptedVenue(), list[OrderState]()
    executor, order = executor_of(desk, venue), desk.intent()
    venue.before_placing = lambda sent: seen.append(stored_order(desk, sent).state)

    run(lambda: executor.execute(ask(order)), executor)

    assert seen == [OrderState.SENDING]


@pytest.mark.catalogue("O09")
def test_fifty_callers_at_once_make_one_order(desk: Desk) -> None:
    venue = ScriptedVenue()
    executor, order = executor_of(desk, venue), desk.intent()

    async def all_at_once() -> None:
        await asyncio.gather(*(executor.execute(ask(order)) for _ in range(50)))

    run(all_at_once, executor)

    assert venue.submitted == [order.client_order_id]


@pytest.mark.catalogue("O06")
def test_a_timeout_after_which_the_order_was_there_is_looked_up_never_resubmitted(
    desk: Desk,
) -> None:
    venue = ScriptedVenue(after_placing=drop_answer)
    executor, order = executor_of(desk, venue), desk.intent()

    run(lambda: executor.execute(ask(order)), executor)

    assert venue.submitted == [order.client_order_id]
    assert stored_order(desk, order).state is OrderState.FILLED
    assert len(desk.store.fills_of_order(order.client_order_id)) == 1


@pytest.mark.catalogue("O07")
def test_a_lost_request_is_sent_again_under_the_same_id_only_once_its_absence_is_proved(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Wall(monkeypatch, step_ms=1_500)
    venue = ScriptedVenue(before_placing=once(drop_answer))
    executor, order = executor_of(desk, venue), desk.intent()

    run(lambda: executor.execute(ask(order)), executor)

    first_lookups = venue.heard.index(("submit", order.client_order_id), 1)
    assert venue.submitted == [order.client_order_id] * 2
    assert first_lookups >= 4
    assert wall.now_ms - wall.began_ms >= 8_000
    assert stored_order(desk, order).state is OrderState.FILLED


def test_a_lost_request_whose_decision_went_stale_is_not_placed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Wall(monkeypatch, step_ms=1_500)
    venue = ScriptedVenue(before_placing=drop_answer)
    executor, order = executor_of(desk, venue), desk.intent()

    async def slow() -> None:
        await executor.execute(ask(order))
        desk.clock.advance(120_000)

    run(slow, executor)

    assert venue.submitted == [order.client_order_id]
    assert stored_order(desk, order).state is OrderState.NOT_PLACED
    assert desk.store.reservations("paper") == {}


def test_an_unexplained_position_forbids_the_second_send(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Wall(monkeypatch, step_ms=1_500)
    venue = ScriptedVenue(before_placing=drop_answer, external=Decimal("0.0100"))
    executor, order = executor_of(desk, venue), desk.intent()

    run(lambda: executor.execute(ask(order)), executor)

    after = stored_order(desk, order)
    assert venue.submitted == [order.client_order_id]
    assert (after.state, after.reason) == (OrderState.NOT_PLACED, "not_found")
    assert after.last_vote_wall_ms - after.sent_wall_ms > orders.UNEXPLAINED_AFTER_MS


@pytest.mark.catalogue("O11")
def test_a_duplicate_id_answer_is_proof_of_acceptance(desk: Desk) -> None:
    def duplicate(order: Order) -> None:
        raise DuplicateClientId("submit", "109201")

    venue = ScriptedVenue(after_placing=duplicate)
    executor, order = executor_of(desk, venue), desk.intent()

    run(lambda: executor.execute(ask(order)), executor)

    assert stored_order(desk, order).state is OrderState.FILLED


@pytest.mark.catalogue("O11")
def test_an_order_whose_id_the_venue_says_it_has_is_never_taken_for_absent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def duplicate(order: Order) -> None:
        wall.step_ms = 15_000
        raise DuplicateClientId("submit", "109201")

    wall = Wall(monkeypatch, step_ms=500)
    venue = ScriptedVenue(before_placing=duplicate)
    executor, order = executor_of(desk, venue), desk.intent()

    asyncio.run(until_unclear_for_good(executor, venue, order))

    assert venue.submitted == [order.client_order_id]
    assert stored_order(desk, order).state is OrderState.QUARANTINED
    assert order.client_order_id in desk.store.reservations("paper")


def test_a_likely_refusal_that_is_never_found_is_not_sent_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def likely(order: Order) -> None:
        raise LikelyRefused("submit", "price")

    Wall(monkeypatch, step_ms=1_500)
    venue = ScriptedVenue(before_placing=likely)
    executor, order = executor_of(desk, venue), desk.intent()

    run(lambda: executor.execute(ask(order)), executor)

    after = stored_order(desk, order)
    assert venue.submitted == [order.client_order_id]
    assert (after.state, after.reason) == (OrderState.NOT_PLACED, "likely_refused:price")


@pytest.mark.catalogue("O20")
def test_a_definite_refusal_ends_the_order_and_frees_its_reservation(desk: Desk) -> None:
    def no_margin(order: Order) -> None:
        raise VenueRejected("submit", "101204", "margin", "Insufficient margin")

    venue = ScriptedVenue(before_placing=no_margin)
    executor, order = executor_of(desk, venue), desk.intent()

    run(lambda: executor.execute(ask(order)), executor)

    after = stored_order(desk, order)
    assert (after.state, after.reason) == (OrderState.REJECTED, "margin")
    assert desk.store.reservations("paper") == {}
    assert venue.submitted == [order.client_order_id]


@pytest.mark.catalogue("O02")
def test_after_a_restart_a_fresh_intent_is_sent_once(desk: Desk) -> None:
    venue, order = ScriptedVenue(), desk.intent()
    executor = executor_of(desk, venue)

    run(executor.turn, executor)

    assert venue.submitted == [order.client_order_id]
    assert stored_order(desk, order).state is OrderState.FILLED


def test_after_a_restart_a_stale_intent_is_not_placed(desk: Desk) -> None:
    venue, order = ScriptedVenue(), desk.intent()
    desk.clock.advance(61_000)
    executor = executor_of(desk, venue)

    run(executor.turn, executor)

    assert venue.submitted == []
    assert stored_order(desk, order).state is OrderState.NOT_PLACED


@pytest.mark.catalogue("O03")
@pytest.mark.catalogue("O04")
def test_an_order_found_in_sending_after_a_crash_is_looked_up_and_adopted(desk: Desk) -> None:
    def crash(order: Order) -> None:
        raise Gone

    venue, order = ScriptedVenue(after_placing=crash), desk.intent()
    dying = executor_of(desk, venue)
    with pytest.raises(Gone):
        asyncio.run(dying.execute(ask(order)))
    venue.after_placing = lambda _: None
    assert stored_order(desk, order).state is OrderState.SENDING

    executor = executor_of(desk, venue)
    run(executor.turn, executor)

    assert venue.submitted == [order.client_order_id]
    assert stored_order(desk, order).state is OrderState.FILLED


@pytest.mark.catalogue("O04")
def test_an_order_that_was_unknown_before_a_crash_is_followed_after_it(desk: Desk) -> None:
    venue = ScriptedVenue(after_placing=drop_answer, is_reachable=False)
    dying, order = executor_of(desk, venue), desk.intent()

    async def until_it_dies() -> None:
        await dying.execute(ask(order))
        give_up(dying)

    asyncio.run(until_it_dies())
    assert stored_order(desk, order).state is OrderState.UNKNOWN
    venue.is_reachable = True

    executor = executor_of(desk, venue)
    run(executor.turn, executor)

    assert venue.submitted == [order.client_order_id]
    assert stored_order(desk, order).state is OrderState.FILLED


@pytest.mark.catalogue("O25")
def test_an_older_executor_leaves_instead_of_sending(desk: Desk, leaving: mock.Mock) -> None:
    venue, order = ScriptedVenue(), desk.intent()
    older = executor_of(desk, venue)
    executor_of(desk, venue)

    with pytest.raises(Gone):
        asyncio.run(older.execute(ask(order)))

    assert leaving.called
    assert venue.submitted == []


def test_an_executor_whose_lease_may_be_over_sends_nothing(desk: Desk) -> None:
    venue, order = ScriptedVenue(), desk.intent()
    executor = executor_of(desk, venue, lease_ttl_s=1.0)

    run(lambda: executor.execute(ask(order)), executor)

    assert venue.submitted == []
    assert stored_order(desk, order).state is OrderState.INTENT


@pytest.mark.catalogue("O30")
def test_the_kill_switch_stops_an_entry_that_was_already_approved(desk: Desk) -> None:
    venue, order = ScriptedVenue(), desk.intent()
    executor = executor_of(desk, venue)
    switched = Event(topic="risk", key="paper", data={}, at_ms=desk.clock.now_ms())
    desk.store.set_kill("all", on=True, reason="test", event=switched)

    run(lambda: executor.execute(ask(order)), executor)

    after = stored_order(desk, order)
    assert venue.submitted == []
    assert (after.state, after.reason) == (OrderState.NOT_PLACED, "kill_switch")


def test_the_kill_switch_lets_a_reducing_order_pass(desk: Desk) -> None:
    venue = ScriptedVenue()
    order = desk.intent(reduce_only=True, side=Side.SELL, reserved_quote=Decimal(0))
    executor = executor_of(desk, venue)
    switched = Event(topic="risk", key="paper", data={}, at_ms=desk.clock.now_ms())
    desk.store.set_kill("all", on=True, reason="test", event=switched)

    run(lambda: executor.execute(ask(order)), executor)

    assert venue.submitted == [order.client_order_id]


def test_cancelling_a_resting_order_ends_it_on_the_venues_word(desk: Desk) -> None:
    venue = ScriptedVenue(fills_at_once=False)
    executor, order = executor_of(desk, venue), desk.intent()

    async def send_and_cancel() -> None:
        await executor.execute(ask(order))
        await executor.cancel(Cancel(client_order_id=order.client_order_id, reason="operator"))

    run(send_and_cancel, executor)

    after = stored_order(desk, order)
    assert (after.state, after.reason) == (OrderState.CANCELLED, "operator")
    assert desk.store.reservations("paper") == {}


def test_an_unreachable_venue_concludes_nothing(desk: Desk) -> None:
    venue = ScriptedVenue(after_placing=drop_answer, is_reachable=False)
    executor, order = executor_of(desk, venue), desk.intent()

    async def look_in_vain() -> None:
        await executor.execute(ask(order))
        while venue.heard.count(("look_up", order.client_order_id)) < 10:
            await asyncio.sleep(0)
        venue.is_reachable = True

    run(look_in_vain, executor)

    assert venue.submitted == [order.client_order_id]
    assert stored_order(desk, order).state is OrderState.FILLED


def test_an_order_unresolved_for_ten_minutes_is_quarantined_with_an_alert(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Wall(monkeypatch, step_ms=60_000)
    venue = HalfBlindVenue(before_placing=drop_answer)
    executor, order = executor_of(desk, venue), desk.intent()

    asyncio.run(until_unclear_for_good(executor, venue, order))

    codes = [doc.value.code for doc in desk.store.list(kinds.ALERTS)]
    assert codes == ["unresolved_client_order"]
    assert stored_order(desk, order).state is OrderState.QUARANTINED


async def until_unclear_for_good(
    executor: OrderExecutor, venue: ScriptedVenue, order: Order
) -> None:
    """Execute and follow what is unclear until that ends by itself, or after thirty look-ups."""
    await executor.execute(ask(order))
    while executor._work and venue.heard.count(("look_up", order.client_order_id)) < 30:
        await asyncio.sleep(0)
    give_up(executor)


def give_up(executor: OrderExecutor) -> None:
    for task in list(executor._work.values()):
        task.cancel()


class HalfBlindVenue(ScriptedVenue):
    """Answers look-ups, but not what else is on its books."""

    async def open_orders(self, pair: str | None = None) -> list[VenueOrder]:
        raise VenueUnavailable("open_orders", "unreachable")


class Wall:
    """A wall clock that moves by a step whenever the executor reads it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, step_ms: int) -> None:
        self.began_ms = self.now_ms = 1_800_000_000_000
        self.step_ms = step_ms
        monkeypatch.setattr(order_executor, "wall_ms", self.read)

    def read(self) -> int:
        self.now_ms += self.step_ms
        return self.now_ms


def once(act: Callable[[Order], None]) -> Callable[[Order], None]:
    left = [act]

    def first_time(order: Order) -> None:
        if left:
            left.pop()(order)

    return first_time


def test_reasons_of_unclear_answers_are_short_words() -> None:
    assert venue_talk._reason_of(TimeoutError()) == "timeout"
    assert venue_talk._reason_of(OutcomeUnknown("submit", "http_503")) == "http_503"
    assert venue_talk._reason_of(VenueUnavailable("submit", "dropped")) == "dropped"
    assert venue_talk._reason_of(ValueError("bug")) == "ValueError"

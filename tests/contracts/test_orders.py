"""Orders in the store: reserved and created at once, moved only along the table, never twice."""

import threading
from dataclasses import replace
from decimal import Decimal

import pytest

from desk.errors import BadInput, IllegalTransition, LimitReached, VersionConflict
from desk.store import kinds
from desk.store.port import Event, Reading, Stream
from desk.trading.limits import default_limits
from desk.trading.orders import TRANSITIONS, Order, OrderState

REPEATS = 1_000


def _topics(events: list[Event]) -> list[str]:
    return [event.topic for event in events]


def test_creating_an_order_reserves_and_tells_in_one_call(books, rows):
    created = books.create(rows.order())

    assert created == rows.order(version=1)
    assert books.store.order("c1") == created
    assert books.store.active_orders("paper") == [created]
    assert books.store.reservations("paper") == {"c1": "900.0015"}
    events = books.store.read_events({Stream.ORDERS: "0-0"})
    assert _topics(events) == ["ledger_created", "order_created"]


def test_creating_an_order_moves_the_version_of_the_ledger_it_was_checked_on(books, rows):
    checked_on = books.ledger()

    books.create(rows.order("c1"), ledger=checked_on)

    assert books.ledger().version == checked_on.version + 1
    with pytest.raises(VersionConflict) as late:
        books.create(rows.order("c2"), ledger=checked_on)
    assert (late.value.key, late.value.expected, late.value.found) == ("led:paper", 1, 2)
    assert books.store.order("c2") is None


def test_an_order_of_an_account_without_books_is_refused(books, rows):
    with pytest.raises(VersionConflict):
        books.create(rows.order(account="live"), ledger=replace(rows.ledger("live"), version=0))


def test_an_order_that_exists_is_returned_as_it_stands(books, rows):
    opened = books.opened()

    again = books.create(rows.order(quantity=Decimal(9)), request_id="another request")

    assert again == opened
    assert books.store.order("c1") == opened


@pytest.mark.catalogue("R01")
@pytest.mark.catalogue("R06")
def test_of_two_decisions_that_race_for_a_limit_exactly_one_wins(books, rows):
    start, end = threading.Barrier(3, timeout=30), threading.Barrier(3, timeout=30)
    checked_on, outcomes = books.ledger(), list[str]()

    def decide(side: str) -> None:
        for attempt in range(REPEATS):
            start.wait()
            try:
                books.create(rows.order(f"{side}{attempt}"), ledger=checked_on)
                outcomes.append("reserved")
            except VersionConflict:
                outcomes.append("conflict")
            end.wait()

    racers = [threading.Thread(target=decide, args=(side,)) for side in ("a", "b")]
    for racer in racers:
        racer.start()
    for _ in range(REPEATS):
        checked_on = books.ledger()
        outcomes.clear()
        start.wait()
        end.wait()

        assert sorted(outcomes) == ["conflict", "reserved"]
    for racer in racers:
        racer.join()
    active = {order.client_order_id for order in books.store.active_orders("paper")}
    assert len(active) == REPEATS
    assert set(books.store.reservations("paper")) == active


@pytest.mark.catalogue("O09")
def test_one_decision_submitted_fifty_times_at_once_is_one_order(books, rows):
    answers: list[object] = []
    start = threading.Barrier(50)

    def submit() -> None:
        start.wait()
        for _ in range(50):
            try:
                answers.append(books.create(rows.order()))
                return
            except VersionConflict:
                continue

    callers = [threading.Thread(target=submit) for _ in range(50)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert answers == [rows.order(version=1)] * 50
    created = books.store.read_events({Stream.ORDERS: "0-0"})
    assert _topics(created).count("order_created") == 1
    assert books.ledger().version == 2


@pytest.mark.parametrize("before", OrderState)
@pytest.mark.parametrize("after", OrderState)
def test_an_order_moves_only_along_the_table(books, rows, before: OrderState, after: OrderState):
    order = books.create(rows.order())
    for step in _path_to(before):
        order = books.move(order, step)

    if after in TRANSITIONS[before]:
        assert books.move(order, after, request_id="last").version == order.version + 1
    else:
        with pytest.raises(IllegalTransition):
            books.move(order, after, request_id="last")
        assert books.store.order("c1") == order


def test_moving_from_an_old_version_is_a_conflict(books, rows):
    created = books.create(rows.order())
    books.move(created, OrderState.SENDING)

    with pytest.raises(VersionConflict) as late:
        books.move(created, OrderState.NOT_PLACED)

    assert (late.value.key, late.value.expected, late.value.found) == ("ord:c1", 1, 2)


def test_a_terminal_order_releases_its_reservation_and_a_reopened_one_takes_it_again(books):
    opened = books.opened()
    cancelled = books.move(opened, OrderState.CANCELLED)
    assert books.store.reservations("paper") == {}
    assert books.store.active_orders("paper") == []
    version = books.ledger().version

    reopened = books.move(cancelled, OrderState.UNKNOWN)

    assert books.store.reservations("paper") == {"c1": "900.0015"}
    assert books.store.active_orders("paper") == [reopened]
    assert books.ledger().version == version + 1


def test_an_order_without_a_reservation_reserves_nothing(books, rows):
    books.create(rows.order(reduce_only=True, reserved_quote=Decimal("0.00")))

    assert books.store.reservations("paper") == {}


def test_what_an_order_is_cannot_change(books, rows):
    created = books.create(rows.order())

    with pytest.raises(BadInput, match="reduce_only"):
        books.move(created, OrderState.SENDING, reduce_only=True)


def test_a_repeated_request_returns_the_first_answer_without_a_second_effect(books, rows):
    created = books.create(rows.order())
    sending = books.move(created, OrderState.SENDING, request_id="send")
    books.move(sending, OrderState.OPEN)

    again = books.move(created, OrderState.SENDING, request_id="send", attempts=7)

    assert again == sending
    found = books.store.order("c1")
    assert found is not None
    assert found.state is OrderState.OPEN
    assert _topics(books.store.read_events({Stream.ORDERS: "0-0"})).count("order_moved") == 2


def test_a_refused_request_is_not_remembered(books, rows):
    created = books.create(rows.order())
    with pytest.raises(IllegalTransition):
        books.move(created, OrderState.FILLED, request_id="again")

    assert books.move(created, OrderState.SENDING, request_id="again").version == 2


def test_one_request_id_cannot_stand_for_two_changes(books, rows):
    first, second = books.create(rows.order("c1")), books.create(rows.order("c2"))
    books.move(first, OrderState.SENDING, request_id="same")

    with pytest.raises(BadInput, match="request_id"):
        books.move(second, OrderState.SENDING, request_id="same")
    with pytest.raises(BadInput, match="request_id"):
        books.create(rows.order("c3"), request_id="same")


@pytest.mark.catalogue("R01")
def test_an_order_is_not_created_on_limits_that_were_edited_since_they_were_read(books, rows):
    def read() -> Reading:
        return Reading.of(
            kinds.RISK_LIMITS, "default", books.store.get(kinds.RISK_LIMITS, "default")
        )

    def create(name: str, seen: Reading) -> Order:
        return books.create(rows.order(name), readings=(seen,))

    absent = read()
    assert create("c0", absent).version == 1
    books.store.put(kinds.RISK_LIMITS, "default", default_limits(), at_ms=0)
    with pytest.raises(VersionConflict, match="risk/default was at version 1, expected 0"):
        create("c1", absent)
    first = read()
    assert create("c1", first).version == 1
    books.store.put(kinds.RISK_LIMITS, "default", default_limits(), at_ms=0)
    with pytest.raises(VersionConflict, match="risk/default was at version 2, expected 1"):
        create("c2", first)
    assert books.store.order("c2") is None
    assert create("c1", first).client_order_id == "c1", "an order that exists is returned as before"


def test_no_order_is_created_before_the_change_that_it_comes_after(books, rows):
    claims = kinds.STATE

    def create(name: str, after: str) -> Order:
        return books.create(rows.order(name), after=after)

    def claim(request_id: str) -> None:
        books.store.put(
            claims, "c", {}, at_ms=0, expected_version=0, request_id=request_id, remembered_s=60
        )

    before = books.ledger().version
    with pytest.raises(VersionConflict, match="req:mine"):
        create("c1", "mine")
    assert books.store.order("c1") is None
    assert books.ledger().version == before

    claim("mine")
    with pytest.raises(VersionConflict):
        claim("theirs")
    with pytest.raises(VersionConflict, match="req:theirs"):
        create("c2", "theirs")
    assert create("c1", "mine").version == 1


def test_a_kill_flag_stops_entries_but_not_exits(books, rows):
    books.store.set_kill("paper", on=True, reason="drill", event=rows.event("kill_set"))

    with pytest.raises(LimitReached, match="kill_switch"):
        books.create(rows.order("entry"))
    exit_order = books.create(rows.order("exit", reduce_only=True, reserved_quote=Decimal(0)))
    assert books.move(exit_order, OrderState.SENDING).state is OrderState.SENDING

    books.store.set_kill("paper", on=False, reason="over", event=rows.event("kill_lifted"))
    assert books.create(rows.order("entry")).version == 1


def test_a_kill_flag_also_stops_an_entry_that_is_about_to_be_sent(books, rows):
    waiting = books.create(rows.order())
    books.store.set_kill("all", on=True, reason="drill", event=rows.event("kill_set"))

    with pytest.raises(LimitReached, match="kill_switch"):
        books.move(waiting, OrderState.SENDING)

    assert books.move(waiting, OrderState.NOT_PLACED).state is OrderState.NOT_PLACED


def test_the_switch_of_its_agent_stops_an_entry_that_is_about_to_be_sent_but_no_exit(books, rows):
    books.store.put(kinds.RUNS, "run", rows.run(agent_id="a1"), at_ms=1)
    books.store.put(kinds.AGENTS, "a1", rows.agent(agent_id="a1", kill_switch=True), at_ms=1)
    entry = books.create(rows.order("entry"))
    leaving = rows.order("exit", reduce_only=True, reserved_quote=Decimal(0))

    with pytest.raises(LimitReached, match="kill_switch"):
        books.move(entry, OrderState.SENDING)
    assert books.move(books.create(leaving), OrderState.SENDING).state is OrderState.SENDING

    books.store.put(kinds.AGENTS, "a1", rows.agent(agent_id="a1"), at_ms=2)
    assert books.move(entry, OrderState.SENDING).state is OrderState.SENDING


def test_an_entry_of_a_run_or_an_agent_that_is_not_stored_is_let_go(books, rows):
    books.store.put(kinds.RUNS, "run", rows.run(agent_id="nobody"), at_ms=1)
    for name, run_id in (("c1", "run"), ("c2", "nothing")):
        waiting = books.create(rows.order(name, run_id=run_id))

        assert books.move(waiting, OrderState.SENDING).state is OrderState.SENDING


def test_the_wish_to_cancel_an_order_in_flight_is_stored_while_a_kill_flag_is_set(books, rows):
    sending = books.move(books.create(rows.order()), OrderState.SENDING)
    books.store.set_kill("all", on=True, reason="drill", event=rows.event("kill_set"))

    wished = books.move(sending, OrderState.SENDING, cancel_reason="kill_switch")

    assert (wished.state, wished.cancel_reason) == (OrderState.SENDING, "kill_switch")


def test_the_reason_of_a_kill_is_the_accounts_own_before_that_of_all(books, rows):
    assert books.store.kill_reason("paper") is None
    books.store.set_kill("all", on=True, reason="everything", event=rows.event("kill_set"))
    assert books.store.kill_reason("paper") == "everything"

    books.store.set_kill("paper", on=True, reason="this one", event=rows.event("kill_set"))

    assert books.store.kill_reason("paper") == "this one"
    assert books.store.kill_reason("live") == "everything"


def test_orders_and_trades_come_in_the_order_of_their_creation(books, rows):
    books.create(rows.order("c3", created_ms=30, trade_id="t1"))
    books.create(rows.order("c1", created_ms=10, trade_id="t1"))
    books.create(rows.order("c2", created_ms=20, trade_id="t2"))

    names = [order.client_order_id for order in books.store.active_orders("paper")]
    assert names == ["c1", "c2", "c3"]
    assert [order.client_order_id for order in books.store.orders_of_trade("t1")] == ["c1", "c3"]
    assert books.store.trade_ids() == ["t2", "t1"]
    assert books.store.trade_ids(before_ms=20) == ["t1"]
    assert books.store.trade_ids(account="live") == []
    assert books.store.trade_ids(account="paper", limit=1) == ["t2"]


def _path_to(state: OrderState) -> list[OrderState]:
    """States to pass from INTENT to a state, shortest first."""
    paths = {OrderState.INTENT: list[OrderState]()}
    while state not in paths:
        for known, path in list(paths.items()):
            for after in sorted(TRANSITIONS[known]):
                paths.setdefault(after, [*path, after])
    return paths[state]

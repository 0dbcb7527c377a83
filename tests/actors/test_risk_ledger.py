"""The risk ledger: reserves and creates in one step, marks the books, trips and remembers the breaker."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest

from actors import heartbeat
from actors.approval import Approve
from actors.order_rows import cooldown_key
from actors.risk_ledger import Adjust, Mark
from desk.errors import BadInput
from desk.store import kinds
from desk.store.port import Event
from desk.trading import ledger as books
from desk.trading import risk
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.intents import OrderIntent
from desk.trading.orders import Leg, Order, OrderState, Side
from desk.trading.risk import Approved, Refused
from tests.actors.fakes import BTC, PAIR
from tests.actors.stage import Stage

FAR_MS = 10**15


def wish(decision: str = "d1", *, quantity: str = "0.0100", reduce_only: bool = False) -> Approve:
    intent = OrderIntent(
        account="paper",
        run_id="run1",
        decision_id=decision,
        pair=PAIR,
        leg=Leg.EXIT if reduce_only else Leg.ENTRY,
        side=Side.SELL if reduce_only else Side.BUY,
        quantity=Decimal(quantity),
        reduce_only=reduce_only,
        reference_price=Decimal("40000"),
        decided_open_ms=0,
        trace_id="tr1",
    )
    return Approve(intent=intent, limits_set_id="default")


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.is_hand_over_lost = True  # the ledger alone
    stage.next_candle()
    return stage


def hold(stage: Stage, quantity: str = "0.0100") -> None:
    """Let the books hold a long position."""
    ask = replace(adjustment(), quantity=Decimal(quantity), adjustment_id="held")
    asyncio.run(stage.ledger.adjust(ask))


def approve(stage: Stage, ask: Approve) -> Approved | Refused:
    return asyncio.run(stage.ledger.approve(ask))


def test_an_approved_intent_is_an_order_with_its_reservation(stage: Stage) -> None:
    verdict = approve(stage, wish())

    [order] = stage.orders()
    assert isinstance(verdict, Approved)
    assert verdict.value == order
    assert order.state is OrderState.INTENT
    [(reserved_for, amount)] = stage.store.reservations("paper").items()
    assert (reserved_for, Decimal(amount)) == (order.client_order_id, Decimal(400))


@pytest.mark.catalogue("O01")
def test_asking_again_is_the_same_order(stage: Stage) -> None:
    first, second = approve(stage, wish()), approve(stage, wish())

    assert first == second
    assert len(stage.orders()) == 1


@pytest.mark.catalogue("R01")
def test_of_many_intents_at_once_only_those_within_the_limit_pass(stage: Stage) -> None:
    asks = [wish(f"d{number}", quantity="0.0100") for number in range(10)]

    async def all_at_once() -> list[Approved | Refused]:
        return await asyncio.gather(*(stage.ledger.approve(ask) for ask in asks))

    verdicts = asyncio.run(all_at_once())

    approved = [verdict for verdict in verdicts if isinstance(verdict, Approved)]
    refused = {verdict.limit for verdict in verdicts if isinstance(verdict, Refused)}
    reserved = sum(Decimal(amount) for amount in stage.store.reservations("paper").values())
    assert len(approved) == 2
    assert refused == {"max_position_size"}
    assert reserved <= 1_000


def test_an_unknown_limit_set_refuses(stage: Stage) -> None:
    verdict = approve(stage, replace(wish(), limits_set_id="none"))

    assert isinstance(verdict, Refused)
    assert verdict.limit == "risk_limit_set_missing"


def test_the_kill_switch_refuses_entries_inside_the_store_call(stage: Stage) -> None:
    hold(stage)
    event = Event(topic="risk", key="all", data={}, at_ms=0)
    stage.store.set_kill("all", on=True, reason="test", event=event)

    entry, exit_ = approve(stage, wish()), approve(stage, wish("d2", reduce_only=True))

    assert isinstance(entry, Refused)
    assert entry.limit == "kill_switch"
    assert isinstance(exit_, Approved)


@pytest.mark.catalogue("R02")
def test_entries_wait_for_a_fresh_mark_and_exits_do_not(stage: Stage) -> None:
    hold(stage)
    stage.clock.advance(61_000)

    entry, exit_ = approve(stage, wish()), approve(stage, wish("d2", reduce_only=True))

    assert isinstance(entry, Refused)
    assert entry.limit == "equity_stale"
    assert isinstance(exit_, Approved)


@pytest.mark.catalogue("R04")
def test_a_loss_between_two_decisions_trips_the_breaker_and_a_restart_keeps_it(
    stage: Stage,
) -> None:
    policy = replace(risk.default_paper_policy(), circuit_breaker_loss=Decimal("0.01"))
    stage.store.put(kinds.ACCOUNT_POLICIES, "paper", policy, at_ms=0)
    stage.decide(1.0)
    stage.next_candle()

    asyncio.run(stage.ledger.mark(Mark(prices={PAIR: Decimal("30000")})))
    stage.ledger = stage.new_ledger()
    verdict = approve(stage, wish())

    row = stage.store.get(kinds.BREAKERS, "paper")
    assert row is not None
    assert row.value.state is BreakerState.COOLDOWN
    assert isinstance(verdict, Refused)
    assert "circuit_breaker" in [doc.value.code for doc in stage.store.list(kinds.ALERTS)]


def test_a_cool_down_ends_by_itself(stage: Stage) -> None:
    policy = replace(
        risk.default_paper_policy(), circuit_breaker_loss=Decimal("0.01"), cooldown_minutes=1
    )
    stage.store.put(kinds.ACCOUNT_POLICIES, "paper", policy, at_ms=0)
    stage.decide(1.0)
    stage.next_candle()
    asyncio.run(stage.ledger.mark(Mark(prices={PAIR: Decimal("30000")})))

    stage.clock.advance(61_000)
    asyncio.run(stage.ledger.turn())

    row = stage.store.get(kinds.BREAKERS, "paper")
    assert row is not None
    assert row.value.state is BreakerState.OK


def adjustment() -> Adjust:
    return Adjust(
        pair=PAIR,
        ours=Decimal(0),
        quantity=Decimal("0.0100"),
        price=Decimal("40000"),
        adjustment_id="adj1",
    )


@pytest.mark.catalogue("O16")
def test_an_adjustment_is_booked_once_per_id(stage: Stage) -> None:
    for _ in range(3):
        asyncio.run(stage.ledger.adjust(adjustment()))

    ledger = stage.store.ledger("paper")
    assert ledger is not None
    assert books.held_quantity(ledger, PAIR) == Decimal("0.0100")
    assert ledger.adjustments == 1


@pytest.mark.catalogue("O16")
def test_an_adjustment_of_a_position_that_has_moved_is_refused(stage: Stage) -> None:
    asyncio.run(stage.ledger.adjust(adjustment()))
    late = replace(adjustment(), quantity=Decimal("-0.0200"), adjustment_id="adj2")

    with pytest.raises(BadInput, match="compare again"):
        asyncio.run(stage.ledger.adjust(late))

    ledger = stage.store.ledger("paper")
    assert ledger is not None
    assert books.held_quantity(ledger, PAIR) == Decimal("0.0100")


def test_an_adjustment_is_booked_once_also_after_a_restart_and_a_forgotten_request(
    stage: Stage,
) -> None:
    asyncio.run(stage.ledger.adjust(adjustment()))
    stage.store._state.answers.clear()

    asyncio.run(stage.new_ledger().adjust(adjustment()))

    ledger = stage.store.ledger("paper")
    assert ledger is not None
    assert books.held_quantity(ledger, PAIR) == Decimal("0.0100")
    assert [one.adjustment_id for one in stage.store.adjustments("paper")] == ["adj1"]


def test_books_open_once_with_the_accounts_cash(stage: Stage) -> None:
    before = stage.store.ledger("paper")

    stage.new_ledger()

    assert before is not None
    assert before.starting_cash == 10_000
    assert stage.store.ledger("paper") == before


def test_an_older_ledger_leaves_instead_of_reserving(stage: Stage) -> None:
    older = stage.ledger
    stage.new_ledger()

    leaving = mock.patch.object(heartbeat.os, "_exit", side_effect=SystemError("left"))
    with leaving as exited, pytest.raises(SystemError, match="left"):
        asyncio.run(older.approve(wish()))

    assert exited.called
    assert stage.orders() == []


@pytest.mark.catalogue("O19")
@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"pair": "DOGE-USDT"}, "pair_unknown"),
        ({"run_id": "nobody"}, "run_unknown"),
        ({"run_id": "live-run"}, "mode_not_allowed"),
        ({"quantity": Decimal("0.00015")}, "quantity_off_lot"),
        ({"quantity": Decimal("0.0000")}, "quantity_off_lot"),
        ({"reference_price": Decimal(100)}, "notional_below_minimum"),
        ({"reduce_only": True, "leg": Leg.EXIT}, "side_not_allowed"),
    ],
)
def test_O19_what_breaks_a_rule_is_refused_by_its_name_and_nothing_is_written(
    stage: Stage, changes: dict[str, object], rule: str
) -> None:
    other = replace(stage.run, run_id="live-run", account="live")
    stage.store.put(kinds.RUNS, "live-run", other, at_ms=0)
    before = (stage.orders(), stage.store.ledger("paper"), stage.store.reservations("paper"))
    ask = wish()

    verdict = approve(stage, replace(ask, intent=replace(ask.intent, **changes)))

    assert isinstance(verdict, Refused)
    assert verdict.limit == rule
    after = (stage.orders(), stage.store.ledger("paper"), stage.store.reservations("paper"))
    assert after == before


@pytest.mark.catalogue("R09")
def test_R09_a_pair_taken_off_the_list_meanwhile_takes_exits_and_no_entries(stage: Stage) -> None:
    hold(stage)
    agent = stage.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    stage.store.put(kinds.AGENTS, "desk", replace(agent.value, allowed_instruments=()), at_ms=0)

    entry, exit_ = approve(stage, wish()), approve(stage, wish("d2", reduce_only=True))

    assert isinstance(entry, Refused)
    assert entry.limit == "pair_not_allowed"
    assert isinstance(exit_, Approved)


@pytest.mark.catalogue("R07")
@pytest.mark.parametrize(("allowed", "passes"), [("1199", False), ("1200", True)])
def test_R07_a_set_edited_while_orders_are_open_holds_for_the_next_entry_alone(
    stage: Stage, allowed: str, *, passes: bool
) -> None:
    def set_limit(size: str) -> None:
        changed = replace(risk.default_limits(), max_position_size=Decimal(size))
        stage.store.put(kinds.RISK_LIMITS, "default", changed, at_ms=0)

    set_limit("2000")
    hold(stage)  # 400 held, 400 under way
    approve(stage, wish())
    opened, reserved = stage.orders(), stage.store.reservations("paper")

    set_limit(allowed)
    entry, exit_ = approve(stage, wish("d2")), approve(stage, wish("d3", reduce_only=True))

    assert isinstance(entry, Approved) is passes
    assert passes or (isinstance(entry, Refused) and entry.limit == "max_position_size")
    assert isinstance(exit_, Approved)
    still = stage.store.reservations("paper")
    assert opened[0] in stage.orders()
    assert reserved.items() <= still.items()
    assert len([amount for amount in still.values() if Decimal(amount)]) == 1 + passes


# --- what moves between the ledger's look and its commit ----------------------------------------


def _edit_limits(stage: Stage) -> None:
    limits = replace(risk.default_limits(), max_position_size=Decimal(1))
    stage.store.put(kinds.RISK_LIMITS, "default", limits, at_ms=0)


def _edit_policy(stage: Stage) -> None:
    policy = replace(risk.default_paper_policy("paper"), max_total_exposure=Decimal("0.0001"))
    stage.store.put(kinds.ACCOUNT_POLICIES, "paper", policy, at_ms=0)


def _trip(stage: Stage) -> None:
    tripped = Breaker(account="paper", state=BreakerState.COOLDOWN, cooldown_until_ms=FAR_MS)
    stage.store.put(kinds.BREAKERS, "paper", tripped, at_ms=0)


def _cool_down(stage: Stage) -> None:
    stage.store.put(kinds.STATE, cooldown_key("paper", PAIR), {"until_ms": FAR_MS}, at_ms=0)


def _stop_agent(stage: Stage) -> None:
    found = stage.store.get(kinds.AGENTS, "desk")
    assert found is not None
    stage.store.put(kinds.AGENTS, "desk", replace(found.value, kill_switch=True), at_ms=0)


def _close_pair(stage: Stage) -> None:
    stage.store.put(kinds.INSTRUMENTS, PAIR, replace(BTC, tradable=False), at_ms=0)


def _fill_the_books(stage: Stage) -> None:
    other = asyncio.run(stage.ledger.approve(wish("d0", quantity="0.0240")))
    assert isinstance(other, Approved)


EDITS = (
    (_edit_limits, "max_position_size"),
    (_edit_policy, "max_total_exposure"),
    (_trip, "circuit_breaker"),
    (_cool_down, "pair_cooldown"),
    (_stop_agent, "kill_switch"),
    (_close_pair, "pair_not_tradable"),
    (_fill_the_books, "max_position_size"),
)


@pytest.mark.catalogue("R07")
@pytest.mark.parametrize(("edit", "limit"), EDITS)
def test_an_entry_is_judged_by_what_stands_when_it_is_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Stage], None], limit: str
) -> None:
    create = stage.store.create_order

    def edited_first(*row: Any, **more: Any) -> Order:
        monkeypatch.setattr(stage.store, "create_order", create)
        edit(stage)
        return create(*row, **more)

    monkeypatch.setattr(stage.store, "create_order", edited_first)
    verdict = approve(stage, wish())

    assert isinstance(verdict, Refused)
    assert verdict.limit == limit
    assert not [order for order in stage.orders() if order.decision_id == "d1"]


def test_an_exit_waits_for_no_edit(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(stage)
    create, tries = stage.store.create_order, list[str]()

    def edited_first(*row: Any, **more: Any) -> Order:
        tries.append("create")
        for edit in (_edit_limits, _edit_policy, _trip, _cool_down, _stop_agent, _close_pair):
            edit(stage)
        return create(*row, **more)

    monkeypatch.setattr(stage.store, "create_order", edited_first)

    assert isinstance(approve(stage, wish(reduce_only=True)), Approved)
    assert tries == ["create"]


# --- what a mark reads ahead ---------------------------------------------------------------------


class Looks:
    """Counts what the ledger's approvals read."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._glance = 0, stage.store.glance
        monkeypatch.setattr(stage.store, "glance", self._counted)

    def _counted(self, *asked: Any, **more: Any) -> Any:
        self.count += 1
        return self._glance(*asked, **more)


def mark(stage: Stage) -> None:
    asyncio.run(stage.ledger.mark(Mark(prices={PAIR: Decimal("40000")})))


@pytest.fixture
def marked(stage: Stage) -> Stage:
    """An intent of the run was judged before, and its pair has been marked since."""
    approve(stage, wish("d-1", quantity="0.0010"))
    mark(stage)
    return stage


def test_what_a_mark_has_read_is_not_read_again_for_the_next_intent_and_only_for_that(
    marked: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(marked, monkeypatch)

    first = approve(marked, wish("d1", quantity="0.0010"))
    by_the_mark = looks.count
    second = approve(marked, wish("d2", quantity="0.0010"))

    assert isinstance(first, Approved)
    assert isinstance(second, Approved)
    assert (by_the_mark, looks.count) == (0, 1)


@pytest.mark.catalogue("R07")
@pytest.mark.parametrize(("edit", "limit"), EDITS)
def test_an_entry_after_a_mark_is_judged_by_what_stands_when_it_is_stored(
    marked: Stage, edit: Callable[[Stage], None], limit: str
) -> None:
    edit(marked)

    verdict = approve(marked, wish())

    assert isinstance(verdict, Refused)
    assert verdict.limit == limit
    assert not [order for order in marked.orders() if order.decision_id == "d1"]


def test_what_a_mark_saw_refuses_nothing_that_is_allowed_by_now(stage: Stage) -> None:
    approve(stage, wish("d-1", quantity="0.0010"))
    _edit_limits(stage)
    mark(stage)
    stage.store.put(kinds.RISK_LIMITS, "default", risk.default_limits(), at_ms=0)

    assert isinstance(approve(stage, wish()), Approved)


def test_an_exit_after_a_mark_passes_whatever_was_edited_since(stage: Stage) -> None:
    hold(stage)
    approve(stage, wish("d-1", quantity="0.0010"))
    mark(stage)
    for edit in (_edit_limits, _edit_policy, _trip, _cool_down, _stop_agent, _close_pair):
        edit(stage)

    assert isinstance(approve(stage, wish(reduce_only=True)), Approved)


def test_a_position_that_moved_after_the_mark_counts(marked: Stage) -> None:
    hold(marked, "0.0240")

    verdict = approve(marked, wish())

    assert isinstance(verdict, Refused)
    assert verdict.limit == "max_position_size"


def test_books_that_another_moved_during_the_mark_are_read_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(stage, wish("d-1", quantity="0.0010"))
    move = stage.store.move_ledger

    def moved_first(*row: Any, **more: Any) -> Any:
        monkeypatch.setattr(stage.store, "move_ledger", move)
        _fill_the_books(stage)
        return move(*row, **more)

    monkeypatch.setattr(stage.store, "move_ledger", moved_first)
    mark(stage)
    looks = Looks(stage, monkeypatch)

    verdict = approve(stage, wish())

    assert isinstance(verdict, Refused), "the order that came in between is counted"
    assert verdict.limit == "max_position_size"
    assert looks.count == 1

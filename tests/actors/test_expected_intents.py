"""What a ledger reads before an intent is there: used once, and only where the commit proves that it stands."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from actors import approval
from actors.approval import Approve, Expect
from actors.order_executor import Execute
from actors.order_rows import cooldown_key
from actors.risk_ledger import Mark
from desk.errors import VersionConflict
from desk.store import kinds
from desk.trading import risk
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.orders import OrderState
from desk.trading.risk import Approved, Refused
from tests.actors.fakes import BTC, PAIR
from tests.actors.stage import Stage
from tests.actors.test_risk_ledger import wish

FAR_MS = 10**15


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.next_candle()
    return stage


def foretold(decision: str = "d1", **other: Any) -> Expect:
    told = {"run_id": "run1", "pair": PAIR, "limits_set_id": "default"} | other
    return Expect(decision_id=decision, **told)


def looks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[Approve]:
    """The intents for which the ledger reads only once they are there."""
    asked: list[Approve] = []
    look = stage.ledger._approvals.look

    def counted(ask: Approve) -> Any:
        asked.append(ask)
        return look(ask)

    monkeypatch.setattr(stage.ledger._approvals, "look", counted)
    return asked


def approved_after(
    stage: Stage, meanwhile: Callable[[Stage], None], ask: Approve | None = None
) -> Approved | Refused:
    """Tell the ledger of an intent, let something happen, and ask."""

    async def story() -> Approved | Refused:
        await stage.ledger.expect(foretold())
        await asyncio.to_thread(meanwhile, stage)
        verdict = await stage.ledger.approve(ask or wish())
        await stage.executor.quiet()
        return verdict

    return asyncio.run(story())


def nothing(_stage: Stage) -> None:
    return


def test_a_decision_tells_the_ledger_of_what_may_come(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[approval.Seen | None] = []
    expected, approve = stage.ledger._approvals.expected, stage.ledger.approve

    def noted(ask: Approve) -> approval.Seen | None:
        taken.append(expected(ask))
        return taken[-1]

    async def once_read(ask: Approve) -> Approved | Refused:
        assert stage.reading is not None
        await stage.reading
        return await approve(ask)

    monkeypatch.setattr(stage.ledger._approvals, "expected", noted)
    monkeypatch.setattr(stage.ledger, "approve", once_read)
    record = stage.decide(1.0)

    [order] = stage.orders()
    assert record.client_order_ids == (order.client_order_id,)
    assert order.state is OrderState.OPEN
    assert taken[0] is not None


def test_what_was_read_ahead_counts_for_one_intent_and_a_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = looks(stage, monkeypatch)
    assert isinstance(approved_after(stage, nothing), Approved)
    assert asked == []
    again = asyncio.run(stage.ledger.approve(wish()))
    assert isinstance(again, Approved)
    assert len(asked) == 1, "its order is there now"

    monkeypatch.setattr(approval, "EXPECTED_FOR_S", -1.0)
    assert isinstance(approved_after(stage, nothing, wish("d1", reduce_only=True)), Refused)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "other", [{"run_id": "run2"}, {"pair": "ETH-USDT"}, {"limits_set_id": "wide"}]
)
def test_what_was_read_for_something_else_is_not_what_an_intent_is_judged_by(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    asked = looks(stage, monkeypatch)

    async def story() -> Approved | Refused:
        await stage.ledger.expect(foretold(**other))
        return await stage.ledger.approve(wish())

    assert isinstance(asyncio.run(story()), Approved)
    assert len(asked) == 1


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


@pytest.mark.catalogue("R07")
@pytest.mark.parametrize(
    ("edit", "limit"),
    [
        (_edit_limits, "max_position_size"),
        (_edit_policy, "max_total_exposure"),
        (_trip, "circuit_breaker"),
        (_cool_down, "pair_cooldown"),
        (_stop_agent, "kill_switch"),
        (_close_pair, "pair_not_tradable"),
        (_fill_the_books, "max_position_size"),
    ],
)
def test_an_order_is_judged_by_what_stands_when_it_is_stored(
    stage: Stage, edit: Callable[[Stage], None], limit: str
) -> None:
    verdict = approved_after(stage, edit)

    assert isinstance(verdict, Refused)
    assert verdict.limit == limit
    assert not [order for order in stage.orders() if order.decision_id == "d1"]


def test_a_refusal_is_judged_by_what_stands_now(stage: Stage) -> None:
    _edit_limits(stage)

    def widen(stage: Stage) -> None:
        stage.store.put(kinds.RISK_LIMITS, "default", risk.default_limits(), at_ms=0)

    assert isinstance(approved_after(stage, widen), Approved)


def test_of_many_that_are_told_at_once_only_a_few_are_read_ahead(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read, most = stage.ledger._approvals._read, approval.MOST_EXPECTED

    def counted(run_id: str, *rest: str) -> Any:
        reads.append(run_id)
        return read(run_id, *rest)

    async def tell_many(first: int) -> None:
        told = [foretold(f"d{number}") for number in range(first, first + 3 * most)]
        await asyncio.gather(*(stage.ledger.expect(one) for one in told))

    monkeypatch.setattr(stage.ledger._approvals, "_read", counted)
    asyncio.run(tell_many(0))
    assert len(reads) == most

    monkeypatch.setattr(approval, "EXPECTED_FOR_S", -1.0)
    asyncio.run(stage.ledger.expect(foretold("later")))
    assert len(reads) == most + 1, "those that never came are forgotten"


def test_a_mark_makes_the_ledger_forget_what_it_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = looks(stage, monkeypatch)

    def mark(stage: Stage) -> None:
        asyncio.run(stage.ledger.mark(Mark(prices={PAIR: Decimal(40_001)})))

    assert isinstance(approved_after(stage, mark), Approved)
    assert len(asked) == 1, "one reading, and no commit in vain"


# --- an order on its way to the executor while it is being stored -------------------------------


@pytest.mark.catalogue("O01")
@pytest.mark.parametrize("is_stored_late", [False, True])
def test_an_order_that_is_handed_over_while_it_is_stored_is_sent_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, is_stored_late: bool
) -> None:
    sent: list[str] = []
    answers: list[object] = []
    submit, execute = stage.executor._talk.submit, stage.executor.execute
    create = stage.store.create_order
    is_handed = asyncio.Event()
    is_created = asyncio.Event()

    async def counted(order: Any) -> Any:
        sent.append(order.client_order_id)
        return await submit(order)

    async def handed(ask: Execute) -> Any:
        if not is_stored_late and ask.created_by:
            await is_created.wait()
        try:
            done = await execute(ask)
        except VersionConflict as early:
            answers.append(early.key)
            is_handed.set()
            raise
        answers.append(done.state)
        return done

    async def story() -> Approved | Refused:
        loop = asyncio.get_running_loop()

        def stored(*row: Any, **more: Any) -> Any:
            if is_stored_late:
                asyncio.run_coroutine_threadsafe(is_handed.wait(), loop).result(5)
            done = create(*row, **more)
            loop.call_soon_threadsafe(is_created.set)
            return done

        monkeypatch.setattr(stage.store, "create_order", stored)
        verdict = await stage.ledger.approve(wish())
        await stage.executor.quiet()
        return verdict

    monkeypatch.setattr(stage.executor._talk, "submit", counted)
    monkeypatch.setattr(stage.executor, "execute", handed)
    verdict = asyncio.run(story())

    assert isinstance(verdict, Approved)
    assert sent == [verdict.value.client_order_id]
    assert verdict.value.state is OrderState.OPEN
    assert verdict.executed_s is not None
    assert answers[-1] is OrderState.OPEN
    assert len(answers) == 1 + is_stored_late
    assert not is_stored_late or str(answers[0]).startswith("req:")


@pytest.mark.catalogue("R07")
def test_what_is_handed_over_and_then_not_stored_is_not_sent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    submit, create = stage.executor._talk.submit, stage.store.create_order

    async def counted(order: Any) -> Any:
        sent.append(order.client_order_id)
        return await submit(order)

    def edited_first(*row: Any, **more: Any) -> Any:
        monkeypatch.setattr(stage.store, "create_order", create)
        _edit_limits(stage)
        return create(*row, **more)

    monkeypatch.setattr(stage.executor._talk, "submit", counted)
    monkeypatch.setattr(stage.store, "create_order", edited_first)
    verdict = approved_after(stage, nothing)

    assert isinstance(verdict, Refused)
    assert (sent, stage.orders()) == ([], [])


@pytest.mark.catalogue("O01")
def test_a_late_hand_over_of_what_was_never_stored_does_not_send_what_is_there_under_its_id(
    stage: Stage,
) -> None:
    stage.is_hand_over_lost = True
    verdict = asyncio.run(stage.ledger.approve(wish()))
    assert isinstance(verdict, Approved)
    other = replace(verdict.value, quantity=Decimal("9.9999"))
    late = Execute(approved=replace(verdict, value=other), created_by="another attempt")

    with pytest.raises(VersionConflict, match="another attempt"):
        asyncio.run(stage.executor.execute(late))

    [order] = stage.orders()
    assert order.quantity == verdict.value.quantity
    assert order.state is OrderState.OPEN, "the executor found it when it started"


@pytest.mark.catalogue("O01")
def test_whoever_asks_for_an_order_beside_one_who_came_too_early_has_it_sent(
    stage: Stage,
) -> None:
    stage.is_hand_over_lost = True
    verdict = asyncio.run(stage.ledger.approve(wish()))
    assert isinstance(verdict, Approved)

    async def both() -> list[Any]:
        early = stage.executor.execute(Execute(approved=verdict, created_by="nobody"))
        right = stage.executor.execute(Execute(approved=verdict))
        done = await asyncio.gather(early, right, return_exceptions=True)
        await stage.executor.quiet()
        return done

    refused, order = asyncio.run(both())

    assert isinstance(refused, VersionConflict)
    assert order.state is OrderState.OPEN

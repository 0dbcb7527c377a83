"""A trade's explanation: its decisions and their reasons, and a result whose parts add up to the books."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.audit import note
from actors.explain import Explainer, Explanation
from actors.order_executor import Execute
from actors.version_registry import artifacts_of
from desk.clock import HOUR_MS, MINUTE_MS
from desk.errors import NotFound
from desk.learning.replay import Verdict
from desk.runs import Action
from desk.store import kinds
from desk.store.candles import CandleArchive
from desk.store.history import History
from desk.store.port import Event
from desk.trading import intents
from desk.trading.ledger import Ledger
from desk.trading.risk import Approved
from desk.venues.port import FundingRate
from tests.actors.fakes import BTC, PAIR
from tests.actors.paper_session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session with closed trades, for tests that only look."""
    opened = Session(tmp_path_factory.mktemp("traded"))
    while not any(one.exit.code == "decision" for one in explained(opened)):
        opened.go_on(5)
    return opened


def explainer(session: Session) -> Explainer:
    archive = CandleArchive(session.store, History(session.home / "history"))
    return Explainer(session.home, session.store, archive)


def explained(session: Session) -> list[Explanation]:
    """Every trade of the session, newest first."""
    trades = session.store.trade_ids(account="paper", limit=500)
    return [explainer(session).explain(trade_id) for trade_id in trades]


def books(session: Session) -> Ledger:
    ledger = session.store.ledger("paper")
    assert ledger is not None
    return ledger


def test_what_all_trades_came_to_is_what_the_books_say(session: Session) -> None:
    due_ms = (session.next_open_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
    session.store_candles((due_ms - session.next_open_ms) // MINUTE_MS - 20)
    rate = FundingRate(pair=PAIR, due_ms=due_ms, rate=Decimal("0.0007"))
    session.store.put(kinds.funding_rates(PAIR), str(due_ms), rate, at_ms=due_ms)
    session.go_on(30)

    told, ledger = explained(session), books(session)

    held = ledger.positions.get(PAIR)
    unrealized = held.quantity * (ledger.marks[PAIR] - held.average_price) if held else Decimal(0)
    assert len(told) > 2
    assert sum(one.realized_pnl for one in told) == ledger.realized_pnl
    assert sum(one.pnl.fees for one in told) == -ledger.fees
    assert sum(one.pnl.funding for one in told) == ledger.funding != 0
    assert sum(one.total for one in told) == ledger.cash + unrealized - ledger.starting_cash
    assert all(one.pnl.total == one.total for one in told)
    assert sum(len(one.funding) for one in told) == 1


def test_slippage_is_against_the_price_that_was_decided_on(traded: Session) -> None:
    closed = next(one for one in explained(traded) if one.exit.code == "decision")

    opened, ended = closed.fills[0], closed.fills[-1]
    gained = (ended.price - opened.price) * opened.quantity * (1 if opened.side == "buy" else -1)
    wanted = ended.reference_price - opened.reference_price
    undisturbed = wanted * opened.quantity * (1 if opened.side == "buy" else -1)
    assert closed.realized_pnl == gained
    assert closed.pnl.price == undisturbed
    assert closed.pnl.slippage == gained - undisturbed
    assert closed.pnl.slippage == sum(fill.slippage_quote for fill in closed.fills)
    assert all(fill.slippage_bps > 0 for fill in closed.fills)


def test_the_decisions_behind_entry_and_exit_are_told_with_what_counted(traded: Session) -> None:
    closed = next(one for one in explained(traded) if one.exit.code == "decision")

    entry, ending = closed.decisions
    assert (entry.role, ending.role) == ("entry", "exit")
    assert entry.replay is ending.replay is Verdict.IDENTICAL
    assert entry.confidence > (entry.decision_threshold or 1.0)
    assert {"integrity", "provenance", "features", "policy", "risk"} <= set(entry.gates_passed)
    assert entry.gates_refused == ()
    sizes = [abs(part.effect) for part in entry.contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert entry.contributions[0].effect == pytest.approx(
        entry.confidence - entry.contributions[0].confidence_without
    )
    words = " ".join(closed.words)
    for said in (entry.contributions[0].feature, "confidence", "USDT", "bps worse", "Result"):
        assert said in words
    assert f"{closed.total:+.4f} USDT" in words


def test_without_its_artifact_the_rest_is_still_told(session: Session) -> None:
    trade_id = until_held(session)
    shutil.rmtree(artifacts_of(session.home).path("v1"))

    told = explainer(session).explain(trade_id)

    assert told.decisions[0].contributions == ()
    assert "no artifact v1" in told.decisions[0].contributions_note
    assert told.decisions[0].replay is Verdict.IMPOSSIBLE
    assert told.fills


def close_by_hand(session: Session, trace_id: str) -> None:
    """A reduce-only order that no decision stands behind."""
    position = books(session).positions[PAIR]
    intent = intents.close_intent(
        position,
        quantity=None,
        reference_price=Decimal(str(round(session.price, 1))),
        instrument=BTC,
        account="paper",
        decision_id="close:drill",
        now_ms=session.next_open_ms - MINUTE_MS,
        trace_id=trace_id,
    )

    async def send() -> None:
        verdict = await session.approve(intent, "default")
        assert isinstance(verdict, Approved)
        await session.executor.execute(Execute(approved=verdict))
        await session.executor.quiet()

    asyncio.run(send())
    session.next_candle()


def until_held(session: Session) -> str:
    """Go on until an order of a decision is filled; the trade."""
    while not session.held:
        session.go_on(1)
        if session.decisions()[0].action is Action.TRADE:
            session.next_candle()
    return books(session).positions[PAIR].trade_id


def test_a_settlement_counts_what_was_held_when_it_was_due(session: Session) -> None:
    trade_id = until_held(session)
    close_by_hand(session, "tr-hand")
    opened, closed = explainer(session).explain(trade_id).fills
    candles = [opened.filled_ms - 1_000, closed.filled_ms - 1_000]  # filled a second into them
    for due_ms in (*candles, candles[-1] + MINUTE_MS):
        rate = FundingRate(pair=PAIR, due_ms=due_ms, rate=Decimal("0.001"))
        session.store.put(kinds.funding_rates(PAIR), str(due_ms), rate, at_ms=due_ms)

    told = explainer(session).explain(trade_id)

    assert [one.due_ms for one in told.funding] == [candles[-1]]
    assert abs(told.funding[0].quantity) == opened.quantity


@pytest.mark.parametrize("who", ["operator", "nobody"])
def test_an_exit_by_hand_is_told_as_such(session: Session, who: str) -> None:
    trade_id = until_held(session)
    if who == "operator":
        asked = {"reason": "lunch"}
        note(
            session.store,
            "trade.close",
            f"trade/{trade_id}",
            actor="alice",
            trace_id="tr-hand",
            at_ms=1,
            after=asked,
        )
    close_by_hand(session, "tr-hand")

    told = explainer(session).explain(trade_id)

    expected = {
        "operator": ("operator", "trade.close by alice: lunch"),
        "nobody": ("other", "drill"),
    }
    assert (told.exit.code, told.exit.detail) == expected[who]
    assert told.held_quantity == 0
    assert told.closed_ms is not None


@pytest.mark.parametrize(
    ("ends", "code"),
    [(lambda price: price * 0.97, "stop_loss"), (lambda price: price * 1.03, "take_profit")],
)
def test_an_exit_of_the_venue_is_told_by_its_kind(
    session: Session, ends: Callable[[float], float], code: str
) -> None:
    fractions = {"stop_loss_fraction": Decimal("0.01"), "take_profit_fraction": Decimal("0.01")}
    session.change_run(lambda run: replace(run, **fractions))
    trade_id = until_held(session)
    is_long = session.held > 0
    kill = Event(topic="risk", key="all", data={}, at_ms=session.clock.now_ms())
    session.store.set_kill("all", on=True, reason="drill", event=kill)
    session.price = ends(session.price) if is_long else session.price**2 / ends(session.price)
    session.next_candle()
    session.next_candle()

    told = explainer(session).explain(trade_id)

    assert told.exit.code == code
    assert told.held_quantity == 0


def test_an_open_trade_is_marked_and_one_that_waits_says_so(session: Session) -> None:
    trade_id = until_held(session)

    told = explainer(session).explain(trade_id)

    assert told.exit.code == "still_open"
    assert told.closed_ms is None
    assert told.unrealized_pnl == told.pnl.price + told.pnl.slippage
    while session.decisions()[0].action is not Action.TRADE or not session.store.active_orders(
        "paper"
    ):
        session.go_on(1)
    assert explained(session)[0].exit.code == "not_filled_yet"


def test_an_unknown_trade_is_not_found(session: Session) -> None:
    with pytest.raises(NotFound):
        explainer(session).explain("t1nothing")

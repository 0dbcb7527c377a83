"""While the store is away nothing new leaves, and what rests at the venue stays there."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.candle_messages import CandleClosed
from actors.order_executor import Execute, ExecutorParts, OrderExecutor
from desk.errors import StoreUnavailable
from desk.store import server
from desk.store.valkey import ValkeyStore
from desk.trading.orders import OrderState, VenueOrderStatus
from desk.trading.risk import Approved
from tests.actors.fakes import PAIR, ScriptedVenue
from tests.actors.stage import Stage
from tests.actors.test_risk_ledger import approve, hold, wish


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rd-"))
    yield folder
    running = server.find(folder)
    if running is not None:
        server.stop(running)
    shutil.rmtree(folder)


@pytest.mark.catalogue("R08")
def test_R08_without_the_store_no_entry_leaves_and_a_resting_exit_stays(home: Path) -> None:
    running = server.start(home)
    stage, venue = Stage(ValkeyStore(running.url)), ScriptedVenue(fills_at_once=False)
    stage.is_hand_over_lost = True  # the executor is another one
    stage.next_candle()
    hold(stage)
    executor = executor_of(stage, venue)
    exit_ = approve(stage, wish("d0", reduce_only=True))
    entry = approve(stage, wish("d1"))
    assert isinstance(exit_, Approved)
    assert isinstance(entry, Approved)
    resting = asyncio.run(executor.execute(Execute(approved=exit_)))
    assert resting.state is OrderState.OPEN
    closed, heard = stage.store_candles(1), list(venue.heard)
    stage.policy.target = 1.0

    server.stop(running)
    outcomes = asyncio.run(all_at_once(stage, executor, entry, closed))

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
    assert venue.heard == heard
    assert [row.status for row in venue.orders.values()] == [VenueOrderStatus.OPEN]

    server.start(home)
    states = {order.client_order_id: order.state for order in stage.orders()}
    assert states == {
        exit_.value.client_order_id: OrderState.OPEN,
        entry.value.client_order_id: OrderState.INTENT,
    }
    asyncio.run(executor.turn())
    asyncio.run(executor.execute(Execute(approved=entry)))
    assert venue.submitted == [exit_.value.client_order_id, entry.value.client_order_id]
    stage.store.close()


async def all_at_once(
    stage: Stage, executor: OrderExecutor, entry: Approved, closed: CandleClosed
) -> list[object]:
    """A new wish, an entry approved before, a candle to decide on, the turn that renews a lease."""
    return await asyncio.gather(
        stage.ledger.approve(wish("d2")),
        executor.execute(Execute(approved=entry)),
        stage.loop.on_candle_closed(closed),
        executor.turn(),
        return_exceptions=True,
    )


def executor_of(stage: Stage, venue: ScriptedVenue) -> OrderExecutor:
    parts = ExecutorParts(
        account="paper",
        owner="test",
        store=stage.store,
        venue=venue,
        clock=stage.clock,
        pairs=(PAIR,),
        lookup_schedule_s=(0.0,),
        fill_schedule_s=(0.0,),
    )
    return OrderExecutor(lambda: parts)

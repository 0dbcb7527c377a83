"""A process dies at every step of an order's way; the next one ends the order, once."""

# pyright: reportCallIssue=false

import asyncio
from collections.abc import Callable

import pytest

from actors.order_executor import Execute
from desk.errors import Fenced
from desk.trading.orders import OrderState, Side
from desk.trading.risk import Approved
from tests.orders.desk_on_the_wire import LOT, ORDER, Gone, WireDesk

type Play = Callable[..., None]


def test_an_order_is_sent_filled_and_closed(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.send("d1")
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert desk.held == desk.venue_held() == LOT

        await desk.send("d2", Side.SELL)
        await desk.until(desk.cid("d2", Side.SELL), OrderState.FILLED)

        assert desk.venue_held() == 0
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O01")
@pytest.mark.parametrize("point", ["before create_order", "after create_order"])
def test_O01_a_crash_around_the_intent_leaves_one_order_when_its_decision_comes_again(
    play: Play, point: str
) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.restart(point)
        assert await desk.send("d1") is None
        assert desk.venue_orders() == []

        await desk.restart()
        await desk.send("d1")

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O02")
def test_O02_an_intent_that_was_not_sent_is_sent_once_after_the_restart(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.restart("before move_order")
        assert await desk.send("d1") is None
        assert desk.order("d1").state is OrderState.INTENT

        await desk.restart()

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O02")
def test_O02_an_intent_that_has_grown_too_old_is_never_sent(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.restart("before move_order")
        assert await desk.send("d1") is None

        desk.pace.max_decision_age_ms = 0
        await desk.restart()

        after = await desk.until(desk.cid("d1"), OrderState.NOT_PLACED)
        assert after.reason == "decision_stale"
        assert desk.sends(desk.cid("d1")) == []

    play(story)


@pytest.mark.catalogue("O03")
def test_O03_an_order_found_in_sending_is_looked_up_and_never_resent_blindly(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.restart("after submit")
        assert await desk.send("d1") is None
        assert desk.order("d1").state is OrderState.SENDING

        await desk.restart()

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1
        assert desk.requests("GET", ORDER)[0]["params"]["clientOrderId"] == desk.cid("d1")

    play(story)


@pytest.mark.catalogue("O03")
def test_O03_a_crash_while_the_answer_is_held_leaves_one_order(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "hold"}, method="POST", path=ORDER, times=1)
        sending = asyncio.ensure_future(desk.send("d1"))
        await desk.eventually(desk.venue_orders, "the order at the venue")

        await desk.restart()
        desk.simulator.clear_faults()
        sending.cancel()

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O04")
def test_O04_an_answer_that_was_not_stored_is_adopted_from_the_venue(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.restart("before move_order", nth=2)  # the first one notes the sending
        assert await desk.send("d1") is None
        assert desk.order("d1").state is OrderState.SENDING

        await desk.restart()

        after = await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert after.venue_order_id == str(desk.venue_orders()[0]["orderId"])
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O05")
@pytest.mark.parametrize("point", ["before apply_fill", "after apply_fill", "before fills"])
@pytest.mark.parametrize("nth", [1, 2])
def test_O05_a_crash_between_fills_books_each_of_them_once(
    play: Play, point: str, nth: int
) -> None:
    async def story(desk: WireDesk) -> None:
        action = {"kind": "partial_fill", "schedule": [[0, 0.4], [100, 0.4], [200, 0.2]]}
        desk.simulator.fault(action, method="POST", path=ORDER, times=1)
        await desk.restart(point, nth)
        await desk.send("d1")
        await desk.eventually(lambda: desk.process.fate.is_dead, "a crash")

        await desk.restart()

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.store.fills_of_order(desk.cid("d1"))) == 3
        assert desk.held == LOT

    play(story, light_every_s=0.3)


@pytest.mark.catalogue("O25")
def test_O25_of_two_living_processes_the_older_one_is_fenced_and_the_newer_one_sends(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        verdict = await desk.approve("d1")
        assert isinstance(verdict, Approved)
        older = desk.process
        await desk.start()

        with pytest.raises(Gone):
            await older.executor.execute(Execute(approved=verdict))

        assert desk.sends(desk.cid("d1")) == []
        await desk.process.executor.execute(Execute(approved=verdict))
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1
        await older.end()

    play(story)


@pytest.mark.catalogue("O25")
def test_O25_an_older_process_whose_order_is_on_the_wire_cannot_book_its_answer(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "hold"}, method="POST", path=ORDER, times=1)
        older = desk.process
        sending = asyncio.ensure_future(desk.send("d1"))
        await desk.eventually(desk.venue_orders, "the order at the venue")

        await desk.start()
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        booked = desk.order("d1")
        desk.simulator.control("POST", "faults/release", {})

        assert await sending in (None, booked)
        with pytest.raises(Fenced):
            await older.executor.turn()
        assert desk.order("d1") == booked
        assert len(desk.sends(desk.cid("d1"))) == 1
        await older.end()

    play(story)


@pytest.mark.catalogue("O09")
def test_O09_fifty_callers_of_one_decision_make_one_order(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        answers = await asyncio.gather(*(desk.send("d1") for _ in range(50)))

        assert {answer and answer.client_order_id for answer in answers} == {desk.cid("d1")}
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O10")
def test_O10_an_execution_replayed_after_a_restart_changes_nothing(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        verdict = await desk.approve("d1")
        assert isinstance(verdict, Approved)
        await desk.process.executor.execute(Execute(approved=verdict))
        before = await desk.until(desk.cid("d1"), OrderState.FILLED)
        await desk.process.executor.quiet()

        await desk.restart()
        again = await desk.process.executor.execute(Execute(approved=verdict))
        once_more = await desk.process.executor.execute(Execute(approved=verdict))

        assert again == once_more == before
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O10")
def test_O10_five_tries_that_prove_nothing_tell_the_operator_and_asking_goes_on(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "http", "status": 503}, method="GET", path=ORDER)
        desk.simulator.fault({"kind": "drop_response"}, method="POST", path=ORDER, times=1)
        await desk.send("d1")

        await desk.eventually(lambda: "unresolved_client_order" in desk.alerts(), "an alert")
        asked = len(desk.requests("GET", ORDER))
        desk.simulator.clear_faults()

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert asked >= 5
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)

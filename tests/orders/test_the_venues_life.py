"""The exchange and its other users do what they do: cancels race fills, people trade by hand."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from desk.runs import RunStatus
from desk.trading.orders import OrderState, Side
from tests.orders.desk_on_the_wire import LOT, ORDER, PAIR, WireDesk

type Play = Callable[..., None]

SENT = {"method": "POST", "path": ORDER}
CANCEL = {"method": "DELETE", "path": ORDER}


async def resting_in_part(desk: WireDesk, decision: str = "d1") -> None:
    """An order of which 0.4 are filled and the rest stays open."""
    action = {"kind": "partial_fill", "schedule": [[0, 0.4]]}
    desk.simulator.fault(action, times=1, **SENT)
    await desk.send(decision)
    await desk.until(desk.cid(decision), OrderState.PARTIAL)


# --- cancels --------------------------------------------------------------------------------------


@pytest.mark.catalogue("O13")
def test_O13_a_cancelled_partial_fill_keeps_what_was_filled_and_frees_the_rest(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        await resting_in_part(desk)
        assert desk.store.reservations("live") != {}

        await desk.cancel(desk.order("d1"))

        after = await desk.until(desk.cid("d1"), OrderState.CANCELLED)
        assert after.filled_quantity == desk.venue_held() == LOT * Decimal("0.4")
        assert desk.store.reservations("live") == {}

    play(story)


@pytest.mark.catalogue("O13")
def test_O13_a_cancel_that_was_answered_before_a_last_fill_waits_for_that_fill(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        await resting_in_part(desk)
        desk.simulator.fault({"kind": "fill_on_cancel", "when": "after"}, times=1, **CANCEL)

        await desk.cancel(desk.order("d1"))

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert desk.held == LOT

    play(story)


@pytest.mark.catalogue("O14")
def test_O14_an_order_that_we_noted_as_cancelled_and_the_venue_filled_is_opened_again(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        await resting_in_part(desk)
        await desk.cancel(desk.order("d1"))
        await desk.until(desk.cid("d1"), OrderState.CANCELLED)

        desk.simulator.control("POST", "account", {"fill": {"client_id": desk.cid("d1")}})
        await desk.reconcile()

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert "late_fill" in desk.alerts()
        assert desk.held == LOT
        assert "position_drift" not in desk.alerts()

    play(story)


@pytest.mark.catalogue("O15")
@pytest.mark.parametrize("code", [80016, 109421])
def test_O15_a_cancel_answered_with_not_found_concludes_nothing(play: Play, code: int) -> None:
    async def story(desk: WireDesk) -> None:
        await resting_in_part(desk)
        desk.simulator.fault({"kind": "code", "code": code, "msg": "?"}, times=1, **CANCEL)

        await desk.cancel(desk.order("d1"))
        await desk.process.executor.quiet()

        assert desk.order("d1").state in (OrderState.CANCELLING, OrderState.PARTIAL)
        assert len(desk.requests("GET", ORDER)) > 1
        await desk.cancel(desk.order("d1"))
        await desk.until(desk.cid("d1"), OrderState.CANCELLED)

    play(story)


@pytest.mark.catalogue("O15")
@pytest.mark.parametrize("action", [{"kind": "drop_response"}, {"kind": "drop_request"}])
def test_O15_a_cancel_without_an_answer_is_followed_until_the_venue_has_said_what_there_is(
    play: Play, action: dict[str, Any]
) -> None:
    async def story(desk: WireDesk) -> None:
        await resting_in_part(desk)
        desk.simulator.fault(action, times=2, **CANCEL)  # the transport repeats a DELETE once

        await desk.cancel(desk.order("d1"))
        await desk.process.executor.quiet()
        if desk.order("d1").state is not OrderState.CANCELLED:
            await desk.cancel(desk.order("d1"))

        await desk.until(desk.cid("d1"), OrderState.CANCELLED)

    play(story)


# --- other people -----------------------------------------------------------------------------------


@pytest.mark.catalogue("O16")
@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({"trade": {"symbol": PAIR, "side": "BUY", "quantity": "0.0030"}}, Decimal("0.0080")),
        ({"trade": {"symbol": PAIR, "side": "SELL", "quantity": "0.0070"}}, Decimal("-0.0020")),
        ({"liquidate": PAIR}, Decimal(0)),
        ({"adl": PAIR}, Decimal(0)),
    ],
    ids=["bought by hand", "sold by hand", "liquidated", "deleveraged"],
)
def test_O16_what_others_did_to_the_position_is_booked_once_and_the_run_pauses(
    play: Play, change: dict[str, Any], held: Decimal
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.start_run()
        await desk.send("d1")
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        await desk.process.executor.quiet()
        trades = len(desk.requests("POST", ORDER))

        desk.simulator.control("POST", "account", change)
        desk.external = {PAIR: held - LOT}
        await desk.eventually(lambda: desk.held == held, "the position booked")
        booked = desk.books().version
        for _ in range(3):
            await desk.reconcile()

        assert desk.books().version == booked
        assert desk.venue_held() == held
        assert desk.run().status is RunStatus.PAUSED
        assert desk.run().pause_reason == "position_drift"
        assert "position_drift" in desk.alerts()
        assert len(desk.requests("POST", ORDER)) == trades

    play(story, light_every_s=0.2)


@pytest.mark.catalogue("O17")
def test_O17_a_foreign_order_is_reported_and_left_alone(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        order = {
            "symbol": PAIR,
            "side": "BUY",
            "type": "LIMIT",
            "price": str(round(desk.books().marks[PAIR] * Decimal("0.97"))),
            "quantity": "0.01",
            "clientOrderID": "somebodyelse",
        }
        desk.simulator.control("POST", "account", {"order": order})
        await resting_in_part(desk)

        await desk.reconcile()
        await desk.cancel(desk.order("d1"))
        await desk.until(desk.cid("d1"), OrderState.CANCELLED)
        await desk.reconcile()

        assert "foreign_order" in desk.alerts()
        (foreign,) = [row for row in desk.venue_orders() if row["clientOrderId"] == "somebodyelse"]
        assert foreign["status"] in {"NEW", "PENDING"}
        asked = {entry["params"].get("clientOrderID") for entry in desk.requests("DELETE", ORDER)}
        assert asked == {desk.cid("d1")}

    play(story)


@pytest.mark.catalogue("O17")
def test_O17_an_order_under_our_prefix_without_a_row_pauses_its_pair(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        desk.start_run()
        orphan = {
            "symbol": PAIR,
            "side": "BUY",
            "quantity": "0.01",
            "clientOrderID": desk.cid("never-stored"),
        }
        desk.simulator.control("POST", "account", {"trade": orphan})

        await desk.reconcile()

        assert "orphan_order" in desk.alerts()
        assert desk.run().pause_reason == "orphan_order"
        assert desk.requests("DELETE", ORDER) == []

    play(story, judged=False)


def test_a_protective_side_never_flips_when_an_exit_meets_a_smaller_position(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.send("d1")
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        trade = {"symbol": PAIR, "side": "SELL", "quantity": "0.0040", "reduceOnly": "true"}
        desk.simulator.control("POST", "account", {"trade": trade})

        await desk.send("d2", Side.SELL)
        await desk.process.executor.quiet()

        assert desk.venue_held() >= 0

    play(story, judged=False)

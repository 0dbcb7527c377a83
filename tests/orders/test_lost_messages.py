"""Requests and answers are lost, late, doubled, unreadable; what is not proved stays unknown."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from desk.errors import VenueUnavailable
from desk.trading.orders import OrderState, Side
from desk.trading.risk import Approved, Refused
from tests.orders.desk_on_the_wire import LOT, ORDER, WireDesk
from tests.orders.proxy import Proxy, Way

type Play = Callable[..., None]

SENT = {"method": "POST", "path": ORDER}

UNREADABLE: list[dict[str, Any]] = [
    {"kind": "body", "form": "html"},
    {"kind": "body", "form": "empty"},
    {"kind": "body", "form": "truncated"},
    {"kind": "body", "form": "text", "text": "[]"},
    {"kind": "cut_response", "bytes": 15},
    {"kind": "data", "value": None},
    {"kind": "data", "value": []},
    {"kind": "data", "missing": ["orderId", "orderID"]},
]


def named(action: dict[str, Any]) -> str:
    return " ".join(str(value) for value in action.values())


# --- the answer is lost ---------------------------------------------------------------------------


@pytest.mark.catalogue("O06")
@pytest.mark.parametrize("action", [{"kind": "drop_response"}, {"kind": "hold"}], ids=named)
def test_O06_an_order_without_an_answer_is_found_and_was_sent_once(
    play: Play, action: dict[str, Any]
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault(action, times=1, **SENT)

        answer = await desk.send("d1")

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1
        desk.simulator.clear_faults()

    play(story, deadline_s=0.5)


@pytest.mark.catalogue("O29")
@pytest.mark.parametrize("action", UNREADABLE, ids=named)
def test_O29_an_unreadable_answer_to_an_order_is_unknown_and_the_order_is_found(
    play: Play, action: dict[str, Any]
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault(action, times=1, **SENT)

        answer = await desk.send("d1")

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O29")
@pytest.mark.parametrize("action", UNREADABLE[:6], ids=named)
def test_O29_unreadable_lists_are_never_taken_for_flat_or_empty(
    play: Play, action: dict[str, Any]
) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.send("d1")
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        before = desk.books()
        for path in ("user/positions", "trade/openOrders", "trade/fullOrder"):
            rule = desk.simulator.fault(action, method="GET", path=path)
            with pytest.raises(VenueUnavailable):
                await desk.reconcile()
            desk.simulator.control("DELETE", f"faults?id={rule}")

        report = await desk.reconcile()

        assert (report.updated, report.errors) == (0, 0)
        assert desk.books() == before
        assert "position_drift" not in desk.alerts()

    play(story)


@pytest.mark.catalogue("O29")
def test_O29_a_code_that_nobody_documented_is_unknown_whatever_became_of_the_order(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        action = {"kind": "code", "code": 199999, "msg": "?", "processed": True}
        desk.simulator.fault(action, times=1, **SENT)

        answer = await desk.send("d1")

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


# --- the request is lost, or late -------------------------------------------------------------------


@pytest.mark.catalogue("O07")
def test_O07_a_lost_request_waits_for_the_proof_and_is_then_sent_again_under_its_id(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "drop_request"}, times=1, **SENT)
        await desk.send("d1")

        await desk.until(desk.cid("d1"), OrderState.FILLED, within_s=25)

        first, second = desk.sends(desk.cid("d1"))
        assert second["receive_ms"] - first["receive_ms"] > 8_000
        between = [
            entry["path"].rsplit("/", 1)[-1]
            for entry in desk.simulator.journal(first["sequence"])
            if entry["method"] == "GET" and entry["sequence"] < second["sequence"]
        ]
        assert between.count("order") >= 3
        assert {"openOrders", "fullOrder", "positions"} <= set(between)
        assert desk.order("d1").attempts == 2

    play(story)


@pytest.mark.catalogue("O07")
def test_O07_a_lost_request_whose_decision_has_grown_old_is_not_placed(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "drop_request"}, times=1, **SENT)
        await desk.send("d1")

        after = await desk.until(desk.cid("d1"), OrderState.NOT_PLACED, within_s=25)

        assert after.reason == "not_found"
        assert len(desk.sends(desk.cid("d1"))) == 1
        assert desk.venue_orders() == []

    play(story, max_decision_age_ms=2_000)


@pytest.mark.catalogue("O08")
def test_O08_a_request_that_arrives_after_our_deadline_is_adopted(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "delay", "ms": 3_000}, times=1, **SENT)

        answer = await desk.send("d1")

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        assert desk.venue_orders() == []
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story, deadline_s=0.5)


@pytest.mark.catalogue("O08")
def test_O08_a_request_that_arrives_after_its_window_is_refused_and_one_order_results(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "delay", "ms": 6_500}, times=1, **SENT)
        await desk.send("d1")

        await desk.until(desk.cid("d1"), OrderState.FILLED, within_s=25)

        first, second = desk.sends(desk.cid("d1"))
        assert first["code"] == 100421
        assert second["code"] == 0
        assert len(desk.venue_orders()) == 1

    play(story, deadline_s=0.5)


# --- the exchange says no, or nearly ------------------------------------------------------------------


@pytest.mark.catalogue("O11")
@pytest.mark.parametrize("code", [109201, 101481])
def test_O11_an_id_that_is_in_use_is_evidence_of_our_order(play: Play, code: int) -> None:
    async def story(desk: WireDesk) -> None:
        action = {"kind": "code", "code": code, "msg": "id in use", "processed": True}
        desk.simulator.fault(action, times=1, **SENT)

        answer = await desk.send("d1")

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O11")
def test_O11_a_request_that_the_network_doubled_leaves_one_order(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "duplicate"}, times=1, **SENT)

        await desk.send("d1")

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        (sent,) = desk.sends(desk.cid("d1"))
        assert (sent["processed"], sent["code"]) == (2, 109201)
        assert desk.venue_held() == LOT

    play(story)


@pytest.mark.catalogue("O21")
@pytest.mark.parametrize("processed", [True, False], ids=["carried out", "not carried out"])
@pytest.mark.parametrize(
    "action",
    [
        {"kind": "code", "code": 100410, "msg": "frequency limit"},
        {"kind": "http", "status": 429, "body": '{"code":429,"msg":"too many"}'},
        {"kind": "code", "code": 109500, "msg": "system busy"},
    ],
    ids=["100410", "429", "busy"],
)
def test_O21_a_throttled_order_is_unknown_until_it_is_found_or_proved_absent(
    play: Play, action: dict[str, Any], processed: bool
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({**action, "processed": processed}, times=1, **SENT)

        answer = await desk.send("d1")

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        if not processed:
            assert len(desk.sends(desk.cid("d1"))) == 1
            return
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story, judged=processed)


@pytest.mark.catalogue("O12")
@pytest.mark.parametrize("order", ["as sent", "reversed", "shuffled"])
def test_O12_fills_before_the_answer_in_any_order_and_doubled_are_booked_once(
    play: Play, order: str
) -> None:
    async def story(desk: WireDesk) -> None:
        parts = {"kind": "partial_fill", "schedule": [[0, 0.4], [30, 0.4], [60, 0.2]]}
        desk.simulator.fault(parts, times=1, **SENT)
        desk.simulator.fault({"kind": "hold"}, times=1, **SENT)
        desk.simulator.fault(
            {"kind": "rows", "order": order, "twice": True}, path="trade/fillHistory"
        )
        sending = asyncio.ensure_future(desk.send("d1"))
        await desk.eventually(desk.venue_orders, "the order at the venue")

        await desk.process.refresh(desk.cid("d1"))
        before_the_answer = desk.order("d1")
        desk.simulator.control("POST", "faults/release", {})
        await sending

        assert before_the_answer.filled_quantity > 0
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.store.fills_of_order(desk.cid("d1"))) == 3
        assert desk.held == LOT

    play(story, light_every_s=0.3)


# --- no way to the exchange -----------------------------------------------------------------------------


@pytest.mark.catalogue("O27")
def test_O27_a_half_open_connection_costs_a_deadline_and_the_next_call_has_a_fresh_one(
    play_by_proxy: Callable[..., None],
) -> None:
    async def story(desk: WireDesk, proxy: Proxy) -> None:
        proxy.way = Way.DEAF
        began = asyncio.get_running_loop().time()

        answer = await desk.send("d1")
        waited_s = asyncio.get_running_loop().time() - began
        proxy.way = Way.OPEN

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        assert waited_s < 1.5
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert len(desk.sends(desk.cid("d1"))) == 1
        assert proxy.half_open
        assert proxy.asked_again == set()

    play_by_proxy(story, deadline_s=0.5)


@pytest.mark.catalogue("O26")
def test_O26_without_a_way_to_the_venue_entries_stop_exits_wait_and_nothing_is_doubled(
    play_by_proxy: Callable[..., None],
) -> None:
    async def story(desk: WireDesk, proxy: Proxy) -> None:
        await desk.send("d1")
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        heard = len(desk.simulator.journal())
        proxy.way = Way.BLACKHOLE

        exit_ = await desk.send("d2", Side.SELL)
        refused = await entry_refused(desk, "venue_state_stale")
        further_exit = await desk.approve("d4", Side.SELL)
        unresolved = desk.order("d2", Side.SELL).state
        silence = len(desk.simulator.journal()) - heard
        proxy.way = Way.OPEN

        assert exit_ is not None
        assert unresolved is OrderState.UNKNOWN
        assert refused.scope == "account"
        assert isinstance(further_exit, Approved)
        assert silence == 0
        await desk.until(desk.cid("d2", Side.SELL), OrderState.FILLED, within_s=25)
        assert desk.venue_held() == 0
        await entry_passes(desk)

    play_by_proxy(story, deadline_s=0.5, light_every_s=0.3, judged=False)


async def entry_refused(desk: WireDesk, code: str) -> Refused:
    """Ask for entries until one is refused with this code."""
    for number in range(200):
        verdict = await desk.approve(f"probe-{code}-{number}")
        if isinstance(verdict, Refused) and verdict.limit == code:
            return verdict
        await asyncio.sleep(0.1)
    raise AssertionError(f"no entry was refused with {code}")


async def entry_passes(desk: WireDesk) -> None:
    for number in range(200):
        if isinstance(await desk.approve(f"again-{number}"), Approved):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("no entry passes any more")

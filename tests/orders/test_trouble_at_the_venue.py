"""The exchange is closed, bans us, lacks margin or has another clock: trading stops, orders do not storm."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from desk.runs import RunStatus
from desk.store import kinds
from desk.trading.orders import OrderState, Side
from desk.trading.risk import Approved, Refused
from desk.wallclock import wall_ms
from tests.orders.desk_on_the_wire import ORDER, PAIR, WireDesk

type Play = Callable[..., None]

SENT = {"method": "POST", "path": ORDER}


@pytest.mark.catalogue("O20")
def test_O20_a_refusal_for_want_of_margin_is_final_and_cools_the_pair_down(play: Play) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.send("d0")
        await desk.until(desk.cid("d0"), OrderState.FILLED)
        desk.simulator.control("POST", "account", {"balance": "1"})

        answer = await desk.send("d1")
        again = await desk.approve("d2")
        exit_ = await desk.approve("d3", Side.SELL)

        assert answer is not None
        assert (answer.state, answer.reason) == (OrderState.REJECTED, "margin")
        assert isinstance(again, Refused)
        assert again.limit == "pair_cooldown"
        assert isinstance(exit_, Approved)
        assert len(desk.sends(desk.cid("d1"))) == 1
        assert set(desk.store.reservations("live")) <= {exit_.value.client_order_id}

    play(story, judged=False)


@pytest.mark.catalogue("O20")
@pytest.mark.parametrize("code", [101204, 80012, 110424])
def test_O20_every_code_for_want_of_margin_is_a_rejection_without_a_repeat(
    play: Play, code: int
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.fault({"kind": "code", "code": code, "msg": "no margin"}, **SENT)

        answer = await desk.send("d1")
        await desk.process.executor.quiet()
        await desk.restart()
        await desk.eventually(lambda: desk.process.executor._is_recovered, "a first sweep")

        assert answer is not None
        assert answer.state is OrderState.REJECTED
        assert len(desk.sends(desk.cid("d1"))) == 1

    play(story)


@pytest.mark.catalogue("O22")
def test_O22_after_a_ban_no_call_is_made_until_it_ends_not_even_by_a_new_process(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.start_run()
        until_ms = wall_ms() + 4_000
        body = f'{{"code":418,"msg":"banned, will be unblocked after {until_ms}"}}'
        desk.simulator.fault(
            {"kind": "http", "status": 418, "body": body}, times=1, path="user/positions"
        )
        await desk.eventually(lambda: "exchange_ban" in desk.alerts(), "an alert")
        await asyncio.sleep(0.5)  # what was on the wire when the ban came still arrives
        banned_at = desk.simulator.journal()[-1]["sequence"]

        refused = await desk.approve("d1")
        await desk.restart()
        await desk.eventually(lambda: desk.process.executor._is_recovered, "a first sweep")
        calls = await desk.eventually(lambda: desk.simulator.journal(banned_at), "a call again")

        assert isinstance(refused, Refused)
        assert refused.limit == "exchange_ban"
        assert min(entry["receive_ms"] for entry in calls) >= until_ms
        assert desk.run().status is RunStatus.PAUSED
        assert desk.run().pause_reason == "exchange_ban"
        await steady_again(desk)
        assert desk.run().status is RunStatus.PAUSED

    play(story, light_every_s=0.2)


@pytest.mark.catalogue("O23")
def test_O23_maintenance_pauses_live_without_an_order_storm_and_an_operator_resumes(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.start_run()
        desk.simulator.fault({"kind": "http", "status": 503})
        await desk.eventually(lambda: desk.run().status is RunStatus.PAUSED, "a pause", within_s=20)
        began = len(desk.simulator.journal())

        verdicts = [await desk.approve(f"d{number}") for number in range(20)]

        assert {v.limit for v in verdicts if isinstance(v, Refused)} <= {
            "exchange_maintenance",
            "venue_state_stale",
        }
        assert not [v for v in verdicts if isinstance(v, Approved)]
        assert desk.run().pause_reason == "exchange_maintenance"
        assert "exchange_maintenance" in desk.alerts()
        assert desk.requests("POST", ORDER) == []

        desk.simulator.clear_faults()
        checks = await steady_again(desk)

        assert checks >= 3
        assert desk.run().status is RunStatus.PAUSED
        assert len(desk.simulator.journal()) > began

    play(story, light_every_s=0.2)


@pytest.mark.catalogue("O23")
def test_O23_a_pair_that_is_taken_offline_pauses_its_runs_at_the_first_order_and_exits_pass(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.start_run()
        await desk.send("d1")
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        contract = {"status": 25, "open_allowed": False}
        desk.simulator.control("POST", "market", {"pair": PAIR, "contract": contract})

        entry = await desk.send("d2")
        paused = desk.run()
        await desk.send("d3", Side.SELL)

        assert entry is not None
        assert entry.state is OrderState.UNKNOWN
        assert (paused.status, paused.pause_reason) == (
            RunStatus.PAUSED,
            "exchange_maintenance",
        )
        await desk.until(desk.cid("d3", Side.SELL), OrderState.FILLED)
        after = await desk.until(desk.cid("d2"), OrderState.NOT_PLACED, within_s=25)
        assert after.reason.startswith("likely_refused:pair_closed")
        assert len(desk.sends(desk.cid("d2"))) == 1
        contract = {"status": 1, "open_allowed": True}
        desk.simulator.control("POST", "market", {"pair": PAIR, "contract": contract})

    play(story)


@pytest.mark.catalogue("O24")
@pytest.mark.parametrize("offset_ms", [30_000, -30_000])
def test_O24_a_venue_half_a_minute_off_is_signed_for_by_its_own_clock(
    play: Play, offset_ms: int
) -> None:
    async def story(desk: WireDesk) -> None:
        desk.simulator.clock(server_offset_ms=offset_ms)
        await desk.restart()

        await desk.send("d1")

        await desk.until(desk.cid("d1"), OrderState.FILLED)
        assert [entry["code"] for entry in desk.sends(desk.cid("d1"))] == [0]

    play(story)


@pytest.mark.catalogue("O24")
def test_O24_a_clock_that_jumps_costs_a_refused_send_and_the_same_id_goes_out_again(
    play: Play,
) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.send("d1")
        await desk.until(desk.cid("d1"), OrderState.FILLED)
        desk.simulator.clock(server_offset_ms=30_000)

        answer = await desk.send("d2")

        assert answer is not None
        assert answer.state is OrderState.UNKNOWN
        await desk.until(desk.cid("d2"), OrderState.FILLED, within_s=25)
        assert [entry["code"] for entry in desk.sends(desk.cid("d2"))] == [100421, 0]

    play(story)


async def steady_again(desk: WireDesk) -> int:
    """Wait until an entry passes; returns how many good comparisons that took."""

    def health() -> Any:
        found = desk.store.get(kinds.VENUES, "live")
        assert found is not None
        return found.value

    for number in range(200):
        if isinstance(await desk.approve(f"again-{number}"), Approved):
            checks = health().good_checks
            await desk.send(f"again-{number}")
            await desk.until(desk.cid(f"again-{number}"), OrderState.FILLED)
            return checks
        await asyncio.sleep(0.1)
    raise AssertionError(f"no entry passes: {health()}")

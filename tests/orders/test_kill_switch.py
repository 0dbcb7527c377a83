"""The kill switches while orders go out: once one has answered, no entry reaches the exchange."""

# pyright: reportPrivateUsage=false

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from actors.closing import Closer
from actors.killing import KILL_SWITCH, KillSwitches
from actors.order_executor import Execute
from actors.wiring import LIVE
from desk.runs import RunStatus
from desk.trading.orders import Side
from desk.trading.risk import Approved
from desk.wallclock import VenueClock, wall_ms
from tests.orders.desk_on_the_wire import LOT, ORDER, Gone, WireDesk, _anchor

TRADERS = 4
SMALL = LOT / 5
"""Of a coin: the fees of hundreds of rounds stay below every loss limit."""
LIMIT_S = 1.0
BY_THEN: dict[str, Any] = {"actor": "alice", "trace_id": "tr-kill"}


@dataclass
class Tally:
    """What rounds of a kill switch showed."""

    took_s: list[float] = field(default_factory=list)
    sent: int = 0
    refused: int = 0

    @property
    def p99_s(self) -> float:
        return statistics.quantiles(self.took_s, n=100, method="inclusive")[98]


def switches_of(desk: WireDesk) -> KillSwitches:
    anchor = _anchor(desk.store)
    process = desk.process
    closer = Closer(desk.store, process_clock(anchor), lambda _: process, lambda _: process)
    return KillSwitches(desk.store, process_clock(anchor), closer, (LIVE,))


def process_clock(anchor: Any) -> Any:
    return VenueClock(lambda: anchor)


def journal_count(desk: WireDesk) -> int:
    return desk.simulator.control("GET", "journal?after=0&limit=1")["count"]


def late_entries(desk: WireDesk, after: int, answered_ms: int) -> list[str]:
    """Entries beyond a row of the exchange's journal that it received after this wall time."""
    return [
        row["params"]["clientOrderID"]
        for row in desk.requests("POST", ORDER, after)
        if not is_exit(row["params"]) and row["receive_ms"] > answered_ms
    ]


def is_exit(params: dict[str, Any]) -> bool:
    return str(params.get("reduceOnly", "")).lower() == "true"


async def trade(desk: WireDesk, name: str, stop: asyncio.Event, tally: Tally) -> None:
    """Buy and sell again as fast as it goes, whatever is refused."""
    number = 0
    while not stop.is_set():
        number += 1
        side = Side.BUY if number % 2 else Side.SELL
        try:
            verdict = await desk.approve(f"{name}-{number}", side, SMALL)
            if isinstance(verdict, Approved):
                order = await desk.process.executor.execute(Execute(approved=verdict))
                tally.sent += order.attempts > 0 and not order.reduce_only
            else:
                tally.refused += 1
        except Gone:
            return
        await asyncio.sleep(0.005)


async def turn(desk: WireDesk, which: str, *, on: bool, flatten: bool = False) -> int:
    switches, said = switches_of(desk), "storm" if on else "over"
    if which == "agent":
        return await switches.turn_agent("desk", on=on, reason=said, flatten=flatten, **BY_THEN)
    return await switches.turn_all(on=on, reason=said, flatten=flatten, **BY_THEN)


async def round_of(desk: WireDesk, which: str, name: str, tally: Tally) -> None:
    """Trade, kill in the midst of it, watch the wire, restart everything, lift."""
    stop = asyncio.Event()
    traders = [
        asyncio.ensure_future(trade(desk, f"{name}-{each}", stop, tally)) for each in range(TRADERS)
    ]
    before = tally.sent
    await desk.eventually(lambda: tally.sent >= before + 3, "trading")

    at, began_s = journal_count(desk), time.monotonic()
    await turn(desk, which, on=True)
    tally.took_s.append(time.monotonic() - began_s)
    answered_ms = wall_ms()

    await asyncio.sleep(0.15)  # the traders go on asking
    stop.set()
    await asyncio.gather(*traders)
    late = late_entries(desk, at, answered_ms)
    assert late == [], "an entry reached the exchange after the answer"


async def leave(desk: WireDesk, name: str) -> None:
    """Close what is held while the switch is on: exits pass."""
    await desk.process.executor.quiet()
    if desk.held:
        await desk.send(f"{name}-leave", Side.SELL, desk.held)
        await desk.process.executor.quiet()
    assert desk.held == desk.venue_held() == 0


async def resume(desk: WireDesk, which: str) -> None:
    await turn(desk, which, on=False)
    desk.start_run()
    await compare(desk)


async def compare(desk: WireDesk) -> None:
    """Entries need a comparison of the last 10 s, and a fresh mark."""
    await desk.reconcile()
    await desk.mark()


def killed_rounds(play: Callable[..., None], rounds: int, tally: Tally) -> None:
    async def story(desk: WireDesk) -> None:
        for number in range(rounds):
            which = "agent" if number % 2 else "all"
            await round_of(desk, which, f"r{number}", tally)
            assert desk.run().status is RunStatus.PAUSED
            await leave(desk, f"r{number}")
            if number % 10 < 2:  # the flag is in the store: a new process sees it as well
                await desk.restart()
                await compare(desk)
                verdict = await desk.approve(f"after-{number}")
                assert not isinstance(verdict, Approved)
                assert verdict.limit == KILL_SWITCH
            await resume(desk, which)

    play(story, judged=False, light_every_s=3.0)


@pytest.mark.catalogue("R05")
def test_after_a_kill_switch_has_answered_no_entry_reaches_the_exchange(
    play: Callable[..., None],
) -> None:
    tally = Tally()

    killed_rounds(play, 4, tally)

    assert tally.sent >= 12
    assert statistics.median(tally.took_s) <= LIMIT_S


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_two_hundred_kills_under_load_let_no_entry_out_and_answer_within_a_second(
    play: Callable[..., None],
) -> None:
    tally = Tally()

    try:
        killed_rounds(play, 200, tally)
    finally:
        print(f"kills {len(tally.took_s)}, entries {tally.sent}, p99 {tally.p99_s:.3f} s")
    assert tally.p99_s <= LIMIT_S


def test_a_killed_agents_exits_still_reach_the_exchange(play: Callable[..., None]) -> None:
    async def story(desk: WireDesk) -> None:
        await desk.send("d1")
        await desk.eventually(lambda: desk.held > 0, "a position")

        await turn(desk, "agent", on=True, flatten=True)

        await desk.eventually(lambda: desk.venue_held() == Decimal(0), "a flat account")
        await desk.eventually(lambda: desk.held == 0, "flat books")

    play(story)

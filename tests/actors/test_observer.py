"""The observer as it is built in its process, over a real store: each of its loops takes a turn."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from pathlib import Path

from pydantic import SecretStr

from actors.alerts import Cause, raise_alert
from actors.market_time import clock_fact
from actors.observer import Observer
from actors.parts.observer import observer_parts
from actors.run_book import RunBook
from actors.slo_watch import STATE_KEY
from actors.wiring import Wiring
from desk.clock import ClockAnchor, ManualClock
from desk.runs import Mode, Run, RunStatus
from desk.store import kinds
from desk.store.valkey import ValkeyStore
from desk.wallclock import wall_ms

NOW_MS = 1_700_000_000_000


def test_a_turn_of_each_loop_audits_judges_and_tells(store: ValkeyStore, tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        writer.close()

    async def play() -> None:
        server = await asyncio.start_server(receive, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        wiring = Wiring(
            store_url=store.url,
            home=tmp_path,
            venue_url="http://127.0.0.1:9",
            pairs=("BTC-USDT",),
            intervals=("1m",),
            alert_webhook_url=SecretStr(f"http://127.0.0.1:{port}/hook"),
            alert_webhook_secret=SecretStr("a secret of a receiver"),
        )
        observer = await asyncio.to_thread(Observer, lambda: observer_parts(wiring))
        runs = RunBook(store, ManualClock(NOW_MS), actor="supervisor")
        await runs.pause("run1", "disk_low", category="ops")
        late = Cause(code="late_fill", about="c1", category="ops", severity="warning", detail="")
        await raise_alert(store, late, at_ms=NOW_MS)
        async with server:
            await observer.turn_events()
            await observer.turn_service()
            await observer.turn_alerts("webhook")

    read = ClockAnchor(market_ms=NOW_MS, wall_ms=wall_ms(), speed=1.0)
    store.put(kinds.STATE, "clock", clock_fact(read), at_ms=NOW_MS)
    store.put(kinds.RUNS, "run1", make_run(), at_ms=NOW_MS)
    asyncio.run(play())

    [row] = store.audit_rows(0, 10)
    assert (row.actor, row.action, row.resource) == ("supervisor", "run.paused", "run/run1")
    assert len(heard) == 2
    assert store.get(kinds.STATE, STATE_KEY) is not None


def make_run() -> Run:
    return Run(
        run_id="run1",
        agent_id="desk",
        account="paper",
        mode=Mode.PAPER,
        pair="BTC-USDT",
        interval="1m",
        version_id="v1",
        risk_limit_set_id="default",
        decision_threshold=0.35,
        status=RunStatus.RUNNING,
        started_ms=NOW_MS,
    )

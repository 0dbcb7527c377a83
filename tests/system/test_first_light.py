"""The whole desk as an operator meets it: one command, then candles, decisions, fills, pages."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect

from desk.drills import plan
from desk.store import server
from tests.processes import command_of, head_of, processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]


def paper_trades(desk: Any) -> list[dict[str, Any]]:
    return [
        trade for trade in desk.get("/trades?mode=paper")["items"] if trade["average_fill_price"]
    ]


def healthy(desk: Any) -> bool:
    try:
        return bool(desk.get("/healthz"))
    except httpx2.HTTPError:
        return False


def test_a_candle_becomes_a_paper_fill_with_costs_and_a_complete_trace(desk: Any) -> None:
    trade = desk.eventually(lambda: paper_trades(desk), within_s=120)[-1]

    story = desk.get(f"/traces/{trade['trace_id']}")
    assert trade["baseline"]
    assert Decimal(trade["average_fill_price"]) > 0
    assert Decimal(trade["fees"]) > 0
    assert [hop["name"] for hop in story["hops"] if not hop["present"]] in ([], ["reconciliation"])
    (fill,) = [
        fill for fill in story["fills"] if fill["client_order_id"] == trade["client_order_id"]
    ]
    candles = desk.get(
        f"/market-data/candles?pair={trade['pair']}&interval=1m"
        f"&start_ms={story['candle']['open_ms']}&limit=10"
    )
    opens = dict(zip(candles["t"], candles["o"], strict=True))
    filled_open = opens[fill["filled_ms"] - 1_000]
    assert abs(float(fill["price"]) / filled_open - 1) < 0.0005


def test_decisions_and_freshness_go_on_with_the_market(desk: Any) -> None:
    run = desk.eventually(lambda: desk.get("/ops/trading/summary")["runs"])[0]

    later = desk.eventually(
        lambda: [
            each
            for each in desk.get("/ops/trading/summary")["runs"]
            if each["last_decided_open_ms"] >= run["last_decided_open_ms"] + 5 * 60_000
        ]
    )

    assert later[0]["status"] == "running"
    assert {source["status"] for source in desk.get("/data-sources/status")["items"]} == {"ok"}


def test_status_names_every_actor_with_its_memory(desk: Any) -> None:
    answer = desk.command("status")

    assert answer.returncode == 0, answer.stderr
    for name in ("supervisor", "candle_poller:BTC-USDT", "risk_ledger:paper", "reconciler:paper"):
        assert re.search(rf"{name}.*\bup\b", answer.stdout), answer.stdout


def test_pause_and_resume_from_the_terminal_reach_the_run(desk: Any) -> None:
    paused = desk.command("pause", "--reason", "lunch")

    assert paused.returncode == 0, paused.stderr
    assert desk.get("/ops/trading/summary")["runs"][0]["pause_reason"] == "lunch"
    assert desk.command("resume", "--reason", "back").returncode == 0
    assert desk.get("/ops/trading/summary")["runs"][0]["status"] == "running"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("start", "BTC"), "pair"),
        (("start", "DOGE-USDT"), "DOGE-USDT"),
        (("backfill", "BTC-USDT", "--interval", "7m"), "interval"),
        (("backfill", "BTC-USDT", "--start", "soon"), "--start"),
        (("backfill", "BTC-USDT", "--start", "2026-02-01", "--end", "2026-01-01"), "--start"),
        (("evaluate", "no-such-version"), "no-such-version"),
        (("train", "--tape", "no-such-file", "--tick", "1"), "--tape"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(
    desk: Any, words: tuple[str, ...], said: str
) -> None:
    answer = desk.command(*words)

    assert answer.returncode == 2
    assert said in answer.stderr
    assert answer.stderr.startswith("desk: ")
    assert answer.stderr.count("\n") == 1


def test_a_second_launcher_on_a_busy_port_names_the_port(desk: Any, tmp_path: Path) -> None:
    desk.eventually(lambda: desk.get("/healthz"))
    environment = desk.environment | {"DESK_HOME": str(tmp_path)}
    answer = subprocess.run(
        [str(Path(sys.prefix) / "bin" / "desk"), "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert answer.returncode == 2
    assert "PORT" in answer.stderr
    assert processes_of(tmp_path) == []


@pytest.mark.browser
def test_both_pages_show_the_running_desk(desk: Any, page: Page) -> None:
    trade = desk.eventually(lambda: paper_trades(desk), within_s=120)[-1]

    page.goto(desk.url + "/rl-ops")
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    expect(page.get_by_role("region", name="Trades", exact=True)).to_contain_text(trade["pair"])
    page.goto(f"{desk.url}/insights?pair={trade['pair']}")

    expect(page.locator(".chart")).to_have_attribute("data-state", "ready")
    expect(
        page.get_by_role("table", name="Trades on the chart").locator("tbody tr").first
    ).to_be_visible()
    drawn = page.locator("button[data-layer=paper] [data-count]")
    expect(drawn).to_have_text(re.compile("[1-9]"))
    page.get_by_role("table", name="Trades on the chart").locator("tbody tr").first.click()
    desk.eventually(lambda: page.evaluate("() => deskTape.painted('paper')"))


def ray_process(desk: Any, program: bytes) -> int:
    """The one process of this desk's Ray that runs this program."""
    (found,) = [
        pid
        for pid in processes_of(desk.home)
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(program)
    ]
    return found


@pytest.mark.catalogue("I17")
@pytest.mark.parametrize(
    "lost",
    [
        "whole head",
        pytest.param("raylet", marks=pytest.mark.nightly),
        pytest.param("control store", marks=pytest.mark.nightly),
        pytest.param("whole head, and the next one as it starts", marks=pytest.mark.nightly),
    ],
)
def test_a_killed_ray_head_is_replaced_and_the_same_run_goes_on(desk: Any, lost: str) -> None:
    desk.eventually(lambda: not booting(desk), within_s=180)
    run = desk.eventually(lambda: desk.get("/ops/trading/summary")["runs"], within_s=120)[0]
    trades = {trade["trade_id"] for trade in paper_trades(desk)}
    raylet = ray_process(desk, b"raylet/raylet")
    victims = {
        "raylet": lambda: [raylet],
        "control store": lambda: [ray_process(desk, b"gcs_server")],
    }.get(lost, lambda: head_of(desk.home))()

    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    # The dying session may still answer for a moment: a new head is a new raylet that is up.
    desk.eventually(lambda: raylet not in processes_of(desk.home) and not healthy(desk))
    if "next one" in lost:
        kill_next_head(desk, raylet)
    after = desk.eventually(
        lambda: [
            each
            for each in desk.get("/ops/trading/summary")["runs"]
            if each["last_decided_open_ms"] > run["last_decided_open_ms"]
        ],
        within_s=180,
    )
    assert [each["run_id"] for each in after] == [run["run_id"]]
    assert trades <= {trade["trade_id"] for trade in paper_trades(desk)}


def booting(desk: Any) -> bool:
    """Whether the actors are being started. The first of them work before the last one is there."""
    return any("serve_apps.boot" in command_of(pid) for pid in processes_of(desk.home))


def kill_next_head(desk: Any, raylet: int) -> None:
    """While the actors are started on it."""

    def starting() -> list[int]:
        found = processes_of(desk.home)
        fresh = [pid for pid in found if "raylet/raylet" in command_of(pid) and pid != raylet]
        return fresh if booting(desk) else []

    desk.eventually(starting, within_s=180)
    for pid in head_of(desk.home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def drilled(desk: Any, name: str, *, within_s: float) -> list[dict[str, Any]]:
    """Hold a drill, or all; every one must pass, and the desk must be as before."""
    desk.eventually(lambda: not booting(desk), within_s=180)
    desk.eventually(lambda: paper_trades(desk), within_s=120)
    (run,) = desk.get("/ops/trading/summary")["runs"]

    answer = desk.command("drill", name, "--json", within_s=within_s)

    held = json.loads(answer.stdout) if answer.stdout else []
    assert [one for one in held if not one["passed"]] == [], answer.stderr[-2000:]
    assert answer.returncode == 0, answer.stderr[-2000:]
    (after,) = desk.get("/ops/trading/summary")["runs"]
    assert (after["run_id"], after["status"]) == (run["run_id"], "running")
    assert after["last_decided_open_ms"] > run["last_decided_open_ms"]
    control_url = json.loads((desk.home / "run" / "simulator.json").read_text())["control_url"]
    assert httpx2.get(f"{control_url}/_sim/faults", timeout=10).json()["rules"] == []
    return held


FASTEST = ("performance-degradation", "lost-store", "lost-actor")


@pytest.mark.parametrize("name", FASTEST)
def test_the_fastest_drills_pass(desk: Any, name: str) -> None:
    (held,) = drilled(desk, name, within_s=240)

    assert held["name"] == name
    assert held["detected_s"] <= held["bounds"]["detect_s"]
    assert held["recovered_s"] <= held["bounds"]["recover_s"]


@pytest.mark.nightly
@pytest.mark.timeout(2400)
def test_every_drill_of_the_runbook_passes(desk: Any) -> None:
    held = drilled(desk, "all", within_s=1800)

    assert [one["name"] for one in held] == plan.names()


def test_down_ends_every_process_and_the_next_up_continues(
    desk: Any,
    launched: Callable[[], tuple[Any, subprocess.Popen[bytes]]],
    shared: list[tuple[Any, subprocess.Popen[bytes]]],
) -> None:
    trades = {trade["trade_id"] for trade in paper_trades(desk)}
    runs = [run["run_id"] for run in desk.get("/agents/desk/runs")["items"]]
    market_ms = desk.get("/ops/trading/summary")["market_now_ms"]

    assert desk.command("down").returncode == 0

    assert processes_of(desk.home) == []
    assert server.find(desk.home) is None
    again, process = launched()
    shared.append((again, process))
    again.eventually(lambda: again.get("/ops/trading/summary")["runs"])
    assert [run["run_id"] for run in again.get("/agents/desk/runs")["items"]] == runs
    assert trades <= {trade["trade_id"] for trade in paper_trades(again)}
    assert again.get("/ops/trading/summary")["market_now_ms"] >= market_ms

"""The simulator as a process: its command line, a restart from its state file, determinism, a tape."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bingx_sim.__main__ import main

PROJECT = Path(__file__).parents[2]
STAMP_MS = 1_700_000_000_000
TAPE = "btc_perp_1m_2022-01.parquet"
DAY_MS = 86_400_000


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Start with arguments that cannot work and return the sentence."""

    def start(*arguments: str) -> str:
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return start


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tape", "/nowhere.parquet"), "there is no tape"),
        (("--tape", "pyproject.toml"), "cannot be read as Parquet"),
        (("--tape", "a", "--tape", "b", "--tape-pair", "BTC-USDT"), "2 tapes but 1 pairs"),
        (("--tape", "pyproject.toml", "--tape-pair", "XRP-USDT"), "not listed"),
        (("--speed", "0"), "speed is 0"),
        (("--speed", "fast"), "--speed"),
        (("--seed", "-1"), "seed is -1"),
        (("--start-ms", "5"), "start-ms is 5"),
        (("--port", "70000"), "port is 70000"),
        (("--account", "only-a-key"), "key:secret:USDT"),
        (("--faults", "/nowhere.json"), "fault plan"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_bad_arguments_end_with_one_sentence(
    refused: Callable[..., str], arguments: tuple[str, ...], words: str
) -> None:
    sentence = refused(*arguments)

    assert words in sentence
    assert sentence.count("\n") == 1


def test_a_busy_port_ends_with_one_sentence(refused: Callable[..., str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        sentence = refused("--port", str(port))
        control = refused("--control-port", str(port))

    assert f"cannot listen on 127.0.0.1:{port}" in sentence
    assert f"cannot listen on 127.0.0.1:{port}" in control


def test_a_refused_start_ends_the_process_with_status_2() -> None:
    command = (sys.executable, "-m", "bingx_sim", "--speed", "0")

    done = subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=60, check=False)

    assert done.returncode == 2


def test_it_tells_where_it_listens_and_stops_cleanly(
    start_simulator: Callable[..., Any], tmp_path: Path
) -> None:
    ready = tmp_path / "ready.json"

    sim = start_simulator(ready_file=ready)

    told = json.loads(ready.read_text())
    assert told == {"url": sim.url, "control_url": sim.control_url, "pid": sim.process.pid}
    assert sim.stop(signal.SIGTERM) == 0


def test_a_restart_continues_where_the_market_stopped(
    start_simulator: Callable[..., Any], venue_of: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"state": tmp_path / "state.json", "start_ms": 1_750_000_000_000}
    venue = venue_of(start_simulator(**options))
    venue.sim.clock(freeze=True)
    venue.buy(quantity="0.02", clientOrderID="kept")
    venue.buy(type="LIMIT", price=round(venue.price() * 0.99, 1), clientOrderID="rests")
    venue.sim.control("POST", "market", {"pair": "ETH-USDT", "shock": 1.1})
    venue.sim.clock(advance_ms=1_000)
    before = venue.sim.state()
    venue.sim.stop()

    venue = venue_of(start_simulator(**options))

    after = venue.sim.state()
    for part in ("accounts", "prices", "contracts"):
        assert after[part] == before[part]
    assert after["clock"]["market_ms"] == before["clock"]["market_ms"]
    assert venue.place(clientOrderID="kept")[1]["code"] in {101481, 109201}
    venue.sim.clock(advance_ms=5 * DAY_MS)
    order = venue.data(
        "GET", "swap/v2/trade/order", {"symbol": "BTC-USDT", "clientOrderId": "rests"}
    )
    assert order["order"]["status"] in {"FILLED", "PENDING"}


def test_a_killed_simulator_has_its_state_of_moments_before(
    start_simulator: Callable[..., Any], venue_of: Callable[..., Any], tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    venue = venue_of(start_simulator(state=state))
    venue.buy(clientOrderID="k")
    while not state.exists() or '"client_id":"k"' not in state.read_text():
        pass
    venue.sim.stop(signal.SIGKILL)

    venue = venue_of(start_simulator(state=state))

    assert len(venue.positions()) == 1


def test_a_state_file_of_another_seed_or_format_is_refused(
    refused: Callable[..., str], start_simulator: Callable[..., Any], tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    start_simulator(state=state, seed=7).stop()

    assert "seed 7, not 8" in refused("--state", str(state), "--seed", "8")
    state.write_text("{}")
    assert "cannot be read" in refused("--state", str(state))


def script(venue: Any, start_ms: int) -> list[dict[str, Any]]:
    """One run of a request script under a stopped clock; returns the journal without wall times."""
    venue.sim.clock(freeze=True)
    venue.sim.reset(seed=7, market_ms=start_ms)
    venue.sim.clock(pin_server_ms=STAMP_MS)
    rule = {"match": {"probability": 0.3}, "action": {"kind": "code", "code": 109500}}
    venue.sim.control("POST", "faults", rule)
    for index in range(12):
        side = "BUY" if index % 3 else "SELL"
        order = {"symbol": "BTC-USDT", "side": side, "type": "MARKET", "quantity": "0.01"}
        order["clientOrderID"] = f"c{index}"
        venue.call("POST", "swap/v2/trade/order", order, stamp=STAMP_MS)
        venue.call("GET", "swap/v2/user/positions", {}, stamp=STAMP_MS)
        params = {"symbol": "BTC-USDT", "interval": "1m", "limit": 3}
        venue.call("GET", "swap/v3/quote/klines", params, stamp=STAMP_MS)
        venue.sim.clock(advance_ms=3_600_000)
    wall = {"receive_ms", "receive_ns", "answer_ms", "connection"}
    return [
        {name: value for name, value in entry.items() if name not in wall}
        for entry in venue.sim.journal()
    ]


def test_one_seed_and_one_script_give_identical_journals_and_accounts(
    start_simulator: Callable[..., Any], venue_of: Callable[..., Any], venue: Any, start_ms: int
) -> None:
    other = venue_of(start_simulator())

    first, second = script(venue, start_ms), script(other, start_ms)

    assert first == second
    assert {entry["code"] for entry in first} == {0, 109500}
    assert venue.account() == other.account()
    assert len(venue.account()["orders"]) > 5


def test_a_tape_is_replayed_around_the_start(
    start_simulator: Callable[..., Any],
    venue_of: Callable[..., Any],
    tape: Callable[[str], Path],
    start_ms: int,
) -> None:
    import pyarrow.parquet

    path = tape(TAPE)
    rows = pyarrow.parquet.read_table(path).to_pydict()
    venue = venue_of(start_simulator(tape=path, tape_pair="BTC-USDT", start_ms=start_ms))
    (contract,) = venue.data("GET", "swap/v2/quote/contracts", {"symbol": "BTC-USDT"})
    shift_ms = contract["launchTime"] - rows["open_time"][0]
    place = 1_000

    first = rows["open_time"][place] + shift_ms
    served = venue.candles(startTime=first, endTime=first + 99 * 60_000, limit=100)[::-1]

    assert shift_ms % DAY_MS == 0
    closes = [float(candle["close"]) for candle in served]
    volumes = [float(candle["volume"]) for candle in served]
    recorded = np.array([rows[name][place : place + 100] for name in ("close", "volume")])
    assert closes == list(recorded[0])
    assert volumes == pytest.approx(list(recorded[1] / recorded[0]), abs=0.0001)
    end_ms = rows["open_time"][-1] + shift_ms
    assert contract["launchTime"] < start_ms < end_ms
    assert start_ms - contract["launchTime"] > 15 * DAY_MS


def test_after_the_tape_the_market_goes_on_from_its_last_price(
    start_simulator: Callable[..., Any],
    venue_of: Callable[..., Any],
    tape: Callable[[str], Path],
    start_ms: int,
) -> None:
    venue = venue_of(start_simulator(tape=tape(TAPE), start_ms=start_ms))
    (contract,) = venue.data("GET", "swap/v2/quote/contracts", {"symbol": "BTC-USDT"})
    end_ms = contract["launchTime"] + 45_031 * 60_000
    venue.sim.clock(advance_ms=end_ms - start_ms + DAY_MS)

    rows = venue.candles(startTime=end_ms - 5 * 60_000, endTime=end_ms + 5 * 60_000)[::-1]

    assert len(rows) == 11
    for before, after in pairwise(rows[4:]):
        assert float(after["open"]) == pytest.approx(float(before["close"]), rel=0.001)


def test_missing_minutes_of_a_tape_are_missing_candles(
    start_simulator: Callable[..., Any],
    venue_of: Callable[..., Any],
    tmp_path: Path,
    start_ms: int,
) -> None:
    import pyarrow
    import pyarrow.parquet

    minutes = [n for n in range(4_000) if n not in {1_000, 1_001}]
    prices = [50_000.0 + n for n in minutes]
    columns = {
        "open_time": [1_600_000_020_000 + n * 60_000 for n in minutes],
        **dict.fromkeys(("open", "high", "low", "close"), prices),
        "volume": [1.5] * len(minutes),
    }
    path = tmp_path / "tape.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)

    venue = venue_of(start_simulator(tape=path, start_ms=start_ms))
    (contract,) = venue.data("GET", "swap/v2/quote/contracts", {"symbol": "BTC-USDT"})
    hole_ms = contract["launchTime"] + 1_000 * 60_000
    window = {"startTime": hole_ms - 60_000, "endTime": hole_ms + 2 * 60_000}

    assert [row["time"] - hole_ms for row in venue.candles(**window)] == [120_000, -60_000]
    longer = venue.candles(interval="5m", startTime=hole_ms // 300_000 * 300_000, endTime=hole_ms)
    assert longer[0]["volume"] in {"4.5000", "6.0000"}


def test_the_process_stays_small(start_simulator: Callable[..., Any], venue_of: Any) -> None:
    venue = venue_of(start_simulator())
    now_ms = venue.data("GET", "swap/v2/server/time")["marketTime"]
    for pair in ("BTC-USDT", "ETH-USDT", "PAXG-USDT"):
        for interval in ("1h", "15m"):
            venue.candles(symbol=pair, interval=interval, limit=1_440)
        for day in range(0, 60, 12):
            end_ms = now_ms - day * DAY_MS
            venue.candles(symbol=pair, startTime=end_ms - DAY_MS, endTime=end_ms, limit=1_440)

    status = Path(f"/proc/{venue.sim.process.pid}/status").read_text()
    (line,) = [text for text in status.splitlines() if text.startswith("VmHWM")]

    assert int(line.split()[1]) < 120_000

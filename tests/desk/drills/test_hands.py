"""What the drills break is what it was once it is healed: files, processes, the simulator."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desk.drills.exchange import Ban, Faults, ManualTrade, Shock, Simulator, Skew
from desk.drills.files import Changed, flipped, put_all_back
from desk.drills.hands import DrillRefused
from desk.drills.kills import Kill, Standstill

PAIR, KEY = "ETH-USDT", "sim-key"


# --- files --------------------------------------------------------------------------------------


@given(st.none() | st.binary(max_size=200), st.binary(max_size=50), st.integers(1, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_file_is_what_it_was_however_often_it_is_healed(
    tmp_path: Path, before: bytes | None, other: bytes, times: int
) -> None:
    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    if before is not None:
        path.write_bytes(before)
    change = Changed(path=path, change=lambda _data: other)

    change.begin()
    broken = path.read_bytes()
    for _ in range(times):
        change.heal()

    assert broken == other
    assert (path.read_bytes() if path.exists() else None) == before
    assert sorted(tmp_path.iterdir()) == ([path] if before is not None else [])


@given(st.binary(min_size=1, max_size=500))
def test_one_bit_is_flipped_and_flips_back(data: bytes) -> None:
    other = flipped(data)

    assert sum((a ^ b).bit_count() for a, b in zip(data, other, strict=True)) == 1
    assert flipped(other) == data


def test_what_a_killed_drill_left_is_put_back(tmp_path: Path) -> None:
    weights = tmp_path / "artifacts" / "v1" / "policy.safetensors"
    reserve = tmp_path / "run" / "disk_reserve"
    for path in (weights, reserve):
        path.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    for path in (weights, reserve):
        Changed(path=path, change=lambda data: data + b"!").begin()

    put_back = put_all_back(tmp_path)

    assert sorted(put_back) == sorted([weights, reserve])
    assert weights.read_bytes() == b"weights"
    assert not reserve.exists()
    assert put_all_back(tmp_path) == []


# --- processes ----------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Any:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait(10)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def soon(holds: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + 10
    while not holds() and time.monotonic() < until_s:
        time.sleep(0.01)
    return holds()


def test_a_process_stands_still_until_it_is_healed(sleeper: Any) -> None:
    still = Standstill(what="it", pids=lambda: [sleeper.pid])

    still.begin()
    stood = soon(lambda: state_of(sleeper.pid) == "T")
    still.heal()
    still.heal()

    assert stood
    assert soon(lambda: state_of(sleeper.pid) != "T")


def test_a_killed_process_is_gone(sleeper: Any) -> None:
    Kill(what="it", pids=lambda: [sleeper.pid]).begin()

    assert sleeper.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("kind", [Kill, Standstill])
def test_without_a_process_there_is_no_drill(kind: Any) -> None:
    with pytest.raises(DrillRefused, match="the policy"):
        kind(what="the policy", pids=list).begin()


# --- the simulator ------------------------------------------------------------------------------


@pytest.fixture
def simulator(shared_simulator: Any) -> Iterator[Simulator]:
    shared_simulator.reset(seed=7)
    with closing(Simulator(shared_simulator.control_url)) as simulator:
        yield simulator
    shared_simulator.clear_faults()


def test_rules_of_a_drill_go_and_those_of_others_stay(simulator: Simulator) -> None:
    rule = {"match": {"path": "klines"}, "action": {"kind": "http", "status": 503}}
    simulator.call("POST", "faults", {"id": "mine", **rule})

    for injection in (
        Faults(simulator=simulator, rules=[rule, rule]),
        Ban(simulator=simulator, seconds=5.0),
    ):
        injection.begin()
        broken = [row["id"] for row in simulator.state()["rules"]]
        injection.heal()
        injection.heal()

        assert len(broken) > 1
        assert [row["id"] for row in simulator.state()["rules"]] == ["mine"]


def test_a_skew_and_a_shock_are_taken_back(simulator: Simulator) -> None:
    simulator.call("POST", "clock", {"freeze": True})
    price = Decimal(simulator.state()["prices"][PAIR])
    skew = Skew(simulator=simulator, offset_ms=30_000)
    shock = Shock(simulator=simulator, pair=PAIR, factor=0.93)

    skew.begin()
    shock.begin()
    broken = simulator.state()
    for _ in range(2):
        skew.heal()
        shock.heal()

    healed = simulator.state()
    assert broken["clock"]["server_offset_ms"] == 30_000
    assert float(Decimal(broken["prices"][PAIR]) / price) == pytest.approx(0.93, abs=1e-3)
    assert healed["clock"]["server_offset_ms"] == 0
    assert float(Decimal(healed["prices"][PAIR]) / price) == pytest.approx(1.0, abs=1e-3)


def test_a_trade_by_hand_is_of_whole_lots_and_closed_again(simulator: Simulator) -> None:
    trade = ManualTrade(
        simulator=simulator, pair=PAIR, lot=Decimal("0.01"), equity_fraction=0.4, key=KEY
    )

    trade.begin()
    [account] = [row for row in simulator.state()["accounts"] if row["key"] == KEY]
    trade.heal()
    trade.heal()

    [position] = account["positions"]
    worth = Decimal(position["positionAmt"]) * Decimal(position["avgPrice"])
    assert float(worth / Decimal(account["balance"]["balance"])) == pytest.approx(0.4, abs=0.02)
    [after] = [row for row in simulator.state()["accounts"] if row["key"] == KEY]
    assert after["positions"] == []


def test_an_account_that_the_simulator_does_not_have_is_a_refusal(simulator: Simulator) -> None:
    trade = ManualTrade(
        simulator=simulator, pair=PAIR, lot=Decimal("0.01"), equity_fraction=0.4, key="mine"
    )

    with pytest.raises(DrillRefused, match="mine"):
        trade.begin()


def test_a_control_plane_that_is_gone_is_a_refusal() -> None:
    with (
        closing(Simulator("http://127.0.0.1:9")) as simulator,
        pytest.raises(DrillRefused, match="control plane"),
    ):
        simulator.state()

"""`desk doctor`: each thing that can be wrong is found and told with its remedy, within a bound."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from actors.run_file import RunFile
from desk.cli import exchange_probe, machine_checks
from desk.cli.application import app
from desk.cli.findings import Finding
from desk.cli.processes import ProcessBook
from desk.settings import Settings, load_settings, settings_problems
from desk.venues.bingx_wire import BingxConfig
from desk.wallclock import monotonic_s

PAIR = "BTC-USDT"

type Simulator = Any
type Probe = Callable[..., dict[str, Finding]]


def of(home: Path, **more: str) -> Settings:
    return load_settings({"DESK_HOME": str(home), **more})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- this machine -------------------------------------------------------------------------------


def test_everything_that_is_wrong_with_the_settings_is_said_at_once() -> None:
    wrong = {
        "PORT": "70000",
        "BINGX_RECV_WINDW": "1",
        "BINGX_RECV_WINDOW": "canary-7f31",
        "DATA_GAP_LOOKBACK_DAYS": "0",
    }

    found = machine_checks.settings(wrong)
    text = "\n".join(finding.found for finding in found)

    assert [finding.verdict for finding in found] == ["fail"] * 4
    assert "did you mean BINGX_RECV_WINDOW?" in text
    assert all(name in text for name in ("PORT:", "BINGX_RECV_WINDOW:", "DATA_GAP_LOOKBACK_DAYS:"))
    assert "canary-7f31" not in text
    assert all(finding.remedy for finding in found)


def test_settings_that_do_not_go_together_are_found_as_well() -> None:
    assert settings_problems({"HOST": "0.0.0.0"}) == [
        "HOST is open to others: set API_TOKEN, or HOST=127.0.0.1"
    ]
    assert settings_problems({}) == []


def test_what_is_installed_here_is_what_is_pinned() -> None:
    assert machine_checks.python().verdict == "ok"
    assert "ray" in machine_checks.packages().found
    assert machine_checks.packages().verdict == "ok"


def test_another_version_than_the_pinned_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "version", lambda name: "1.0" if name == "ray" else "")

    found = machine_checks.packages()

    assert found.verdict == "fail"
    assert "ray 1.0, expected " in found.found


@pytest.mark.parametrize(
    ("free", "verdict"), [(100 << 30, "ok"), (4 << 30, "warn"), (500 << 20, "fail")]
)
def test_a_disk_that_fills_up_is_told_before_entries_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    monkeypatch.setattr(machine_checks, "_free_at", lambda _: free)

    assert machine_checks.disk(tmp_path / "not" / "yet").verdict == verdict


@pytest.mark.parametrize(
    ("free", "verdict"), [(8 << 30, "ok"), (2 << 30, "warn"), (500 << 20, "fail")]
)
def test_memory_is_judged_by_what_the_actors_take(
    monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    monkeypatch.setattr(machine_checks, "free_memory_bytes", lambda: free)

    assert machine_checks.memory().verdict == verdict


def test_an_embedded_store_that_does_not_run_yet_is_no_fault(tmp_path: Path) -> None:
    assert machine_checks.store(of(tmp_path)).verdict == "ok"


def test_an_external_store_is_asked_how_durable_it_is(store: Any, tmp_path: Path) -> None:
    found = machine_checks.store(of(tmp_path, REDIS_URL=store.url))

    assert (found.verdict, "appendfsync always" in found.found) == ("ok", True)


@pytest.mark.parametrize(("venue", "verdict"), [("vst", "warn"), ("live", "fail")])
def test_a_store_that_may_forget_is_refused_for_live_money_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue: str, verdict: str
) -> None:
    class Forgetful:
        def ping(self) -> None: ...

        def durability(self) -> dict[str, str]:
            return {
                "role": "master",
                "appendonly": "no",
                "appendfsync": "everysec",
                "maxmemory-policy": "noeviction",
                "wait_aof": "no",
            }

        def close(self) -> None: ...

    monkeypatch.setattr(machine_checks, "open_store", lambda *_: Forgetful())
    settings = of(tmp_path, REDIS_URL="redis://127.0.0.1:1", BINGX_BASE_URL=venue)

    found = machine_checks.store(settings)

    assert found.verdict == verdict
    assert "appendfsync was everysec, expected always" in found.found


def test_a_store_that_does_not_answer_fails_with_its_remedy(tmp_path: Path) -> None:
    found = machine_checks.store(of(tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port()}"))

    assert found.verdict == "fail"
    assert "unset REDIS_URL" in found.remedy


def test_a_port_is_free_ours_or_taken_by_another(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])
        settings = of(tmp_path, PORT=str(port))
        taken = machine_checks.api_port(settings)
        publish(tmp_path, port)
        ours = machine_checks.api_port(settings)
    free = machine_checks.api_port(of(tmp_path, PORT=str(free_port())))

    assert (taken.verdict, ours.verdict, free.verdict) == ("fail", "ok", "ok")
    assert "set PORT" in taken.remedy


def publish(home: Path, port: int) -> None:
    """Leave the run file of a desk that listens there."""
    (home / "run").mkdir(parents=True)
    RunFile(
        pid=os.getpid(),
        api_url=f"http://127.0.0.1:{port}",
        venue_url="",
        venue_name="simulator",
        store_url="",
        ray_address="",
        ray_dashboard_url="",
        started_wall_ms=0,
    ).write(home)


LISTEN = """
import socket, sys
s = socket.socket(); s.bind((sys.argv[1], 0)); s.listen()
print(s.getsockname()[1], flush=True); sys.stdin.read()
"""


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """A process of the desk that listens on an address; gives its port."""
    started: list[subprocess.Popen[str]] = []

    def listen(address: str) -> int:
        child = subprocess.Popen(
            [sys.executable, "-c", LISTEN, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert child.stdout is not None
        ProcessBook(tmp_path).write_down("ray", child.pid)
        return int(child.stdout.readline())

    yield listen
    for child in started:
        child.communicate(timeout=10)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sockets are read from /proc")
def test_a_port_that_other_machines_can_reach_is_named(
    tmp_path: Path, listener: Callable[[str], int]
) -> None:
    quiet = machine_checks.exposure(of(tmp_path))
    listener("127.0.0.1")
    local = machine_checks.exposure(of(tmp_path))
    port = listener("0.0.0.0")
    outside = machine_checks.exposure(of(tmp_path))
    (tmp_path / "run" / "ray_token").write_text("token")
    guarded = machine_checks.exposure(of(tmp_path))
    wanted = machine_checks.exposure(
        of(tmp_path, HOST="0.0.0.0", PORT=str(port), API_TOKEN="a-token-of-sixteen-characters")
    )

    assert (quiet.verdict, local.verdict) == ("ok", "ok")
    assert (outside.verdict, str(port) in outside.found) == ("fail", True)
    assert (guarded.verdict, "firewall" in guarded.remedy) == ("warn", True)
    assert (wanted.verdict, "TLS proxy" in wanted.remedy) == ("warn", True)


# --- the exchange -------------------------------------------------------------------------------


@pytest.fixture
def probe(shared_simulator: Simulator) -> Iterator[Probe]:
    """Probe a fresh simulator; gives the findings by check."""
    shared_simulator.reset()
    shared_simulator.clock(freeze=False, speed=30)

    def ask(*pairs: str, **config: Any) -> dict[str, Finding]:
        given = {"base_url": shared_simulator.url, "api_key": "sim-key", "secret": "sim-secret"}
        asked = BingxConfig(**{**given, **config})
        return {row.check: row for row in exchange_probe.probe(asked, pairs or (PAIR,))}

    yield ask
    shared_simulator.clear_faults()
    shared_simulator.clock(speed=1, server_offset_ms=0)
    shared_simulator.reset()


def test_a_healthy_exchange_passes_every_probe_and_nothing_is_written_there(
    probe: Probe, shared_simulator: Simulator
) -> None:
    found = probe()

    assert set(found) == {
        *("exchange", "clock", "contracts", "candles", "position mode", "account")
    }
    assert {row.verdict for row in found.values()} == {"ok"}, found
    assert {row["method"] for row in shared_simulator.journal()} == {"GET"}


def test_without_keys_the_account_is_left_out_and_said_so(probe: Probe) -> None:
    found = probe(api_key="", secret="")

    assert found["account"].verdict == "warn"
    assert "BINGX_API_KEY" in found["account"].remedy
    assert "position mode" not in found


def test_a_wrong_key_is_told_as_one(probe: Probe) -> None:
    found = probe(secret="wrong")

    assert found["account"].verdict == "fail"
    assert "BINGX_SECRET_KEY" in found["account"].remedy
    assert found["candles"].verdict == "ok"


@pytest.mark.parametrize(
    ("offset_ms", "verdict"), [(300, "ok"), (2_500, "warn"), (-60_000, "fail")]
)
def test_a_clock_that_is_off_is_measured(
    probe: Probe, shared_simulator: Simulator, offset_ms: int, verdict: str
) -> None:
    shared_simulator.clock(server_offset_ms=offset_ms)

    found = probe()["clock"]

    assert found.verdict == verdict
    assert verdict == "ok" or "NTP" in found.remedy


def test_hedge_mode_and_a_pair_that_is_not_listed_fail(
    probe: Probe, shared_simulator: Simulator
) -> None:
    shared_simulator.control("POST", "account", {"key": "sim-key", "hedged": True})

    found = probe(PAIR, "NOSUCH-USDT")

    assert found["position mode"].verdict == "fail"
    assert "one-way" in found["position mode"].remedy
    assert found["contracts"].verdict == "fail"
    assert "NOSUCH-USDT" in found["contracts"].found


def test_nobody_at_the_address_is_one_clear_line_within_the_bound(probe: Probe) -> None:
    began_s = monotonic_s()

    found = probe(base_url=f"http://127.0.0.1:{free_port()}")

    assert set(found) == {"exchange"}
    assert found["exchange"].verdict == "fail"
    assert "BINGX_BASE_URL" in found["exchange"].remedy
    assert monotonic_s() - began_s < exchange_probe.DEADLINE_S


def test_a_host_that_hangs_is_given_up_within_the_deadline(probe: Probe) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began_s = monotonic_s()

        found = probe(base_url=url, deadline_s=0.5)

    assert found["exchange"].verdict == "fail"
    assert monotonic_s() - began_s < 15


def test_answers_of_another_form_are_not_passed_silently(
    probe: Probe, shared_simulator: Simulator
) -> None:
    path = "/openApi/swap/v2/quote/contracts"
    shared_simulator.fault({"kind": "http", "status": 200, "body": "<html></html>"}, path=path)

    found = probe()

    assert found["contracts"].verdict == "fail"
    assert found["contracts"].remedy


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("DESK_HOME", str(tmp_path))
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setattr(machine_checks, "free_memory_bytes", lambda: 8 << 30)
    monkeypatch.setattr(machine_checks, "_free_at", lambda _: 100 << 30)
    return lambda *words: CliRunner().invoke(app, ["doctor", *words])


def test_a_machine_that_is_fit_ends_with_0_and_leaves_its_report(
    desk: Callable[..., Result], tmp_path: Path
) -> None:
    answer = desk("--json")
    said = json.loads(answer.stdout)
    kept = json.loads((tmp_path / "run" / "doctor.json").read_text())

    assert answer.exit_code == 0, said
    assert said["ok"] is True
    assert {"settings", "python", "packages", "disk", "memory", "store", "port"} <= {
        row["check"] for row in said["checks"]
    }
    assert all(set(row) == {"check", "verdict", "found", "remedy"} for row in said["checks"])
    assert kept["checks"] == said["checks"]
    assert kept["software"]["ccxt"]


def test_something_that_fails_ends_with_1_and_shows_the_remedy(
    desk: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "70000")
    monkeypatch.setenv("DATA_GAP_LOOKBACK_DAYS", "0")

    answer = desk()

    assert answer.exit_code == 1
    assert "PORT" in answer.stdout
    assert "DATA_GAP_LOOKBACK_DAYS" in answer.stdout
    assert "2 fail" in answer.stdout
    assert "\x1b" not in answer.stdout


def test_a_named_host_is_probed_whatever_the_settings_say(
    desk: Callable[..., Result], shared_simulator: Simulator
) -> None:
    asked = json.loads(desk("--exchange", shared_simulator.url, "--json").stdout)
    nobody = desk("--exchange", "nowhere")

    assert {"exchange", "clock", "candles"} <= {row["check"] for row in asked["checks"]}
    assert nobody.exit_code == 1
    assert "name vst, live or a URL" in nobody.stdout

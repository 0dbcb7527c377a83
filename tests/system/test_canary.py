"""A desk whose every secret is a canary, in trouble with every connector: none may be seen anywhere."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import httpx2
import pytest
import redis

from desk.cli.processes import marked
from desk.store.server_diagnosis import server_binary
from tests.canary import as_environment, core, planted, search, shown
from tests.system.conftest import PROJECT, START_S, free_port

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.catalogue("S07"),
    pytest.mark.timeout(600),
]

DESK = [sys.executable, "-c", "from desk.cli.application import main; main()"]
PRIVATE = "home/run/desk.json"
"""The one file that holds a secret: how a restarted process finds the store. Nobody else may read it."""
READS = (["status", "--json"], ["trades", "--json"], ["audit", "verify"], ["source", "status"])
TROUBLE_S = 12.0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rd-cn-", ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def external_store() -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A store of somebody else's that asks for the password of `REDIS_URL`."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rd-ext-") as made:
        config = Path(made, "server.conf")
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {made}\nrequirepass {core('REDIS_URL')}\n"
            'appendonly yes\nappendfsync always\nsave ""\nmaxmemory-policy noeviction\n'
        )
        config.chmod(0o600)
        server = subprocess.Popen([str(server_binary()), str(config)], stdout=subprocess.DEVNULL)
        try:
            yield port, server
        finally:
            server.kill()
            server.wait(20)


@pytest.fixture(scope="module")
def environment(folder: Path, external_store: tuple[int, Any]) -> dict[str, str]:
    ours = ("BINGX_", "DESK_", "SIM_", "RAY_", "TELEGRAM_", "ALERT_", "API_TOKEN", "REDIS_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    url = f"redis://:{core('REDIS_URL')}@127.0.0.1:{external_store[0]}/0"
    return {
        **kept,
        **as_environment(planted(redis_url=url)),
        "DESK_HOME": str(folder / "home"),
        "TMPDIR": str(folder),
        "PORT": str(free_port()),
        "BINGX_MARKET_DATA_PAIRS": "BTC-USDT",
        "BINGX_MARKET_DATA_INTERVALS": "1m",
        "RETRY_QUEUE_INTERVAL_SEC": "1",
    }


@pytest.fixture(scope="module")
def api(environment: dict[str, str], folder: Path) -> Iterator[httpx2.Client]:
    """The operator's client of that desk."""
    log = folder / "up.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*DESK, "up"], env=environment, cwd=PROJECT, stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    headers = {"Authorization": f"Bearer {environment['API_TOKEN']}"}
    url = f"http://127.0.0.1:{environment['PORT']}"
    try:
        with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
            until_s = time.monotonic() + START_S
            while not _answers(client):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < until_s, log.read_text()[-3000:]
                time.sleep(0.5)
            yield client
    finally:
        _run("down", environment=environment)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def test_S07_a_desk_in_trouble_shows_no_secret_of_any_setting(
    api: httpx2.Client,
    environment: dict[str, str],
    external_store: tuple[int, "subprocess.Popen[bytes]"],
    folder: Path,
) -> None:
    places: list[tuple[str, bytes]] = []
    cause_trouble(api, folder)

    places += list(answers(api))
    places += list(command_lines(environment))
    places += list(stored(environment["REDIS_URL"]))
    places += [(" ".join(words), _run(*words, environment=environment)) for words in READS]
    external_store[1].kill()  # the last connector fails while everything else runs
    time.sleep(3)
    places += [(path, api.get(path).content) for path in ("/agents", "/ops/alerts", "/metrics")]
    places += list(files(folder))

    read = {where for where, _ in places}
    assert {"GET /metrics", "GET /openapi.json", "GET /events", "store"} <= read
    assert any("session_" in where and where.endswith(".out") for where in read), "Ray's logs"
    assert any(where.endswith("logs/boot.log") for where in read), "the launcher's logs"
    assert (folder / PRIVATE).stat().st_mode & 0o077 == 0
    found = search(places)
    assert not found, shown(found)


def cause_trouble(api: httpx2.Client, folder: Path) -> None:
    """Let the venue, the feeds and the receivers of alerts fail, and strangers knock."""
    control = json.loads((folder / "home/run/simulator.json").read_text())["control_url"]
    rules = [{"match": {"path": "klines"}, "action": {"kind": "http", "status": 500}, "times": 20}]
    rules += [{"match": {"path": "openOrders"}, "action": {"kind": "drop_response"}, "times": 5}]
    for rule in rules:
        body = json.dumps(rule).encode()
        urlopen(Request(f"{control}/_sim/faults", data=body), timeout=10).close()
    feed = planted()["TRADINGVIEW_FEED_TOKENS"].partition("=")[2]
    secret = planted()["TRADINGVIEW_SECRET"]
    until_s = time.monotonic() + TROUBLE_S
    for password in range(6):
        api.post("/login", data={"password": f"wrong-{password}"})
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", f"/webhooks/tradingview/{feed}", {"json": {"secret": "forged", "pair": "BTC"}}),
        ("POST", f"/webhooks/tradingview/{feed}", {"json": {"secret": secret, "pair": "BTC"}}),
        ("POST", f"/webhooks/tradingview/{feed}", {"content": b"x" * 40_000}),
        ("POST", f"/webhooks/tradingview/{feed}/more", {}),
        ("PUT", f"/webhooks/tradingview/{feed}", {}),
        ("POST", "/ingestion/tradingview/sync", {}),
        ("POST", "/ingestion/telegram/ingest", {}),
        ("POST", "/ingestion/bingx/refresh", {}),
        ("POST", "/ops/trading/reconcile", {"json": {"account": "live"}}),
        ("POST", "/ops/trading/reconcile", {"content": b"{"}),
        ("POST", "/agents/desk/start", {"json": {"mode": "live", "pair": "BTC-USDT"}}),
        ("POST", "/ops/preflight", {"json": {"action": "agents.start"}}),
    ]
    for method, path, more in calls:
        answer = api.request(method, path, **more)
        found = search([(f"{method} {path[:24]}", answer.content + str(answer.headers).encode())])
        assert not found, shown(found)
    time.sleep(max(0.0, until_s - time.monotonic()))


def answers(api: httpx2.Client) -> Iterator[tuple[str, bytes]]:
    """Every reading route with bodies and headers, the pages, and a second of the event stream."""
    described = api.get("/openapi.json")
    yield "GET /openapi.json", described.content
    known = {"agent_id": "desk", "source": "bingx", "pair": "BTC-USDT"}
    query = {"pair": "BTC-USDT", "interval": "1m", "source": "main", "start_ms": 0, "end_ms": 1}
    paths = [path for path, operations in described.json()["paths"].items() if "get" in operations]
    pages = ["/rl-agent", "/rl-ops", "/ingestion", "/insights", "/login", "/nowhere"]
    for path in [*paths, *pages]:
        if path == "/events":
            continue
        filled = path
        for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
            filled = filled.replace("{" + name + "}", known.get(name, "x"))
        for parameters in ({}, query):
            answer = api.get(filled, params=parameters)
            yield f"GET {path}", answer.content + str(answer.headers).encode()
    with api.stream("GET", "/events", params={"last_event_id": "0-0"}) as stream:
        until_s, said = time.monotonic() + 1.5, b""
        for line in stream.iter_lines():
            said += line.encode()
            if time.monotonic() > until_s:
                break
    yield "GET /events", said


def command_lines(environment: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """What `ps` shows of everything that runs for this desk."""
    pids = marked(f"DESK_HOME={environment['DESK_HOME']}")
    assert len(pids) > 8
    for pid in pids:
        with suppress(OSError):
            yield f"process {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()


def stored(url: str) -> Iterator[tuple[str, bytes]]:
    """Every key with its value: records, jobs, events, audit, alerts, metrics."""
    opened: Any = redis.Redis.from_url(url)  # its answers are typed for both of its clients
    with opened as client:
        reads: dict[bytes, Any] = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            b"stream": client.xrange,
        }
        keys = list(client.scan_iter(count=1_000))
        assert len(keys) > 50
        for key in keys:
            value = reads[client.type(key)](key)
            yield "store", key + b" " + repr(value).encode()


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that the desk and its Ray wrote: state, logs, and what a crash leaves."""
    for path in folder.rglob("*"):
        where = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and where != PRIVATE:
            with suppress(OSError):
                yield where, path.read_bytes()


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/ops/trading/summary").status_code == 200
    except httpx2.HTTPError:
        return False


def _run(*words: str, environment: dict[str, str]) -> bytes:
    done = subprocess.run(
        [*DESK, *words], env=environment, cwd=PROJECT, capture_output=True, timeout=120, check=False
    )
    return done.stdout + done.stderr

"""Fixtures that several folders share; Ray's settings, which it reads when it is imported."""

import gc
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

from desk import counting
from desk.market.candles import Candles
from desk.market.interval import interval_ms
from desk.store import server
from desk.store.valkey import ValkeyStore
from serve_apps.environment import SERVE_ENVIRONMENT
from tests.desk.store.disk import built_shim

if TYPE_CHECKING:  # only the browser tests load playwright
    from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request

settings.register_profile("any_machine", deadline=None)  # a slow one is no failure
settings.load_profile("any_machine")

PROJECT = Path(__file__).parents[1]
RAY_TMP = tempfile.mkdtemp(prefix="rd-")
os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_TMPDIR": RAY_TMP,
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    **SERVE_ENVIRONMENT,
}

DATA = Path(os.environ.get("RAYDESK_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray for the whole test process."""
    import ray

    for last_try in (False, False, False, True):
        with nullcontext() if last_try else suppress(Exception):
            ray.init(
                address="local",
                num_cpus=4,
                resources={"trading": 1000},
                namespace="tests",
                include_dashboard=False,
                _temp_dir=RAY_TMP,
                object_store_memory=100 * 2**20,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            break
        with warnings.catch_warnings():
            # A start that failed, as they do on a loaded machine, leaves its processes to the collector.
            warnings.simplefilter("ignore", ResourceWarning)
            ray.shutdown()
            gc.collect()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tape() -> Callable[[str], Path]:
    """Return the path of a real candle file, or skip where the data are absent."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"no {name} under {DATA}: set RAYDESK_DATA to run on real candles")
        return path

    return find


@pytest.fixture(scope="session")
def walk() -> Callable[..., Candles]:
    """Return seeded candles of a random walk around 40,000 USDT in ticks of 0.1."""

    def make(count: int, *, seed: int = 7, interval: str = "1m", drift: float = 0.0) -> Candles:
        rng = np.random.default_rng(seed)
        close = 40_000.0 * np.cumprod(1.0 + rng.normal(drift, 0.0008, count))
        open_ = np.concatenate([[40_000.0], close[:-1]]) * (1.0 + rng.normal(0.0, 0.0001, count))
        wick = np.abs(rng.normal(0.0, 0.0004, (2, count)))
        high = np.maximum(open_, close) * (1.0 + wick[0])
        low = np.minimum(open_, close) * (1.0 - wick[1])
        step = interval_ms(interval)
        return Candles(
            open_ms=1_700_000_040_000 // step * step + step * np.arange(count, dtype=np.int64),
            open=np.round(open_, 1),
            high=np.ceil(high * 10.0) / 10.0,
            low=np.floor(low * 10.0) / 10.0,
            close=np.round(close, 1),
            volume=np.round(rng.gamma(2.0, 3.0, count), 4),
        )

    return make


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path of its own (a socket's path must be short); its server is ended afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rd-"))
    yield folder
    running = server.find(folder)
    if running is not None:
        server.stop(running)
    shutil.rmtree(folder)


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """A library for `LD_PRELOAD` that logs what reaches the disk (`DURLOG`) and slows it (`SLOWFS`)."""
    return built_shim(tmp_path)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[server.RunningServer]:
    """One embedded store server for the whole test process, in a folder of its own."""
    home = Path(tempfile.mkdtemp(prefix="rd-store-"))
    running = server.start(home)
    yield running
    server.stop(running)
    shutil.rmtree(home)


@pytest.fixture
def store(valkey_server: server.RunningServer) -> Iterator[ValkeyStore]:
    """An empty store on the embedded server, with its functions loaded."""
    opened = ValkeyStore(valkey_server.url)
    opened.connection.money.flushall()
    opened.load_functions()
    yield opened
    opened.close()


class SimulatorProcess:
    """A running `python -m bingx_sim` and its control plane."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.url: str = ready["url"]
        self.control_url: str = ready["control_url"]

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call `/_sim/<path>`; raises urllib.error.HTTPError with the sentence on a bad request."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.control_url}/_sim/{path}"
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def state(self) -> Any:
        return self.control("GET", "state")

    def journal(self, after: int = 0) -> list[dict[str, Any]]:
        """Requests with a higher sequence than `after`, oldest first."""
        return self.control("GET", f"journal?after={after}")["entries"]

    def fault(self, action: dict[str, Any], *, times: int | None = None, **match: Any) -> str:
        """Add a fault rule: `fault({"kind": "drop_response"}, method="POST", path="trade/order")`."""
        rule = {"match": match, "action": action, "times": times}
        return self.control("POST", "faults", rule)["ids"][0]

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def reset(self, *, seed: int = 7, market_ms: int | None = None) -> Any:
        """Start the venue again in place: no orders, no rules, an empty journal."""
        changes = {"seed": seed} if market_ms is None else {"seed": seed, "market_ms": market_ms}
        return self.control("POST", "reset", changes)

    def clock(self, **changes: Any) -> Any:
        """Change the clock: freeze, speed, advance_ms, server_offset_ms; returns its row."""
        return self.control("POST", "clock", changes)

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """End the process and return its exit status; what it complained of fails the test."""
        if self.process.stdout is None or self.process.stdout.closed:
            return self.process.returncode
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        _, complaints = self.process.communicate(timeout=20)
        assert not complaints, complaints
        return self.process.returncode


def _arguments(options: dict[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            arguments += [f"--{name.replace('_', '-')}", str(one)]
    return arguments


def launch_simulator(**options: Any) -> SimulatorProcess:
    """Start a simulator with the options of its command line as keywords; the caller stops it."""
    chosen = {"speed": 1, "seed": 7, "limits": "off", **options}
    process = subprocess.Popen(
        [sys.executable, "-m", "bingx_sim", *_arguments(chosen)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if not line:
        reason = process.communicate()[1]
        raise RuntimeError(f"the simulator did not start: {reason}")
    return SimulatorProcess(process, json.loads(line))


@pytest.fixture(scope="session")
def launch() -> Callable[..., SimulatorProcess]:
    """`launch_simulator`, for fixtures that live longer than one test and stop what they start."""
    return launch_simulator


@pytest.fixture
def start_simulator() -> Iterator[Callable[..., SimulatorProcess]]:
    """Start simulators with the options of its command line as keywords; all end with the test.

    Limits are off and the market runs at speed 1 unless asked otherwise:
    `start_simulator(speed=30, limits="on", account=["k1:s1:500", "k2:s2:500"])`.
    """
    running: list[SimulatorProcess] = []

    def start(**options: Any) -> SimulatorProcess:
        running.append(launch_simulator(**options))
        return running[-1]

    yield start
    for simulator in running:
        simulator.stop()


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[SimulatorProcess]:
    """One simulator for the whole test process: reset it before use, it keeps what a test did."""
    simulator = launch_simulator()
    yield simulator
    simulator.stop()


@pytest.fixture
def simulator(start_simulator: Callable[..., SimulatorProcess]) -> SimulatorProcess:
    """One simulator with default options: speed 1, seed 7, key `sim-key`, secret `sim-secret`."""
    return start_simulator()


ARTIFACTS = Path(__file__).parent / "artifacts"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--force-color-profile=srgb",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Debian's Chromium; skipped where there is none, an error in CI.

    Ended with its module: while it lives, Playwright's event loop runs in this thread and
    `asyncio.run` is refused to every other test.
    """
    from playwright.sync_api import sync_playwright

    named = os.environ.get("CHROMIUM_PATH")
    found = named or next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium: .ci/run installs it")
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set CHROMIUM_PATH")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: "Browser", request: pytest.FixtureRequest) -> "Iterator[Page]":
    """A fresh tab. Any page error, console error or request to another origin fails the test.

    `@pytest.mark.allow_console("503")` lets console errors with that text pass.
    """
    # The server must outlive the tab: an open stream that breaks is a console error.
    for name in request.fixturenames:
        if name.startswith("served"):
            request.getfixturevalue(name)
    allowed = [text for mark in request.node.iter_markers("allow_console") for text in mark.args]
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    tab = context.new_page()
    wrong: list[str] = []

    def console(message: "ConsoleMessage") -> None:
        if message.type == "error" and not any(text in message.text for text in allowed):
            wrong.append(f"console: {message.text} {message.location.get('url', '')}")

    def asked(outgoing: "Request") -> None:
        if not outgoing.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            wrong.append(f"another origin: {outgoing.url}")

    def crashed(error: "Error") -> None:
        wrong.append(f"page error: {error}")

    tab.on("console", console)
    tab.on("request", asked)
    tab.on("pageerror", crashed)
    tab.set_default_timeout(10_000)
    failed_before = request.session.testsfailed
    yield tab
    if request.session.testsfailed > failed_before:
        ARTIFACTS.mkdir(exist_ok=True)
        tab.screenshot(path=ARTIFACTS / f"{request.node.name[:80]}.png")
    context.close()
    assert wrong == []


@pytest.fixture
def fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has counted nothing: other tests count in this one too."""
    monkeypatch.setattr(counting, "_HERE", counting._Here())

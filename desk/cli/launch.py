"""`desk up`: start every process in order, keep them alive, end them all on Ctrl-C.

Order: simulator (unless a venue is set) → store (unless `REDIS_URL`) → Ray head → actors and Serve.
Any of them may be killed at any time: truth is in the store, so each is simply started again.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.markup import escape

from actors.alerts import Cause, raise_alert
from actors.parts.foundation import market_clock
from actors.run_file import RunFile
from desk.cli.processes import ProcessBook, Started, birth_of, end, is_alive
from desk.cli.ray_cluster import head_command, joined, ray_environment
from desk.cli.restarts import Restarts, StartFailed
from desk.errors import DeskError, FilesUnavailable, SettingsError
from desk.settings import NAMED_VENUES, Settings
from desk.store import server as store_server
from desk.store.places import try_out
from desk.store.server_watch import ServerWatch
from desk.store.valkey import ValkeyStore
from desk.wallclock import monotonic_s, wall_ms

READY_S = 60.0
BOOT_S = 420.0
"""More than the actors are given to come up (`actors.boot`), and Serve before them."""
LEAVE_S = 60.0
RAY_TRIES = 4


class Beside(threading.Thread):
    """Work that goes on beside the watch and never keeps the process from ending."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(name="first-steps", daemon=True)
        self._work = work
        self._failed: Exception | None = None

    def run(self) -> None:
        try:
            self._work()
        except Exception as failed:  # noqa: BLE001 - raised again where it is asked for
            self._failed = failed

    def check(self) -> None:
        """Raise what the work raised."""
        if self._failed is not None:
            raise self._failed


class Launcher:
    """Owns the processes of one desk on one machine."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._home = settings.home
        self._console = console
        self._book = ProcessBook(settings.home)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ray_dirs: list[Path] = []
        self._cluster = joined(settings)
        self._store: ServerWatch | None = None
        self._venue_url = ""
        self._store_url = ""
        self._ray_address = ""
        self._dashboard_url = ""
        self._stopping = False
        self._restarts = Restarts(lambda text: console.print(f"[yellow]{escape(text)}[/]"))

    # --- the life of the desk -------------------------------------------------------------

    def run(self, after_start: Callable[[], None]) -> None:
        """Start all and keep watch until a signal; always end what was started.

        `after_start` is called beside the watch, which heals what dies meanwhile; its error ends the desk.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        self._prepare_home()
        try:
            self._start_all()
            self._watch(Beside(after_start))
        except KeyboardInterrupt:
            self._console.print("stopping …")
        finally:
            self._stop_all()

    def _on_signal(self, _number: int, _frame: object) -> None:
        if not self._stopping:
            self._stopping = True
            raise KeyboardInterrupt

    def _prepare_home(self) -> None:
        try:
            for name in ("run", "logs", "sim"):
                (self._home / name).mkdir(parents=True, exist_ok=True)
        except OSError as refused:
            raise SettingsError(
                f"DESK_HOME: {self._home} cannot be used ({refused.strerror})"
            ) from None
        try:
            try_out(self._settings.place)
        except FilesUnavailable as refused:
            raise SettingsError(str(refused)) from None
        left = self._book.end_all()
        if left:
            self._console.print(f"ended processes of an earlier desk: {', '.join(left)}")
        refuse_busy_port(self._settings.host, self._settings.port)

    def _start_all(self) -> None:
        with self._step("exchange"):
            self._start_venue()
        with self._step("store"):
            self._start_store()
        with self._step("Ray"):
            self._start_ray()
        with self._step("actors and API"):
            self._boot()

    def _watch(self, first_steps: "Beside") -> None:
        first_steps.start()
        while True:
            time.sleep(0.5)
            first_steps.check()
            if self._is_to_start("simulator"):
                self._again("simulator", self._start_venue)
            if self._store is not None and self._store.check():
                self._console.print("[yellow]store ended and is started again[/]")
                self._tell_of_store()
            if self._cluster is None and self._is_to_start("ray"):
                self._again("ray", self._restart_ray)
            if self._cluster is not None and (
                self._cluster.came_back() or self._restarts.is_due("ray")
            ):
                self._again("ray", self._boot)

    def _tell_of_store(self) -> None:
        """Nobody could be told while it was away."""
        cause = Cause(
            code="store_restarted",
            about="store",
            category="ops",
            severity="warning",
            detail="the store ended and was started again: nothing acknowledged is lost, see server.log",
        )
        try:
            store = ValkeyStore(self._store_url)
            now_ms = market_clock(store).now_ms()
            asyncio.run(raise_alert(store, cause, at_ms=now_ms))
            store.close()
        except DeskError as away:
            self._console.print(f"[yellow]alert not stored: {away}[/]")

    def _stop_all(self) -> None:
        self._stopping = True
        if self._cluster is not None and RunFile.read(self._home) is not None:
            self._leave_cluster()
        RunFile.path(self._home).unlink(missing_ok=True)
        self._book.end_all()
        end_store(self._home)
        for folder in self._ray_dirs:
            shutil.rmtree(folder, ignore_errors=True)

    # --- the parts ------------------------------------------------------------------------

    def _start_venue(self) -> None:
        base_url = self._settings.bingx_base_url
        if base_url is not None:
            self._venue_url = NAMED_VENUES.get(base_url, base_url)
            return
        ready = self._home / "run" / "simulator.json"
        ready.unlink(missing_ok=True)
        old = _port_of(self._venue_url)
        command = [sys.executable, "-m", "bingx_sim", "--port", str(old), "--control-port", "0"]
        command += [
            "--speed",
            str(self._settings.sim_speed),
            "--seed",
            str(self._settings.sim_seed),
        ]
        command += ["--state", str(self._home / "sim" / "state.json"), "--ready-file", str(ready)]
        if self._settings.sim_tape is not None:
            if not self._settings.sim_tape.is_file():
                raise SettingsError(f"SIM_TAPE: there is no file {self._settings.sim_tape}")
            command += ["--tape", str(self._settings.sim_tape)]
        child = self._spawn("simulator", command)
        self._await("simulator", child, ready.exists)
        self._venue_url = str(json.loads(ready.read_text())["url"])

    def _start_store(self) -> None:
        if self._settings.redis_url is not None:
            self._store_url = self._settings.redis_url.get_secret_value()
            return
        self._store = ServerWatch(self._home)
        self._store_url = self._store.running.url

    def _start_ray(self) -> None:
        if self._cluster is not None:
            self._ray_address = self._cluster.address
            if not self._cluster.is_there():
                raise StartFailed(
                    f"no Ray cluster answers at {self._ray_address} (DESK_RAY_ADDRESS): start its head"
                    " first, `ray status` shows it"
                )
            return
        for attempt in range(1, RAY_TRIES + 1):
            folder = Path(tempfile.mkdtemp(prefix="rd-"))
            self._ray_dirs.append(folder)
            dashboard_port = free_port()
            command = head_command(
                port=free_port(),
                dashboard_port=dashboard_port,
                client_port=free_port(),
                folder=folder,
            )
            child = self._spawn("ray", command, ray_dir=folder)
            up = folder / "ray_current_cluster"
            with contextlib.suppress(StartFailed):
                self._await("ray", child, up.exists)
                self._ray_address = up.read_text().strip()
                self._dashboard_url = f"http://127.0.0.1:{dashboard_port}"
                return
            self._console.print(
                f"  Ray did not come up (try {attempt} of {RAY_TRIES}), once more …"
            )
            self._end("ray")
            shutil.rmtree(folder, ignore_errors=True)
        raise StartFailed(f"Ray did not start in {RAY_TRIES} tries: read {self._log('ray')}")

    def _boot(self) -> None:
        """Start actors and Serve from a process of its own: the launcher never becomes a Ray driver."""
        RunFile(
            pid=os.getpid(),
            api_url=f"http://{self._settings.host}:{self._settings.port}",
            venue_url=self._venue_url,
            venue_name=venue_name(self._settings),
            store_url=self._store_url,
            ray_address=self._ray_address,
            ray_dashboard_url=self._dashboard_url,
            started_wall_ms=wall_ms(),
        ).write(self._home)
        command = [sys.executable, "-m", "serve_apps.boot"]
        ray_dir = self._ray_dirs[-1] if self._ray_dirs else None
        child = self._spawn("boot", command, ray_dir=ray_dir)
        deadline = monotonic_s() + BOOT_S
        while (code := child.poll()) is None:
            # Without its head it would wait for one that never answers again.
            if (is_lost := self._died("ray")) or monotonic_s() > deadline:
                self._end("boot")
                why = "Ray ended meanwhile" if is_lost else f"not in {BOOT_S:.0f} s"
                raise StartFailed(f"the actors did not start, {why}: read {self._log('boot')}")
            time.sleep(0.2)
        self._book.strike_out("boot")
        if code != 0:
            raise StartFailed(f"the actors did not start: {self._last_line('boot')}")

    def _leave_cluster(self) -> None:
        """End the desk's actors on a Ray that goes on without them."""
        child = self._spawn("boot", [sys.executable, "-m", "serve_apps.boot", "stop"])
        try:
            code = child.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            code = 1
        self._end("boot")
        if code != 0:
            self._console.print(
                f"[yellow]the actors on {self._ray_address} may still run: read {self._log('boot')}[/]"
            )

    def _restart_ray(self) -> None:
        self._end("ray")
        self._start_ray()
        self._boot()

    # --- processes ------------------------------------------------------------------------

    def _spawn(
        self, name: str, command: list[str], *, ray_dir: Path | None = None
    ) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        if ray_dir is not None:
            environment |= ray_environment(self._home, ray_dir)
        with self._open_log(name) as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._children[name] = child
        self._book.write_down(name, child.pid, mark=f"RAY_TMPDIR={ray_dir}" if ray_dir else "")
        return child

    def _await(self, name: str, child: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        deadline = monotonic_s() + READY_S
        while not ready():
            if child.poll() is not None:
                raise StartFailed(f"{name} ended at once: {self._last_line(name)}")
            if monotonic_s() > deadline:
                raise StartFailed(
                    f"{name} was not ready in {READY_S:.0f} s: read {self._log(name)}"
                )
            time.sleep(0.1)

    def _died(self, name: str) -> bool:
        child = self._children.get(name)
        return child is not None and child.poll() is not None

    def _is_to_start(self, name: str) -> bool:
        return self._died(name) or self._restarts.is_due(name)

    def _end(self, name: str) -> None:
        for entry in self._book.entries():
            if entry.name == name:
                end(entry)
        child = self._children.pop(name, None)
        if child is not None:
            child.wait(5)
        self._book.strike_out(name)

    def _again(self, name: str, start: Callable[[], None]) -> None:
        self._restarts.again(name, start, self._log(name))

    def _open_log(self, name: str) -> BinaryIO:
        return self._log(name).open("ab")

    def _log(self, name: str) -> Path:
        return self._home / "logs" / f"{name}.log"

    def _last_line(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'no output'} (log: {self._log(name)})"

    @contextlib.contextmanager
    def _step(self, name: str) -> Generator[None]:
        began = monotonic_s()
        with self._console.status(f"starting {name} …"):
            yield
        self._console.print(f"[green]✓[/] {name} [dim]{monotonic_s() - began:.1f} s[/]")


def venue_name(settings: Settings) -> str:
    """What the pages call the exchange: `simulator 60x`, `vst`, `live` or the URL."""
    if settings.bingx_base_url is None:
        return f"simulator {settings.sim_speed:g}x"
    return settings.bingx_base_url


def refuse_busy_port(host: str, port: int) -> None:
    """Raise `SettingsError` when something already listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as taken:
            raise SettingsError(
                f"PORT: {host}:{port} cannot be opened ({taken.strerror}): end what uses it or set another PORT"
            ) from None


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def only_one(home: Path) -> Generator[bool]:
    """Hold the lock of this DESK_HOME; yields False when another launcher holds it."""
    home.joinpath("run").mkdir(parents=True, exist_ok=True)
    with home.joinpath("run", "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def stop_running(home: Path, patience_s: float = 60.0) -> bool:
    """End the desk of this home: ask its launcher, then end whatever is left. False: nothing ran."""
    running = RunFile.read(home)
    book = ProcessBook(home)
    found = False
    if running is not None and (birth := birth_of(running.pid)) is not None:
        launcher = Started(name="launcher", pid=running.pid, birth=birth)
        if _is_launcher(running.pid):
            found = True
            os.kill(running.pid, signal.SIGTERM)
            deadline = monotonic_s() + patience_s
            while is_alive(launcher) and monotonic_s() < deadline:
                time.sleep(0.1)
    found = bool(book.end_all()) or found
    found = end_store(home) or found
    RunFile.path(home).unlink(missing_ok=True)
    return found


def end_store(home: Path) -> bool:
    """End the embedded store of this home; False when none ran."""
    running = store_server.find(home)
    if running is None:
        return False
    store_server.stop(running)
    return True


def _is_launcher(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    return any(word.endswith(b"desk") or b"desk.cli" in word for word in words)


def _port_of(url: str) -> int:
    # A restarted simulator keeps its port: the adapters hold its address.
    return int(url.rsplit(":", 1)[1]) if url else 0

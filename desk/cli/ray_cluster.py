"""The Ray below a desk: a private head of its own, or a cluster that something else keeps running."""

import json
import os
import secrets
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from desk.errors import SettingsError
from desk.settings import Settings, host_and_port
from desk.wallclock import monotonic_s
from serve_apps.environment import SERVE_ENVIRONMENT

TRADING_PLACES = {"trading": 1000}
"""Of a node that trades: each actor takes one, so that any number fits and none lands elsewhere."""
CONNECT_S = 1.0
CHECK_EVERY_S = 2.0


class JoinedCluster:
    """A cluster at an address: watched, never started or ended by the desk."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._is_there = True
        self._checked_s = monotonic_s()

    def is_there(self) -> bool:
        """Whether its head answers now; waits a second at most."""
        host, port = host_and_port(self.address)
        try:
            socket.create_connection((host, port), timeout=CONNECT_S).close()
        except OSError:
            return False
        return True

    def came_back(self) -> bool:
        """Whether its head was away and is there again: true once for each such absence.

        Looks every other second; a new head takes longer than that to start.
        """
        if monotonic_s() - self._checked_s < CHECK_EVERY_S:
            return False
        self._checked_s = monotonic_s()
        was_there, self._is_there = self._is_there, self.is_there()
        return self._is_there and not was_there


def joined(settings: Settings) -> JoinedCluster | None:
    """The cluster that the settings name. Raises `SettingsError` where a desk cannot join one."""
    if settings.ray_address is None:
        return None
    if settings.redis_url is None:
        raise SettingsError(
            "DESK_RAY_ADDRESS: the nodes of a cluster need a store that all of them reach: set"
            " REDIS_URL, or unset DESK_RAY_ADDRESS for a desk on this machine alone"
        )
    return JoinedCluster(settings.ray_address)


def head_command(*, port: int, dashboard_port: int, client_port: int, folder: Path) -> list[str]:
    """The command of a private head on loopback, that lives as long as its process."""
    cpus = max(1, (os.cpu_count() or 2) - 1)
    return [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        f"--port={port}",
        f"--temp-dir={folder}",
        f"--num-cpus={cpus}",
        "--resources",
        json.dumps(TRADING_PLACES),
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard_port}",
        # It cannot be left out; at its fixed default a second desk's would clash with it.
        f"--ray-client-server-port={client_port}",
        "--object-store-memory=200000000",
        "--disable-usage-stats",
    ]


def node_environment(token_file: Path) -> dict[str, str]:
    """Environment of every process that talks to Ray, on every node: token, priority, threads."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_worker_niceness": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        # A record of each call, for Ray's own task list: its control store keeps a hundred thousand of them.
        "RAY_task_events_report_interval_ms": "0",
        # Ray's agent keeps the series of every process that ever lived until somebody scrapes them,
        # which nobody here does: the desk has its own.
        "RAY_enable_metrics_collection": "0",
        **SERVE_ENVIRONMENT,
        # Serve's HTTP server would take X-Forwarded-For from every local process.
        "FORWARDED_ALLOW_IPS": "",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }


def ray_environment(home: Path, ray_dir: Path) -> dict[str, str]:
    """`node_environment` of the desk's own Ray, whose files lie in a private folder."""
    return {"RAY_TMPDIR": str(ray_dir), **node_environment(token_file(home))}


def environment_lines(variables: Iterable[tuple[str, str]]) -> str:
    """As systemd's `EnvironmentFile` and a shell's `set -a` read them."""
    return "".join(f"{name}={json.dumps(value)}\n" for name, value in variables)


def token_file(home: Path) -> Path:
    """The cluster's token under DESK_HOME: made at first, readable by its user only."""
    path = home / "run" / "ray_token"
    if not path.exists():
        write_token(path)
    return path


def write_token(path: Path) -> None:
    """Make a token of 64 hexadecimal digits. Raises `FileExistsError`: a token in use is never replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))

"""What a stranger on the network, and one on the machine, reaches of a running desk without a token."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, override

import httpx2
import pytest

from desk.cli.ray_cluster import ray_environment
from desk.store.server_address import read_address
from tests.listeners import Listener, listeners
from tests.processes import processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

CLIENT_SERVER = "ray.util.client.server"
RAYS_OWN = (
    "gcs_server",
    "raylet",
    "dashboard",
    "runtime_env",
    "log_monitor",
    "/ray/autoscaler/",
    "ray::",
    CLIENT_SERVER,
)
"""Ray's own processes: some of their ports cannot be bound to loopback. They ask for the
token, but those of metrics."""
ASK_RAY = """
import os, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
except BaseException as refused:
    sys.stdout.write(f"refused: {type(refused).__name__}")
    os._exit(3)
sys.stdout.write("let in")
os._exit(0)
"""


def open_to_others(desk: Any) -> list[Listener]:
    found = listeners(processes_of(desk.home))
    assert len(found) > 5
    return [one for one in found if not one.is_loopback]


@pytest.mark.catalogue("S13")
def test_S13_only_rays_own_ports_are_open_to_others(desk: Any) -> None:
    others = [one for one in open_to_others(desk) if not any(s in one.title for s in RAYS_OWN)]
    ours = [one for one in listeners(processes_of(desk.home)) if one.is_loopback]

    assert not others
    port = int(desk.url.rpartition(":")[2])
    assert port in {one.port for one in ours}, "the API is among them"
    dashboard = json.loads((desk.home / "run/desk.json").read_text())["ray_dashboard_url"]
    assert int(dashboard.rpartition(":")[2]) in {one.port for one in ours}, "and the dashboard"


@pytest.mark.catalogue("S13")
def test_S13_the_dashboard_and_its_jobs_ask_for_the_token(desk: Any, tmp_path: Path) -> None:
    url = json.loads((desk.home / "run/desk.json").read_text())["ray_dashboard_url"]
    trap = tmp_path / "sprung"
    job = {"entrypoint": f"touch {trap}"}
    token = token_file(desk).read_text().strip()

    for headers in ({}, {"Authorization": "Bearer " + "0" * 64}):
        for method, path, body in (
            ("GET", "/api/jobs/", None),
            ("POST", "/api/jobs/", job),
            ("GET", "/api/actors", None),
            ("GET", "/nodes?view=summary", None),
            ("PUT", "/api/serve/applications/", {"applications": []}),
            ("DELETE", "/api/serve/applications/", None),
        ):
            answer = httpx2.request(method, url + path, json=body, headers=headers, timeout=20)
            assert answer.status_code in {401, 403}, (method, path, answer.status_code)
    let_in = httpx2.get(
        f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"}, timeout=20
    )

    assert let_in.status_code == 200
    assert not trap.exists()
    assert stat.S_IMODE(token_file(desk).stat().st_mode) == 0o600


@pytest.mark.catalogue("S13")
@pytest.mark.parametrize("token", ["", "0" * 64, "ours"])
def test_S13_the_control_store_lets_nobody_in_without_the_token(
    desk: Any, tmp_path: Path, token: str
) -> None:
    address = json.loads((desk.home / "run/desk.json").read_text())["ray_address"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(tmp_path)}
    if token == "ours":
        environment = os.environ | ray_environment(desk.home, tmp_path)
    elif token:
        path = tmp_path / "token"
        path.write_text(token)
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}

    done = subprocess.run(
        [sys.executable, "-c", ASK_RAY, address],
        env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip

    assert ("let in" in done.stdout) == (token == "ours"), done.stdout + done.stderr[-500:]


@pytest.mark.catalogue("S13")
def test_S13_the_port_of_rays_client_lets_nobody_in_without_the_token(
    desk: Any, tmp_path: Path
) -> None:
    [port] = {(one.address, one.port) for one in open_to_others(desk) if CLIENT_SERVER in one.title}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", ASK_RAY, f"ray://{port[0]}:{port[1]}"],
        env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip

    assert done.returncode == 3, done.stdout + done.stderr[-500:]


def told_by(one: Listener) -> bytes | None:
    """What a port says of its metrics without a token; None: it speaks no HTTP, or not yet."""
    host = "127.0.0.1" if one.address.is_unspecified else one.address
    try:
        answer = httpx2.get(f"http://{host}:{one.port}/metrics", timeout=20)
    except httpx2.HTTPError:
        return None
    return answer.content if answer.status_code == 200 else None


def told_by_all(ports: list[Listener]) -> list[bytes]:
    """What those say that answer without a token; all at once, for most are silent until the timeout."""
    with ThreadPoolExecutor(max_workers=len(ports)) as pool:
        return [answer for answer in pool.map(told_by, ports) if answer is not None]


@contextmanager
def telling(secret: bytes) -> Iterator[Listener]:
    """A port that tells anybody: what the test would have to notice."""

    class Told(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"token " + secret)

        @override
        def log_message(self, format: str, *args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Told) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = ip_address("127.0.0.1")
            yield Listener(address=address, port=server.server_port, pid=os.getpid(), title="")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.catalogue("S13")
def test_S13_the_ports_that_answer_anybody_carry_no_secret(desk: Any) -> None:
    token = token_file(desk).read_text().strip().encode()

    # Ray's own figures have ports of their own, unless another Ray of this machine has them already.
    answers = told_by_all(open_to_others(desk))
    with telling(token) as leak:
        noticed = told_by_all([leak])

    assert [answer for answer in answers if token in answer] == []
    assert [answer for answer in noticed if token in answer] == noticed != []


@pytest.mark.catalogue("S14")
def test_S14_the_store_of_a_running_desk_is_a_private_socket(desk: Any) -> None:
    path = Path(read_address(desk.home).socket)

    assert path.is_socket()
    for private in (path, path.parent):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    stores = [one for one in listeners(processes_of(desk.home)) if "valkey" in one.title]
    assert stores == []


def token_file(desk: Any) -> Path:
    return desk.home / "run" / "ray_token"

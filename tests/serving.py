"""An application behind the HTTP server that Serve uses, on loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from serve_apps.ingress import IngressGuard
from serve_apps.patient_http import PatientProtocol


@contextlib.contextmanager
def served(app: ASGIApp, protocol: type[PatientProtocol] = PatientProtocol) -> Generator[str]:
    """Serve for the length of a with-block, behind the bounds of the product; gives the base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = uvicorn.Config(
        IngressGuard(app),
        host="127.0.0.1",
        port=port,
        http=protocol,
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until_s = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until_s, "uvicorn did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)

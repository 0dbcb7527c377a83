"""Which Ray a sweep runs on: the desk's, the one that is named, or its own."""

import contextlib
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import ray

from desk.cli import tune
from desk.settings import load_settings


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that were joined; `own` for a Ray of the sweep's own."""
    seen: list[str] = []

    @contextlib.contextmanager
    def own(_cpus: int) -> Generator[None]:
        seen.append("own")
        yield

    def init(**given: Any) -> None:
        seen.append(given["address"])

    monkeypatch.setattr(tune, "private_ray", own)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    # What is set for Ray stays with this test.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    return seen


def test_a_sweep_joins_the_ray_that_is_named_where_no_desk_runs(
    joined: list[str], tmp_path: Path
) -> None:
    def run(**given: str) -> None:
        settings = load_settings({"DESK_HOME": str(tmp_path), **given})
        with tune.sweep_ray(settings, 1):
            pass

    run()
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        run(DESK_RAY_ADDRESS=address, REDIS_URL="redis://10.0.0.6:6379")
    run(DESK_RAY_ADDRESS=address, REDIS_URL="redis://10.0.0.6:6379")

    assert joined == ["own", address, "own"]

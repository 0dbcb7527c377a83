"""The self-test of the webhook's route over real HTTP."""

import asyncio
import hashlib
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI, Response
from pydantic import SecretStr

from desk.cli.ray_cluster import ray_environment
from desk.errors import FeedError
from desk.settings import load_settings
from desk.sources.tradingview import FeedRoute
from desk.store import self_tests
from desk.store.kinds import signals_of
from desk.wallclock import monotonic_s
from serve_apps.context import Feeds
from tests.serve_apps.scene import TOKEN, Scene, make_scene
from tests.serving import served

FEED_TOKEN, PASS = "f" * 32, "p" * 43
HASHES = (("main", hashlib.sha256(FEED_TOKEN.encode()).hexdigest()),)
TRADINGVIEW = "52.89.214.238"


@pytest.fixture
def scene() -> Scene:
    return make_scene()


def tried(url: str, secret: str | None = "open-sesame") -> int:
    given = SecretStr(secret) if secret else None
    return asyncio.run(FeedRoute(url, given, monotonic_s=monotonic_s).test(PASS))


def test_a_self_test_goes_through_the_running_api_and_leaves_nothing(scene: Scene) -> None:
    feeds = Feeds(token_hashes=HASHES, secret=SecretStr("open-sesame"), cidrs=("10.0.0.0/8",))
    self_tests.issue(scene.store, "main", PASS, HASHES, now_ms=scene.wall_ms)
    with served(scene.app(token=TOKEN, feeds=feeds)) as url:
        with pytest.raises(FeedError, match="404"):
            tried(url, "another")
        assert tried(url) >= 0
        with pytest.raises(FeedError, match="404"):
            tried(url)
    assert self_tests.was_used(scene.store, "main", PASS)
    assert scene.store.list(signals_of("main")) == []


def test_whoever_else_answers_or_does_not_is_a_failure_that_names_no_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = FastAPI()

    @app.post("/webhooks/tradingview/{token}")
    def answer(token: str) -> Response:
        return Response(status_code=202)

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with served(app) as url, pytest.raises(FeedError) as other:
        tried(url)
    with pytest.raises(FeedError) as away:
        tried("http://127.0.0.1:1")
    assert "202" in str(other.value)
    assert "did not answer" in str(away.value)
    assert PASS not in f"{other.value}{away.value}"


@pytest.mark.catalogue("S11")
def test_the_http_server_itself_believes_no_header_of_a_local_process(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "FORWARDED_ALLOW_IPS"
    monkeypatch.setenv(name, ray_environment(tmp_path, tmp_path)[name])
    feeds = Feeds(token_hashes=HASHES, cidrs=(f"{TRADINGVIEW}/32",))
    with served(scene.app(token=TOKEN, feeds=feeds)) as url:
        path = f"{url}/webhooks/tradingview/{FEED_TOKEN}"
        answer = httpx2.post(path, content=b"buy", headers={"x-forwarded-for": TRADINGVIEW})
    assert answer.status_code == 404
    assert scene.store.list(signals_of("main")) == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
    ],
)
def test_the_route_is_reached_where_the_api_listens(host: str, url: str) -> None:
    assert load_settings({"HOST": host, "API_TOKEN": TOKEN}).local_api_url == url

"""One effect per Idempotency-Key."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from desk.errors import StoreUnavailable
from desk.store import kinds
from desk.store.layout import ANSWERS_KEPT_MS
from desk.store.memory import MemoryStore
from desk.store.port import Begun
from serve_apps.idempotency import LEASE_MS, Idempotency
from serve_apps.intake import Intake
from tests.serve_apps.scene import PAIR, Scene, refuse_pair

START = {"mode": "paper", "pair": PAIR, "risk_limit_set_id": "default"}
KEY = {"Idempotency-Key": "6f1e"}
PATH = "/agents/desk/start"


def test_a_repeated_request_gets_the_first_answer_and_has_no_second_effect(
    scene: Scene, client: TestClient
) -> None:
    first = client.post(PATH, json=START, headers=KEY)
    second = client.post(PATH, json=START, headers=KEY)

    assert second.status_code == first.status_code == 201
    assert second.json() == first.json()
    assert second.headers["idempotent-replay"] == "true"
    assert second.headers["content-type"] == first.headers["content-type"]
    assert [command for command, _ in scene.desk.heard] == ["start"]


def test_a_long_answer_is_the_same_again_for_a_client_that_unpacks_nothing(
    scene: Scene, client: TestClient
) -> None:
    body = {"settings": {"DATA_GAP_HEAL_ENABLED": False}}
    put = "/ops/ingestion/config"
    first = client.put(put, json=body, headers=KEY | {"Accept-Encoding": "gzip"})
    again = client.put(put, json=body, headers=KEY | {"Accept-Encoding": "identity"})

    assert first.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in again.headers
    assert again.json() == first.json()
    assert again.headers["etag"] == first.headers["etag"] == '"1"'


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/agents"), ("POST", PATH), ("POST", "/ops/trading/kill")]
)
def test_a_repeated_answer_has_every_header_of_the_first(
    scene: Scene, client: TestClient, method: str, path: str
) -> None:
    first, again = (
        client.request(method, path, json=START if path == PATH else None, headers=KEY)
        for _ in range(2)
    )

    assert again.headers["idempotent-replay"] == "true"
    of_one_sending = {"x-trace-id", "idempotent-replay"}
    assert {name for name in again.headers if name not in of_one_sending} == {
        name for name in first.headers if name not in of_one_sending
    }
    assert ("allow" in again.headers) == (method == "PUT")


def test_another_if_match_under_a_used_key_is_422(scene: Scene, client: TestClient) -> None:
    first = client.post("/agents/desk/pause", headers=KEY | {"If-Match": '"1"'})
    other = client.post("/agents/desk/pause", headers=KEY | {"If-Match": '"2"'})

    assert (first.status_code, other.status_code) == (200, 422)
    assert len(scene.desk.heard) == 1


def test_an_empty_key_is_refused(scene: Scene, client: TestClient) -> None:
    answer = client.post(PATH, json=START, headers={"Idempotency-Key": ""})

    assert (answer.status_code, answer.json()["field"]) == (422, "idempotency-key")
    assert scene.desk.heard == []


def test_another_body_under_a_used_key_is_422(scene: Scene, client: TestClient) -> None:
    client.post(PATH, json=START, headers=KEY)

    answer = client.post(PATH, json=START | {"decision_threshold": 0.9}, headers=KEY)

    assert answer.status_code == 422
    assert answer.json()["field"] == "idempotency-key"
    assert len(scene.desk.heard) == 1


def test_without_a_key_every_request_is_carried_out(scene: Scene, client: TestClient) -> None:
    client.post(PATH, json=START)
    client.post(PATH, json=START)

    assert len(scene.desk.heard) == 2


def test_one_key_may_serve_two_routes(scene: Scene, client: TestClient) -> None:
    assert client.post("/agents/desk/pause", headers=KEY).status_code == 200
    assert client.post("/agents/desk/resume", headers=KEY).status_code == 200
    assert [command for command, _ in scene.desk.heard] == ["pause", "resume"]


def test_a_request_that_failed_validation_keeps_nothing(scene: Scene, client: TestClient) -> None:
    scene.desk.refuse = refuse_pair()
    assert client.post(PATH, json=START, headers=KEY).status_code == 422

    scene.desk.refuse = None
    assert client.post(PATH, json=START | {"mode": "paper"}, headers=KEY).status_code == 201


def test_an_unknown_outcome_may_be_repeated_under_its_key_with_the_same_trace_id(
    scene: Scene, client: TestClient
) -> None:
    scene.desk.refuse = StoreUnavailable("no answer")
    unknown = client.post(PATH, json=START, headers=KEY)
    scene.desk.refuse = None
    again = client.post(PATH, json=START, headers=KEY)

    assert (unknown.status_code, again.status_code) == (503, 201)
    assert unknown.headers["x-trace-id"] == again.headers["x-trace-id"]


def test_a_conflict_is_a_final_answer_too(scene: Scene, client: TestClient) -> None:
    scene.version("ppo-1")
    path = "/agents/desk/versions/ppo-1/promote"

    first = client.post(path, headers=KEY)
    second = client.post(path, headers=KEY)

    assert first.status_code == second.status_code == 409
    assert second.headers["idempotent-replay"] == "true"
    assert len(scene.store.list(kinds.AUDIT)) == 1


def test_a_key_is_forgotten_after_a_day(scene: Scene, client: TestClient) -> None:
    client.post(PATH, json=START, headers=KEY)
    scene.wall_ms += ANSWERS_KEPT_MS

    client.post(PATH, json=START, headers=KEY)

    assert len(scene.desk.heard) == 2


def test_a_key_of_absurd_length_is_refused(scene: Scene, client: TestClient) -> None:
    answer = client.post(PATH, json=START, headers={"Idempotency-Key": "k" * 256})

    assert answer.status_code == 422
    assert scene.desk.heard == []


def test_a_reading_request_is_not_covered(scene: Scene, client: TestClient) -> None:
    answers = [client.get("/agents", headers=KEY) for _ in range(2)]

    assert ["idempotent-replay" in answer.headers for answer in answers] == [False, False]


class Slow:
    """An application that answers only when it is let go."""

    def __init__(self, body: bytes = b"done") -> None:
        self.body = body
        self.entered = 0
        self.inside = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered += 1
        self.inside.set()
        await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.body})


class Exchange:
    """One request to an ASGI application, and what came back."""

    def __init__(self, body: bytes = b"{}", key: str = "k") -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/x",
            "query_string": b"",
            "headers": [(b"idempotency-key", key.encode())],
            "state": {},
        }
        self.body = body
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]


def covered(app: Slow, store: MemoryStore, now_ms: Callable[[], int] = lambda: 1) -> Intake:
    return Intake(Idempotency(app, store=store, wall_ms=now_ms))


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await story()

    asyncio.run(bounded())


def test_a_twin_in_flight_is_409() -> None:
    async def story() -> None:
        app, store, first, twin = Slow(), MemoryStore(), Exchange(), Exchange()
        layer = covered(app, store)
        running = asyncio.create_task(layer(first.scope, first.receive, first.send))
        await app.inside.wait()

        await layer(twin.scope, twin.receive, twin.send)

        assert twin.status == 409
        app.let_go.set()
        await running
        assert first.status == 200
        assert app.entered == 1

    run(story)


def test_a_client_that_goes_away_does_not_stop_its_command() -> None:
    async def story() -> None:
        app, store, first, again = Slow(), MemoryStore(), Exchange(), Exchange()
        layer = covered(app, store)
        running = asyncio.create_task(layer(first.scope, first.receive, first.send))
        await app.inside.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        app.let_go.set()
        while not first.sent or first.sent[-1]["type"] != "http.response.body":
            await asyncio.sleep(0)

        await layer(again.scope, again.receive, again.send)
        assert (again.status, app.entered) == (200, 1)

    run(story)


def test_a_key_whose_process_died_may_be_used_again_after_a_while() -> None:
    async def story() -> None:
        store, now_ms = MemoryStore(), 1_000
        dead, app = Slow(), Slow(b"by the second")
        first, early, late = Exchange(), Exchange(), Exchange()
        abandoned = covered(dead, store, lambda: now_ms)
        hanging = asyncio.create_task(abandoned(first.scope, first.receive, first.send))
        await dead.inside.wait()
        app.let_go.set()
        layer = covered(app, store, lambda: now_ms)

        await layer(early.scope, early.receive, early.send)
        now_ms += LEASE_MS
        await layer(late.scope, late.receive, late.send)

        assert (early.status, late.status) == (409, 200)
        dead.let_go.set()
        await hanging
        again = Exchange()
        await layer(again.scope, again.receive, again.send)
        assert again.sent[1]["body"] == b"by the second"

    run(story)


def test_a_store_that_is_away_refuses_before_anything_acts() -> None:
    class Away(MemoryStore):
        def begin_request(self, name: str, fingerprint: str, **given: Any) -> Begun:
            raise StoreUnavailable("no answer")

    async def story() -> None:
        app, exchange = Slow(), Exchange()

        await covered(app, Away())(exchange.scope, exchange.receive, exchange.send)

        assert exchange.status == 503
        assert app.entered == 0

    run(story)


def test_a_body_that_trickles_in_is_given_up() -> None:
    class Trickle(Exchange):
        async def receive(self) -> Message:
            await asyncio.sleep(3_600)
            raise AssertionError("nobody waits that long")

    async def story() -> None:
        app, exchange = Slow(), Trickle()

        await Intake(app, deadline_s=0.02)(exchange.scope, exchange.receive, exchange.send)

        assert exchange.status == 408
        assert app.entered == 0

    run(story)

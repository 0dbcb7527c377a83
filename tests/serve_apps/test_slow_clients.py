"""Clients that send slowly, too much, or for ever, on real sockets against the product's protocol."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from serve_apps import bounds
from serve_apps.patient_http import PatientProtocol
from tests.serve_apps.scene import TOKEN, make_scene
from tests.serving import served

HEAD = b"HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BEARER = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
pytestmark = pytest.mark.catalogue("S09")


class Hasty(PatientProtocol):
    """The product's protocol with deadlines a test can wait for."""

    head_deadline_s = 0.4
    request_deadline_s = 0.6
    write_deadline_s = 0.4
    max_connections_of_one = 12


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(make_scene().app(token=TOKEN), Hasty) as address:
        yield address


def connect(url: str) -> socket.socket:
    port = urlsplit(url).port
    assert port is not None
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def answers(client: socket.socket, *, within_s: float = 5.0) -> bytes:
    """All that comes until the server closes; fails when it does not close in time."""
    client.settimeout(within_s)
    parts: list[bytes] = []
    while part := client.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def is_alive(url: str) -> bool:
    return httpx2.get(f"{url}/healthz", timeout=2).status_code in {200, 503}


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /agents " + HEAD, b"GET /agents " + HEAD[:-2]])
def test_a_head_that_does_not_end_is_408_and_the_desk_answers_meanwhile(
    url: str, sent: bytes
) -> None:
    with connect(url) as client:
        client.sendall(sent)
        assert is_alive(url)

        answer = answers(client)

    assert status(answer) == 408
    assert b"content-security-policy: default-src 'none'" in answer
    assert b"urn:raydesk:request-too-slow" in answer


def test_a_head_that_trickles_is_no_longer_waited_for(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"GET / " + HEAD)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            trickle(client, seconds=5.0)


def trickle(client: socket.socket, *, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        client.sendall(b"X-A: b\r\n")
        time.sleep(0.05)


def test_blank_lines_after_an_answer_do_not_keep_a_connection(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"GET /healthz " + HEAD + b"\r\n")
        assert client.recv(65_536)
        client.sendall(b"\r\n")

        assert b"408" in answers(client)


def test_an_idle_connection_serves_a_second_request(url: str) -> None:
    with connect(url) as client:
        for _ in range(2):
            client.sendall(b"GET /healthz " + HEAD + b"\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 ")
            time.sleep(0.5)  # longer than the head's deadline: idle is not slow


def test_a_body_that_does_not_end_is_408(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"POST /ops/trading/kill " + HEAD + BEARER + b"Content-Length: 100\r\n\r\n{")
        assert is_alive(url)

        assert status(answers(client)) == 408


def test_the_body_of_a_read_does_not_keep_a_connection_either(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"GET /agents " + HEAD + BEARER + b"Content-Length: 100\r\n\r\n{")

        answer = answers(client)

    assert status(answer) == 200
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "head",
    [
        b"X-Big: " + b"x" * bounds.MAX_HEAD_BYTES + b"\r\n\r\n",
        b"X-Big: " + b"x" * bounds.MAX_HEAD_BYTES,
        b"".join(b"X-%d: y\r\n" % i for i in range(bounds.MAX_HEADERS)) + b"\r\n",
        b"X-1: y\r\n" * 200_000,
    ],
    ids=["one large header", "one that does not end", "many", "endless"],
)
def test_a_head_above_the_bounds_is_431(url: str, head: bytes) -> None:
    with connect(url) as client:
        try:
            client.sendall(b"GET /healthz " + HEAD + head)
            answer = answers(client)
        except (BrokenPipeError, ConnectionResetError):
            return  # closed in the middle of it: refused all the same
    assert status(answer) == 431


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /login " + HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /login "
        + HEAD
        + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["TLS", "version", "two lengths", "length and chunks"],
)
def test_what_is_no_http_is_a_problem_with_our_headers(url: str, request_bytes: bytes) -> None:
    with connect(url) as client:
        client.sendall(request_bytes)

        answer = answers(client)

    assert status(answer) == 400
    assert b"x-trace-id: tr" in answer
    assert b"x-content-type-options: nosniff" in answer
    assert b"application/problem+json" in answer


def test_one_address_cannot_take_every_connection(url: str) -> None:
    clients = [connect(url) for _ in range(20)]
    refused = 0
    for client in clients[12:]:
        refused += status(answers(client)) == 503
    for client in clients:
        client.close()

    assert refused == 8
    until_s = time.monotonic() + 5
    while time.monotonic() < until_s:
        try:
            assert is_alive(url)
            return
        except httpx2.HTTPError:
            time.sleep(0.05)
    pytest.fail("the places were not given back")


@pytest.mark.parametrize(
    ("path", "size"), [("/agents/desk/pause", bounds.MAX_BODY_BYTES), ("/login", 64 << 10)]
)
def test_a_large_body_is_413_whether_its_length_is_told_or_not(
    url: str, path: str, size: int
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    told = httpx2.post(url + path, content=b"x" * (size + 1), headers=headers)
    chunks = (b"x" * 10_000 for _ in range(size // 10_000 + 2))
    not_told = httpx2.post(url + path, content=chunks, headers=headers)

    for answer in (told, not_told):
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:raydesk:body-too-large"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-trace-id"] == answer.json()["trace_id"] != ""


def test_a_client_that_does_not_read_is_left(url: str) -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})

    with served(endless, Hasty) as other, connect(other) as client:
        client.sendall(b"GET / " + HEAD + b"\r\n")
        time.sleep(1.5)

        assert len(answers(client)) < 64 << 20  # of 625 MiB: cut off, not served to the end


def test_a_client_gives_serve_no_orders() -> None:
    heard: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        heard.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"Internal Server Error"})

    orders = {
        "X-Request-Disconnect-Disabled": "?1",
        "X-Request-Timeout-Seconds": "0.001",
        "Serve_Multiplexed_Model_Id": "m",
        "X-Session-Id": "s",
        "X-Request-Id": "a b",
    }
    with served(app) as url:
        answer = httpx2.get(url, headers=orders)
        httpx2.get(url, headers={"X-Request-Id": "call-7"})
        hidden = httpx2.get(f"{url}/-/routes")

    names = [name for name, _ in heard]
    assert {name.lower().encode() for name in orders} & set(names[:-1]) <= {b"x-request-id"}
    assert [value for name, value in heard if name == b"x-request-id"] == [b"call-7"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert hidden.status_code == 404

"""Alerts by webhook: who may send, what is kept, how it is found."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from desk.clock import DAY_MS, MINUTE_MS
from desk.market.signals import receive, words_of
from desk.store import signals
from desk.store.kinds import signals_of
from desk.store.signal_archive import SignalArchive
from serve_apps.context import Feeds
from tests.desk.market.test_signals import alert, iso
from tests.serve_apps.scene import HERE, TOKEN, WALL_MS, Scene

OLD, NEW = "o" * 32, "n" * 32
HOOK = "/webhooks/tradingview"
SEARCH = {"source": "main", "start_ms": WALL_MS - DAY_MS, "end_ms": WALL_MS + DAY_MS}
HASHES = tuple(("main", hashlib.sha256(token.encode()).hexdigest()) for token in (OLD, NEW))

HOSTILE = [
    *("(a+)+$", ".*", "[^x]*", "*", "?", "main*", "@text:*", "-buy", "|", "%", "\\w+"),
    *("' OR '1'='1", "FT.SEARCH idx *", "\x00", "\u202ea", "a" * 200, "\U0001f4a5" * 200),
]

type Open = Callable[[Feeds], TestClient]


@pytest.fixture
def serve(scene: Scene) -> Iterator[Open]:
    """Open a client without credentials of a server with a token, from TradingView's address."""
    opened: list[TestClient] = []

    def start(feeds: Feeds) -> TestClient:
        app = scene.app(token=TOKEN, feeds=feeds)
        client = TestClient(app, base_url=HERE, client=("52.89.214.238", 40_000))
        opened.append(client.__enter__())
        return opened[-1]

    yield start
    for client in opened:
        client.__exit__(None, None, None)


def kept(scene: Scene) -> int:
    return len(scene.store.list(signals_of("main")))


def find(client: TestClient, **changes: str | int) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = client.get("/signals/search", params={**SEARCH, **changes}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(page: dict[str, Any]) -> list[str]:
    return [item["text"] for item in page["items"]]


@pytest.mark.catalogue("S11")
def test_both_tokens_of_a_rotation_write_and_a_repeat_adds_nothing(
    scene: Scene, serve: Open
) -> None:
    client, body = serve(Feeds(token_hashes=HASHES)), alert(timenow=iso(WALL_MS))
    assert [client.post(f"{HOOK}/{token}", content=body).status_code for token in (OLD, NEW)] == [
        202,
        202,
    ]
    assert kept(scene) == 1
    [item] = find(client)["items"]
    assert (item["symbol"], item["parse_status"], item["price"]) == ("BTC-USDT", "ok", 43000.5)


@pytest.mark.catalogue("S11")
@pytest.mark.parametrize(
    ("feeds", "token", "body", "status"),
    [
        (Feeds(token_hashes=HASHES), "x" * 32, b"buy", 404),
        (Feeds(), OLD, b"buy", 404),
        (Feeds(token_hashes=HASHES, cidrs=("10.0.0.0/8",)), OLD, b"buy", 404),
        (Feeds(token_hashes=HASHES, secret=SecretStr("s3")), OLD, b'{"secret": "s4"}', 404),
        (Feeds(token_hashes=HASHES, secret=SecretStr("s3")), OLD, b'{"secret": 3}', 404),
        (Feeds(token_hashes=HASHES), OLD, b"x" * (16 * 1024 + 1), 413),
    ],
)
def test_who_may_not_write_leaves_nothing(
    scene: Scene, serve: Open, *, feeds: Feeds, token: str, body: bytes, status: int
) -> None:
    answer = serve(feeds).post(f"{HOOK}/{token}", content=body)
    assert answer.status_code == status
    assert token not in answer.text
    assert kept(scene) == 0


@pytest.mark.catalogue("S11")
def test_a_replay_is_answered_alike_however_late_and_adds_nothing(
    scene: Scene, serve: Open
) -> None:
    client, body = serve(Feeds(token_hashes=HASHES)), alert(timenow=iso(WALL_MS))
    first = client.post(f"{HOOK}/{OLD}", content=body)
    scene.wall_ms += 60 * MINUTE_MS
    again = client.post(f"{HOOK}/{OLD}", content=body)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (202, b"")
    [item] = find(client)["items"]
    assert (item["ts_received_ms"], item["parse_status"]) == (WALL_MS, "ok")


@pytest.mark.catalogue("S11")
def test_an_edited_replay_is_kept_as_what_it_is_and_is_stale_by_its_own_clock(
    scene: Scene, serve: Open
) -> None:
    client = serve(Feeds(token_hashes=HASHES))
    client.post(f"{HOOK}/{OLD}", content=alert(timenow=iso(WALL_MS)))
    scene.wall_ms += 6 * MINUTE_MS
    client.post(f"{HOOK}/{OLD}", content=alert(timenow=iso(WALL_MS), close="1"))
    edited, first = find(client)["items"]
    assert (first["parse_status"], first["price"]) == ("ok", 43000.5)
    assert (edited["parse_status"], edited["price"]) == ("stale", 1.0)


def test_the_body_secret_is_kept_nowhere(scene: Scene, serve: Open) -> None:
    feeds = Feeds(token_hashes=HASHES, secret=SecretStr("open-sesame"), cidrs=("52.89.214.238/32",))
    client = serve(feeds)
    assert client.post(f"{HOOK}/{OLD}", content=b'{"secret":"open-sesame"}').status_code == 202
    assert texts(find(client)) == ['{"secret":"[secret]"}']
    assert "open-sesame" not in repr(feeds)
    assert "open-sesame" not in str(scene.store.list(signals_of("main")))


@pytest.mark.catalogue("S12")
def test_hostile_text_is_given_back_as_text_and_cut(serve: Open) -> None:
    client = serve(Feeds(token_hashes=HASHES))
    hostile = "<script>alert(1)</script> ../../etc {{7*7}} " + "z" * 9_000
    assert client.post(f"{HOOK}/{OLD}", content=hostile.encode()).status_code == 202
    assert texts(find(client)) == [hostile[:4_000]]


def test_search_needs_all_words_whatever_their_case(scene: Scene, serve: Open) -> None:
    client = serve(Feeds(token_hashes=HASHES))
    for text in ("Buy BTC now", "sell btc", "buy eth"):
        client.post(f"{HOOK}/{OLD}", content=text.encode())
    assert texts(find(client, q="BTC buy")) == ["Buy BTC now"]
    assert find(client, q="buy")["scanned"] == 3


@pytest.mark.catalogue("S10")
@pytest.mark.parametrize(
    "wrong",
    [
        {"end_ms": SEARCH["start_ms"]},
        {"start_ms": 0, "end_ms": 31 * DAY_MS + 1},
        {"limit": 201},
        {"source": "../x"},
        {"cursor": "made-up"},
    ],
)
def test_a_search_out_of_bounds_is_refused(serve: Open, wrong: dict[str, str | int]) -> None:
    client = serve(Feeds())
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = client.get("/signals/search", params={**SEARCH, **wrong}, headers=headers)
    assert answer.status_code == 422


@pytest.mark.catalogue("S10")
@pytest.mark.parametrize("left_out", ["source", "start_ms", "end_ms"])
def test_a_search_without_source_or_bounds_is_refused(serve: Open, left_out: str) -> None:
    asked = {name: value for name, value in SEARCH.items() if name != left_out}
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = serve(Feeds()).get("/signals/search", params=asked, headers=headers)
    assert answer.status_code == 422


def test_pages_give_every_signal_once_also_when_all_came_in_one_millisecond(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_PAGE", 2)
    client = serve(Feeds(token_hashes=HASHES))
    sent = {f"text {number}" for number in range(9)}
    for text in sent:
        client.post(f"{HOOK}/{OLD}", content=text.encode())
    found: list[str] = []
    page = find(client, limit=2)
    found += texts(page)
    while page["next_cursor"]:
        page = find(client, limit=2, cursor=str(page["next_cursor"]))
        found += texts(page)
    assert len(found) == 9
    assert set(found) == sent


@pytest.mark.catalogue("S10")
def test_a_search_stops_at_its_budget_and_goes_on_from_there(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "SCAN_BUDGET", 3)
    client = serve(Feeds(token_hashes=HASHES))
    for number in range(5):
        client.post(f"{HOOK}/{OLD}", content=f"text {number}".encode())
    first = find(client, q="absent")
    assert (first["items"], first["scanned"], first["truncated"]) == ([], 3, True)
    rest = find(client, q="absent", cursor=str(first["next_cursor"]))
    assert (rest["scanned"], rest["truncated"], rest["next_cursor"]) == (2, False, None)


@pytest.mark.catalogue("S10")
def test_S10_a_hostile_query_is_words_and_nothing_more(scene: Scene, serve: Open) -> None:
    client = serve(Feeds(token_hashes=HASHES))
    for number in range(300):
        body = b"a" * 3_000 + b"! buy %d" % number
        signals.append(scene.store, receive("main", body, received_ms=WALL_MS + number))

    assert len(find(client, q="buy", limit=200)["items"]) == 200
    for query in HOSTILE:
        began_s = process_time()
        found = find(client, q=query, limit=200)
        took_s = process_time() - began_s

        assert (words_of(query) <= {"buy"}) == bool(found["items"]), query
        assert took_s < 0.2, query


def test_what_is_older_than_the_window_moves_to_the_archive_and_is_found_there(
    scene: Scene, serve: Open, tmp_path: Path
) -> None:
    scene.archive = SignalArchive(tmp_path)
    client = serve(Feeds(token_hashes=HASHES))
    client.post(f"{HOOK}/{OLD}", content=b"first")
    scene.wall_ms += signals.KEPT_MS + DAY_MS + 1
    assert texts(find(client)) == ["first"]
    assert kept(scene) == 1  # a search writes nothing
    client.post(f"{HOOK}/{OLD}", content=b"second")
    assert kept(scene) == 1
    page = find(client)
    assert (texts(page), page["lost_days"]) == (["first"], [])

    [file] = (tmp_path / "signals" / "main").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    page = find(client)
    assert (texts(page), page["lost_days"]) == ([], ["2027-01-15"])


def test_an_archive_on_a_full_disk_refuses_no_alert(scene: Scene, serve: Open) -> None:
    scene.archive = SignalArchive(Path("/dev/null"))
    client = serve(Feeds(token_hashes=HASHES))
    client.post(f"{HOOK}/{OLD}", content=b"first")
    scene.wall_ms += signals.KEPT_MS + DAY_MS + 1
    assert client.post(f"{HOOK}/{OLD}", content=b"second").status_code == 202
    assert kept(scene) == 2

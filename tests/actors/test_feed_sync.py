"""The sync of push feeds, with the real route behind it: over HTTP where the wire matters."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from actors.feed_book import SETTLED_MS
from actors.feed_sync import TOLD_FAILURES, FeedSync, FeedSyncParts
from actors.signal_status import judged_signal, status_key, wish_key
from actors.tree import feed_sync_children
from actors.wiring import Wiring
from desk.clock import HOUR_MS, SECOND_MS
from desk.errors import FeedError, StoreUnavailable
from desk.market.feed_readings import FeedReading
from desk.market.signals import TRADINGVIEW, receive
from desk.runs import SourceStatus
from desk.store import kinds, self_tests, signals
from desk.store.kinds import signals_of
from desk.store.memory import MemoryStore
from desk.store.signal_archive import SignalArchive
from serve_apps.context import Feeds
from tests.actors.stage import MarketTime
from tests.desk.market.test_signals import alert, iso
from tests.serve_apps.scene import HERE, TOKEN, WALL_MS, Scene, make_scene

OLD, NEW = "o" * 32, "n" * 32
HOOK = "/webhooks/tradingview"
SECRET = SecretStr("open-sesame")
HASHES = tuple(("main", hashlib.sha256(token.encode()).hexdigest()) for token in (OLD, NEW))
FEEDS = Feeds(token_hashes=HASHES, secret=SECRET, cidrs=("52.89.214.238/32",))
LOCAL, ABROAD = ("127.0.0.1", 40_000), ("52.89.214.238", 40_000)


class Desk:
    """An API over a store, and the sync of its one feed. `feeds` is what the API was started with."""

    def __init__(self, folder: Path, feeds: Feeds = FEEDS) -> None:
        self.scene: Scene = make_scene()
        self.archive = SignalArchive(folder)
        self.store: MemoryStore = self.scene.store
        app = self.scene.app(token=TOKEN, feeds=feeds)
        self.here = TestClient(app, base_url=HERE, client=LOCAL)
        self.abroad = TestClient(app, base_url=HERE, client=ABROAD)
        self.tokens: list[str] = []
        self.failure: FeedError | None = None
        self.sync = self.started()

    def started(self) -> FeedSync:
        parts = FeedSyncParts(
            store=self.store,
            archive=self.archive,
            route=self,
            feeds=HASHES,
            clock=MarketTime(),
            now_ms=lambda: self.scene.wall_ms,
            every_s=3_600,
        )
        return FeedSync(lambda: parts)

    async def test(self, token: str) -> int:
        """The route, as the sync reaches it."""
        self.tokens.append(token)
        if self.failure is not None:
            raise self.failure
        status = self.post(token, client=self.here)
        if status != 204:
            raise FeedError(f"the route answered {status}")
        return 7

    def post(self, token: str, body: bytes | None = None, client: TestClient | None = None) -> int:
        said = body or b'{"self_test": true, "secret": "open-sesame"}'
        return (client or self.abroad).post(f"{HOOK}/{token}", content=said).status_code

    def say(self, **fields: str) -> None:
        said = {"timenow": iso(self.scene.wall_ms), "secret": "open-sesame", **fields}
        assert self.post(OLD, alert(**said)) == 202

    def turn(self, later_ms: int = 0) -> None:
        self.scene.wall_ms += later_ms
        asyncio.run(self.sync.turn())

    def status(self) -> SourceStatus:
        doc = self.store.get(kinds.SOURCES, status_key(TRADINGVIEW, "main"))
        assert doc is not None
        return doc.value

    def reading(self) -> FeedReading:
        doc = self.store.get(kinds.FEED_READINGS, "main")
        assert doc is not None
        return doc.value

    def alerts(self) -> list[tuple[str, int]]:
        return [(doc.value.alert_id, doc.value.count) for doc in self.store.list(kinds.ALERTS)]

    def pause(self, *, enabled: bool = False) -> None:
        row = replace(self.status(), enabled=enabled)
        self.store.put(kinds.SOURCES, status_key(TRADINGVIEW, "main"), row, at_ms=1)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def counts(reading: FeedReading) -> tuple[int, int, int, int]:
    last = reading.last
    return (last.ok, last.partial, last.unparsed, last.stale)


# --- the sync ------------------------------------------------------------------------------------


def test_a_sync_moves_what_is_older_than_the_window_to_the_archive(desk: Desk) -> None:
    desk.say()

    desk.turn(signals.KEPT_MS + SECOND_MS)

    assert desk.store.list(signals_of("main")) == []
    assert len(list(desk.archive.read("main", 0, desk.scene.wall_ms))) == 1


def test_syncs_are_on_record_as_ingestion_runs(desk: Desk) -> None:
    desk.say()
    desk.say(ticker="GOLD")
    desk.turn(2 * SECOND_MS)
    desk.failure = FeedError("gone")
    desk.turn(HOUR_MS)

    runs = [doc.value for doc in desk.store.list(kinds.INGESTION)]
    assert [(run.source, run.source_id) for run in runs] == [(TRADINGVIEW, "main")] * 2
    assert [(run.answers, run.new, run.errors, run.error) for run in runs] == [
        (0, 0, 1, "gone"),
        (1, 2, 0, ""),
    ]


def test_a_sync_tests_the_route_counts_the_backlog_and_moves_the_freshness(desk: Desk) -> None:
    desk.say()
    desk.say(ticker="GOLD")
    desk.say(close="1", timenow=iso(WALL_MS - HOUR_MS))
    assert desk.post(OLD, b"buy now") == 404  # without the secret
    heard_ms = desk.scene.wall_ms

    desk.turn(later_ms=SETTLED_MS + 1)

    row = desk.status()
    assert (row.status, row.detail) == ("ok", "")
    assert (row.last_success_ms, row.last_event_ms) == (desk.scene.wall_ms, heard_ms)
    assert counts(desk.reading()) == (1, 1, 0, 1)
    assert desk.reading().since.total == 0
    statuses = {each.parse_status.value: each for each in desk.reading().last.examples}
    assert set(statuses) == {"partial", "stale"}
    assert statuses["partial"].missing == ("symbol",)
    assert len(desk.store.list(signals_of("main"))) == 3


def test_a_backlog_is_read_to_its_end_however_much_one_scan_takes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "SCAN_BUDGET", 2)
    for number in range(7):
        desk.say(close=str(100 + number))
    desk.turn(later_ms=SETTLED_MS + 1)
    desk.turn(later_ms=1_000)
    assert (desk.reading().read_count, desk.reading().last.ok) == (7, 7)


def test_a_silent_feed_is_fresh_by_its_sync_and_stale_without_one(desk: Desk) -> None:
    desk.turn()
    row, now_ms = desk.status(), desk.scene.wall_ms
    assert (row.status, row.last_event_ms, row.last_success_ms) == ("ok", 0, now_ms)

    def at(age_s: int, *, is_polled: bool = True) -> str:
        return judged_signal(row, now_ms=now_ms + age_s * 1_000, is_polled=is_polled).status

    assert (at(3_900), at(3_901), at(1, is_polled=False)) == ("ok", "stale", "unavailable")


def test_a_sync_comes_by_schedule_and_at_once_when_it_is_asked_for(desk: Desk) -> None:
    for _ in range(3):
        desk.turn(later_ms=1_000)
    assert len(desk.tokens) == 1
    desk.turn(later_ms=HOUR_MS)
    assert len(desk.tokens) == 2
    desk.store.put(kinds.STATE, wish_key(TRADINGVIEW), {}, at_ms=3)
    desk.turn()
    desk.turn()
    assert len(desk.tokens) == 3
    assert len(set(desk.tokens)) == 3


def test_a_paused_feed_keeps_its_alerts_and_reads_them_once_it_is_resumed(desk: Desk) -> None:
    desk.turn()
    desk.pause()
    desk.say()
    desk.turn(later_ms=2 * HOUR_MS)

    assert len(desk.tokens) == 1
    assert len(desk.store.list(signals_of("main"))) == 1
    judged = judged_signal(desk.status(), now_ms=desk.scene.wall_ms, is_polled=True)
    assert (judged.enabled, judged.status) == (False, "unavailable")

    desk.pause(enabled=True)
    desk.store.put(kinds.STATE, wish_key(TRADINGVIEW), {}, at_ms=3)
    desk.turn()
    assert (desk.status().status, desk.reading().last.ok) == ("ok", 1)


def test_a_route_that_fails_its_self_test_is_told_after_a_while_and_tried_again(desk: Desk) -> None:
    desk.failure = FeedError("the route did not answer")
    for number in range(TOLD_FAILURES):
        assert desk.alerts() == [], f"told at failure {number}"
        desk.turn(later_ms=300_000)
    assert desk.alerts() == [("feed_route_failed:main", 1)]
    row = desk.status()
    assert (row.status, row.detail, row.last_success_ms) == (
        "unavailable",
        "the route did not answer",
        0,
    )

    desk.failure = None
    desk.turn(later_ms=299_000)
    assert desk.status().status == "unavailable"
    desk.turn(later_ms=1_000)
    assert desk.status().status == "ok"


def test_an_answer_that_did_not_come_from_this_desk_is_no_success(desk: Desk) -> None:
    async def somebody_else(token: str) -> int:
        return 1

    desk.test = somebody_else  # pyright: ignore[reportAttributeAccessIssue]
    desk.turn()
    assert "not the API of this desk" in desk.status().detail


@pytest.mark.parametrize(
    "other",
    [
        Feeds(),
        replace(FEEDS, token_hashes=HASHES[:1]),
        replace(FEEDS, secret=SecretStr("another")),
    ],
    ids=["no feed", "another token", "another secret"],
)
def test_an_api_that_was_started_with_other_settings_fails_the_self_test(
    tmp_path: Path, other: Feeds
) -> None:
    desk = Desk(tmp_path, other)
    desk.turn()
    assert (desk.status().status, desk.status().detail) == ("unavailable", "the route answered 404")


class Dying(MemoryStore):
    """Goes away for good before the n-th change."""

    left = 10**9

    def put(self, *args: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("killed")
        return super().put(*args, **more)


@pytest.mark.parametrize("at", range(8))
def test_a_crash_anywhere_counts_every_alert_once(
    at: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.store_calls.PATIENCE_S", 0.0)
    monkeypatch.setattr("actors.feed_sync.stored", unpatient)
    store = Dying()
    desk.store = store
    for number in range(5):
        body = alert(timenow=iso(WALL_MS), close=str(100 + number))
        signals.append(store, receive("main", body, received_ms=WALL_MS))

    async def taken(token: str) -> int:
        found = self_tests.find(store, token, HASHES, now_ms=desk.scene.wall_ms)
        assert found is not None
        assert self_tests.use(store, found, now_ms=desk.scene.wall_ms)
        return 7

    desk.test = taken  # pyright: ignore[reportAttributeAccessIssue]
    desk.sync = desk.started()
    store.left = at
    with contextlib.suppress(StoreUnavailable):
        desk.turn(later_ms=SETTLED_MS + 1)
    store.left = 10**9
    desk.sync = desk.started()
    if desk.store.get(kinds.SOURCES, status_key(TRADINGVIEW, "main")) is None:
        desk.turn()
        assert desk.reading().last.ok == 5
    desk.turn()

    assert desk.reading().read_count == 5
    assert desk.status().status == "ok"


async def unpatient[R](call: Callable[[], R]) -> R:
    return call()


# --- the pass ------------------------------------------------------------------------------------


def issued(desk: Desk, token: str = "t" * 43) -> str:
    self_tests.issue(desk.store, "main", token, HASHES, now_ms=desk.scene.wall_ms)
    return token


def test_a_pass_is_good_for_one_request_and_opens_nothing(desk: Desk) -> None:
    token = issued(desk)
    assert [desk.post(token, client=desk.here) for _ in range(3)] == [204, 404, 404]
    assert desk.store.list(signals_of("main")) == []


def test_a_pass_is_void_from_elsewhere_without_the_secret_too_late_and_by_its_hash(
    desk: Desk,
) -> None:
    token = issued(desk)
    fact = desk.store.get(kinds.STATE, "selftest:main")
    assert fact is not None
    assert token not in str(fact)
    assert desk.post(token, client=desk.abroad) == 404
    assert desk.post(token, b'{"self_test": true}', client=desk.here) == 404
    assert desk.post(str(fact.value["token_sha256"]), client=desk.here) == 404
    desk.scene.wall_ms += self_tests.LIFE_MS
    assert desk.post(token, client=desk.here) == 404
    assert desk.store.list(signals_of("main")) == []


def test_a_pass_is_good_on_the_address_that_the_api_listens_on_but_not_through_a_proxy(
    desk: Desk,
) -> None:
    app = desk.scene.app(token=TOKEN, feeds=FEEDS)
    own = TestClient(app, base_url="http://10.1.2.3:8000", client=("10.1.2.3", 40_000))
    token = issued(desk)
    own.headers["x-forwarded-for"] = "127.0.0.1"
    assert desk.post(token, client=own) == 404
    del own.headers["x-forwarded-for"]
    assert desk.post(token, client=own) == 204


def test_a_body_too_large_is_refused_before_its_pass_is_looked_at(desk: Desk) -> None:
    token = issued(desk)
    assert desk.post(token, b"x" * (16 * 1024 + 1), client=desk.here) == 413
    assert desk.post(token, client=desk.here) == 204


def test_what_looks_like_a_self_test_under_a_feed_token_is_an_alert_like_any_other(
    desk: Desk,
) -> None:
    assert desk.post(OLD) == 202
    assert len(desk.store.list(signals_of("main"))) == 1


# --- the actor -----------------------------------------------------------------------------------


def test_the_tree_has_a_sync_exactly_where_there_are_feeds(tmp_path: Path) -> None:
    wiring = Wiring(
        store_url="redis://127.0.0.1:1",
        home=tmp_path,
        venue_url="http://127.0.0.1:1",
        pairs=("BTC-USDT",),
        intervals=("1m",),
    )
    with_feeds = replace(
        wiring, tradingview_feeds=HASHES, tradingview_secret=SecretStr("leaky-secret")
    )
    assert feed_sync_children(wiring) == []
    [spec] = feed_sync_children(with_feeds)
    assert spec.name == "feed_sync"
    assert "leaky" not in f"{with_feeds!r} {spec!r}"

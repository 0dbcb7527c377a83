"""Poll sessions: one row per series and hour, written seldom, closed by whoever comes next."""

import asyncio
from dataclasses import dataclass, field

import pytest

from actors import ingestion_log
from actors.ingestion_log import IngestionLog
from actors.poll_sessions import PollSessions, Series
from desk.clock import HOUR_MS, ManualClock
from desk.errors import StoreUnavailable
from desk.market.ingestion import IngestionKind, IngestionRun, IngestionStatus, Reading
from desk.store import kinds
from desk.store.memory import MemoryStore

BEGIN_MS = 1_700_000_040_000 // HOUR_MS * HOUR_MS
BTC = Series("bingx_candles", "BTC-USDT", "1m")
ETH = Series("bingx_candles", "ETH-USDT", "1m")
ONE = Reading(new=1, cursor="60")


@dataclass
class Hour:
    """A store, a wall, and pollers that come and go."""

    store: MemoryStore = field(default_factory=MemoryStore)
    clock: ManualClock = field(default_factory=lambda: ManualClock(BEGIN_MS))

    def poller(self) -> PollSessions:
        return PollSessions(
            self.store,
            self.clock.now_ms,
            source="bingx",
            wall_ms=self.clock.now_ms,
            now_s=lambda: self.clock.now_ms() / 1000,
        )

    def rows(self) -> list[IngestionRun]:
        return [doc.value for doc in self.store.list(kinds.INGESTION)]


@pytest.fixture
def hour() -> Hour:
    return Hour()


def poll(sessions: PollSessions, hour: Hour, times: int, *, every_s: int = 1) -> None:
    async def run() -> None:
        for _ in range(times):
            hour.clock.advance(every_s * 1000)
            await sessions.answered(BTC, ONE)

    asyncio.run(run())


def test_polls_of_an_hour_are_one_row_and_another_hour_another(hour: Hour) -> None:
    sessions = hour.poller()

    poll(sessions, hour, 3_600, every_s=1)
    [new, old] = hour.rows()

    assert (old.status, old.new) == (IngestionStatus.DONE, 3_599)
    assert (new.status, new.started_ms) == (IngestionStatus.RUNNING, BEGIN_MS + HOUR_MS)


def test_a_row_is_written_at_most_once_a_minute_and_whole_at_its_end(hour: Hour) -> None:
    sessions = hour.poller()

    poll(sessions, hour, 600, every_s=1)
    [doc] = hour.store.list(kinds.INGESTION)

    assert doc.version <= 12
    assert doc.value.new >= 540
    poll(sessions, hour, 1, every_s=3_600)
    assert [row.new for row in hour.rows() if row.status is IngestionStatus.DONE] == [600]


def test_a_restart_within_the_hour_counts_on_in_the_same_row(hour: Hour) -> None:
    poll(hour.poller(), hour, 121)
    known = hour.rows()[0].new

    poll(hour.poller(), hour, 61)

    [row] = hour.rows()
    assert row.new == known + 61


def test_what_a_killed_poller_left_open_ended_when_it_last_said_something(hour: Hour) -> None:
    poll(hour.poller(), hour, 61)
    last_ms = hour.rows()[0].updated_ms
    hour.clock.advance(3 * HOUR_MS)

    poll(hour.poller(), hour, 1)

    [new, old] = hour.rows()
    assert (old.status, old.finished_ms) == (IngestionStatus.DONE, last_ms)
    assert new.status is IngestionStatus.RUNNING


def test_a_session_without_any_answer_failed_and_says_why(hour: Hour) -> None:
    async def run() -> None:
        sessions = hour.poller()
        await sessions.failed(BTC, "away")
        hour.clock.advance(HOUR_MS)
        await sessions.answered(BTC, ONE)

    asyncio.run(run())

    [_, old] = hour.rows()
    assert (old.status, old.errors, old.error) == (IngestionStatus.FAILED, 1, "away")


def test_a_series_that_is_polled_seldom_leaves_no_open_row(hour: Hour) -> None:
    async def run() -> None:
        sessions = hour.poller()
        for _ in range(2):
            await sessions.answered(BTC, ONE, is_last=True)
        await sessions.answered(ETH, ONE)

    asyncio.run(run())

    status = {row.pair: (row.status, row.new) for row in hour.rows()}
    assert status["BTC-USDT"] == (IngestionStatus.DONE, 2)
    assert status["ETH-USDT"] == (IngestionStatus.RUNNING, 1)


def test_the_oldest_runs_go(hour: Hour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion_log, "KEPT", 5)

    async def run() -> None:
        runs = IngestionLog(hour.store, hour.clock.now_ms)
        for number in range(12):
            hour.clock.advance(1)
            fresh = IngestionRun(
                run_id=f"ing{number}",
                source="bingx",
                source_type="bingx_candles",
                kind=IngestionKind.HEAL,
                started_ms=hour.clock.now_ms(),
                updated_ms=hour.clock.now_ms(),
            )
            await runs.begin(fresh)

    asyncio.run(run())

    assert [row.run_id for row in hour.rows()] == [f"ing{number}" for number in range(11, 6, -1)]


class Away(MemoryStore):
    """A store that does not answer about documents."""

    def get(self, *_: object, **__: object) -> None:  # type: ignore[override]
        raise StoreUnavailable("away")

    put = list = keys_beyond = get  # type: ignore[assignment]


def test_a_store_that_is_away_keeps_no_poller_from_polling(
    hour: Hour, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("actors.ingestion_log", "actors.poll_sessions"):
        monkeypatch.setattr(f"{module}.PATIENCE_S", 0.0)
    hour.store = Away()

    poll(hour.poller(), hour, 3)


def test_a_session_knows_its_hour_and_what_each_of_its_minutes_brought(hour: Hour) -> None:
    sessions = hour.poller()

    poll(sessions, hour, 239, every_s=30)
    [new, old] = hour.rows()

    assert (old.hour_wall_ms, new.hour_wall_ms) == (BEGIN_MS, BEGIN_MS + HOUR_MS)
    assert old.new_by_minute == (1, *[2] * 59)
    assert sum(old.new_by_minute) == old.new

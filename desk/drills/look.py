"""The desk as its operator API tells it at one moment, and what a drill remembers from before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

type Row = dict[str, Any]
type Read = Callable[[str], Any]
"""A path of the API, with its query, to its decoded answer."""

HELD_ROWS = 5
MANY = 200
_NONE: dict[str, Any] = {}
OFFSETS = "/ops/trading/metrics?name=venue_clock_offset_ms&step_ms=60000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a drill is held on: the run that decides, its series, and a pair that nothing trades."""

    agent_id: str
    run_id: str
    account: str
    pair: str
    interval: str
    interval_ms: int
    version_id: str
    other_pair: str
    speed: float

    @property
    def interval_s(self) -> float:
        """Wall seconds from one candle to the next."""
        return self.interval_ms / 1000 / self.speed

    @property
    def grace_s(self) -> float:
        """By how much an accelerated market widens every freshness threshold, in wall seconds."""
        # As `actors.market_time.acceleration_grace_ms` has it; this module loads no actor.
        return 10.0 * max(self.speed - 1.0, 0.0) / self.speed


class Look:
    """One look at the desk: each route is asked at most once, when somebody wants to know.

    Whatever the API refuses, or a desk that does not answer, passes through as a `DeskError`.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._seen: dict[str, Any] = {}

    def at(self, path: str) -> Any:
        """The answer of a route."""
        if path not in self._seen:
            self._seen[path] = self._read(path)
        return self._seen[path]

    @property
    def market_ms(self) -> int:
        return int(self.at("/ops/trading/summary")["market_now_ms"])

    def run(self, subject: Subject) -> Row:
        """The run that the drill is held on; empty once it has ended."""
        found: list[Row] = self.at("/ops/trading/summary")["runs"]
        return next((run for run in found if run["run_id"] == subject.run_id), _NONE)

    def alerts(self) -> dict[str, Row]:
        """The newest alerts by id."""
        return {row["alert_id"]: row for row in self.at(f"/ops/alerts?limit={MANY}")["items"]}

    def actors(self) -> dict[str, Row]:
        """Every actor by name."""
        return {row["name"]: row for row in self.at("/ops/actors")["items"]}

    def candle_source(self, subject: Subject) -> Row:
        """The status of the run's own candles."""
        series = ("bingx_candles", subject.pair, subject.interval)
        rows: list[Row] = self.at("/data-sources/status")["items"]
        named = ("source_type", "pair", "interval")
        return next((row for row in rows if tuple(row[name] for name in named) == series), _NONE)

    def decisions(self, subject: Subject) -> list[Row]:
        """The run's newest decisions, newest first."""
        path = f"/agents/{subject.agent_id}/runs/{subject.run_id}/decisions?limit={HELD_ROWS}"
        return list(self.at(path)["items"])

    def position(self, account: str, pair: str) -> Row:
        """What an account holds of a pair; empty where it holds nothing."""
        accounts: list[Row] = self.at("/ops/trading/summary")["accounts"]
        held = [
            place for row in accounts if row["account"] == account for place in row["positions"]
        ]
        return next((place for place in held if place["pair"] == pair), _NONE)

    def risk(self, account: str) -> Row:
        """Guardrails and breaker of an account; empty where there is no such account."""
        rows: list[Row] = self.at("/ops/trading/risk")["accounts"]
        return next((row for row in rows if row["account"] == account), _NONE)

    def retries(self) -> dict[str, Row]:
        """Failed ingestion jobs by id."""
        return {row["item_id"]: row for row in self.at(f"/ops/retry-queue?limit={MANY}")["items"]}

    def replay_findings(self, trace_id: str) -> set[str]:
        """Codes of what a replay of this trace's decisions finds."""
        replays: list[Row] = self.at(f"/traces/{trace_id}")["replays"]
        return {finding["code"] for replay in replays for finding in replay["findings"]}

    def clock_offset_ms(self, after_ms: int) -> float | None:
        """The newest reading, after that market time, of how far the venue's clock is from ours."""
        points: list[Row] = self.at(OFFSETS)["items"][0]["points"]
        later = [point for point in points if point["t"] > after_ms]
        return float(later[-1]["p50"]) if later else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was there when something was provoked, or healed: only what comes later counts."""

    market_ms: int
    decided_open_ms: int
    alerts: dict[str, tuple[str, int, int]]
    """Status, time and count by id."""
    pids: dict[str, int]
    beats_wall_ms: dict[str, int]
    """The last heartbeat of each actor."""
    retries: frozenset[str]
    answered_trace_id: str
    """Of the run's newest decision that its policy answered; empty: there is none among the last few."""


def remember(look: Look, subject: Subject) -> Before:
    """Note what a later look is compared with."""
    answered = [row for row in look.decisions(subject) if row["confidence"] is not None]
    return Before(
        market_ms=look.market_ms,
        decided_open_ms=int(look.run(subject).get("last_decided_open_ms", 0)),
        alerts={key: _mark(row) for key, row in look.alerts().items()},
        pids={name: int(row["pid"]) for name, row in look.actors().items()},
        beats_wall_ms={
            name: int(row["last_heartbeat_wall_ms"]) for name, row in look.actors().items()
        },
        retries=frozenset(look.retries()),
        answered_trace_id=str(answered[0]["trace_id"]) if answered else "",
    )


def raised_since(look: Look, before: Before) -> list[Row]:
    """Open alerts that were raised, raised again or counted up since."""
    return [
        row
        for key, row in look.alerts().items()
        if row["status"] == "open" and before.alerts.get(key) != _mark(row)
    ]


def counted_since(look: Look, before: Before) -> list[Row]:
    """Alerts that last and were raised since, also those that somebody has acknowledged before."""
    return [
        row
        for key, row in look.alerts().items()
        if row["status"] != "resolved" and before.alerts.get(key, ("", 0, 0))[1:] != _mark(row)[1:]
    ]


def lasted(row: Row, before: Before) -> bool:
    """Whether an alert was there before, and has not ended and begun anew since."""
    status, created_ms, _count = before.alerts.get(row["alert_id"], ("resolved", 0, 0))
    return status != "resolved" and created_ms == int(row["created_ms"])


def _mark(row: Row) -> tuple[str, int, int]:
    return str(row["status"]), int(row["created_ms"]), int(row["count"])

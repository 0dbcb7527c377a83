"""A desk as its API tells it, that a test moves by hand, with a clock of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from desk.drills.look import Subject
from desk.drills.runner import Hours
from desk.errors import BadInput, StoreUnavailable

SUBJECT = Subject(
    agent_id="desk",
    run_id="run1",
    account="paper",
    pair="BTC-USDT",
    interval="1m",
    interval_ms=60_000,
    version_id="baseline-trend-v1",
    other_pair="ETH-USDT",
    speed=60.0,
)


@dataclass
class DeskDouble:
    """Decides once a second while its run runs; `at` is what happens to it, by the second."""

    now_s: float = 0.0
    status: str = "running"
    pause_reason: str = ""
    source: str = "ok"
    decided_ms: int = 0
    is_away: bool = False
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    actors: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    retries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    decisions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    positions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    offsets: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    risk_state: str = "ok"
    findings: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    posted: list[tuple[str, Mapping[str, object]]] = field(
        default_factory=list[tuple[str, Mapping[str, object]]]
    )
    later: list[tuple[float, Callable[[], None]]] = field(
        default_factory=list[tuple[float, Callable[[], None]]]
    )
    may_resume: bool = True

    @property
    def hours(self) -> Hours:
        return Hours(now_s=lambda: self.now_s, sleep=self.sleep)

    def after(self, seconds: float, change: Callable[[], None]) -> None:
        self.later.append((self.now_s + seconds, change))

    def sleep(self, seconds: float) -> None:
        before, self.now_s = self.now_s, self.now_s + seconds
        due = [change for at_s, change in self.later if at_s <= self.now_s]
        self.later = [one for one in self.later if one[0] > self.now_s]
        for change in due:
            change()
        if self.status == "running" and self.source == "ok" and int(before) < int(self.now_s):
            self.decided_ms += 60_000

    def pause(self, reason: str) -> None:
        self.status, self.pause_reason = "paused", reason

    def alert(self, alert_id: str, explained_by: str = "") -> None:
        count = self.alerts[alert_id]["count"] + 1 if alert_id in self.alerts else 1
        self.alerts[alert_id] = {
            "alert_id": alert_id,
            "code": alert_id.split(":", maxsplit=1)[0],
            "status": "open",
            "created_ms": 1,
            "count": count,
            "explained_by": explained_by,
        }

    # --- the API --------------------------------------------------------------------------------

    def get(self, path: str, **_query: object) -> Any:
        if self.is_away:
            raise StoreUnavailable("the store did not answer")
        plain = path.split("?", maxsplit=1)[0]
        if plain == "/healthz":
            return {"status": "ok", "checks": [{"name": "store", "ok": True}]}
        if plain == "/ops/trading/summary":
            accounts = [{"account": "live", "positions": self.positions}]
            market_ms = int(self.now_s * 60_000)
            return {"market_now_ms": market_ms, "runs": [self._run()], "accounts": accounts}
        if plain == "/ops/trading/risk":
            state = {"state": self.risk_state, "trigger_reason": "why"}
            return {"accounts": [{"account": "live", **state}]}
        if plain.startswith("/traces/"):
            return {"replays": [{"findings": self.findings}]}
        return {"items": self._items(plain)}

    def _items(self, path: str) -> list[dict[str, Any]]:
        series = {"source_type": "bingx_candles", "pair": "BTC-USDT", "interval": "1m"}
        rows: dict[str, list[dict[str, Any]]] = {
            "/ops/alerts": list(self.alerts.values()),
            "/ops/actors": [
                {
                    "name": name,
                    "pid": pid,
                    "status": status,
                    "last_heartbeat_wall_ms": int(self.now_s) if status == "up" else 0,
                }
                for name, (pid, status) in self.actors.items()
            ],
            "/ops/retry-queue": self.retries,
            "/ops/trading/metrics": [{"points": [{"t": t, "p50": p50} for t, p50 in self.offsets]}],
            "/data-sources/status": [{**series, "status": self.source}],
            "/agents/desk/runs/run1/decisions": self.decisions,
        }
        return rows[path]

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        self.posted.append((path, body or {}))
        if path.endswith("/resume"):
            if not self.may_resume:
                raise BadInput("run", "not yet")
            self.status = "running"
        if path.endswith("/ack"):
            self.alerts[path.split("/")[3]]["status"] = "acknowledged"
        return {}

    def _run(self) -> dict[str, Any]:
        return {
            "run_id": "run1",
            "status": self.status,
            "pause_reason": self.pause_reason,
            "last_decided_open_ms": self.decided_ms,
        }

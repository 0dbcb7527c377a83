"""The incidents: by when each must be noticed, stopped and over, and by what that is judged.

Nothing here touches a desk: a judgement is a function of two looks at it and returns its evidence
as a sentence, or None while there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass

from desk.drills.look import Before, Look, Row, Subject, counted_since, lasted, raised_since

LIVE = "live"
LONG_INTERVAL = "1d"
"""Of the backfill that fails: no run decides on it."""
SKEW_MS = 30_000
STEADY_MS = 1_000
"""The skew up to which orders are sent (`desk.trading.orders.CLOCK_SKEW_MS`)."""
MANUAL_FRACTION = 0.02
"""Of the live account's equity: the manual trade of the position drift."""
BREAKER_FRACTION = 0.4
SHOCK = 0.93
"""A position of 0.4 of the equity loses 2.8 % of it: more than the breaker's 2 %, less than the 5 %
of drawdown at which positions may be closed."""

_AWAITED = frozenset({"late", "restarting"})

type Judge = Callable[[Before, Look, Subject], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Wall seconds: noticed and stopped since the incident began, over since it was healed."""

    detect_s: float
    pause_s: float | None
    """None: trading goes on, nothing is to be stopped."""
    recover_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One row of the runbook as a drill. `recovered` holds besides a run that decides again."""

    name: str
    title: str
    detected: Judge
    bounds: Callable[[Subject], Bounds]
    paused: Judge | None = None
    recovered: Judge | None = None
    told_by: tuple[str, ...] = ()
    """Codes of the one alert that the operator gets; others may follow from it, and say so."""
    silence_counts: bool = False
    """Whether a desk that does not answer has thereby noticed."""


# --- judgements ---------------------------------------------------------------------------------


def alert_of(code: str, about: str = "") -> Judge:
    """An alert of this code, about whatever is named, was raised since."""

    def judge(before: Before, now: Look, _subject: Subject) -> str | None:
        named = [
            row
            for row in raised_since(now, before)
            if row["code"] == code and row["alert_id"].startswith(f"{code}:{about}")
        ]
        return f"alert {named[0]['alert_id']}" if named else None

    return judge


def roots_since(before: Before, now: Look, codes: tuple[str, ...]) -> list[Row]:
    """What was raised since and follows from no other alert.

    One that lasted before already and is only counted on is another incident's, unless it has one of
    `codes`: a missed service level says so again every few seconds.
    """
    return [
        row
        for row in counted_since(now, before)
        if not row["explained_by"] and (row["code"] in codes or not lasted(row, before))
    ]


def one_alert(*codes: str) -> Judge:
    """Of what was raised since, exactly one alert does not follow from another, and has one of these codes."""

    def judge(before: Before, now: Look, _subject: Subject) -> str | None:
        roots = roots_since(before, now, codes)
        if len(roots) != 1 or roots[0]["code"] not in codes:
            return None
        return f"one alert: {roots[0]['alert_id']}"

    return judge


def model_refused(before: Before, now: Look, subject: Subject) -> str | None:
    """The policy is told to be away, and a replay says that its files are not those that answered."""
    told = alert_of("policy_unavailable")(before, now, subject)
    if told is None or not before.answered_trace_id:
        return None
    code = "replay_artifact_unavailable"
    return f"{told}, {code}" if code in now.replay_findings(before.answered_trace_id) else None


def paused_with(*codes: str) -> Judge:
    """The run is paused with one of these reasons."""

    def judge(_before: Before, now: Look, subject: Subject) -> str | None:
        run = now.run(subject)
        is_it = run.get("status") == "paused" and run["pause_reason"] in codes
        return f"run paused: {run['pause_reason']}" if is_it else None

    return judge


def held_with(code: str) -> Judge:
    """A decision on a later candle was held with this code, and nothing was sent for it."""

    def judge(before: Before, now: Look, subject: Subject) -> str | None:
        held = [
            row
            for row in now.decisions(subject)
            if row["open_ms"] > before.decided_open_ms and row["hold_reason"] == code
        ]
        if not held or any(row["client_order_ids"] for row in held):
            return None
        return f"decision held: {code}"

    return judge


def candles_not_ok(_before: Before, now: Look, subject: Subject) -> str | None:
    """The run's own candles are not fresh any more."""
    row = now.candle_source(subject)
    status = str(row.get("status", "unknown"))
    return None if status == "ok" else f"source {row.get('source_type', '')} {status}"


def actor_replaced(name: str) -> Judge:
    """The actor of the run's account is seen to be away, or is a new process."""

    def judge(before: Before, now: Look, subject: Subject) -> str | None:
        key = f"{name}:{subject.account}"
        row = now.actors().get(key, {})
        if row.get("status") == "up" and int(row["pid"]) == before.pids.get(key):
            return None
        return f"{key} {row.get('status', 'gone')}"

    return judge


def actor_up(name: str) -> Judge:
    """It is up."""

    def judge(_before: Before, now: Look, subject: Subject) -> str | None:
        row = now.actors().get(f"{name}:{subject.account}", {})
        return f"pid {row['pid']}" if row.get("status") == "up" else None

    return judge


def store_down(_before: Before, now: Look, _subject: Subject) -> str | None:
    """Health says that the store is away."""
    failed = [check["name"] for check in now.at("/healthz")["checks"] if not check["ok"]]
    return "health down: store" if "store" in failed else None


def healthy(_before: Before, now: Look, _subject: Subject) -> str | None:
    """Health is ok again."""
    return "health ok" if now.at("/healthz")["status"] == "ok" else None


def drilled_retries(now: Look, subject: Subject) -> list[Row]:
    """Failed backfills of the series that the drill has asked for."""
    series = {"pair": subject.other_pair, "interval": LONG_INTERVAL}
    return [
        row
        for row in now.retries().values()
        if row["job_type"] == "backfill" and series.items() <= row["payload"].items()
    ]


def backfill_queued(before: Before, now: Look, subject: Subject) -> str | None:
    """The backfill failed and waits in the retry queue."""
    fresh = [row for row in drilled_retries(now, subject) if row["item_id"] not in before.retries]
    return f"retry {fresh[0]['item_id']}" if fresh else None


def queue_worked_off(_before: Before, now: Look, subject: Subject) -> str | None:
    """It waits no more."""
    return None if drilled_retries(now, subject) else "retry queue worked off"


def skew_seen(before: Before, now: Look, _subject: Subject) -> str | None:
    """The tracked offset of the venue's clock follows the skew."""
    offset_ms = now.clock_offset_ms(before.market_ms)
    if offset_ms is None or abs(offset_ms) < SKEW_MS / 2:
        return None
    return f"clock offset {offset_ms:.0f} ms"


def clocks_agree(before: Before, now: Look, _subject: Subject) -> str | None:
    """The newest reading is within what orders are sent at."""
    offset_ms = now.clock_offset_ms(before.market_ms)
    if offset_ms is None or abs(offset_ms) > STEADY_MS:
        return None
    return f"clock offset {offset_ms:.0f} ms"


def cooling_down(_before: Before, now: Look, _subject: Subject) -> str | None:
    """Entries of the live account wait for the end of a cool-down."""
    row = now.risk(LIVE)
    return f"cooldown: {row['trigger_reason']}" if row.get("state") == "cooldown" else None


def cooled_down(_before: Before, now: Look, subject: Subject) -> str | None:
    """Entries may pass again, and the drill's position is gone from the books."""
    is_over = now.risk(LIVE).get("state") == "ok"
    return "breaker closed" if is_over and not now.position(LIVE, subject.other_pair) else None


def position_booked(_before: Before, now: Look, subject: Subject) -> str | None:
    """The books hold what was traded by hand."""
    held = now.position(LIVE, subject.other_pair)
    return f"{held['quantity']} {held['pair']} booked" if held else None


def position_gone(_before: Before, now: Look, subject: Subject) -> str | None:
    """The books hold nothing of the pair."""
    return None if now.position(LIVE, subject.other_pair) else "live is flat again"


def alert_resolved(code: str) -> Judge:
    """No alert of this code is open."""

    def judge(_before: Before, now: Look, _subject: Subject) -> str | None:
        is_open = any(
            row["code"] == code and row["status"] == "open" for row in now.alerts().values()
        )
        return None if is_open else f"{code} resolved"

    return judge


def deciding(before: Before, now: Look, subject: Subject) -> str | None:
    """The run has passed a later candle with fresh data."""
    run = now.run(subject)
    is_on = run.get("status") == "running" and not candles_not_ok(before, now, subject)
    if not is_on or run["last_decided_open_ms"] <= before.decided_open_ms:
        return None
    return "deciding again"


def rested(before: Before, now: Look, subject: Subject) -> str | None:
    """The run decides, and every actor has answered since: of one that died before, it was told by now."""
    return None if silent_actors(before, now) else deciding(before, now, subject)


def silent_actors(before: Before, now: Look) -> list[str]:
    """Actors that should answer and have not since, by name."""
    return [
        name
        for name, row in now.actors().items()
        if row["status"] in _AWAITED
        or (
            row["status"] == "up"
            and row["last_heartbeat_wall_ms"] <= before.beats_wall_ms.get(name, 0)
        )
    ]


# --- bounds -------------------------------------------------------------------------------------


def silence_s(subject: Subject) -> float:
    """Two candles and five seconds; on an accelerated market besides what a process may take."""
    return 2 * subject.interval_s + 5.0 + subject.grace_s


def resumed_s(subject: Subject) -> float:
    """Until a resumed run has decided: the poller's longest wait, then a candle."""
    return 20.0 + 2 * subject.interval_s


def _stale(subject: Subject) -> Bounds:
    silent_s = silence_s(subject)
    return Bounds(detect_s=silent_s, pause_s=silent_s, recover_s=resumed_s(subject))


def _degraded(subject: Subject) -> Bounds:
    late_s = 2 * subject.interval_s + 5.0
    return Bounds(detect_s=late_s, pause_s=late_s, recover_s=60.0)


def _maintenance(subject: Subject) -> Bounds:
    # Three comparisons that fail, four seconds apart, each within its deadline.
    return Bounds(detect_s=20.0, pause_s=silence_s(subject), recover_s=resumed_s(subject) + 15.0)


def _failed_job(subject: Subject) -> Bounds:
    # 48 s of waits before a backfill gives up. Of the queue, which is looked at every 30 s, one look
    # begins the attempt and a later one sees its end.
    return Bounds(detect_s=75.0, pause_s=None, recover_s=80.0 + subject.interval_s)


def _lost_actor(subject: Subject) -> Bounds:
    return Bounds(detect_s=8.0, pause_s=None, recover_s=15.0 + subject.interval_s)


def _lost_store(subject: Subject) -> Bounds:
    return Bounds(detect_s=3.0, pause_s=None, recover_s=15.0 + subject.interval_s)


def _skew(subject: Subject) -> Bounds:
    # The clock is read every 10 s; on a busy machine one reading may be off by more than a second.
    return Bounds(detect_s=15.0, pause_s=None, recover_s=25.0 + subject.interval_s)


def _banned(subject: Subject) -> Bounds:
    paused_s = silence_s(subject)
    return Bounds(detect_s=10.0, pause_s=paused_s, recover_s=ban_s(subject) + resumed_s(subject))


def ban_s(subject: Subject) -> float:
    """How long the drill's ban lasts: until after the run must have paused."""
    return silence_s(subject) + 5.0


def _drift(subject: Subject) -> Bounds:
    return Bounds(detect_s=30.0, pause_s=None, recover_s=30.0 + subject.interval_s)


def _breaker(subject: Subject) -> Bounds:
    marked_s = subject.interval_s + 5.0
    # An hour of market time is the cool-down of both accounts.
    cooldown_s = 3600.0 / subject.speed
    return Bounds(detect_s=marked_s, pause_s=marked_s, recover_s=cooldown_s + 30.0)


def _corrupted(subject: Subject) -> Bounds:
    # The replicas are started anew: until they are there the desk holds for want of any.
    held_s = 30.0 + subject.interval_s
    return Bounds(detect_s=held_s, pause_s=held_s, recover_s=60.0 + subject.interval_s)


def _disk(subject: Subject) -> Bounds:
    # The supervisor looks every 30 s.
    return Bounds(detect_s=35.0, pause_s=35.0, recover_s=resumed_s(subject))


# --- the list -----------------------------------------------------------------------------------

SILENT = ("data_source_unavailable", "data_integrity_block")

INCIDENTS = (
    Incident(
        name="stale-data",
        title="the exchange repeats old candles",
        detected=candles_not_ok,
        paused=paused_with(*SILENT),
        told_by=SILENT,
        bounds=_stale,
    ),
    Incident(
        name="performance-degradation",
        title="the policy answers too late",
        detected=alert_of("policy_unavailable"),
        paused=held_with("policy_unavailable"),
        recovered=alert_resolved("policy_unavailable"),
        told_by=("policy_unavailable",),
        bounds=_degraded,
    ),
    Incident(
        name="exchange-maintenance",
        title="the exchange answers 503 to everything",
        detected=alert_of("exchange_maintenance", LIVE),
        paused=paused_with(*SILENT, "exchange_maintenance"),
        told_by=("exchange_maintenance",),
        bounds=_maintenance,
    ),
    Incident(
        name="failed-ingestion-job",
        title="a backfill that the exchange does not answer",
        detected=backfill_queued,
        recovered=queue_worked_off,
        told_by=("ingestion_job_failed",),
        bounds=_failed_job,
    ),
    Incident(
        name="lost-actor",
        title="the risk ledger is killed",
        detected=actor_replaced("risk_ledger"),
        recovered=actor_up("risk_ledger"),
        told_by=("actor_restarted",),
        bounds=_lost_actor,
    ),
    Incident(
        name="lost-store",
        title="the store is killed",
        detected=store_down,
        recovered=healthy,
        silence_counts=True,
        told_by=("store_restarted",),
        bounds=_lost_store,
    ),
    Incident(
        name="clock-skew",
        title="the exchange's clock jumps by 30 s",
        detected=skew_seen,
        recovered=clocks_agree,
        told_by=("clock_skew",),
        bounds=_skew,
    ),
    Incident(
        name="rate-limit-ban",
        title="the exchange bans this address for a while",
        detected=alert_of("exchange_ban", LIVE),
        paused=paused_with(*SILENT, "exchange_ban"),
        told_by=("exchange_ban",),
        bounds=_banned,
    ),
    Incident(
        name="position-drift",
        title="somebody trades on the live account by hand",
        detected=alert_of("position_drift", LIVE),
        recovered=position_gone,
        told_by=("position_drift",),
        bounds=_drift,
    ),
    Incident(
        name="circuit-breaker",
        title="the market falls below a position of the live account",
        detected=alert_of("circuit_breaker", LIVE),
        paused=cooling_down,
        recovered=cooled_down,
        told_by=("circuit_breaker",),
        bounds=_breaker,
    ),
    Incident(
        name="corrupted-model",
        title="a byte of the policy's weights flips, and its replicas start anew",
        detected=model_refused,
        paused=held_with("policy_unavailable"),
        recovered=alert_resolved("policy_unavailable"),
        told_by=("policy_unavailable",),
        bounds=_corrupted,
    ),
    Incident(
        name="disk-nearly-full",
        title="less is free beside the store than must be",
        detected=alert_of("disk_low"),
        paused=paused_with("disk_low"),
        told_by=("disk_low",),
        bounds=_disk,
    ),
)

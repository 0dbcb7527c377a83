"""Every alert: its category, how severe it is, and how it ends by itself.

A code that pauses a run and is not in the table is an alert about that run: it ends when the run is
resumed, stopped, or paused for another reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from desk.clock import DAY_MS, HOUR_MS, MINUTE_MS
from desk.runs import Alert, Run, RunStatus

CATEGORIES = ("slo", "drift", "ops", "risk", "data")
SEVERITIES = ("info", "warning", "critical")
"""Mildest first."""


class Ends(StrEnum):
    """What ends an alert."""

    RAISER = "raiser"
    """Who raised it looks again and again, and resolves it when its cause is gone."""
    ROW = "row"
    """The observer reads the row it is about: it ends when that is well."""
    RUN = "run"
    """Its run is no longer paused for it."""
    LAPSE = "lapse"
    """It was not raised again for `lapse_ms`."""
    ACKNOWLEDGED = "acknowledged"
    """An operator acknowledged it, and it was not raised again for `lapse_ms`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCode:
    """One kind of alert; `severities` names each that it is raised with."""

    code: str
    category: str
    severities: tuple[str, ...]
    ends: Ends
    lapse_ms: int = 0
    """Market ms since it was raised last; 0 where nothing lapses."""


def _code(code: str, category: str, severity: str, ends: Ends, lapse_ms: int = 0) -> AlertCode:
    return AlertCode(
        code=code,
        category=category,
        severities=tuple(severity.split("|")),
        ends=ends,
        lapse_ms=lapse_ms,
    )


RERAISED_MS = 30 * MINUTE_MS
"""Of what is raised again every few minutes while it lasts."""

_TABLE = (
    _code("slo_decision_latency", "slo", "warning", Ends.RAISER),
    _code("slo_ingestion_lag", "slo", "warning", Ends.RAISER),
    _code("slo_slippage", "slo", "warning", Ends.RAISER),
    _code("model_drift", "drift", "warning|critical", Ends.RAISER),
    _code("policy_unavailable", "ops", "warning", Ends.RAISER),
    _code("logits_non_finite", "ops", "critical", Ends.RAISER),
    _code("observation_non_finite", "ops", "critical", Ends.RAISER),
    _code("candle_gap", "data", "warning", Ends.ROW),
    _code("ingestion_job_failed", "data", "warning", Ends.RAISER),
    _code("retries_exhausted", "data", "warning", Ends.RAISER),
    _code("retry_queue_full", "data", "warning", Ends.LAPSE, HOUR_MS),
    _code("candle_revised", "data", "warning", Ends.LAPSE, DAY_MS),
    _code("candles_rejected", "data", "warning", Ends.LAPSE, HOUR_MS),
    _code("feed_route_failed", "data", "warning", Ends.ROW),
    _code("circuit_breaker", "risk", "critical", Ends.ROW),
    _code("drawdown_flatten", "risk", "critical", Ends.ACKNOWLEDGED, HOUR_MS),
    _code("position_drift", "risk", "critical", Ends.ACKNOWLEDGED, HOUR_MS),
    _code("foreign_order", "risk", "warning", Ends.LAPSE, RERAISED_MS),
    _code("orphan_order", "risk", "critical", Ends.ACKNOWLEDGED, RERAISED_MS),
    _code("protective_stop_missing", "risk", "critical", Ends.ACKNOWLEDGED, RERAISED_MS),
    _code("invariant_breached", "risk", "critical", Ends.ACKNOWLEDGED, HOUR_MS),
    _code("dead_man_timer_off", "ops", "warning", Ends.LAPSE, RERAISED_MS),
    _code("exit_refused", "ops", "warning", Ends.LAPSE, DAY_MS),
    _code("pair_not_prepared", "ops", "warning", Ends.LAPSE, HOUR_MS),
    _code("unresolved_client_order", "ops", "warning", Ends.ROW),
    _code("exchange_maintenance", "ops", "critical", Ends.ROW),
    _code("exchange_ban", "ops", "critical", Ends.ROW),
    _code("sent_without_record", "ops", "warning", Ends.LAPSE, DAY_MS),
    _code("late_fill", "ops", "warning", Ends.LAPSE, DAY_MS),
    _code("reopened", "ops", "warning", Ends.LAPSE, DAY_MS),
    _code("cum_mismatch", "ops", "warning", Ends.LAPSE, DAY_MS),
    _code("overfill", "ops", "warning", Ends.LAPSE, DAY_MS),
    _code("filled_without_fills", "ops", "warning", Ends.LAPSE, DAY_MS),
    _code("cancel_not_effective", "ops", "warning", Ends.ROW),
    _code("illegal_transition", "ops", "critical", Ends.ACKNOWLEDGED, HOUR_MS),
    _code("actor_quarantined", "ops", "critical", Ends.ROW),
    _code("actor_restarted", "ops", "warning", Ends.LAPSE, RERAISED_MS),
    _code("store_restarted", "ops", "warning", Ends.LAPSE, HOUR_MS),
    _code("clock_skew", "ops", "warning", Ends.RAISER),
    _code("disk_low", "ops", "critical", Ends.RAISER),
    _code("store_slow", "ops", "warning", Ends.RAISER),
    _code("files_unavailable", "ops", "warning", Ends.RAISER),
    _code("login_failures", "ops", "warning", Ends.LAPSE, HOUR_MS),
    _code("alert_undelivered", "ops", "warning", Ends.RAISER),
    _code("audit_chain_broken", "ops", "critical", Ends.ACKNOWLEDGED, HOUR_MS),
)
CODES = {each.code: each for each in _TABLE}
_SILENCE = frozenset({"data_source_unavailable", "data_integrity_block"})
_OLD_DATA = frozenset({"slo_ingestion_lag", "candle_gap"})
_NO_ANSWERS = (
    _SILENCE
    | _OLD_DATA
    | {"ingestion_job_failed", "retries_exhausted", "unresolved_client_order"}
    | {"dead_man_timer_off", "pair_not_prepared", "cancel_not_effective"}
)
EXPLAINS: Mapping[str, frozenset[str]] = {
    "exchange_maintenance": _NO_ANSWERS,
    "exchange_ban": _NO_ANSWERS,
    "data_source_unavailable": _OLD_DATA | {"data_integrity_block"},
    "policy_unavailable": frozenset({"slo_decision_latency"}),
    "clock_skew": frozenset({"unresolved_client_order"}),
    "actor_quarantined": frozenset({"quarantined", "actor_restarted"}),
    "actor_restarted": frozenset({"slo_decision_latency"}),
    "store_restarted": frozenset({"actor_restarted", "slo_decision_latency", "store_slow"}),
    "ingestion_job_failed": frozenset({"candle_gap"}),
    "retries_exhausted": frozenset({"candle_gap"}),
}
"""What a code brings along: while it lasts, these are no incidents of their own. Without circles.

What happened once, and lasts only in the list, explains no more than its aftermath."""
AFTERMATH_MS = 5 * MINUTE_MS
"""Wall ms after something happened in which others follow from it: processes live by the wall."""
_UNKNOWN_LAPSE_MS = DAY_MS
RUN_PREFIX = "run"
"""Ids of runs begin with it."""


def about_of(alert: Alert) -> str:
    """What an alert is about: its id without the code."""
    return alert.alert_id.removeprefix(f"{alert.code}:")


def explained_by(alert: Alert, alerts: Iterable[Alert]) -> Alert | None:
    """The alert, among those that are not resolved, that this one only follows from; None: it is one
    that an operator has to look at.

    Beside the table, an alert about a paused run follows from one of the same code about something
    wider. What happened, rather than lasts, explains what was raised last until somebody acknowledged
    it, and within `AFTERMATH_MS` of it. Which of several is told is that with the first id.
    """
    code, of_run = _plain(alert.code), is_about_run(alert)
    causes = [
        other
        for other in alerts
        if other.status != "resolved"
        and other.alert_id != alert.alert_id
        and (
            (code in EXPLAINS.get(_plain(other.code), ()) and _is_in_aftermath(alert, other))
            or (other.code == alert.code and of_run and not is_about_run(other))
        )
    ]
    return min(causes, key=lambda cause: cause.alert_id, default=None)


def _is_in_aftermath(alert: Alert, cause: Alert) -> bool:
    code = CODES.get(cause.code)
    if code is None or code.ends is not Ends.LAPSE:
        return True
    until_ms = cause.raised_wall_ms + AFTERMATH_MS
    if cause.acknowledged_wall_ms >= cause.raised_wall_ms > 0:
        until_ms = min(until_ms, cause.acknowledged_wall_ms)
    return alert.raised_wall_ms <= until_ms


def is_about_run(alert: Alert) -> bool:
    """Whether an alert is about a run."""
    return about_of(alert).startswith(RUN_PREFIX)


def _plain(code: str) -> str:
    """A code without what it names (`quarantined:order_executor:paper`)."""
    return code.split(":", 1)[0]


def is_worse(severity: str, than: str) -> bool:
    """Whether one severity stands above another."""
    return SEVERITIES.index(severity) > SEVERITIES.index(than)


def has_lapsed(alert: Alert, *, raised_ms: int, now_ms: int) -> bool:
    """Whether an alert about something that happened, rather than lasts, is over."""
    code = CODES.get(alert.code)
    if code is None:
        return now_ms - raised_ms >= _UNKNOWN_LAPSE_MS
    if code.ends is Ends.ACKNOWLEDGED and alert.status != "acknowledged":
        return False
    return bool(code.lapse_ms) and now_ms - raised_ms >= code.lapse_ms


def is_over_for_run(alert: Alert, run: Run) -> bool:
    """Whether an alert about a run is over as the run stands now.

    One that names a condition which its raiser watches ends with the run at the latest."""
    if run.status is RunStatus.STOPPED:
        return True
    if alert.code == "model_drift":
        # The run went back by itself: that is worth an operator's look all the same.
        has_left = about_of(alert) != f"{run.run_id}:{run.version_id}"
        return has_left and alert.status == "acknowledged"
    code = CODES.get(alert.code)
    if code is not None and code.ends is Ends.RAISER and alert.code not in PAUSES_TOO:
        return False
    return run.status is not RunStatus.FAILED and run.pause_reason != alert.code


PAUSES_TOO = frozenset({"disk_low"})
"""Codes whose raiser watches the cause, and that pause runs as well: about a run they end with the pause."""

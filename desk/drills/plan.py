"""Each incident with the hands that provoke it, and what its operator does once it is healed."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from desk.drills.exchange import Ban, Faults, ManualTrade, Shock, Simulator, Skew
from desk.drills.files import Changed, flipped
from desk.drills.hands import Api, Injection, Processes, Together, home_file
from desk.drills.incidents import (
    BREAKER_FRACTION,
    INCIDENTS,
    LONG_INTERVAL,
    MANUAL_FRACTION,
    SHOCK,
    SKEW_MS,
    Incident,
    Judge,
    ban_s,
    drilled_retries,
    position_booked,
)
from desk.drills.jobs import FailingBackfill
from desk.drills.kills import Kill, Standstill
from desk.drills.look import Look, Subject
from desk.store.server import DISK_RESERVE

RESERVE_BYTES = 1 << 60
"""More than any disk has free."""

type Step = Callable[[Api, Look, Subject], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The desk that drills are held on."""

    api: Api
    simulator: Simulator
    processes: Processes
    home: Path
    account_key: str
    """Of the live account at the simulator."""
    lots: dict[str, Decimal]
    """Of each pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One incident, ready to be held."""

    incident: Incident
    injection: Injection
    setup: Injection | None = None
    """What must be there before: not part of the incident."""
    is_set_up: Judge | None = None
    operator: Step | None = None
    """What the runbook asks of the operator, beside resuming the run; repeated until it is accepted."""


def drill_of(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    """Bring an incident and its injection together. Raises `DrillRefused` where that cannot be."""
    return _PLANS[incident.name](incident, ground, subject)


def names() -> list[str]:
    """Every drill, in the order in which `all` holds them."""
    return [incident.name for incident in INCIDENTS]


def compare_live(api: Api, _look: Look, _subject: Subject) -> object:
    """Have the live account compared with the exchange."""
    return api.post("/ops/trading/reconcile", {"account": "live"})


def retry_backfill(api: Api, look: Look, subject: Subject) -> object:
    """Have the failed backfill tried at once."""
    waiting = [row for row in drilled_retries(look, subject) if row["status"] != "in_flight"]
    return [api.post(f"/ops/retry-queue/{row['item_id']}/retry") for row in waiting]


def _stale(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    match = {"path": "klines", "symbol": subject.pair, "params": {"interval": subject.interval}}
    rule = {"match": match, "action": {"kind": "candles_frozen"}}
    return Drill(incident=incident, injection=Faults(simulator=ground.simulator, rules=[rule]))


def _degraded(incident: Incident, ground: Ground, _subject: Subject) -> Drill:
    still = Standstill(what="the policy", pids=ground.processes.policies)
    return Drill(incident=incident, injection=still)


def _maintenance(incident: Incident, ground: Ground, _subject: Subject) -> Drill:
    rule: dict[str, object] = {"match": {}, "action": {"kind": "http", "status": 503}}
    injection = Faults(simulator=ground.simulator, rules=[rule])
    return Drill(incident=incident, injection=injection, operator=compare_live)


def _failed_job(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    injection = FailingBackfill(
        api=ground.api,
        simulator=ground.simulator,
        pair=subject.other_pair,
        interval=LONG_INTERVAL,
    )
    return Drill(incident=incident, injection=injection, operator=retry_backfill)


def _lost_actor(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    name = f"risk_ledger:{subject.account}"
    kill = Kill(what=name, pids=lambda: _given(ground.processes.actor(name)))
    return Drill(incident=incident, injection=kill)


def _lost_store(incident: Incident, ground: Ground, _subject: Subject) -> Drill:
    kill = Kill(what="the embedded store", pids=lambda: _given(ground.processes.store()))
    return Drill(incident=incident, injection=kill)


def _skew(incident: Incident, ground: Ground, _subject: Subject) -> Drill:
    injection = Skew(simulator=ground.simulator, offset_ms=SKEW_MS)
    return Drill(incident=incident, injection=injection, operator=compare_live)


def _banned(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    injection = Ban(simulator=ground.simulator, seconds=ban_s(subject))
    return Drill(incident=incident, injection=injection, operator=compare_live)


def _drift(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    return Drill(incident=incident, injection=_by_hand(ground, subject, MANUAL_FRACTION))


def _breaker(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    return Drill(
        incident=incident,
        injection=Shock(simulator=ground.simulator, pair=subject.other_pair, factor=SHOCK),
        setup=_by_hand(ground, subject, BREAKER_FRACTION),
        is_set_up=position_booked,
    )


def _corrupted(incident: Incident, ground: Ground, subject: Subject) -> Drill:
    weights = home_file(ground.home, "artifacts", subject.version_id, "policy.safetensors")
    anew = Kill(what="the policy", pids=ground.processes.policies)
    injection = Together(parts=(Changed(path=weights, change=flipped), anew))
    return Drill(incident=incident, injection=injection)


def _disk(incident: Incident, ground: Ground, _subject: Subject) -> Drill:
    reserve = str(RESERVE_BYTES).encode()
    path = ground.home.joinpath(*DISK_RESERVE)
    return Drill(incident=incident, injection=Changed(path=path, change=lambda _: reserve))


def _by_hand(ground: Ground, subject: Subject, fraction: float) -> ManualTrade:
    return ManualTrade(
        simulator=ground.simulator,
        pair=subject.other_pair,
        lot=ground.lots[subject.other_pair],
        equity_fraction=fraction,
        key=ground.account_key,
    )


def _given(pid: int | None) -> list[int]:
    return [] if pid is None else [pid]


_PLANS: dict[str, Callable[[Incident, Ground, Subject], Drill]] = {
    "stale-data": _stale,
    "performance-degradation": _degraded,
    "exchange-maintenance": _maintenance,
    "failed-ingestion-job": _failed_job,
    "lost-actor": _lost_actor,
    "lost-store": _lost_store,
    "clock-skew": _skew,
    "rate-limit-ban": _banned,
    "position-drift": _drift,
    "circuit-breaker": _breaker,
    "corrupted-model": _corrupted,
    "disk-nearly-full": _disk,
}

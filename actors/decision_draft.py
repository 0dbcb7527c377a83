"""A decision while it is being made: what was found at each gate, and how long each stage took."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from actors.candle_messages import CandleClosed
from actors.decision_scene import Scene, reference_price
from desk import ids
from desk.learning.observation import Observation, candles_sha256, observation_sha256
from desk.learning.policy import PolicyAnswer
from desk.runs import Action, DecisionRecord, Evidence, GateResult
from desk.trading import ledger as books
from desk.wallclock import monotonic_s

POLICY_UNAVAILABLE = "policy_unavailable"


@dataclass(slots=True, kw_only=True)
class Draft:
    """Filled in stage by stage; `record` is what is stored of it."""

    closed: CandleClosed
    scene: Scene
    gates: list[GateResult] = field(default_factory=list[GateResult])
    warnings: tuple[str, ...] = ()
    action: Action = Action.HOLD
    hold_reason: str = ""
    observation: Observation | None = None
    answer: PolicyAnswer | None = None
    feature_ood_zscore_limit: float = 0.0
    client_order_ids: tuple[str, ...] = ()
    legs: tuple[str, ...] = ()
    """What the target called for; `client_order_ids` is what came of it."""
    latency_ms: dict[str, float] = field(default_factory=dict[str, float])
    stage_began_ms: dict[str, float] = field(default_factory=dict[str, float])
    began_s: float = field(default_factory=monotonic_s)

    @property
    def decision_id(self) -> str:
        """The same for a candle that is delivered twice."""
        run, closed = self.scene.run, self.closed
        return ids.decision_id(run.run_id, closed.pair, closed.interval, closed.open_ms)

    @contextmanager
    def stage(self, name: str, *, since_s: float | None = None) -> Generator[None]:
        """Measure a stage in wall milliseconds; one that was begun before at `since_s`."""
        began_s = monotonic_s() if since_s is None else since_s
        self.began(name, began_s)
        try:
            yield
        finally:
            spent_ms = (monotonic_s() - began_s) * 1000
            self.latency_ms[name] = round(self.latency_ms.get(name, 0.0) + spent_ms, 3)

    def began(self, stage: str, at_s: float) -> None:
        """Note when a stage began, by the monotonic clock; the first time counts."""
        self.stage_began_ms.setdefault(stage, round((at_s - self.began_s) * 1000, 3))

    def judge(self, gate: str, code: str = "", detail: str = "") -> bool:
        """Note a gate's verdict; the first one that says no is the reason to hold."""
        self.gates.append(GateResult(gate=gate, passed=not code, code=code, detail=detail))
        if code and not self.hold_reason:
            self.action, self.hold_reason = Action.HOLD, code
        return not code

    def record(self, *, now_ms: int) -> DecisionRecord:
        """The row as far as it is known now."""
        run, window, answer = self.scene.run, self.scene.window, self.answer
        seen = self.observation
        self.latency_ms["total"] = round((monotonic_s() - self.began_s) * 1000, 3)
        return DecisionRecord(
            decision_id=self.decision_id,
            run_id=run.run_id,
            pair=run.pair,
            interval=run.interval,
            open_ms=self.closed.open_ms,
            decided_at_ms=now_ms,
            action=self.action,
            hold_reason=self.hold_reason,
            target=answer.target if answer else 0.0,
            confidence=answer.confidence if answer else 0.0,
            version_id=run.version_id,
            feature_set_id=self.scene.features.feature_set_id,
            observation_sha256=observation_sha256(seen) if seen is not None else "",
            candles_sha256=candles_sha256(window) if len(window) else "",
            signals_sha256={name: marks.sha256 for name, marks in self.scene.signals.items()},
            reference_price=str(reference_price(window)) if len(window) else "",
            gates=tuple(self.gates),
            trace_id=self.closed.trace_id,
            latency_ms=dict(self.latency_ms),
            stage_began_ms=dict(self.stage_began_ms),
            client_order_ids=self.client_order_ids,
            dataset_id=run.dataset_id,
            dataset_sha256=self.scene.dataset_sha256,
            warnings=self.warnings,
            observation=_finite(seen),
            logits=answer.logits if answer else (),
            evidence=self._evidence() if len(window) else None,
        )

    def _evidence(self) -> Evidence:
        scene, run, window = self.scene, self.scene.run, self.scene.window
        recorded = scene.version.artifact_sha256 if scene.version else ""
        answered = self.answer.artifact_sha256 if self.answer else ""
        return Evidence(
            window_start_ms=int(window.open_ms[0]),
            window_rows=len(window),
            candle_sha256=candles_sha256(window.take(slice(-1, None))),
            integrity=scene.verdict,
            signals_heard={name: len(marks.at_ms) for name, marks in scene.signals.items()},
            decision_threshold=run.decision_threshold,
            feature_ood_zscore_limit=self.feature_ood_zscore_limit,
            instrument=scene.instrument,
            account=run.account,
            artifact_sha256=answered or recorded,
            card_sha256=scene.version.card_sha256 if scene.version else "",
            held_quantity=books.held_quantity(scene.ledger, run.pair) if scene.ledger else None,
            size_quote=scene.size_quote,
            limits_revision=scene.limits_revision,
            stop_loss_fraction=run.stop_loss_fraction,
            take_profit_fraction=run.take_profit_fraction,
            legs=self.legs,
        )


def _finite(observation: Observation | None) -> tuple[float, ...]:
    if observation is None or not np.isfinite(observation).all():
        return ()  # the hash still says what it was
    return tuple(float(value) for value in observation)

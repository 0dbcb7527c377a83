"""Replays, explanations and evidence as the API shows them."""

from pydantic import JsonValue, TypeAdapter

from actors.explain import Explanation
from actors.replay import Made, Replay
from desk.runs import Evidence
from serve_apps.schemas import DifferenceView, FindingView, MadeView, ReplayView
from serve_apps.views.text import finite

_EVIDENCE = TypeAdapter(Evidence)
_EXPLANATION = TypeAdapter(Explanation)


def evidence_view(evidence: Evidence | None) -> dict[str, JsonValue] | None:
    """What an action followed from, as plain JSON; Decimals as strings."""
    return None if evidence is None else _EVIDENCE.dump_python(evidence, mode="json")


def explanation_view(made: Explanation) -> dict[str, JsonValue]:
    """A trade's explanation as plain JSON; Decimals as strings."""
    return _EXPLANATION.dump_python(made, mode="json")


def replay_view(replay: Replay) -> ReplayView:
    """One decision made again."""
    found = replay.first_difference
    return ReplayView(
        decision_id=replay.decision_id,
        run_id=replay.run_id,
        trace_id=replay.trace_id,
        pair=replay.pair,
        interval=replay.interval,
        open_ms=replay.open_ms,
        version_id=replay.version_id,
        verdict=replay.verdict.value,
        findings=[FindingView(code=one.code, detail=one.detail) for one in replay.findings],
        first_difference=DifferenceView(
            feature=found.feature, recorded=found.recorded, recomputed=found.recomputed
        )
        if found
        else None,
        recorded=_made(replay.recorded),
        recomputed=_made(replay.recomputed) if replay.recomputed else None,
    )


def _made(made: Made) -> MadeView:
    return MadeView.model_validate(
        {
            "observation_sha256": made.observation_sha256,
            "action": made.action,
            "hold_reason": made.hold_reason,
            "target": made.target,
            "confidence": finite(made.confidence),
            "logits": [finite(logit) for logit in made.logits],
            "legs": list(made.legs),
        }
    )

"""Stored decisions made again from what is stored of them, and held against what was recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import NamedTuple, Protocol

from actors.decision_draft import POLICY_UNAVAILABLE
from actors.version_registry import load_artifact
from desk import ids
from desk.errors import ArtifactRefused, NotFound
from desk.ids import Pair
from desk.learning.observation import Observation, candles_sha256, observation_sha256
from desk.learning.policy import MlpPolicy, PolicyAnswer
from desk.learning.replay import (
    Difference,
    Verdict,
    first_difference,
    observation_names,
    observe_again,
    think_again,
)
from desk.market.candles import Candle, Candles
from desk.market.features import NON_FINITE, OUT_OF_DISTRIBUTION, FeatureSet
from desk.market.funding_features import FUNDING_SOURCE
from desk.market.interval import Interval, interval_ms
from desk.market.revisions import MAX_REVISIONS, CandleRevision
from desk.market.signal_features import SignalMarks, Signals
from desk.runs import Action, DecisionRecord, Evidence, Run
from desk.store import kinds
from desk.store.decision_history import DecisionHistory
from desk.store.feature_sets import find_feature_set
from desk.store.funding_history import settled_then
from desk.store.places import Home
from desk.store.port import DocStore
from desk.store.signal_history import heard_then
from desk.store.signals import Archive
from desk.trading import intents
from desk.trading.intents import Protection

KEPT_POLICIES = 8
PAGE = 500

# --- why a replay is not what was recorded --------------------------------------------------------

EVIDENCE_MISSING = "replay_evidence_missing"
CANDLES_MISSING = "replay_candles_missing"
CANDLES_CHANGED = "replay_candles_changed"
CANDLES_RESTORED = "replay_candles_restored"
SIGNALS_CHANGED = "replay_signals_changed"
FEATURE_SET_MISSING = "replay_feature_set_missing"
ARTIFACT_UNAVAILABLE = "replay_artifact_unavailable"
FEATURES_DIFFER = "replay_features_differ"
ANSWER_DIFFERS = "replay_answer_differs"
ACTION_DIFFERS = "replay_action_differs"
HELD_BEFORE_FEATURES = "replay_held_before_features"

_NOTES = frozenset({CANDLES_RESTORED, HELD_BEFORE_FEATURES})
"""What is worth saying and speaks against nothing."""
_LOST = frozenset({EVIDENCE_MISSING, CANDLES_MISSING, FEATURE_SET_MISSING, ARTIFACT_UNAVAILABLE})
"""What leaves a part of the decision that cannot be made again."""


class CandleReader(Protocol):
    """Stored candles, hot ones and those of the history as one."""

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a replay has to say, for machines and for people."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A decision as far as it follows from its evidence."""

    observation_sha256: str
    """Empty: nothing was shown to the policy."""
    action: str
    hold_reason: str
    target: float
    confidence: float
    logits: tuple[float, ...]
    legs: tuple[str, ...]
    """Client order ids the target called for, before the risk gates had their say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of making one stored decision again."""

    decision_id: str
    run_id: str
    trace_id: str
    pair: Pair
    interval: Interval
    open_ms: int
    version_id: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    """In the order in which they were made; empty: identical, and nothing to add."""
    first_difference: Difference | None
    recorded: Made
    recomputed: Made | None
    """None where nothing could be made again."""


class Origin(NamedTuple):
    """The candle a trace began with."""

    pair: Pair
    interval: Interval
    open_ms: int


class Replayer:
    """Reads evidence; writes nothing. Keeps the last few policies, so that a whole run is quick."""

    def __init__(
        self,
        home: Home,
        store: DocStore,
        candles: CandleReader,
        *,
        archive: Archive | None = None,
    ) -> None:
        """`archive` has the messages that left the store; without it those count as gone."""
        self._home, self._store, self._candles, self._archive = home, store, candles, archive
        self._policies: dict[tuple[str, str, str], MlpPolicy] = {}

    def replay(self, record: DecisionRecord) -> Replay:
        """Make a decision again. Never raises for evidence that is gone or changed: it says so."""
        evidence = record.evidence
        if evidence is None:
            why = "it was stored without its evidence, by an earlier release or without any candle"
            return _told(record, [Finding(code=EVIDENCE_MISSING, detail=why)], None, None)
        findings: list[Finding] = []
        window = self._window(record, evidence, findings)
        if not record.observation_sha256:
            return _told(record, [_held_early(record), *findings], None, _recorded(record))
        features = find_feature_set(self._store, record.feature_set_id)
        if features is None:
            why = f"{record.feature_set_id} is not computed by this release, nor on record"
            findings.append(Finding(code=FEATURE_SET_MISSING, detail=why))
            return _told(record, findings, None, None)
        if len(window) == 0 or int(window.open_ms[-1]) != record.open_ms:
            return _told(record, findings, None, None)
        signals = self._signals(record, evidence, features, findings)
        seen = observe_again(
            features,
            window,
            signals,
            held_sign=_sign(evidence),
            step_ms=interval_ms(record.interval),
        )
        policy = self._policy(record, evidence, features, findings)
        reason, answer = think_again(
            seen,
            policy,
            threshold=evidence.decision_threshold,
            zscore_limit=evidence.feature_ood_zscore_limit,
        )
        if reason:
            close_ms = record.open_ms + interval_ms(record.interval)
            limit = evidence.feature_ood_zscore_limit
            reason, _ = features.refusal(seen[:-1], signals, close_ms, limit)
        difference = self._compare_features(record, features, seen, findings)
        if policy is None and not reason and _was_answered(record):
            return _told(record, findings, difference, None)
        made = _made(record, evidence, seen, reason, answer)
        _compare(_recorded(record), made, findings)
        return _told(record, findings, difference, made)

    # --- evidence -------------------------------------------------------------------------------

    def _window(
        self, record: DecisionRecord, evidence: Evidence, findings: list[Finding]
    ) -> Candles:
        """The candles that were looked at; changed ones as they were, where the change is on record."""
        start_ms, end_ms = evidence.window_start_ms, record.open_ms + 1
        window = self._candles.read(record.pair, record.interval, start_ms, end_ms)
        if candles_sha256(window) == record.candles_sha256:
            return window
        if len(window) < evidence.window_rows:
            lost = evidence.window_rows - len(window)
            why = (
                f"{lost} of {evidence.window_rows} candles from {start_ms} to {record.open_ms} are in"
                f" neither store nor history: `desk backfill {record.pair}`"
            )
            findings.append(Finding(code=CANDLES_MISSING, detail=why))
            return Candles.empty()
        restored, changed = self._restored(record, window)
        if candles_sha256(restored) == record.candles_sha256:
            why = (
                f"the venue changed candles {_listed(changed)} later: they were taken as they were"
            )
            findings.append(Finding(code=CANDLES_RESTORED, detail=why))
            return restored
        more = len(window) - evidence.window_rows
        named = f", among them {_listed(changed)}" if changed else ""
        why = (
            f"there are {more} candles more in the window than there were"
            if more
            else f"the stored candles are not those that were decided on{named}"
        )
        findings.append(Finding(code=CANDLES_CHANGED, detail=why))
        return window

    def _restored(self, record: DecisionRecord, window: Candles) -> tuple[Candles, list[int]]:
        """The window with every change undone that was seen after the decision; and their open times."""
        kind = kinds.revisions(record.pair, record.interval)
        first: dict[int, CandleRevision] = {}
        for doc in self._store.list(kind, limit=MAX_REVISIONS):
            one = doc.value
            is_inside = int(window.open_ms[0]) <= one.open_ms <= record.open_ms
            known = first.get(one.open_ms)
            if not is_inside or one.last_seen_ms < record.decided_at_ms:
                continue
            if known is None or one.first_seen_ms < known.first_seen_ms:
                first[one.open_ms] = one
        rows = [window.row(at) for at in range(len(window))]
        before = [
            Candle(row.open_ms, *first[row.open_ms].before) if row.open_ms in first else row
            for row in rows
        ]
        return Candles.of(before), sorted(first)

    def _signals(
        self,
        record: DecisionRecord,
        evidence: Evidence,
        features: FeatureSet,
        findings: list[Finding],
    ) -> Signals:
        close_ms = record.open_ms + interval_ms(record.interval)
        signals: dict[str, SignalMarks] = {
            columns.source_id: heard_then(
                self._store,
                columns.source_id,
                record.pair,
                close_ms,
                evidence.signals_heard.get(columns.source_id, 0),
                archive=self._archive,
            )
            for columns in features.signals
        }
        if features.funding is not None:
            count = evidence.signals_heard.get(FUNDING_SOURCE, 0)
            signals[FUNDING_SOURCE] = settled_then(self._store, record.pair, close_ms, count)
        changed = [
            source_id
            for source_id, marks in signals.items()
            if marks.sha256 != record.signals_sha256.get(source_id)
        ]
        if changed:
            why = f"what is stored of {', '.join(changed)} is not what had been heard by then"
            findings.append(Finding(code=SIGNALS_CHANGED, detail=why))
        return signals

    def _policy(
        self,
        record: DecisionRecord,
        evidence: Evidence,
        features: FeatureSet,
        findings: list[Finding],
    ) -> MlpPolicy | None:
        if not _was_answered(record):
            return None
        key = (record.version_id, evidence.artifact_sha256, evidence.card_sha256)
        if key not in self._policies:
            try:
                policy = load_artifact(
                    self._home,
                    record.version_id,
                    features,
                    feature_set_id=record.feature_set_id,
                    sha256=evidence.artifact_sha256,
                    card_sha256=evidence.card_sha256,
                )
            except (ArtifactRefused, OSError) as gone:
                findings.append(Finding(code=ARTIFACT_UNAVAILABLE, detail=str(gone)))
                return None
            while len(self._policies) >= KEPT_POLICIES:
                del self._policies[next(iter(self._policies))]
            self._policies[key] = policy
        return self._policies[key]

    def _compare_features(
        self,
        record: DecisionRecord,
        features: FeatureSet,
        seen: Observation,
        findings: list[Finding],
    ) -> Difference | None:
        if observation_sha256(seen) == record.observation_sha256:
            return None
        if not record.observation:
            why = "recorded were values that are not finite, of which only the hash was kept"
            findings.append(Finding(code=FEATURES_DIFFER, detail=why))
            return None
        found = first_difference(observation_names(features), record.observation, seen)
        why = (
            f"{found.feature} was {found.recorded}, recomputed {found.recomputed}"
            if found
            else "the recorded values do not have their recorded hash"
        )
        findings.append(Finding(code=FEATURES_DIFFER, detail=why))
        return found


# --- finding decisions ----------------------------------------------------------------------------


def decisions_of_trace(decisions: DecisionHistory, trace_id: str) -> list[DecisionRecord]:
    """What every run decided on the candle that a trace began with; raises `NotFound` for none."""
    origin = origin_in_runs(decisions.store, trace_id)
    found = decisions_on(decisions, origin) if origin else []
    if not found:
        raise NotFound("decision of trace", trace_id)
    return found


def origin_in_runs(store: DocStore, trace_id: str) -> Origin | None:
    """The candle of a trace among those that runs may have decided on, the newest first.

    A trace id is a function of its candle: however old it is, nothing has to be searched but time,
    a second and a half for a year of minutes.
    """
    spans: dict[tuple[Pair, Interval], list[tuple[int, int]]] = {}
    for run in _runs(store):
        step_ms = interval_ms(run.interval)
        first_ms = run.started_ms // step_ms * step_ms - step_ms
        last_ms = run.last_decided_open_ms + step_ms
        spans.setdefault((run.pair, run.interval), []).append((first_ms, last_ms))
    for (pair, interval), ranges in spans.items():
        below_ms = 1 << 62
        for first_ms, last_ms in sorted(ranges, key=lambda span: -span[1]):
            step_ms = interval_ms(interval)
            for open_ms in range(min(last_ms, below_ms - step_ms), first_ms - 1, -step_ms):
                if ids.trace_id("candle", pair, interval, open_ms) == trace_id:
                    return Origin(pair, interval, open_ms)
            below_ms = min(below_ms, first_ms)
    return None


def decisions_on(decisions: DecisionHistory, origin: Origin) -> list[DecisionRecord]:
    """What every run of a pair made of a candle, the newest run first."""
    found: list[DecisionRecord] = []
    for run in _runs(decisions.store):
        if (run.pair, run.interval) != (origin.pair, origin.interval):
            continue
        key = ids.decision_id(run.run_id, origin.pair, origin.interval, origin.open_ms)
        record = decisions.find(run.run_id, key, origin.open_ms)
        if record is not None:
            found.append(record)
    return found


def decisions_of_run(
    decisions: DecisionHistory, run_id: str, *, limit: int | None = None
) -> Iterator[DecisionRecord]:
    """Decisions of a run, newest first. Raises `NotFound` for an unknown run."""
    if decisions.store.get(kinds.RUNS, run_id) is None:
        raise NotFound("run", run_id)
    yield from islice(decisions.newest_first(run_id), limit)


def _runs(store: DocStore) -> Iterator[Run]:
    before_ms: int | None = None
    seen: set[str] = set()
    while True:
        docs = store.list(kinds.RUNS, before_ms=before_ms, limit=PAGE)
        fresh = [doc for doc in docs if doc.key not in seen]
        yield from (doc.value for doc in fresh)
        seen |= {doc.key for doc in fresh}
        if len(docs) < PAGE or not fresh:
            return
        before_ms = docs[-1].at_ms + 1


# --- what was recorded, what was made -------------------------------------------------------------


def _recorded(record: DecisionRecord) -> Made:
    return Made(
        observation_sha256=record.observation_sha256,
        action=record.action.value,
        hold_reason=record.hold_reason,
        target=record.target,
        confidence=record.confidence,
        logits=record.logits,
        legs=record.evidence.legs if record.evidence else (),
    )


def _made(
    record: DecisionRecord,
    evidence: Evidence,
    seen: Observation,
    reason: str,
    answer: PolicyAnswer | None,
) -> Made:
    """The decision as it follows from what was seen, with the gates that time and account judged."""
    made = Made(
        observation_sha256=observation_sha256(seen),
        action=Action.HOLD.value,
        hold_reason=reason,
        target=0.0,
        confidence=0.0,
        logits=(),
        legs=(),
    )
    if reason or answer is None or not _was_answered(record):
        return replace(made, hold_reason=reason or _unanswered(record))
    made = replace(made, target=answer.target, confidence=answer.confidence, logits=answer.logits)
    has_books = evidence.size_quote is not None and evidence.held_quantity is not None
    if answer.held or not has_books:
        return replace(made, hold_reason=answer.reason if answer.held else record.hold_reason)
    legs = tuple(leg.client_order_id for leg in _legs(record, evidence, answer.target))
    if not legs:
        return replace(made, action=Action.KEEP.value)
    # The target called for orders; limits and the venue had the last word, on the books of that time.
    was_refused = record.action is Action.HOLD and record.hold_reason
    action = Action.HOLD if was_refused else Action.TRADE
    return replace(made, action=action.value, hold_reason=record.hold_reason, legs=legs)


def _unanswered(record: DecisionRecord) -> str:
    """Why no answer is on record where the features allow one: the clock's word, or the silence."""
    is_of_features = record.hold_reason in {NON_FINITE, OUT_OF_DISTRIBUTION}
    return "" if is_of_features else record.hold_reason


def _legs(record: DecisionRecord, evidence: Evidence, target: float) -> list[intents.OrderIntent]:
    assert evidence.held_quantity is not None, "checked by the caller"
    assert evidence.size_quote is not None, "checked by the caller"
    return intents.intend(
        target,
        held_quantity=evidence.held_quantity,
        size_quote=evidence.size_quote,
        reference_price=Decimal(record.reference_price),
        instrument=evidence.instrument,
        account=evidence.account,
        run_id=record.run_id,
        decision_id=record.decision_id,
        decided_open_ms=record.open_ms,
        trace_id=record.trace_id,
        protection=Protection(
            stop_loss_fraction=evidence.stop_loss_fraction,
            take_profit_fraction=evidence.take_profit_fraction,
        ),
    )


def _was_answered(record: DecisionRecord) -> bool:
    """Whether a policy's answer is on record: neither the features nor a silence came before it."""
    return not any(
        not gate.passed and (gate.gate == "features" or gate.code == POLICY_UNAVAILABLE)
        for gate in record.gates
    )


def _held_early(record: DecisionRecord) -> Finding:
    gate = next((gate for gate in record.gates if not gate.passed), None)
    why = f"{gate.gate} ({gate.code})" if gate else record.hold_reason
    return Finding(
        code=HELD_BEFORE_FEATURES, detail=f"held by {why} before anything was shown to the policy"
    )


def _compare(recorded: Made, made: Made, findings: list[Finding]) -> None:
    answers = ("target", "confidence", "logits")
    actions = ("action", "hold_reason", "legs")
    for code, names in ((ANSWER_DIFFERS, answers), (ACTION_DIFFERS, actions)):
        for name in names:
            was, now = getattr(recorded, name), getattr(made, name)
            if was != now:
                findings.append(Finding(code=code, detail=f"{name} was {was}, recomputed {now}"))
                break


def _told(
    record: DecisionRecord,
    findings: Sequence[Finding],
    difference: Difference | None,
    made: Made | None,
) -> Replay:
    codes = {finding.code for finding in findings} - _NOTES
    if not record.observation_sha256 and record.evidence is not None:
        codes = (
            set()
        )  # nothing of the candles went into it; a hole that was healed since is no news
    verdict = Verdict.DIFFERENT if codes - _LOST else Verdict.IDENTICAL
    if codes & _LOST and verdict is Verdict.IDENTICAL:
        verdict = Verdict.IMPOSSIBLE
    return Replay(
        decision_id=record.decision_id,
        run_id=record.run_id,
        trace_id=record.trace_id,
        pair=record.pair,
        interval=record.interval,
        open_ms=record.open_ms,
        version_id=record.version_id,
        verdict=verdict,
        findings=tuple(findings),
        first_difference=difference,
        recorded=_recorded(record),
        recomputed=made,
    )


def _sign(evidence: Evidence) -> int:
    held = evidence.held_quantity or 0
    return int(held > 0) - int(held < 0)


def _listed(open_ms: Sequence[int]) -> str:
    shown = ", ".join(str(one) for one in open_ms[:5])
    return f"{shown} and {len(open_ms) - 5} more" if len(open_ms) > 5 else shown

"""Decisions are made again bit for bit from what is stored of them, or it is said what stands against it."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from actors import replay, source_book
from actors.decision_draft import POLICY_UNAVAILABLE
from actors.replay import Replay, Replayer, decisions_of_run, decisions_of_trace
from actors.signal_status import new_signal_status, status_key
from actors.version_registry import artifacts_of
from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import NotFound
from desk.learning.replay import Verdict
from desk.learning.versions import VersionStatus
from desk.market.anchors import Anchor
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1, FUNDING_UNKNOWN, FeatureSet
from desk.market.funding_features import FundingColumn, FundingColumns
from desk.market.revisions import revision
from desk.market.signal_features import SignalColumns
from desk.runs import Action, DecisionRecord
from desk.store import kinds, signals
from desk.store.candles import CandleArchive, hot_window_ms
from desk.store.decision_history import DecisionHistory
from desk.store.feature_sets import keep_feature_set
from desk.store.history import History
from desk.store.port import Event
from desk.store.signal_archive import SignalArchive
from desk.store.valkey import ValkeyStore
from desk.venues.port import FundingRate
from desk.wallclock import wall_ms
from tests.actors.fakes import PAIR
from tests.actors.paper_session import Session, put_version
from tests.actors.stage import RUN_ID
from tests.alerts import alert


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def archive_of(session: Session) -> CandleArchive:
    return CandleArchive(session.store, History(session.home / "history"))


def replayed(session: Session, record: DecisionRecord | None = None) -> Replay:
    """A replay by somebody who knows only the store and the disk."""
    replayer = Replayer(session.home, session.store, archive_of(session))
    return replayer.replay(record or session.decisions()[0])


def codes(found: Replay) -> list[str]:
    return [finding.code for finding in found.findings]


def assert_all_identical(session: Session, count: int) -> list[Replay]:
    replayer = Replayer(session.home, session.store, archive_of(session))
    found = [
        replayer.replay(one) for one in decisions_of_run(DecisionHistory(session.store), RUN_ID)
    ]
    assert len(found) == count
    assert {one.verdict for one in found} == {Verdict.IDENTICAL}
    assert all(one.recomputed == one.recorded for one in found)
    return found


def until(session: Session, action: Action) -> DecisionRecord:
    """Go on until this was decided; the decision."""
    session.go_on(1)
    while session.decisions()[0].action is not action:
        session.go_on(1)
    return session.decisions()[0]


@pytest.mark.timeout(300)
def test_every_decision_of_a_paper_session_is_made_again_bit_for_bit(
    store: ValkeyStore, tmp_path: Path
) -> None:
    session = Session(tmp_path, store)
    session.go_on(25)

    found = assert_all_identical(session, 25)

    assert {one.recorded.action for one in found} >= {"trade", "keep"}
    assert all(one.recorded.observation_sha256 for one in found)
    assert not any(one.findings for one in found)
    assert len(session.orders()) > 2


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_a_thousand_decisions_are_made_again_after_restart_trim_and_retirement(
    store: ValkeyStore, tmp_path: Path
) -> None:
    session = Session(tmp_path, store)
    for part in range(4):
        session.loop = session.new_loop()
        session.go_on(250)
        if part == 1:
            put_version(store, tmp_path, "v2", seed=11)
            session.change_run(lambda run: replace(run, version_id="v2"))
    trim(session)
    retire(session)

    found = assert_all_identical(session, 1_000)

    assert {one.version_id for one in found} == {"v1", "v2"}
    assert {one.recorded.action for one in found} >= {"trade", "keep"}


def trim(session: Session) -> int:
    """A month passes: hot candles go to the history; returns how many are left in the store."""
    session.next_open_ms += hot_window_ms("1m") + DAY_MS
    session.store_candles(300)
    archive_of(session).flush(PAIR, "1m")
    left = session.store.candle_bounds(PAIR, "1m")
    return left[2] if left else 0


def retire(session: Session) -> None:
    for doc in session.store.list(kinds.VERSIONS):
        retired = replace(doc.value, status=VersionStatus.RETIRED)
        session.store.put(kinds.VERSIONS, doc.key, retired, at_ms=doc.at_ms)


def test_trimmed_candles_a_retired_version_and_other_limits_change_nothing(
    session: Session,
) -> None:
    session.go_on(5)
    decided_ms = session.decisions()[-1].open_ms

    left = trim(session)
    retire(session)
    session.store.delete(kinds.VERSIONS, "v1")
    session.change_run(lambda run: replace(run, decision_threshold=1.0, version_id="v9"))
    session.store.delete(kinds.RISK_LIMITS, "default")
    session.store.delete(kinds.INSTRUMENTS, PAIR)

    assert left == 300
    assert not len(session.store.read_candles(PAIR, "1m", 0, decided_ms + 1))
    assert_all_identical(session, 5)


def change(session: Session, record: DecisionRecord, back: int, by: float = 50.0) -> int:
    """The venue shows another close of a candle; returns its open time."""
    open_ms = record.open_ms - back * MINUTE_MS
    stored = session.store.read_candles(PAIR, "1m", open_ms, open_ms + 1)
    session.store.write_candles(PAIR, "1m", replace(stored, close=stored.close + by))
    return open_ms


def test_a_changed_candle_is_told_with_the_first_feature_that_differs_and_both_values(
    session: Session,
) -> None:
    session.go_on(1)
    record = session.decisions()[0]
    change(session, record, 0)

    found = replayed(session)

    assert found.verdict is Verdict.DIFFERENT
    assert codes(found)[:2] == [replay.CANDLES_CHANGED, replay.FEATURES_DIFFER]
    difference = found.first_difference
    assert difference is not None
    at = FEATURES_V1.index(difference.feature)
    assert difference.feature == "return_1"
    assert difference.recorded == record.observation[at]
    assert difference.recomputed is not None
    assert difference.recomputed != difference.recorded
    assert found.findings[1].detail == (
        f"return_1 was {difference.recorded}, recomputed {difference.recomputed}"
    )


def test_a_repaint_that_is_on_record_is_undone_for_the_replay(session: Session) -> None:
    session.go_on(1)
    record = session.decisions()[0]
    before = session.store.read_candles(PAIR, "1m", record.open_ms, record.open_ms + 1)
    open_ms = change(session, record, 0)
    after = session.store.read_candles(PAIR, "1m", record.open_ms, record.open_ms + 1)
    seen = revision(PAIR, "1m", before.row(0), after.row(0), now_ms=session.clock.now_ms() + 1)
    kind = kinds.revisions(PAIR, "1m")
    session.store.put(kind, seen.revision_id, seen, at_ms=seen.last_seen_ms)

    found = replayed(session)

    assert (found.verdict, codes(found)) == (Verdict.IDENTICAL, [replay.CANDLES_RESTORED])
    assert str(open_ms) in found.findings[0].detail
    assert found.recomputed == found.recorded


def test_lost_candles_are_told_with_the_remedy_and_nothing_is_claimed(session: Session) -> None:
    session.go_on(1)
    session.next_open_ms += hot_window_ms("1m") + DAY_MS
    session.store_candles(10)
    session.store.drop_candles(PAIR, "1m", session.next_open_ms - DAY_MS)

    found = replayed(session)

    assert (found.verdict, codes(found)) == (Verdict.IMPOSSIBLE, [replay.CANDLES_MISSING])
    assert f"desk backfill {PAIR}" in found.findings[0].detail
    assert found.recomputed is None


def test_a_candle_that_came_later_into_the_window_is_told(session: Session) -> None:
    session.go_on(1)
    record = session.decisions()[0]
    assert record.evidence is not None
    start_ms = record.evidence.window_start_ms
    early = replace(record, evidence=replace(record.evidence, window_rows=239))
    early = replace(early, candles_sha256="0" * 64)
    assert start_ms

    found = replayed(session, early)

    assert codes(found) == [replay.CANDLES_CHANGED]
    assert "1 candles more" in found.findings[0].detail


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(content))


def edit_card(home: Path) -> None:
    path = artifacts_of(home).path("v1") / "card.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("-1.0,0.0,1.0", "-1.0,0.0,0.5"))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda home: shutil.rmtree(artifacts_of(home).path("v1")), "no artifact v1"),
        (lambda home: flip(artifacts_of(home).path("v1") / "policy.safetensors"), "sha256"),
        (edit_card, "it was edited"),
    ],
    ids=["missing", "flipped", "edited"],
)
def test_an_artifact_that_is_not_the_one_that_answered_is_told_and_the_features_still_compared(
    session: Session, harm: Callable[[Path], None], said: str
) -> None:
    session.go_on(1)
    harm(session.home)

    found = replayed(session)

    assert (found.verdict, codes(found)) == (Verdict.IMPOSSIBLE, [replay.ARTIFACT_UNAVAILABLE])
    assert said in found.findings[0].detail
    assert found.first_difference is None
    change(session, session.decisions()[0], 0)
    assert replayed(session).verdict is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("forged", "code"),
    [
        ({"target": 0.25}, replay.ANSWER_DIFFERS),
        ({"confidence": 0.999}, replay.ANSWER_DIFFERS),
        ({"logits": (0.0, 0.0, 0.0)}, replay.ANSWER_DIFFERS),
        ({"action": Action.HOLD}, replay.ACTION_DIFFERS),
        ({"hold_reason": "because"}, replay.ACTION_DIFFERS),
        ({"observation_sha256": "0" * 64}, replay.FEATURES_DIFFER),
    ],
)
def test_a_record_that_says_otherwise_than_its_evidence_is_found_out(
    session: Session, forged: dict[str, object], code: str
) -> None:
    record = until(session, Action.KEEP)

    found = replayed(session, replace(record, **forged))

    assert found.verdict is Verdict.DIFFERENT
    assert code in codes(found)


@pytest.mark.parametrize(
    "field", ["decision_threshold", "held_quantity", "size_quote", "instrument"]
)
def test_what_the_evidence_says_is_what_the_action_is_made_of(session: Session, field: str) -> None:
    record = until(session, Action.TRADE)
    evidence = record.evidence
    assert evidence is not None
    assert evidence.held_quantity is not None
    changed = {
        "decision_threshold": 1.0,
        "held_quantity": -evidence.held_quantity or evidence.instrument.lot,
        "size_quote": evidence.instrument.tick,
        "instrument": replace(evidence.instrument, lot=evidence.instrument.lot * 10**9),
    }

    forged = replace(evidence, **{field: changed[field]})

    assert replayed(session, record).verdict is Verdict.IDENTICAL
    assert replayed(session, replace(record, evidence=forged)).verdict is Verdict.DIFFERENT


def test_a_decision_that_was_held_before_the_features_is_told_as_such(session: Session) -> None:
    event = Event(topic="risk", key="all", data={}, at_ms=session.clock.now_ms())
    session.store.set_kill("all", on=True, reason="operator", event=event)
    session.go_on(1)

    found = replayed(session)

    assert (found.verdict, codes(found)) == (Verdict.IDENTICAL, [replay.HELD_BEFORE_FEATURES])
    assert "kill_switch" in found.findings[0].detail


def test_a_silent_policy_and_a_refusing_limit_are_taken_from_the_record(session: Session) -> None:
    folder = artifacts_of(session.home).path("v1")
    shutil.move(folder, session.home / "away")
    session.go_on(1)
    silent = session.decisions()[0]
    assert silent.hold_reason == POLICY_UNAVAILABLE
    shutil.move(session.home / "away", folder)
    limits = session.store.get(kinds.RISK_LIMITS, "default")
    assert limits is not None
    tight = replace(limits.value, max_position_size=limits.value.max_position_size * 10**6)
    session.store.put(kinds.RISK_LIMITS, "default", tight, at_ms=1)
    for _ in range(40):
        session.go_on(1)
        if session.decisions()[0].hold_reason:
            break

    refused = session.decisions()[0]
    assert (refused.action, refused.client_order_ids) == (Action.HOLD, ())
    assert refused.evidence is not None
    assert refused.evidence.legs
    assert replayed(session, silent).verdict is Verdict.IDENTICAL
    assert replayed(session, refused).verdict is Verdict.IDENTICAL


def test_features_out_of_distribution_are_found_again(session: Session) -> None:
    session.price *= 1.08
    session.go_on(1)

    record = session.decisions()[0]
    assert record.hold_reason == "features_out_of_distribution"
    assert replayed(session).verdict is Verdict.IDENTICAL
    evidence = record.evidence
    assert evidence is not None
    lax = replace(record, evidence=replace(evidence, feature_ood_zscore_limit=99.0))
    assert replayed(session, lax).verdict is Verdict.DIFFERENT


def test_a_record_of_an_earlier_release_is_not_guessed_at(session: Session) -> None:
    session.go_on(1)

    found = replayed(session, replace(session.decisions()[0], evidence=None))

    assert (found.verdict, codes(found)) == (Verdict.IMPOSSIBLE, [replay.EVIDENCE_MISSING])


SAID = make_feature_set(
    "said", FEATURES_V1.features, [SignalColumns(source_id="feed", half_life_min=5)]
)
MOVING = make_feature_set(
    "moving",
    [
        Feature(name="rsi_14", rule="rsi", windows=(14,)),
        Feature(name="rsi_5_of_5", rule="rsi", windows=(5,), bars=5),
        Feature(name="range_position_20", rule="range_position", windows=(20,)),
    ],
    anchor=Anchor(every=100, warm_up=60, most_filled=2),
)


def show(session: Session, features: FeatureSet) -> None:
    """Let the run decide on another feature set."""
    keep_feature_set(session.store, features, now_ms=1, created_by="test")
    put_version(session.store, session.home, "other", features=features)
    session.change_run(
        lambda run: replace(run, version_id="other", feature_set_id=features.feature_set_id)
    )


def test_decisions_on_signals_are_made_again_also_from_messages_that_left_the_store(
    session: Session,
) -> None:
    show(session, SAID)
    row = replace(new_signal_status("tradingview", "feed"), status="ok", last_success_ms=wall_ms())
    session.store.put(kinds.SOURCES, status_key("tradingview", "feed"), row, at_ms=1)
    rng = np.random.default_rng(5)
    for at in range(900):  # more than a decision looks at
        side = "buy" if rng.random() < 0.5 else "sell"
        signals.append(session.store, alert(side, session.next_open_ms - 400_000 + at * 100))
    for _ in range(8):
        close_ms = session.next_open_ms + MINUTE_MS
        signals.append(session.store, alert("buy" if rng.random() < 0.5 else "sell", close_ms - 5))
        signals.append(session.store, alert("sell", close_ms + 5))  # in time for the next one
        session.go_on(1)
    for at in range(300):
        signals.append(session.store, alert("buy", session.next_open_ms + 90_000 + at))
    records = session.decisions()
    heard = [one.evidence.signals_heard["feed"] for one in records if one.evidence]

    before = [replayed(session, one).verdict for one in records]
    messages = SignalArchive(session.home / "history")
    long_after_ms = session.next_open_ms + signals.KEPT_MS + DAY_MS
    while signals.archive_and_trim(session.store, messages, "feed", now_ms=long_after_ms):
        pass
    archive = archive_of(session)
    with_archive = Replayer(session.home, session.store, archive, archive=messages)
    after = [with_archive.replay(one) for one in records]
    without = replayed(session, records[0])

    assert min(heard) >= 500
    assert before == [Verdict.IDENTICAL] * 8
    assert session.store.list(kinds.signals_of("feed")) == []
    assert [one.verdict for one in after] == [Verdict.IDENTICAL] * 8
    assert without.verdict is Verdict.DIFFERENT
    assert codes(without)[0] == replay.SIGNALS_CHANGED


def test_decisions_on_a_running_series_are_made_again_over_anchors_and_restarts(
    session: Session,
) -> None:
    show(session, MOVING)
    for number in range(12):
        if number == 6:
            session.loop = session.new_loop()
        session.go_on(1)
    trim(session)

    found = assert_all_identical(session, 12)

    assert all(one.recorded.observation_sha256 for one in found)


def test_a_trace_is_found_however_old_it_is_and_an_unknown_one_is_not(session: Session) -> None:
    session.go_on(3)
    oldest = session.decisions()[-1]
    session.clock.advance(400 * DAY_MS)

    for number, apart in enumerate((-30, -1, 0, 1, 900)):  # runs that overlap, touch and lie apart
        other = replace(
            session.run,
            run_id=f"other{number}",
            started_ms=session.run.started_ms + apart * MINUTE_MS,
            last_decided_open_ms=session.run.last_decided_open_ms + apart * MINUTE_MS,
        )
        session.store.put(kinds.RUNS, other.run_id, other, at_ms=other.started_ms)

    for record in session.decisions():
        assert decisions_of_trace(DecisionHistory(session.store), record.trace_id) == [record]
    assert oldest in session.decisions()
    with pytest.raises(NotFound):
        decisions_of_trace(DecisionHistory(session.store), "tr" + "a" * 22)
    with pytest.raises(NotFound):
        list(decisions_of_run(DecisionHistory(session.store), "run-nobody"))


def test_a_run_is_read_newest_first_up_to_a_limit(session: Session) -> None:
    session.go_on(4)

    some = list(decisions_of_run(DecisionHistory(session.store), RUN_ID, limit=3))

    assert some == session.decisions()[:3]


def test_everything_the_contract_lists_is_on_the_record(session: Session) -> None:
    record = until(session, Action.TRADE)

    version = session.store.get(kinds.VERSIONS, "v1")
    assert version is not None
    assert (record.dataset_id, record.dataset_sha256) == ("ds-learnt-from", "ab" * 32)
    assert record.feature_set_id == FEATURES_V1.feature_set_id
    assert len(record.observation) == FEATURES_V1.size + 1
    assert np.isfinite(record.observation).all()
    assert len(record.observation_sha256) == len(record.candles_sha256) == 64
    assert {"features", "policy", "risk", "execute", "total"} <= set(record.latency_ms)
    evidence = record.evidence
    assert evidence is not None
    assert evidence.artifact_sha256 == version.value.artifact_sha256
    assert evidence.card_sha256 == version.value.card_sha256 != ""
    assert (evidence.window_rows, evidence.integrity.blocks) == (240, ())
    assert evidence.legs == record.client_order_ids
    assert len(evidence.candle_sha256) == 64


def test_decisions_of_a_canary_are_made_again_at_their_part_of_the_size(session: Session) -> None:
    session.store.put(kinds.STATE, f"follows:{RUN_ID}", {}, at_ms=1)
    agent = session.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    canary = replace(agent.value, active_version_id=session.run.version_id, size_fraction=0.25)
    session.store.put(kinds.AGENTS, "desk", canary, at_ms=1)

    session.go_on(25)

    assert_all_identical(session, 25)
    sizes = {one.evidence.size_quote for one in session.decisions() if one.evidence}
    limits = session.store.get(kinds.RISK_LIMITS, session.run.risk_limit_set_id)
    assert limits is not None
    assert sizes == {limits.value.max_position_size / 4}


def test_decisions_on_funding_are_made_again_from_what_was_known_then(session: Session) -> None:
    columns = FundingColumns(
        columns=(
            FundingColumn(rule="funding_rate"),
            FundingColumn(rule="funding_mean", windows=(3,)),
        ),
        max_age_min=9,
    )
    paid = make_feature_set("paid", FEATURES_V1.features, funding=columns)
    keep_feature_set(session.store, paid, now_ms=1, created_by="test")
    put_version(session.store, session.home, "v-paid", features=paid)
    session.change_run(
        lambda run: replace(run, feature_set_id=paid.feature_set_id, version_id="v-paid")
    )
    row = source_book.new_status(source_book.FUNDING, PAIR, "")
    row = replace(row, status="ok", last_event_ms=session.clock.now_ms())
    session.store.put(kinds.SOURCES, source_book.key_of("funding", PAIR, ""), row, at_ms=1)
    rng = np.random.default_rng(5)
    for ago in (3, 2, 1):
        settle(session, rng, session.next_open_ms - ago * 5 * MINUTE_MS)
    for number in range(30):
        if number % 5 == 0 and number < 20:  # then none is fresh any more, which holds
            due_ms = session.next_open_ms
            settle(session, rng, due_ms, due_ms + int(rng.integers(1, 3 * MINUTE_MS)))
        session.go_on(1)
    for ahead in range(3):  # known only later
        settle(session, rng, session.next_open_ms + ahead * MINUTE_MS)

    found = assert_all_identical(session, 30)

    reasons = {one.hold_reason for one in session.decisions()}
    assert FUNDING_UNKNOWN in reasons
    assert len({one.recorded.action for one in found if one.recorded}) > 1


def settle(
    session: Session, rng: np.random.Generator, due_ms: int, read_ms: int | None = None
) -> None:
    rate = Decimal(str(round(rng.normal(0.0, 3e-4), 6)))
    settled = FundingRate(pair=PAIR, due_ms=due_ms, rate=rate, read_ms=read_ms)
    session.store.put(kinds.funding_rates(PAIR), str(due_ms), settled, at_ms=due_ms)

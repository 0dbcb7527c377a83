"""Runs whose features look at funding: the same columns as in history, held where none is known."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from actors import source_book
from desk.clock import MINUTE_MS
from desk.market.anchors import Anchor
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1, FUNDING_UNKNOWN, FeatureSet
from desk.market.funding_features import (
    FUNDING_SOURCE,
    FundingColumn,
    FundingColumns,
    settled,
)
from desk.runs import Action, RunStatus
from desk.store import kinds
from desk.store.feature_sets import keep_feature_set
from desk.store.funding_history import settlements_between
from desk.venues.port import FundingRate
from tests.actors.fakes import PAIR
from tests.actors.stage import Stage

FUNDING = FundingColumns(
    columns=(
        FundingColumn(rule="funding_rate"),
        FundingColumn(rule="funding_age", windows=(1,)),
        FundingColumn(rule="funding_zscore", windows=(4,)),
    ),
    max_age_min=9,
)
PAID = make_feature_set("paid", FEATURES_V1.features, funding=FUNDING)
MOVING = make_feature_set(
    "paid",
    [Feature(name="rsi_14", rule="rsi", windows=(14,))],
    anchor=Anchor(every=100, warm_up=60, most_filled=2),
    funding=FUNDING,
)


def settle(stage: Stage, rate: str, due_ms: int, read_ms: int | None = None) -> None:
    row = FundingRate(pair=PAIR, due_ms=due_ms, rate=Decimal(rate), read_ms=read_ms)
    stage.store.put(kinds.funding_rates(PAIR), str(due_ms), row, at_ms=due_ms)


def tell_source(stage: Stage, **changes: object) -> None:
    row = source_book.new_status(source_book.FUNDING, PAIR, "")
    row = replace(row, status="ok", last_event_ms=stage.clock.now_ms(), **changes)
    stage.store.put(kinds.SOURCES, source_book.key_of("funding", PAIR, ""), row, at_ms=1)


def staged(features: FeatureSet) -> Stage:
    stage = Stage()
    keep_feature_set(stage.store, features, now_ms=1, created_by="test")
    stage.change_run(lambda run: replace(run, feature_set_id=features.feature_set_id))
    tell_source(stage)
    for ago in range(4, 0, -1):
        settle(stage, f"0.000{ago}", stage.next_open_ms - ago * 5 * MINUTE_MS)
    return stage


@pytest.mark.parametrize("features", [PAID, MOVING], ids=["windows", "anchor"])
def test_what_a_run_decides_on_is_what_history_gives_also_after_a_restart(
    features: FeatureSet,
) -> None:
    stage, rng = staged(features), np.random.default_rng(3)
    for number in range(24):
        if number % 5 == 0:  # due now, read a little later: before the next close, or after it
            due_ms = stage.next_open_ms
            read_ms = due_ms + int(rng.integers(1, 3 * MINUTE_MS))
            settle(stage, str(round(rng.normal(0, 3e-4), 6)), due_ms, read_ms)
        if number in {7, 8, 15}:
            stage.loop = stage.new_loop()
        stage.decide(float(rng.integers(-1, 2)))

    decisions = stage.decisions()[::-1]
    first_ms, last_ms = decisions[0].open_ms, decisions[-1].open_ms + MINUTE_MS
    candles = stage.store.read_candles(PAIR, "1m", 0, last_ms)
    known = settlements_between(
        stage.store,
        features,
        PAIR,
        start_ms=first_ms + MINUTE_MS,
        end_ms=last_ms,
        step_ms=MINUTE_MS,
    )
    signals = {FUNDING_SOURCE: settled(known)}
    history = features.compute(candles, signals, step_ms=MINUTE_MS)[-len(decisions) :]

    assert {one.hold_reason for one in decisions} == {""}
    shown = np.array([one.observation[:-1] for one in decisions], dtype=np.float32)
    assert shown.tobytes() == history.tobytes()
    assert len({*history[:, features.index("funding_zscore_4")].tolist()}) > 4
    assert {*decisions[-1].signals_sha256} == {FUNDING_SOURCE}
    assert len({one.signals_sha256[FUNDING_SOURCE] for one in decisions}) > 4


@pytest.mark.parametrize("features", [PAID, MOVING], ids=["windows", "anchor"])
def test_without_a_settlement_that_is_fresh_a_run_holds_and_says_why(features: FeatureSet) -> None:
    stage = staged(features)

    while (record := stage.decide(1.0)).hold_reason == "":
        assert len(stage.decisions()) < 10

    gate = record.gates[-1]
    assert (record.action, record.hold_reason) == (Action.HOLD, FUNDING_UNKNOWN)
    assert (gate.gate, gate.code) == ("features", FUNDING_UNKNOWN)
    assert "was due" in gate.detail
    assert "9 min" in gate.detail
    assert stage.run.status is RunStatus.RUNNING
    settle(stage, "0.0001", stage.next_open_ms)
    assert stage.decide(1.0).hold_reason == FUNDING_UNKNOWN, "not published yet"
    # The hole stays in the window of four settlements until it has left it.
    assert "missing" in stage.decisions()[0].gates[-1].detail or stage.decide(1.0).hold_reason


def test_a_desk_that_never_read_any_holds() -> None:
    stage = staged(PAID)
    for doc in stage.store.list(kinds.funding_rates(PAIR)):
        stage.store.delete(kinds.funding_rates(PAIR), doc.key)

    record = stage.decide(1.0)

    assert record.hold_reason == FUNDING_UNKNOWN
    assert record.gates[-1].detail == "no settlement of the pair was known"
    assert stage.orders() == []


def test_the_source_of_funding_is_required_where_features_look_at_it() -> None:
    stage = staged(PAID)
    stage.store.delete(kinds.SOURCES, source_book.key_of("funding", PAIR, ""))

    record = stage.decide(1.0)

    assert record.hold_reason == "data_source_unavailable"
    assert record.warnings[0] == "source_stale:funding"
    assert stage.run.status is RunStatus.PAUSED
    stage = staged(FEATURES_V1)
    stage.store.delete(kinds.SOURCES, source_book.key_of("funding", PAIR, ""))
    assert stage.decide(1.0).action is Action.TRADE

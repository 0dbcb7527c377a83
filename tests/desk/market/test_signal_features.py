"""Signals as features: known from their receipt on, of finite memory, the same live and in history."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.market import signal_features
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1, Feature, FeatureSet, check
from desk.market.signal_features import (
    HORIZON_HALF_LIVES,
    Heard,
    SignalColumns,
    hear,
    in_order,
    marks_of,
)
from desk.market.signals import receive

type Walk = Callable[..., Candles]
FEW = 4
"""Messages that are remembered in these tests."""
COUNT = 40
WITH_SIGNALS = FeatureSet(
    name="said",
    lookback=5,
    features=(Feature(name="range_position_5", rule="range_position", windows=(5,)),),
    signals=(SignalColumns(source_id="a", half_life_min=1),),
)
SIDE, AGE = WITH_SIGNALS.index("signal_side:a"), WITH_SIGNALS.index("signal_age:a")

stories = st.lists(
    st.builds(
        Heard,
        at_ms=st.integers(-5, COUNT * 4).map(lambda quarter: quarter * MINUTE_MS // 4),
        external_id=st.integers(8, 14).map(str),
        rev=st.integers(1, 3),
        side=st.sampled_from([-1, 0, 0, 0, 1]),
    ),
    max_size=30,
)


def after(candles: Candles, story: list[Heard]) -> list[Heard]:
    """The story, told from the first candle on, each revision once."""
    first_ms = int(candles.open_ms[0])
    rows = {(row.external_id, row.rev): replace(row, at_ms=first_ms + row.at_ms) for row in story}
    return list(rows.values())


def last_word(rows: list[Heard], close_ms: int) -> tuple[int, int]:
    """Side and age by the definition, slowly: (0, 0) for none."""
    known = [row for row in in_order(rows) if row.at_ms <= close_ms]
    newest = {row.external_id: row for row in known}
    for row in reversed(known[-FEW:]):
        is_young = close_ms - row.at_ms < HORIZON_HALF_LIVES * MINUTE_MS
        if newest[row.external_id] is row and row.side and is_young:
            return row.side, close_ms - row.at_ms
    return 0, 0


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_features, "MOST_MESSAGES", FEW)


@given(story=stories)
@settings(max_examples=150)
def test_every_row_has_the_last_word_that_stood_at_its_close(
    walk: Walk, story: list[Heard]
) -> None:
    candles = walk(COUNT)
    rows = after(candles, story)

    matrix = WITH_SIGNALS.compute(candles, {"a": marks_of(rows)})[WITH_SIGNALS.lookback - 1 :]

    assert np.isfinite(matrix).all()
    assert np.abs(matrix[:, [SIDE, AGE]]).max() <= 1.0
    closes = [int(open_ms) + MINUTE_MS for open_ms in candles.open_ms[WITH_SIGNALS.lookback - 1 :]]
    for row, close_ms in zip(matrix, closes, strict=True):
        side, age_ms = last_word(rows, close_ms)
        assert row[SIDE] == pytest.approx(side * 2.0 ** (-age_ms / MINUTE_MS))
        assert row[AGE] == pytest.approx(age_ms / (age_ms + MINUTE_MS) if side else 1.0)


@given(story=stories, end=st.integers(5, COUNT))
@settings(max_examples=150)
def test_the_last_messages_give_the_bytes_of_all_history(
    walk: Walk, story: list[Heard], end: int
) -> None:
    candles = walk(COUNT)
    rows = after(candles, story)
    history = WITH_SIGNALS.compute(candles, {"a": marks_of(rows)})
    close_ms = int(candles.open_ms[end - 1]) + MINUTE_MS

    read = [row for row in in_order(rows) if row.at_ms <= close_ms][-FEW:]
    live = WITH_SIGNALS.observe(candles.take(slice(0, end)), {"a": marks_of(read)})

    assert live.tobytes() == history[end - 1].tobytes()


@given(story=stories, later=stories, at=st.integers(0, COUNT - 1))
@settings(max_examples=150)
def test_what_is_received_after_a_close_changes_no_row_up_to_it(
    walk: Walk, story: list[Heard], later: list[Heard], at: int
) -> None:
    """Whether it is a new message or a revision of a known one."""
    candles = walk(COUNT)
    close_ms = int(candles.open_ms[at]) + MINUTE_MS
    rows = after(candles, story)
    news = [replace(row, at_ms=close_ms + 1 + max(row.at_ms, 0), rev=row.rev + 9) for row in later]

    before = WITH_SIGNALS.compute(candles, {"a": marks_of(rows)})
    changed = WITH_SIGNALS.compute(candles, {"a": marks_of([*rows, *news])})

    assert changed[: at + 1].tobytes() == before[: at + 1].tobytes()


def test_a_word_is_known_from_its_receipt_and_a_revision_from_its_own(walk: Walk) -> None:
    candles = walk(20)
    opened = int(candles.open_ms[0])
    buy = Heard(at_ms=opened + 10 * MINUTE_MS + 1, external_id="7", rev=1, side=1)
    taken_back = replace(buy, at_ms=opened + 14 * MINUTE_MS, rev=2, side=0)

    matrix = WITH_SIGNALS.compute(candles, {"a": marks_of([taken_back, buy])})

    closes_in_minutes = [row + 1 for row in range(20) if matrix[row, SIDE] > 0]
    assert closes_in_minutes == [11, 12, 13]
    assert matrix[10:13, AGE].tolist() == sorted(matrix[10:13, AGE].tolist())
    assert matrix[9, AGE] == matrix[13, AGE] == 1.0


def test_a_word_is_forgotten_under_newer_messages_and_after_its_horizon(walk: Walk) -> None:
    candles = walk(COUNT)
    opened = int(candles.open_ms[0])
    word = Heard(at_ms=opened, external_id="7", rev=1, side=1)
    chatter = [
        Heard(at_ms=opened + 8 * MINUTE_MS, external_id=str(8 + more), rev=1, side=0)
        for more in range(FEW)
    ]

    alone = WITH_SIGNALS.compute(candles, {"a": marks_of([word])})
    heard_over = WITH_SIGNALS.compute(candles, {"a": marks_of([word, *chatter])})
    nearly = WITH_SIGNALS.compute(candles, {"a": marks_of([word, *chatter[1:]])})

    assert (alone[:, SIDE] > 0).nonzero()[0].tolist() == list(range(4, HORIZON_HALF_LIVES - 1))
    assert (heard_over[:, SIDE] > 0).nonzero()[0].tolist() == [4, 5, 6]
    assert nearly.tobytes() == alone.tobytes()


def test_a_side_is_halved_every_half_life_and_an_age_is_then_a_half(walk: Walk) -> None:
    candles = walk(20)
    heard = Heard(at_ms=int(candles.open_ms[10]), external_id="7", rev=1, side=-1)

    matrix = WITH_SIGNALS.compute(candles, {"a": marks_of([heard])})

    assert matrix[9, SIDE] == -1.0  # received in the millisecond of the close
    assert matrix[9, AGE] == 0.0
    assert matrix[10, SIDE] == -0.5
    assert matrix[10, AGE] == 0.5
    assert matrix[11, SIDE] == -0.25


def test_no_word_is_neutral_and_in_distribution(walk: Walk) -> None:
    row = WITH_SIGNALS.observe(walk(20), {"a": marks_of([])})

    assert (row[SIDE], row[AGE]) == (0.0, 1.0)
    assert check(row, 6.0) is None


def test_a_source_that_is_not_given_is_an_error_not_silence(walk: Walk) -> None:
    with pytest.raises(KeyError):
        WITH_SIGNALS.compute(walk(20))


@pytest.mark.parametrize(
    ("body", "side"),
    [
        ('{"ticker":"BTCUSDT.P","interval":"1","time":"2026-01-01T00:00:00Z","close":"1",'
         '"timenow":"2026-01-01T00:01:00Z","side":"sell"}', -1),
        ('{"ticker":"ETHUSDT","interval":"1","time":"2026-01-01T00:00:00Z","close":"1",'
         '"timenow":"2026-01-01T00:01:00Z","side":"sell"}', 0),
        ('{"ticker":"BTCUSDT.P","side":"sell"}', 0),
        ("sell BTC now", 0),
    ],
)  # fmt: skip
def test_only_a_sound_signal_of_the_pair_is_a_word(body: str, side: int) -> None:
    received_ms = 1_767_225_660_000

    receipt = receive("feed", body.encode(), received_ms=received_ms)

    heard = hear(receipt, "BTC-USDT")
    assert (heard.at_ms, heard.side) == (received_ms, side)
    accelerated = replace(receipt, ts_market_ms=received_ms + 5)
    assert hear(accelerated, "BTC-USDT").at_ms == received_ms + 5


def test_the_hash_of_what_was_heard_knows_no_order_and_every_revision() -> None:
    rows = [Heard(at_ms=at, external_id=str(at), rev=1, side=1) for at in range(5)]

    assert marks_of(rows).sha256 == marks_of(rows[::-1]).sha256
    assert marks_of(rows).sha256 != marks_of(rows[:-1]).sha256
    assert marks_of(rows).sha256 != marks_of([*rows[:-1], replace(rows[-1], rev=2)]).sha256


def test_the_built_in_set_keeps_the_id_that_versions_were_trained_on() -> None:
    assert FEATURES_V1.feature_set_id == "v1-d8a413bb5306"
    said = replace(FEATURES_V1, signals=WITH_SIGNALS.signals)
    assert said.feature_set_id != FEATURES_V1.feature_set_id
    other = replace(said, signals=(SignalColumns(source_id="a", half_life_min=2),))
    assert other.feature_set_id != said.feature_set_id

"""What was heard from a source, read lately and over a range, in both stores."""

from dataclasses import replace

import numpy as np
import pytest

from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import BadInput
from desk.market import signal_features
from desk.market.feature_sets import make_feature_set
from desk.market.features import Feature
from desk.market.signal_features import SignalColumns
from desk.store import kinds, signal_history, signals
from desk.store.port import Store
from desk.store.signal_history import (
    heard_between,
    last_heard,
    marks_by_source,
    signals_between,
)
from tests.alerts import alert

PAIR = "BTC-USDT"
AT_MS = 1_800_000_000_000 // MINUTE_MS * MINUTE_MS
SET = make_feature_set(
    "said",
    [Feature(name="day_sine", rule="day_sine")],
    [SignalColumns(source_id="feed", half_life_min=10)],
)
[COLUMNS] = SET.signals


def said(store: Store, *minutes: int) -> None:
    for minute in minutes:
        side = "buy" if minute % 2 else "sell"
        signals.append(store, alert(side, AT_MS + minute * MINUTE_MS))


def test_a_range_has_every_receipt_of_it_and_no_other(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_history, "_PAGE", 2)
    said(any_store, 1, 2, 3, 4, 5)
    signals.append(any_store, alert("buy", AT_MS + 3 * MINUTE_MS, source_id="other"))
    for ticker in ("ETHUSDT", "SOLUSDT", "XRPUSDT"):  # more of one millisecond than a page holds
        signals.append(any_store, alert("buy", AT_MS + 2 * MINUTE_MS, ticker=ticker))

    found = signals_between(any_store, "feed", AT_MS + 2 * MINUTE_MS, AT_MS + 4 * MINUTE_MS)

    assert sorted(one.ts_received_ms - AT_MS for one in found) == [120_000] * 4 + [180_000]


def test_the_last_messages_and_the_range_say_the_same_at_every_close(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_features, "MOST_MESSAGES", 4)
    monkeypatch.setattr(signal_history, "MOST_MESSAGES", 4)
    monkeypatch.setattr(signal_history, "_NEARLY_MOST", 5)
    said(any_store, 3, 9, 10, 11, 40)
    for minute in range(12, 18):
        signals.append(any_store, alert("buy", AT_MS + minute * MINUTE_MS, ticker="ETHUSDT"))
    closes = np.arange(AT_MS, AT_MS + 60 * MINUTE_MS, MINUTE_MS)

    heard = heard_between(
        any_store, SET, PAIR, start_ms=AT_MS, end_ms=int(closes[-1]), now_ms=AT_MS + DAY_MS
    )
    history = COLUMNS.compute(marks_by_source(heard)["feed"], closes)

    live = [
        COLUMNS.compute(last_heard(any_store, SET, PAIR, int(close))["feed"], np.array([close]))[0]
        for close in closes
    ]
    assert np.array(live).tobytes() == history.tobytes()
    assert [np.sign(history[minute, 0]) for minute in (2, 3, 10, 11, 14, 15, 40)] == [
        *(0, 1, -1, 1, 1, 0, -1)
    ]


def test_messages_that_may_be_dropped_already_do_not_pass_for_silence(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = AT_MS + signals.KEPT_MS
    first_ms = AT_MS + COLUMNS.horizon_ms
    words = {"end_ms": now_ms, "now_ms": now_ms}

    assert heard_between(any_store, SET, PAIR, start_ms=first_ms, **words) == {"feed": ()}
    with pytest.raises(BadInput) as too_old:
        heard_between(any_store, SET, PAIR, start_ms=first_ms - 1, **words)
    monkeypatch.setattr(signals, "MAX_KEPT", 3)
    monkeypatch.setattr(signal_history, "MAX_KEPT", 3)
    said(any_store, 1_000, 1_001, 1_002, 1_003)
    with pytest.raises(BadInput) as too_many:
        heard_between(any_store, SET, PAIR, start_ms=first_ms, **words)

    assert too_old.value.field == too_many.value.field == "start"
    assert "feed" in str(too_many.value)


@pytest.mark.parametrize(
    ("market_ms", "speed", "is_stamped"),
    [(AT_MS, 1.0, False), (AT_MS + 400, 1.0, False), (AT_MS, 30.0, True), (5_000_000, 1.0, True)],
)
def test_a_receipt_gets_its_market_time_once_where_the_market_has_its_own(
    any_store: Store, market_ms: int, speed: float, *, is_stamped: bool
) -> None:
    def read_clock(market_ms: int) -> None:
        fact = {"market_ms": market_ms, "wall_ms": AT_MS, "speed": speed}
        any_store.put(kinds.STATE, "clock", fact, at_ms=market_ms)

    read_clock(market_ms)
    sent = alert("buy", AT_MS + 2_000)
    signals.append(any_store, sent)
    read_clock(market_ms + 777)  # a later reading of the venue's clock, a little elsewhere

    [kept] = signals_between(any_store, "feed", 0, 1 << 60)

    expected_ms = market_ms + round(2_000 * speed) if is_stamped else AT_MS + 2_000
    assert kept.known_ms == expected_ms
    assert replace(kept, ts_market_ms=None) == sent
    assert kinds.signals_of("feed").type is type(kept)
    [doc] = any_store.list(kinds.signals_of("feed"))
    assert doc.at_ms == AT_MS + 2_000  # searched by the wall's time as ever


def test_an_accelerated_market_hears_what_its_clock_says(any_store: Store) -> None:
    fact = {"market_ms": 1_000 * MINUTE_MS, "wall_ms": AT_MS, "speed": 60.0}
    any_store.put(kinds.STATE, "clock", fact, at_ms=0)
    signals.append(any_store, alert("buy", AT_MS + 1_000))

    before, after = (
        COLUMNS.compute(last_heard(any_store, SET, PAIR, close)["feed"], np.array([close]))[0]
        for close in (1_001 * MINUTE_MS - 1, 1_001 * MINUTE_MS)
    )

    assert before.tolist() == [0.0, 1.0]
    assert after.tolist() == [1.0, 0.0]

"""Settled funding rates, read lately and over a range, in both stores."""

from decimal import Decimal

import numpy as np

from desk.clock import HOUR_MS, MINUTE_MS
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1
from desk.market.funding_features import (
    FUNDING_SOURCE,
    FundingColumn,
    FundingColumns,
    settled,
)
from desk.store import kinds
from desk.store.funding_history import last_settled, settlements_between
from desk.store.port import Store
from desk.venues.port import FundingRate

PAIR = "BTC-USDT"
PAID = make_feature_set(
    "paid",
    FEATURES_V1.features,
    funding=FundingColumns(
        columns=(
            FundingColumn(rule="funding_rate"),
            FundingColumn(rule="funding_mean", windows=(3,)),
        ),
        max_age_min=70,
    ),
)


def settle(store: Store, due_ms: int, rate: str, read_ms: int | None) -> None:
    row = FundingRate(pair=PAIR, due_ms=due_ms, rate=Decimal(rate), read_ms=read_ms)
    store.put(kinds.funding_rates(PAIR), str(due_ms), row, at_ms=due_ms)


def test_the_last_settlements_and_the_range_say_the_same_at_every_close(any_store: Store) -> None:
    begin_ms, rng = 1_800_000_000_000 // HOUR_MS * HOUR_MS, np.random.default_rng(4)
    for number in range(12):
        due_ms = begin_ms + number * HOUR_MS
        read_ms = None if number < 3 else due_ms + int(rng.integers(0, 70)) * MINUTE_MS
        settle(any_store, due_ms, str(round(rng.normal(0, 3e-4), 6)), read_ms)
    closes = np.arange(begin_ms + 3 * HOUR_MS, begin_ms + 11 * HOUR_MS, 7 * MINUTE_MS)

    known = settlements_between(
        any_store,
        PAID,
        PAIR,
        start_ms=int(closes[0]),
        end_ms=int(closes[-1]),
        step_ms=7 * MINUTE_MS,
    )
    live = [
        PAID.beside(last_settled(any_store, PAID, PAIR, int(close)), closes[n : n + 1])[0]
        for n, close in enumerate(closes)
    ]

    history = PAID.beside({FUNDING_SOURCE: settled(known)}, closes)
    assert np.array(live).tobytes() == history.tobytes()
    assert np.isfinite(history).any()
    assert np.isnan(history).any(), "read more than ten minutes late: too old until then"
    assert last_settled(any_store, FEATURES_V1, PAIR, begin_ms) == {}

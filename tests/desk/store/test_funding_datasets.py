"""Datasets whose features look at funding: their hash knows the settlements, their file keeps them."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from desk.clock import HOUR_MS, MINUTE_MS
from desk.errors import ArtifactRefused, BadInput
from desk.learning.study import Dataset, window
from desk.market.candles import Candles
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1
from desk.market.funding_features import (
    FUNDING_SOURCE,
    FundingColumn,
    FundingColumns,
)
from desk.market.signal_features import SignalColumns
from desk.store import kinds
from desk.store.feature_sets import keep_feature_set
from desk.store.port import Store
from desk.venues.port import FundingRate
from tests.desk.store.test_datasets import COUNT, Place, ask_of

type Walk = Callable[..., Candles]
PAIR = "BTC-USDT"
FUNDING = FundingColumns(
    columns=(
        FundingColumn(rule="funding_rate"),
        FundingColumn(rule="funding_mean", windows=(3,)),
    ),
    max_age_min=70,
)
PAID = make_feature_set("paid", FEATURES_V1.features, funding=FUNDING)
PAID_AND_SAID = make_feature_set(
    "both", FEATURES_V1.features, [SignalColumns(source_id="feed", half_life_min=20)], None, FUNDING
)


@pytest.fixture
def place(tmp_path: Path, walk: Walk) -> Place:
    place = Place(tmp_path)
    place.history.append(PAIR, "1m", walk(COUNT), "backfill")
    for features in (PAID, PAID_AND_SAID):
        keep_feature_set(place.store, features, now_ms=1, created_by="test")
    return place


def settle(store: Store, due_ms: int, rate: str = "0.0001", read_ms: int | None = None) -> None:
    row = FundingRate(pair=PAIR, due_ms=due_ms, rate=Decimal(rate), read_ms=read_ms)
    store.put(kinds.funding_rates(PAIR), str(due_ms), row, at_ms=due_ms)


def settle_hourly(store: Store, candles: Candles) -> list[int]:
    first_ms = int(candles.open_ms[0]) // HOUR_MS * HOUR_MS
    due = [first_ms + n * HOUR_MS for n in range(-4, COUNT // 60 + 2)]
    for at in due:
        settle(store, at)
    return due


def build(place: Place, candles: Candles, features: object = PAID) -> Dataset:
    ask = ask_of(candles, features=features)
    return place.datasets.build(ask, now_ms=int(candles.open_ms[-1]))


def test_the_settlements_of_the_range_and_its_horizon_make_the_hash(
    place: Place, walk: Walk
) -> None:
    candles = walk(COUNT)
    due = settle_hourly(place.store, candles)
    made = build(place, candles)
    settle(place.store, made.end_ms - 30_000, "0.5")  # not known by the last close
    settle(place.store, made.start_ms - FUNDING.horizon_ms - 1, "0.5")
    same = build(place, candles)
    settle(place.store, max(at for at in due if at < made.end_ms - HOUR_MS), "0.0002")
    other = build(place, candles)
    settle(place.store, due[5], read_ms=due[5] + 20 * MINUTE_MS)
    later_known = build(place, candles)

    assert same == made
    assert len({made.sha256, other.sha256, later_known.sha256}) == 3
    assert len({made.dataset_id, other.dataset_id, later_known.dataset_id}) == 3
    assert list(made.signals_sha256) == [FUNDING_SOURCE]
    chosen = window(
        PAIR,
        "1m",
        candles,
        PAID,
        start_ms=other.start_ms,
        end_ms=other.end_ms,
        signals=place.datasets.signals(other.dataset_id),
    )
    assert chosen.dataset.sha256 == other.sha256
    assert np.isfinite(chosen.features).all()


def test_settlements_are_frozen_and_a_damaged_file_is_refused(
    place: Place, walk: Walk, tmp_path: Path
) -> None:
    candles = walk(COUNT)
    settle_hourly(place.store, candles)
    made, both = build(place, candles), build(place, candles, PAID_AND_SAID)
    for doc in place.store.list(kinds.funding_rates(PAIR), limit=1_000):
        place.store.delete(kinds.funding_rates(PAIR), doc.key)

    assert set(place.datasets.signals(made.dataset_id)) == {FUNDING_SOURCE}
    assert set(place.datasets.signals(both.dataset_id)) == {FUNDING_SOURCE, "feed"}
    assert place.datasets.verify(made.dataset_id).problem == ""
    path = tmp_path / "datasets" / f"{made.dataset_id}.signals.json"
    path.write_bytes(path.read_bytes().replace(b'"0.0001"', b'"0.0009"', 1))
    assert "recorded hash" in place.datasets.verify(made.dataset_id).problem
    with pytest.raises(ArtifactRefused):
        place.datasets.signals(made.dataset_id)


def test_a_range_of_which_no_funding_is_known_is_refused(place: Place, walk: Walk) -> None:
    candles = walk(COUNT)

    with pytest.raises(BadInput) as refused:
        build(place, candles)

    assert refused.value.field == "start"
    assert "no settlement of the pair was known" in str(refused.value)
    assert place.datasets.newest() == []

"""Datasets whose features look at signals: their hash knows them, their file keeps them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from desk.clock import MINUTE_MS
from desk.errors import ArtifactRefused, BadInput
from desk.learning.observation import candles_sha256
from desk.learning.study import Dataset, window
from desk.market.candles import Candles
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1
from desk.market.signal_features import SignalColumns
from desk.store import kinds, signals
from desk.store.feature_sets import keep_feature_set
from tests.alerts import alert
from tests.desk.store.test_datasets import COUNT, Place, ask_of

type Walk = Callable[..., Candles]
PINNED = ("ds-84e915f21bfa6ae0e05e", "8ab0dbcd24b0")
"""Id and hash before there were signals."""
SAID = make_feature_set(
    "said", FEATURES_V1.features, [SignalColumns(source_id="feed", half_life_min=20)]
)


@pytest.fixture
def place(tmp_path: Path, walk: Walk) -> Place:
    place = Place(tmp_path)
    place.history.append("BTC-USDT", "1m", walk(COUNT), "backfill")
    keep_feature_set(place.store, SAID, now_ms=1, created_by="test")
    return place


def hear(place: Place, candles: Candles, *rows: int) -> None:
    for row in rows:
        signals.append(place.store, alert("buy", int(candles.open_ms[row])))


def build(place: Place, candles: Candles, **changes: object) -> Dataset:
    ask = ask_of(candles, features=SAID, **changes)
    return place.datasets.build(ask, now_ms=int(candles.open_ms[-1]))


def test_what_was_heard_in_the_range_and_its_horizon_makes_the_hash(
    place: Place, walk: Walk
) -> None:
    candles = walk(COUNT)
    silent = build(place, candles)
    hear(place, candles, 300)
    told = build(place, candles)
    signals.append(place.store, alert("buy", int(candles.open_ms[-1]) + 1))
    later = build(place, candles)
    signals.append(place.store, alert("sell", int(candles.open_ms[0]) - 60 * MINUTE_MS))
    earlier = build(place, candles)

    assert len({silent.dataset_id, told.dataset_id, earlier.dataset_id}) == 3
    assert len({silent.sha256, told.sha256, earlier.sha256}) == 3
    assert later == told
    assert list(told.signals_sha256) == ["feed"]
    assert (
        window(
            "BTC-USDT",
            "1m",
            candles,
            SAID,
            start_ms=told.start_ms,
            end_ms=told.end_ms,
            signals=place.datasets.signals(earlier.dataset_id),
        ).dataset.sha256
        == earlier.sha256
    )


def test_a_dataset_without_signals_keeps_the_id_and_hash_it_always_had(
    place: Place, walk: Walk
) -> None:
    candles = walk(COUNT)
    hear(place, candles, 300)

    made = place.datasets.build(ask_of(candles), now_ms=5)

    assert made.sha256 == candles_sha256(candles.take(slice(1, COUNT - 1)))
    assert (made.dataset_id, made.sha256[:12]) == PINNED
    assert made.signals_sha256 == {}


def test_what_was_heard_is_frozen_and_a_damaged_file_is_refused_and_mended(
    place: Place, walk: Walk, tmp_path: Path
) -> None:
    candles = walk(COUNT)
    hear(place, candles, 300, 400)
    made = build(place, candles)
    for doc in place.store.list(kinds.signals_of("feed")):
        place.store.delete(kinds.signals_of("feed"), doc.key)

    marks = place.datasets.signals(made.dataset_id)["feed"]
    assert marks.at_ms.tolist() == candles.open_ms[[300, 400]].tolist()
    assert place.datasets.verify(made.dataset_id).problem == ""

    path = tmp_path / "datasets" / f"{made.dataset_id}.signals.json"
    path.write_bytes(path.read_bytes().replace(b'"side":1', b'"side":-1', 1))
    assert "recorded hash" in place.datasets.verify(made.dataset_id).problem
    with pytest.raises(ArtifactRefused):
        place.datasets.signals(made.dataset_id)
    with pytest.raises(ArtifactRefused):
        place.datasets.candles(made.dataset_id)

    hear(place, candles, 300, 400)
    assert build(place, candles) == made
    assert place.datasets.verify(made.dataset_id).problem == ""
    path.unlink()
    assert "cannot be read" in place.datasets.verify(made.dataset_id).problem


def test_a_training_without_a_snapshot_is_verified_on_what_is_stored(
    place: Place, walk: Walk
) -> None:
    candles = walk(COUNT)
    hear(place, candles, 300)
    made = build(place, candles)
    bare = replace(made, dataset_id="ds-bare", detail={})
    place.store.put(kinds.DATASETS, "ds-bare", bare, at_ms=1)

    assert place.datasets.verify("ds-bare").problem == ""
    hear(place, candles, 301)
    assert "changed since" in place.datasets.verify("ds-bare").problem


def test_a_range_whose_messages_may_be_gone_is_refused(place: Place, walk: Walk) -> None:
    candles = walk(COUNT)

    with pytest.raises(BadInput) as refused:
        place.datasets.build(
            ask_of(candles, features=SAID),
            now_ms=int(candles.open_ms[-1]) + signals.KEPT_MS,
        )

    assert refused.value.field == "start"
    assert place.datasets.newest() == []

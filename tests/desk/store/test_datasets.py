"""Datasets: one id and one hash for the same candles, whatever way they came; never changed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.errors import ArtifactRefused, BadInput, NotFound
from desk.learning.study import window
from desk.market.candles import Candle, Candles
from desk.market.features import FEATURES_V1
from desk.market.ingestion import IngestionKind, IngestionRun
from desk.store import kinds
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import DatasetAsk, Datasets
from desk.store.history import History
from desk.store.memory import MemoryStore
from desk.venues.missing import fetch_windows

MINUTE_MS = 60_000
COUNT = 700
FIRST = FEATURES_V1.lookback
type Walk = Callable[..., Candles]


class Venue:
    """A venue that has all candles of a series and counts what it was asked for."""

    def __init__(self, truth: Candles) -> None:
        self.truth = truth
        self.asked: list[tuple[int, int]] = []

    async def candles(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        self.asked.append((start_ms, end_ms))
        return self.truth.between(start_ms, end_ms)


class Place:
    """A home with its store, history and datasets."""

    def __init__(self, folder: Path, *, is_mapped: bool = False) -> None:
        self.store, self.history = MemoryStore(), History(folder / "history")
        cache = CandleCache(folder / "cache", self.history) if is_mapped else None
        self.archive = CandleArchive(self.store, self.history, cache)
        self.datasets = Datasets(folder / "datasets", self.store, self.archive)

    def complete(self, ask: DatasetAsk, venue: Venue) -> None:
        async def fetch() -> None:
            windows = self.datasets.missing(ask)
            async for page in fetch_windows(venue, ask.pair, ask.interval, windows, now_ms=2**50):
                self.history.append(ask.pair, ask.interval, page, "dataset")

        asyncio.run(fetch())


def ask_of(candles: Candles, **changes: object) -> DatasetAsk:
    ask = DatasetAsk(
        pair="BTC-USDT",
        interval="1m",
        start_ms=int(candles.open_ms[FIRST]),
        end_ms=int(candles.open_ms[-1]),
        features=FEATURES_V1,
    )
    return replace(ask, **changes)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@settings(max_examples=25)
@given(data=st.data())
def test_the_hash_does_not_know_how_the_candles_came(
    data: st.DataObject, walk: Walk, tmp_path_factory: pytest.TempPathFactory
):
    truth = walk(COUNT)
    ask = ask_of(truth)
    expected = Place(tmp_path_factory.mktemp("clean"))
    expected.history.append("BTC-USDT", "1m", truth, "backfill")
    place = Place(tmp_path_factory.mktemp("other"), is_mapped=data.draw(st.booleans()))
    first, last = sorted(data.draw(st.tuples(st.integers(0, COUNT), st.integers(0, COUNT))))
    cuts = sorted({first, last, *data.draw(st.lists(st.integers(first, last), max_size=4))})
    chunks = [truth.take(slice(a, b)) for a, b in pairwise(cuts)]
    for chunk in data.draw(st.permutations(chunks)):
        if data.draw(st.booleans()):
            shuffled = np.random.default_rng(len(chunk)).permutation(len(chunk))
            place.store.write_candles("BTC-USDT", "1m", chunk.take(shuffled))
        else:
            place.history.append("BTC-USDT", "1m", chunk, "live")
    if data.draw(st.booleans()):
        # A price that is no decimal, in the same month: its file then holds float64 columns.
        price = 0.1 + 0.2
        odd = Candle(int(truth.open_ms[-1]) + MINUTE_MS, price, price, price, price, 1 / 3)
        place.history.append("BTC-USDT", "1m", Candles.of([odd]), "live")
    if data.draw(st.booleans()):
        place.archive.flush("BTC-USDT", "1m")

    place.complete(ask, Venue(truth))
    made = place.datasets.build(ask, now_ms=5)

    clean = expected.datasets.build(ask, now_ms=9)
    assert (made.dataset_id, made.sha256, made.rows) == (
        clean.dataset_id,
        clean.sha256,
        clean.rows,
    )
    assert made.missing == 0
    frozen = place.datasets.candles(made.dataset_id)
    assert frozen.close.tobytes() == truth.take(slice(1, COUNT - 1)).close.tobytes()


def test_only_the_missing_ends_are_fetched(place: Place, walk: Walk):
    truth = walk(COUNT)
    venue = Venue(truth)
    hole = np.ones(300, dtype=np.bool_)
    hole[100:110] = False
    place.history.append("BTC-USDT", "1m", truth.take(slice(200, 500)).take(hole), "live")

    place.complete(ask_of(truth), venue)

    at = truth.open_ms.tolist()
    assert venue.asked == [(at[1], at[200]), (at[500], at[-1])]
    made = place.datasets.build(ask_of(truth), now_ms=1)
    assert made.missing == 10
    venue.asked.clear()
    place.complete(ask_of(truth), venue)
    assert venue.asked == []


def test_a_dataset_stays_what_it_was_when_a_candle_is_repainted(place: Place, walk: Walk):
    truth = walk(COUNT)
    place.history.append("BTC-USDT", "1m", truth, "live")
    before = place.datasets.build(ask_of(truth), now_ms=1)
    repainted = truth.row(600)._replace(volume=123.0)
    place.store.write_candles("BTC-USDT", "1m", Candles.of([repainted]))

    after = place.datasets.build(ask_of(truth), now_ms=2)

    assert after.dataset_id != before.dataset_id
    assert place.datasets.verify(before.dataset_id).problem == ""
    assert place.datasets.candles(before.dataset_id).volume[599] == truth.volume[600]
    assert place.datasets.candles(after.dataset_id).volume[599] == 123.0
    assert [one.dataset_id for one in place.datasets.newest()] == [
        after.dataset_id,
        before.dataset_id,
    ]


def test_building_again_changes_nothing_and_mends_a_damaged_file(
    place: Place, walk: Walk, tmp_path: Path
):
    truth = walk(COUNT)
    place.history.append("BTC-USDT", "1m", truth, "live")
    made = place.datasets.build(ask_of(truth), now_ms=1)
    [file] = (tmp_path / "datasets").glob("*.parquet")
    content = file.read_bytes()

    assert place.datasets.build(ask_of(truth), now_ms=2) == made
    file.write_bytes(content[: len(content) // 2])
    assert "build it again" in place.datasets.verify(made.dataset_id).problem
    with pytest.raises(ArtifactRefused, match="build it again"):
        place.datasets.candles(made.dataset_id)
    file.unlink()
    assert "gone" in place.datasets.verify(made.dataset_id).problem
    assert place.datasets.build(ask_of(truth), now_ms=3) == made
    assert place.datasets.verify(made.dataset_id).problem == ""


def test_a_dataset_of_a_training_is_verified_against_the_stored_candles(place: Place, walk: Walk):
    truth = walk(COUNT)
    place.history.append("BTC-USDT", "1m", truth, "live")
    ask = ask_of(truth)
    trained = window(
        "BTC-USDT", "1m", truth, FEATURES_V1, start_ms=ask.start_ms, end_ms=ask.end_ms
    ).dataset
    place.store.put(kinds.DATASETS, trained.dataset_id, trained, at_ms=1)

    checked = place.datasets.verify(trained.dataset_id)
    assert (checked.source, checked.problem) == ("stored candles", "")
    assert place.datasets.build(ask, now_ms=2).dataset_id == trained.dataset_id

    place.store.delete(kinds.DATASETS, trained.dataset_id)
    other = replace(trained, dataset_id="ds-other", sha256="0" * 64)
    place.store.put(kinds.DATASETS, other.dataset_id, other, at_ms=1)
    assert "changed" in place.datasets.verify("ds-other").problem


def test_the_lineage_names_ingestion_runs_and_ancestors(place: Place, walk: Walk):
    truth = walk(COUNT)
    place.history.append("BTC-USDT", "1m", truth, "live")
    at = truth.open_ms.tolist()
    for run_id, pair, interval, from_ms in (
        ("ing1", "BTC-USDT", "1m", at[0]),
        ("ing2", "ETH-USDT", "1m", at[0]),
        ("ing3", "BTC-USDT", "5m", at[0]),
        ("ing4", "BTC-USDT", "1m", at[-1] + 10 * MINUTE_MS),
        ("ing5", "BTC-USDT", "1m", None),
    ):
        run = IngestionRun(
            run_id=run_id,
            source="bingx",
            source_type="bingx_candles",
            kind=IngestionKind.BACKFILL,
            pair=pair,
            interval=interval,
            started_ms=1,
            updated_ms=1,
            from_ms=from_ms,
            to_ms=None if from_ms is None else from_ms + 10**6,
        )
        place.store.put(kinds.INGESTION, run_id, run, at_ms=1)
    oldest = place.datasets.build(ask_of(truth, end_ms=at[400]), now_ms=1)
    middle = place.datasets.build(
        ask_of(truth, end_ms=at[500], parents=(oldest.dataset_id,)), now_ms=2
    )

    newest = place.datasets.build(
        ask_of(truth, parents=(middle.dataset_id, oldest.dataset_id)), now_ms=3
    )

    assert newest.source_run_ids == ("ing1",)
    assert [one.dataset_id for one in place.datasets.ancestors(newest.dataset_id)] == [
        middle.dataset_id,
        oldest.dataset_id,
    ]


def test_window_and_stride_are_part_of_the_id_and_not_of_the_hash(place: Place, walk: Walk):
    truth = walk(COUNT)
    place.history.append("BTC-USDT", "1m", truth, "live")
    start_ms = int(truth.open_ms[FIRST + 20])
    asks = [
        ask_of(truth, start_ms=start_ms),
        ask_of(truth, start_ms=start_ms, stride=5),
        ask_of(truth, start_ms=start_ms, lookback=FEATURES_V1.lookback + 10),
        ask_of(truth, start_ms=start_ms, lookback=FEATURES_V1.lookback),
    ]

    plain, strided, longer, same = [place.datasets.build(ask, now_ms=1) for ask in asks]

    assert same == plain
    assert strided.sha256 == plain.sha256
    assert len({one.dataset_id for one in (plain, strided, longer)}) == 3
    assert (strided.stride, longer.lookback) == (5, FEATURES_V1.lookback + 10)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stride": 0}, "stride"),
        ({"lookback": 3}, "window"),
        ({"start_ms": 1}, "start"),
        ({"start_ms": 0, "end_ms": 600 * MINUTE_MS}, "start"),
        ({"start_ms": 2**41 * MINUTE_MS}, "start"),
    ],
)
def test_words_that_do_not_fit_are_refused_and_leave_nothing(
    place: Place, walk: Walk, tmp_path: Path, change: dict[str, object], field: str
):
    truth = walk(COUNT)
    place.history.append("BTC-USDT", "1m", truth, "live")

    with pytest.raises(BadInput) as refused:
        place.datasets.build(ask_of(truth, **change), now_ms=1)

    assert refused.value.field == field
    assert place.datasets.newest() == []
    assert not (tmp_path / "datasets").exists()
    with pytest.raises(NotFound):
        place.datasets.build(ask_of(truth, parents=("ds-nothing",)), now_ms=1)
    with pytest.raises(NotFound):
        place.datasets.verify("ds-nothing")

"""Funding as features: what was known by a close and nothing else, in history as candle by candle."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from statistics import fmean, pstdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.clock import HOUR_MS, MINUTE_MS
from desk.errors import BadInput
from desk.market.anchors import Anchor
from desk.market.candles import Candles
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.feature_stream import FeatureStream
from desk.market.features import NON_FINITE, FeatureSet, check
from desk.market.funding_features import (
    FUNDING_SOURCE,
    LATE_MS,
    PUBLISHED_MS,
    FundingColumn,
    FundingColumns,
    Settlement,
    holes,
    settled,
)

type Walk = Callable[..., Candles]

COUNT = 400
STEP_MIN = 60
"""Settlements an hour apart: several to a walk of 1m candles."""
COLUMNS = FundingColumns(
    columns=(
        FundingColumn(rule="funding_rate"),
        FundingColumn(rule="funding_age", windows=(8,)),
        FundingColumn(rule="funding_wait", windows=(1,)),
        FundingColumn(rule="funding_mean", windows=(2,)),
        FundingColumn(rule="funding_zscore", windows=(3,)),
    ),
    max_age_min=90,
)
SINE = [Feature(name="day_sine", rule="day_sine")]
WINDOWED = make_feature_set("paid", SINE, funding=COLUMNS)
ANCHORED = make_feature_set(
    "paid",
    [Feature(name="rsi", rule="rsi", windows=(5,)), *SINE],
    anchor=Anchor(every=90, warm_up=20, most_filled=2),
    funding=COLUMNS,
)


def rows(first_ms: int, *rates: str, late_min: int | None = None) -> list[Settlement]:
    """Settlements an hour apart from before the first candle on."""
    due = [first_ms // HOUR_MS * HOUR_MS + (n - 3) * HOUR_MS for n in range(len(rates))]
    return [
        Settlement(
            due_ms=at,
            rate=Decimal(rate),
            read_ms=None if late_min is None else at + late_min * MINUTE_MS,
        )
        for at, rate in zip(due, rates, strict=True)
    ]


RATES = ("0.0001", "0.0003", "-0.0002", "0", "0.0005", "0.0001", "0.0001", "0.0001", "-0.001", "0")
rates = st.lists(st.sampled_from(RATES), min_size=10, max_size=10)
readings = st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=10, max_size=10)


def drawn(candles: Candles, chosen: Sequence[str], late: Sequence[int | None]) -> list[Settlement]:
    return [
        replace(row, read_ms=None if minutes is None else row.due_ms + minutes * MINUTE_MS)
        for row, minutes in zip(rows(int(candles.open_ms[0]), *chosen), late, strict=True)
    ]


def history_of(features: FeatureSet, candles: Candles, known: Sequence[Settlement]) -> np.ndarray:
    return features.compute(candles, {FUNDING_SOURCE: settled(known)}, step_ms=MINUTE_MS)


@pytest.mark.parametrize("features", [WINDOWED, ANCHORED], ids=["windows", "anchor"])
@given(chosen=rates, late=readings, end=st.integers(60, COUNT), seed=st.integers(0, 2**20))
@settings(max_examples=60)
def test_nothing_that_was_not_known_by_a_close_changes_a_byte_of_its_row(  # noqa: PLR0917
    walk: Walk,
    features: FeatureSet,
    chosen: list[str],
    late: list[int | None],
    end: int,
    seed: int,
) -> None:
    candles, rng = walk(COUNT), np.random.default_rng(seed)
    known = drawn(candles, chosen, late)
    close_ms = int(candles.open_ms[end - 1]) + MINUTE_MS
    perturbed = [
        replace(row, rate=Decimal(str(rng.normal())))
        for row in known
        if row.known_ms <= close_ms or rng.random() < 0.7
    ]
    perturbed = [
        known[[one.due_ms for one in known].index(row.due_ms)] if row.known_ms <= close_ms else row
        for row in perturbed
    ]

    before = history_of(features, candles, known)[:end]
    after = history_of(features, candles, perturbed)[:end]
    live = history_of(
        features, candles.take(slice(0, end)), [row for row in known if row.known_ms <= close_ms]
    )

    assert after.tobytes() == before.tobytes()
    assert live.tobytes() == before.tobytes()


@given(chosen=rates, late=readings, start=st.integers(130, 300), seed=st.integers(0, 2**20))
@settings(max_examples=40)
def test_history_and_a_stream_give_the_same_bytes_wherever_it_begins(
    walk: Walk, chosen: list[str], late: list[int | None], start: int, seed: int
) -> None:
    candles, rng = walk(COUNT), np.random.default_rng(seed)
    known = drawn(candles, chosen, late)
    history = history_of(ANCHORED, candles, known)
    stream = FeatureStream(ANCHORED, MINUTE_MS)

    end = start
    while end <= COUNT:
        close_ms = int(candles.open_ms[end - 1]) + MINUTE_MS
        heard = settled([row for row in known if row.known_ms <= close_ms][-3:])
        window = candles.take(slice(max(end - ANCHORED.lookback, 0), end))
        seen = stream.observe(window, {FUNDING_SOURCE: heard})
        assert seen.tobytes() == history[end - 1].tobytes()
        end += int(rng.integers(1, 20))


def test_the_columns_say_what_their_names_say(walk: Walk) -> None:
    candles = walk(COUNT)
    known = rows(int(candles.open_ms[0]), *RATES)
    history = history_of(WINDOWED, candles, known)
    checked = 0

    for row in range(1, COUNT):
        close_ms = int(candles.open_ms[row]) + MINUTE_MS
        seen = [one for one in known if one.due_ms + PUBLISHED_MS <= close_ms]
        if len(seen) < 3:
            continue
        last = [float(one.rate) for one in seen[-3:]]
        mean, deviation = fmean(last[-2:]), pstdev(last)
        age_ms = close_ms - seen[-1].due_ms
        wanted = [
            last[-1] / (abs(last[-1]) + 1e-4),
            age_ms / (age_ms + 8 * HOUR_MS),
            1 - close_ms % HOUR_MS / HOUR_MS,
            mean / (abs(mean) + 1e-4),
            (last[-1] - fmean(last)) / deviation if len(set(last)) > 1 else 0.0,
        ]
        assert history[row, 1:] == pytest.approx(wanted, abs=1e-6)
        checked += 1

    assert checked > 300
    assert WINDOWED.names[1:] == (
        *("funding_rate", "funding_age_8", "funding_wait_1", "funding_mean_2", "funding_zscore_3"),
    )
    assert (history[2:, WINDOWED.index("funding_zscore_3")] == 0.0).any(), "all the same"


def test_a_settlement_counts_from_its_reading_unless_it_was_read_with_history() -> None:
    due_ms = 1_000 * HOUR_MS
    row = Settlement(due_ms=due_ms, rate=Decimal("0.0001"))

    assert row.known_ms == due_ms + PUBLISHED_MS
    assert replace(row, read_ms=due_ms + 7_000).known_ms == due_ms + 7_000
    assert replace(row, read_ms=due_ms + LATE_MS).known_ms == due_ms + LATE_MS
    assert replace(row, read_ms=due_ms + LATE_MS + 1).known_ms == due_ms + PUBLISHED_MS
    assert replace(row, read_ms=due_ms - 20_000).known_ms == due_ms, "rounded to the minute"


def test_a_row_without_funding_has_no_features_and_says_why(walk: Walk) -> None:
    candles = walk(COUNT)
    known = rows(int(candles.open_ms[0]), *RATES)
    hole = [*known[:4], *known[6:]]
    marks = settled(hole)
    closes = candles.open_ms + MINUTE_MS
    history = history_of(WINDOWED, candles, hole)

    why = [COLUMNS.unknown(marks, int(close)) for close in closes]
    has_none = np.isnan(history).all(axis=1)

    assert has_none[1:].tolist() == [bool(one) for one in why[1:]]
    assert np.isfinite(history[~has_none]).all()
    assert {one.split(" was due")[0].split(",")[0].split(":")[0] for one in why if one} == {
        "the newest known settlement",
        "one of the last 3 settlements is missing",
    }
    assert check(history[np.flatnonzero(has_none)[-1]], 6.0) == NON_FINITE
    assert COLUMNS.unknown(settled([]), int(closes[0])) == "no settlement of the pair was known"
    assert COLUMNS.unknown(settled(known[3:4]), known[3].known_ms).startswith("1 settlements were")
    assert np.isnan(history_of(WINDOWED, candles, [])).all()
    assert np.isnan(history_of(ANCHORED, candles, [])).all()


def test_one_that_became_known_after_a_later_one_is_passed_over() -> None:
    early, middle, late = rows(0, "0.1", "0.2", "0.3")
    slow = replace(middle, read_ms=middle.due_ms + 50 * MINUTE_MS)
    quick = replace(late, due_ms=middle.due_ms + 10 * MINUTE_MS)

    assert settled([slow, quick, early]).rate.tolist() == [0.1, 0.3]
    assert settled([quick, early, slow]).sha256 == settled([early, quick]).sha256


def test_order_windows_and_age_make_another_set_and_none_is_the_set_without() -> None:
    first, second = COLUMNS.columns[0], COLUMNS.columns[3]
    made = [
        None,
        FundingColumns(columns=(first, second)),
        FundingColumns(columns=(second, first)),
        FundingColumns(columns=(first, replace(second, windows=(3,)))),
        FundingColumns(columns=(first, second), max_age_min=541),
    ]

    ids = {make_feature_set("mine", SINE, funding=one).feature_set_id for one in made}

    assert len(ids) == len(made)
    assert make_feature_set("mine", SINE).feature_set_id in ids


def of(*columns: tuple[str, tuple[int, ...]], age: int = 540) -> FundingColumns:
    return FundingColumns(
        columns=tuple(FundingColumn(rule=rule, windows=windows) for rule, windows in columns),
        max_age_min=age,
    )


@pytest.mark.parametrize(
    ("field", "funding"),
    [
        ("funding.columns", of()),
        ("funding.columns.1.rule", of(("funding_rate", ()), ("rsi", (5,)))),
        ("funding.columns.0.windows", of(("funding_rate", (3,)))),
        ("funding.columns.0.windows", of(("funding_mean", ()))),
        ("funding.columns.0.windows", of(("funding_mean", (1,)))),
        ("funding.columns.0.windows", of(("funding_zscore", (271,)))),
        ("funding.columns.0.windows", of(("funding_wait", (5,)))),
        ("funding.columns.0.windows", of(("funding_age", (0,)))),
        ("funding.columns.1", of(("funding_rate", ()), ("funding_rate", ()))),
        ("funding.max_age_min", of(("funding_rate", ()), age=0)),
        ("funding.max_age_min", of(("funding_rate", ()), age=2_881)),
        ("features", of(*(("funding_mean", (n + 2,)) for n in range(64)))),
    ],
)
def test_what_cannot_be_computed_is_refused_by_its_field(
    field: str, funding: FundingColumns
) -> None:
    with pytest.raises(BadInput) as refused:
        make_feature_set("mine", SINE, funding=funding)

    assert refused.value.field == field


def test_a_candles_column_may_not_be_called_as_one_of_funding() -> None:
    with pytest.raises(BadInput) as refused:
        make_feature_set(
            "mine",
            [Feature(name="funding_rate", rule="day_sine")],
            funding=of(("funding_rate", ())),
        )

    assert refused.value.field == "features.0.name"


def test_holes_are_found_at_the_ends_and_within() -> None:
    hour = 60 * MINUTE_MS

    assert holes([hour, 2 * hour], 0, 3 * hour, 60) is None
    assert holes([], 0, 2 * hour, 60) == (0, 2 * hour)
    assert holes([2 * hour, 3 * hour, 5 * hour], 0, 6 * hour, 60) == (0, 5 * hour)
    assert holes([hour, 9 * hour], 0, 3 * hour, 60) == (hour, 3 * hour)

"""Closes of another feed beside ours: which count, and in which order they came does not matter."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.market.bar_closes import KEPT, NEWEST, BarClose, bar_close, drift_bps, merged
from desk.market.candles import Candle, Candles
from desk.market.signals import ParseStatus, parse, receive
from tests.desk.market.test_signals import NOW_MS, alert

BEGIN_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS
WINDOW = Candles.of(
    [
        Candle(BEGIN_MS + i * MINUTE_MS, 100.0 + i, 101.0 + i, 99.0 + i, 100.0 + i, 1.0)
        for i in range(20)
    ]
)
ENDS_MS = [BEGIN_MS + (i + 1) * MINUTE_MS for i in range(20)]


def close(index: int, price: float, *, source: str = "main", received_ms: int = 1) -> BarClose:
    return BarClose(
        source_id=source,
        interval="1m",
        close_ms=BEGIN_MS + (index + 1) * MINUTE_MS,
        price=price,
        received_ms=received_ms,
    )


def test_the_newest_common_close_of_each_source_counts_and_the_furthest_source_decides() -> None:
    agrees, drifts = close(19, 119.0), close(18, 118.0 * 1.01)
    assert drift_bps(WINDOW, "1m", [drifts]) == pytest.approx(100.0)
    assert drift_bps(WINDOW, "1m", [agrees, drifts]) == 0.0
    other = replace(drifts, source_id="other")
    assert drift_bps(WINDOW, "1m", [agrees, other]) == pytest.approx(100.0)


def test_of_two_closes_of_one_bar_the_later_received_counts() -> None:
    wrong, right = close(19, 999.0, received_ms=5), close(19, 119.0, received_ms=6)
    for given_order in ([wrong, right], [right, wrong]):
        assert drift_bps(WINDOW, "1m", given_order) == 0.0
        assert merged(given_order, ()) == merged((), given_order) == (right,)


@pytest.mark.parametrize("index", [20, 19 - NEWEST, -5])
def test_a_close_that_is_none_of_our_newest_says_nothing(index: int) -> None:
    assert drift_bps(WINDOW, "1m", [close(index, 1.0)]) is None
    assert drift_bps(Candles.empty(), "1m", [close(index, 1.0)]) is None


def test_the_newest_closes_of_each_source_are_kept() -> None:
    closes = [close(i, 1.0, source=source) for source in ("a", "b") for i in range(KEPT + 9)]
    kept = merged((), closes)
    assert len(kept) == 2 * KEPT
    assert min(each.close_ms for each in kept) == BEGIN_MS + 10 * MINUTE_MS


CLOSES = st.lists(
    st.builds(
        close,
        st.integers(0, 200),
        st.floats(1, 1e6),
        source=st.sampled_from(["a", "b"]),
        received_ms=st.integers(0, 5),
    ),
    max_size=200,
)


@given(CLOSES, st.randoms(use_true_random=False), st.integers(0, 200))
def test_what_is_kept_does_not_depend_on_order_repeats_or_how_it_was_split(
    closes: list[BarClose], rng: random.Random, at: int
) -> None:
    shuffled = list(closes)
    rng.shuffle(shuffled)
    whole = merged((), closes)
    assert merged(merged((), shuffled[:at]), shuffled[at:] + shuffled[:3]) == whole
    assert merged(whole, closes) == whole
    for source in ("a", "b"):
        kept = [each.close_ms for each in whole if each.source_id == source]
        assert len(kept) <= KEPT
        assert kept == sorted(set(kept), reverse=True)
        rest = {each.close_ms for each in closes if each.source_id == source} - set(kept)
        assert not rest or max(rest) < min(kept)


@given(CLOSES, CLOSES)
def test_closes_after_our_newest_candle_never_change_the_verdict(
    known: list[BarClose], later: list[BarClose]
) -> None:
    after = [replace(each, close_ms=each.close_ms + 20 * MINUTE_MS) for each in later]
    assert drift_bps(WINDOW, "1m", [*known, *after]) == drift_bps(WINDOW, "1m", known)


def test_only_a_sound_alert_that_fired_after_its_bar_gives_a_close() -> None:
    signal = parse(receive("main", alert(), received_ms=NOW_MS))
    found = bar_close(signal, fired_ms=NOW_MS, now_ms=NOW_MS)
    assert found is not None
    assert (found.close_ms, found.price, found.interval) == (NOW_MS, 43000.5, "1h")
    assert bar_close(signal, fired_ms=NOW_MS - 1, now_ms=NOW_MS) is None
    assert bar_close(signal, fired_ms=NOW_MS, now_ms=NOW_MS - 1) is None
    for status in (ParseStatus.PARTIAL, ParseStatus.STALE, ParseStatus.UNPARSED):
        assert (
            bar_close(replace(signal, parse_status=status), fired_ms=NOW_MS, now_ms=NOW_MS) is None
        )

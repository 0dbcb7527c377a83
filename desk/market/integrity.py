"""What may be stored and what may be decided on: the verdict over a batch and over a window."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desk.market.candles import Candle, Candles, Ints, sorted_unique
from desk.market.cross import DriftLevels
from desk.market.gaps import GapEvent, GapStatus, find_gaps
from desk.market.interval import Interval, close_ms, interval_ms, is_aligned

STALE_AFTER_INTERVALS = 2.5
"""Age of the newest candle, from its open time, beyond which it is stale. The open time of a candle
that has just closed is one interval old, so a feed may be 1.5 intervals late."""
DRIFT_LEVELS = DriftLevels()
WICK_SIGMAS = 8.0
"""A wick longer than so many robust standard deviations of the window's returns is an outlier."""
LEAST_SIGMA = 5e-5
"""Half a basis point: in a market that stands still every tick would be an outlier."""
WICK_ROWS = 30
"""Fewer candles say nothing about what is usual."""
FROZEN_ROWS = 5
"""So many equal flat candles without volume in a row are no market but a standing feed."""

UNSORTED, DUPLICATED = "candles_unsorted", "candles_duplicated"
PUT_RIGHT = (UNSORTED, DUPLICATED)
"""What is wrong with the order of a batch and not with its rows."""

type Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A batch after inspection: `candles` are sorted, unique, closed, on the grid and sound.

    `rejected` holds every other row with its reason. `warnings` describe what was put right,
    `blocks` what must keep the pair from trading.
    """

    candles: Candles
    rejected: tuple[tuple[Candle, str], ...] = ()
    warnings: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowVerdict:
    """Whether a stored window may be decided on: `blocks` and `holds` empty mean yes."""

    warnings: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    """Not on this candle; the next one decides by itself whether it was real."""


def inspect(batch: Candles, interval: Interval, *, now_ms: int, error_ms: int = 0) -> Verdict:
    """Sort out a batch as the venue sent it.

    Order and duplicates are put right (of rows with one open time the last given wins) and warned
    of, also where the venue's adapter has done so before and noted it. The candle
    still forming is left out without a word, and so is a newest one of which only `now_ms`, which may be
    wrong by `error_ms`, says that it closed: a later candle in the batch would prove it. Rejected: `timestamp_misalignment` (which also
    blocks), `from_the_future` (by more than an interval), `not_finite`, `not_positive`, `negative_volume`, `high_below_low`.
    """
    reasons = _reasons(batch, interval, now_ms)
    is_bad = reasons != ""
    closes_ms = close_ms(batch.open_ms, interval)
    is_newest = batch.open_ms == batch.open_ms[~is_bad].max(initial=0)
    is_forming = ~is_bad & (closes_ms > now_ms - np.where(is_newest, error_ms, 0))
    kept = sorted_unique(batch.take(~is_bad & ~is_forming))
    rejected = tuple((batch.row(int(i)), str(reasons[i])) for i in np.flatnonzero(is_bad))
    warnings = {
        UNSORTED: UNSORTED in batch.noted or bool(np.any(np.diff(batch.open_ms) < 0)),
        DUPLICATED: DUPLICATED in batch.noted or len(np.unique(batch.open_ms)) < len(batch),
        "candles_rejected": bool(rejected),
        "candles_without_volume": bool(np.any(kept.volume == 0)),
    }
    is_misaligned = bool(np.any(reasons == "timestamp_misalignment"))
    return Verdict(
        candles=kept,
        rejected=rejected,
        warnings=_codes(warnings),
        blocks=("timestamp_misalignment",) if is_misaligned else (),
    )


def put_right(open_ms: Ints) -> tuple[str, ...]:
    """What sorting rows as they came puts right: warning codes. Newest first is an order as well."""
    steps = np.diff(open_ms)
    is_in_order = bool(np.all(steps >= 0) or np.all(steps <= 0))
    return _codes({UNSORTED: not is_in_order, DUPLICATED: len(np.unique(open_ms)) < len(open_ms)})


def window_verdict(
    window: Candles,
    interval: Interval,
    *,
    now_ms: int,
    needed: int,
    gaps: Iterable[GapEvent] = (),
    stale_after_intervals: float = STALE_AFTER_INTERVALS,
    drift_bps: float | None = None,
    levels: DriftLevels = DRIFT_LEVELS,
    is_misaligned: bool = False,
    second_price: float | None = None,
) -> WindowVerdict:
    """Judge the stored candles (oldest first) that a decision would rest on.

    `needed` is how many candles the decision wants, `gaps` the recorded gaps of this pair and
    interval. A hole recorded as absent at the venue only warns: no trade happened in it. A gap that
    is recorded as open counts while candles of it are missing: once they are all in the window it
    is healed, whatever its row says until the next scan.
    `drift_bps` is the distance of a second source (None: it has nothing to say), judged by `levels`;
    `is_misaligned` that rows off the grid came in last.
    An outlier wick of the newest candle holds decisions until the next candle is there, or until a
    second source, whose price during that candle is `second_price`, has seen half of it as well.
    Trailing frozen candles count as stale: the feed goes on, the market does not.
    """
    step = interval_ms(interval)
    recorded = [gap for gap in gaps if _touches(gap, window)]
    open_now = [
        gap
        for gap in recorded
        if gap.status in (GapStatus.OPEN, GapStatus.HEALING) and _is_lacking(gap, window, step)
    ]
    absent = [gap for gap in recorded if gap.status is GapStatus.ABSENT_AT_VENUE]
    holes = _inner_holes(window, interval)
    unexplained = [hole for hole in holes if not _is_absent(hole, absent)]
    frozen = frozen_rows(window)
    wicks = outlier_wicks(window)
    blocks = {
        "missing_candles": len(window) < needed,
        "timestamp_misalignment": is_misaligned
        or not bool(np.all(is_aligned(window.open_ms, interval))),
        "stale_candles": _is_stale(window, now_ms, stale_after_intervals * step)
        or bool(len(frozen) and frozen[-1]),
        "candle_gaps_detected": bool(unexplained),
        "open_gap_events": bool(open_now),
        "cross_source_divergence": drift_bps is not None and drift_bps >= levels.block_bps,
    }
    warnings = {
        UNSORTED: bool(np.any(np.diff(window.open_ms) < 0)),
        "candles_absent_at_venue": len(unexplained) < len(holes),
        "candles_frozen": bool(np.any(frozen)),
        "outlier_wicks": bool(np.any(wicks)),
        "cross_source_drift": drift_bps is not None and drift_bps >= levels.warn_bps,
    }
    is_doubtful = bool(len(wicks) and wicks[-1]) and not _is_seen(window.row(-1), second_price)
    return WindowVerdict(
        warnings=_codes(warnings),
        blocks=_codes(blocks),
        holds=_codes({"outlier_wick": is_doubtful}),
    )


def frozen_rows(candles: Candles, *, at_least: int = FROZEN_ROWS) -> Mask:
    """Mark rows (bool[N]) of runs of at least `at_least` flat candles of one price without volume."""
    flat = (candles.volume == 0) & (candles.high == candles.low)
    same = np.zeros(len(candles), dtype=np.bool_)
    same[1:] = flat[1:] & flat[:-1] & (candles.close[1:] == candles.close[:-1])
    starts = np.flatnonzero(~same)  # every row that does not go on with the run before it
    lengths = np.diff(np.append(starts, len(candles)))
    return np.repeat(lengths >= at_least, lengths) & flat


def outlier_wicks(candles: Candles) -> Mask:
    """Mark rows (bool[N]) whose longer wick is an outlier: more than `WICK_SIGMAS` robust standard
    deviations (median absolute deviation x 1.4826) of all close to close returns, as a fraction of the
    close. Source: catalogue row D08; real minutes have one or none a day.
    """
    if len(candles) < WICK_ROWS:
        return np.zeros(len(candles), dtype=np.bool_)
    returns = np.diff(np.log(candles.close))
    sigma = 1.4826 * float(np.median(np.abs(returns - np.median(returns))))
    upper = candles.high - np.maximum(candles.open, candles.close)
    lower = np.minimum(candles.open, candles.close) - candles.low
    longer = np.maximum(upper, lower) / candles.close
    return longer > WICK_SIGMAS * max(sigma, LEAST_SIGMA)


def _is_seen(candle: Candle, price: float | None) -> bool:
    """Whether a second source was at least half way out on the longer wick."""
    if price is None:
        return False
    top, bottom = max(candle.open, candle.close), min(candle.open, candle.close)
    if candle.high - top >= bottom - candle.low:
        return price >= (top + candle.high) / 2
    return price <= (bottom + candle.low) / 2


def window_move(window: Candles) -> float:
    """Return the largest swing inside a window as a fraction: highest high over lowest low, minus 1."""
    if not len(window):
        return 0.0
    return float(np.max(window.high) / np.min(window.low) - 1.0)


def _reasons(batch: Candles, interval: Interval, now_ms: int) -> NDArray[np.str_]:
    """Why each row is rejected, empty for sound ones; the first reason wins."""
    prices = np.stack((batch.open, batch.high, batch.low, batch.close))
    columns = np.vstack((prices, batch.volume))
    with np.errstate(invalid="ignore"):
        top = np.maximum(batch.open, batch.close)
        bottom = np.minimum(batch.open, batch.close)
        faults = [
            ~is_aligned(batch.open_ms, interval),
            batch.open_ms > now_ms + interval_ms(interval),
            ~np.all(np.isfinite(columns), axis=0),
            np.any(prices <= 0, axis=0),
            batch.volume < 0,
            (batch.high < top) | (batch.low > bottom),
        ]
    names = [
        "timestamp_misalignment",
        "from_the_future",
        "not_finite",
        "not_positive",
        "negative_volume",
        "high_below_low",
    ]
    return np.select(faults, [np.array(name) for name in names], default="")


def _inner_holes(window: Candles, interval: Interval) -> list[tuple[int, int]]:
    if not len(window):
        return []
    first, last = int(np.min(window.open_ms)), int(np.max(window.open_ms))
    return find_gaps(window.open_ms, interval, start_ms=first, end_ms=last + 1)


def _is_absent(hole: tuple[int, int], absent: list[GapEvent]) -> bool:
    return any(gap.start_ms <= hole[0] and hole[1] <= gap.end_ms for gap in absent)


def _touches(gap: GapEvent, window: Candles) -> bool:
    """Whether a gap lies in the window or after it."""
    return not len(window) or gap.end_ms >= int(np.min(window.open_ms))


def _is_lacking(gap: GapEvent, window: Candles, step: int) -> bool:
    """Whether the part of a gap from the window's first candle on still lacks a candle."""
    if not len(window):
        return True
    first_ms = max(gap.start_ms, int(np.min(window.open_ms)))
    inside = (window.open_ms >= first_ms) & (window.open_ms <= gap.end_ms)
    return len(np.unique(window.open_ms[inside])) < (gap.end_ms - first_ms) // step + 1


def _is_stale(window: Candles, now_ms: int, limit_ms: float) -> bool:
    return not len(window) or now_ms - int(np.max(window.open_ms)) > limit_ms


def _codes(found: dict[str, bool]) -> tuple[str, ...]:
    return tuple(code for code, is_there in found.items() if is_there)

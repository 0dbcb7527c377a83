"""How fresh each data source of a pair is, as its poller last saw it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from actors.events import source_event
from actors.market_time import MarketClock, acceleration_grace_ms
from actors.store_calls import retried, stored
from desk.ids import Pair
from desk.market.interval import Interval, interval_ms
from desk.runs import SourceStatus
from desk.store import kinds
from desk.store.port import Store

CANDLES, FUNDING, MARK, INDEX = "bingx_candles", "funding", "mark_price", "index_price"
TICKER, OPEN_INTEREST, ORDER_BOOK, TRADES = "ticker", "open_interest", "orderbook", "trades"
THRESHOLDS_S = {
    CANDLES: 120,
    FUNDING: 28_800,
    MARK: 120,
    INDEX: 120,
    TICKER: 120,
    OPEN_INTEREST: 120,
    ORDER_BOOK: 60,
    TRADES: 120,
}

OK, STALE, UNAVAILABLE = "ok", "stale", "unavailable"


class SourceBook:
    """The status rows of one pair. What an operator set in a row (enabled, threshold) is kept."""

    def __init__(self, pair: Pair, store: Store, clock: MarketClock) -> None:
        self._pair, self._store, self._clock = pair, store, clock

    async def delivered(
        self, source_type: str, interval: Interval = "", *, last_event_ms: int
    ) -> None:
        """The source answered; its newest event is of this market time."""
        now_ms = self._clock.now_ms()

        def change(before: SourceStatus) -> SourceStatus:
            after = replace(
                before,
                last_event_ms=max(last_event_ms, before.last_event_ms),
                last_success_ms=now_ms,
                detail="",
            )
            speed = self._clock.anchor.speed
            return judged(replace(after, status=OK), now_ms=now_ms, speed=speed)

        await self._change(source_type, interval, change)

    async def failed(self, source_type: str, interval: Interval = "", *, why: str) -> None:
        """The source did not answer."""
        await self._change(
            source_type, interval, lambda before: replace(before, status=UNAVAILABLE, detail=why)
        )

    async def is_enabled(self, source_type: str, interval: Interval = "") -> bool:
        """Whether the operator wants it polled."""
        key = key_of(source_type, self._pair, interval)
        found = await stored(lambda: self._store.get(kinds.SOURCES, key))
        return found is None or found.value.enabled

    async def _change(
        self, source_type: str, interval: Interval, change: Callable[[SourceStatus], SourceStatus]
    ) -> None:
        key = key_of(source_type, self._pair, interval)

        async def attempt() -> None:
            found = await stored(lambda: self._store.get(kinds.SOURCES, key))
            before = found.value if found else new_status(source_type, self._pair, interval)
            after, now_ms = change(before), self._clock.now_ms()
            moved = found is None or after.status != before.status
            await stored(
                lambda: self._store.put(
                    kinds.SOURCES,
                    key,
                    after,
                    at_ms=now_ms,
                    expected_version=found.version if found else 0,
                    event=source_event(after, at_ms=now_ms) if moved else None,
                )
            )

        await retried(attempt)


def key_of(source_type: str, pair: Pair, interval: Interval) -> str:
    """Key of a status row."""
    return f"{source_type}:{pair}:{interval}"


def new_status(source_type: str, pair: Pair, interval: Interval) -> SourceStatus:
    """A source of which nothing is known yet."""
    threshold_s = THRESHOLDS_S[source_type]
    if interval:
        # A candle closes one interval after it opened, and the next one interval later still.
        threshold_s = max(threshold_s, 2 * interval_ms(interval) // 1000)
    return SourceStatus(
        source_type=source_type,
        pair=pair,
        interval=interval,
        enabled=True,
        status=UNAVAILABLE,
        freshness_threshold_s=threshold_s,
        last_event_ms=0,
        last_success_ms=0,
    )


def configured(pairs: Sequence[Pair], intervals: Sequence[Interval]) -> list[SourceStatus]:
    """Every source of the venue that a desk of these pairs and intervals polls, as if nothing were
    known of it: whoever lists sources starts from these, for one without a row is not ok."""
    kinds_of_feed = [name for name in THRESHOLDS_S if name != CANDLES]
    return [
        replace(new_status(source_type, pair, interval), detail="was not polled yet")
        for pair in pairs
        for source_type, interval in (
            *((CANDLES, interval) for interval in intervals),
            *((name, "") for name in kinds_of_feed),
        )
    ]


def judged(source: SourceStatus, *, now_ms: int, speed: float = 1.0) -> SourceStatus:
    """The row as it counts now: a source that says nothing any more goes stale by itself."""
    if source.status == OK and is_overdue(source, now_ms=now_ms, speed=speed):
        age_s = (now_ms - source.last_event_ms) // 1000
        return replace(source, status=STALE, detail=f"newest event {age_s} s old")
    return source


def is_overdue(source: SourceStatus, *, now_ms: int, speed: float = 1.0) -> bool:
    """Whether its newest event is older than its threshold, whatever its last poll said."""
    allowed_ms = source.freshness_threshold_s * 1000 + acceleration_grace_ms(speed)
    return now_ms - source.last_event_ms > allowed_ms

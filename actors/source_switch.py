"""The venue's data sources as an operator turns them: switched off and on row by row, or polled now."""

from collections.abc import Sequence
from dataclasses import replace

from actors.commands import FeedScope
from actors.events import source_event
from actors.market_time import MarketClock
from actors.run_book import DECIDING, PAGE
from actors.source_book import CANDLES, THRESHOLDS_S, configured, key_of
from actors.store_calls import retried, stored
from desk.errors import BadInput
from desk.ids import Pair, parse_pair
from desk.market.interval import Interval, parse_interval
from desk.runs import SourceStatus
from desk.store import kinds
from desk.store.port import Store


def in_scope(
    scope: FeedScope, pairs: Sequence[Pair], intervals: Sequence[Interval]
) -> list[SourceStatus]:
    """The configured sources that are meant, as of nothing known; never none.

    Raises `BadInput` naming the field that fits no source of this desk.
    """
    pair = parse_pair(scope.pair) if scope.pair is not None else None
    interval = parse_interval(scope.interval) if scope.interval is not None else None
    _expect("pair", pair, pairs)
    _expect("interval", interval, intervals)
    _expect("source_type", scope.source_type, tuple(THRESHOLDS_S))
    if interval is not None and scope.source_type not in {None, CANDLES}:
        raise BadInput("interval", f"was {interval}, but {scope.source_type} has no intervals")
    return [
        row
        for row in configured(pairs, intervals)
        if pair in {None, row.pair}
        and interval in {None, row.interval}
        and scope.source_type in {None, row.source_type}
    ]


def poll_asks(rows: Sequence[SourceStatus]) -> list[tuple[Pair, tuple[str, ...]]]:
    """Who polls these sources: a pair with its intervals, or no pair with types of other sources."""
    names: dict[Pair, dict[str, None]] = {}
    for row in rows:
        is_candle = row.source_type == CANDLES
        found = names.setdefault(row.pair if is_candle else "", {})
        found[row.interval if is_candle else row.source_type] = None
    return [(pair, tuple(found)) for pair, found in names.items()]


class SourceSwitch:
    """Writes what an operator may set in a status row. Its poller keeps it, and takes it at the
    source's next turn; no row is ever written without an event when it moved."""

    def __init__(self, store: Store, clock: MarketClock) -> None:
        self._store, self._clock = store, clock

    async def turn(self, rows: Sequence[SourceStatus], *, enabled: bool) -> int:
        """Switch sources on or off; returns how many were not so before."""
        return sum([await self._turn_one(fresh, enabled=enabled) for fresh in rows])

    async def runs_on(self, rows: Sequence[SourceStatus]) -> list[str]:
        """Ids of the deciding runs that need one of these sources: without it they pause."""
        candles = {(row.pair, row.interval) for row in rows if row.source_type == CANDLES}
        docs = await stored(lambda: self._store.list(kinds.RUNS, limit=PAGE))
        return [
            doc.value.run_id
            for doc in docs
            if doc.value.status in DECIDING and (doc.value.pair, doc.value.interval) in candles
        ]

    async def _turn_one(self, fresh: SourceStatus, *, enabled: bool) -> bool:
        key = key_of(fresh.source_type, fresh.pair, fresh.interval)

        async def attempt() -> bool:
            found = await stored(lambda: self._store.get(kinds.SOURCES, key))
            before, now_ms = found.value if found else fresh, self._clock.now_ms()
            if before.enabled == enabled:
                return False
            after = replace(before, enabled=enabled)
            await stored(
                lambda: self._store.put(
                    kinds.SOURCES,
                    key,
                    after,
                    at_ms=now_ms,
                    expected_version=found.version if found else 0,
                    event=source_event(after, at_ms=now_ms),
                )
            )
            return True

        return await retried(attempt)


def _expect(field: str, given: str | None, known: Sequence[str]) -> None:
    if given is not None and given not in known:
        raise BadInput(field, f"was {given}, expected one of {' '.join(known)}")

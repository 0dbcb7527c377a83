"""Hot candles in the Redis-protocol store: a string of packed values per chunk of the grid."""

from collections.abc import Sequence
from itertools import batched

from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval, slot_ms
from desk.store.answers import accepted, envelope
from desk.store.connection import Argument, Connection
from desk.store.layout import (
    INGEST_ROWS,
    READ_CHUNKS,
    chunk_ms,
    pack,
    series,
    storable,
    unpack,
)
from desk.store.port import CandlesAfter, Held


class ValkeyCandles:
    """Upserts in small calls, reads in whole chunks."""

    _connection: Connection

    def write_candles(self, pair: Pair, interval: Interval, candles: Candles) -> int:
        added, given = 0, storable(candles)
        for first in range(0, len(given), INGEST_ROWS):
            runs = pack(given.take(slice(first, first + INGEST_ROWS)), interval)
            arguments: list[Argument] = [part for run in runs for part in run]
            answer = self._connection.change(
                "ingest_candles",
                *envelope(),
                series(pair, interval),
                chunk_ms(interval),
                slot_ms(interval),
                *arguments,
            )
            added += int((accepted(answer) or [b"0"])[0])
        return added

    def read_candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        length = chunk_ms(interval)
        index = f"cidx:{series(pair, interval)}"
        chunks = self._connection.run(
            lambda: self._connection.bulk.zrangebyscore(
                index, start_ms // length, (end_ms - 1) // length
            )
        )
        return self._chunks(pair, interval, chunks).between(start_ms, end_ms)

    def last_candles(self, pair: Pair, interval: Interval, count: int) -> Candles:
        if count <= 0:
            return Candles.empty()
        name, found, read, missing = series(pair, interval), list[Candles](), 0, count
        while missing > 0:
            flat = self._connection.read("last_chunks", name, read, READ_CHUNKS, missing, bulk=True)
            chunks = _unpacked(flat, interval)
            if not chunks:
                break
            found += chunks
            read += len(chunks)
            missing -= sum(len(chunk) for chunk in chunks)
        return Candles.concat(found[::-1]).take(slice(-count, None))

    def candles_after(
        self, pair: Pair, interval: Interval, first_ms: int, last_ms: int
    ) -> CandlesAfter | None:
        held = Held(pair=pair, interval=interval, first_ms=first_ms, last_ms=last_ms)
        answer = self._connection.read("candles_after", *after_arguments(held), bulk=True)
        return after_of(interval, answer)

    def candle_bounds(self, pair: Pair, interval: Interval) -> tuple[int, int, int] | None:
        key = f"cmeta:{series(pair, interval)}"
        earliest, latest, count = self._connection.run(
            lambda: self._connection.bulk.hmget(key, "earliest", "latest", "count")
        )
        return None if earliest is None else (int(earliest), int(latest), int(count))

    def drop_candles(
        self, pair: Pair, interval: Interval, before_ms: int, *, expected: int | None = None
    ) -> int:
        check: list[Argument] = [] if expected is None else [expected]
        answer = self._connection.change(
            "drop_candles",
            *envelope(),
            series(pair, interval),
            chunk_ms(interval),
            slot_ms(interval),
            before_ms // chunk_ms(interval) - 1,
            *check,
        )
        return int((accepted(answer) or [b"0"])[0])

    def _chunks(self, pair: Pair, interval: Interval, chunks: list[bytes]) -> Candles:
        name, found = series(pair, interval), list[Candles]()
        for batch in batched(chunks, READ_CHUNKS):
            flat = self._connection.read("candle_chunks", name, *batch, bulk=True)
            found += _unpacked(flat, interval)
        return Candles.concat(found)


def _unpacked(flat: list[bytes], interval: Interval) -> list[Candles]:
    return [unpack(int(flat[n]), flat[n + 1], interval) for n in range(0, len(flat), 2)]


def after_arguments(held: Held) -> list[Argument]:
    """What the function `candles_after` is asked with."""
    length, slot = chunk_ms(held.interval), slot_ms(held.interval)
    return [
        series(held.pair, held.interval),
        held.first_ms // length,
        held.last_ms // length,
        held.last_ms % length // slot,
        READ_CHUNKS,
    ]


def after_of(interval: Interval, answer: Sequence[bytes]) -> CandlesAfter | None:
    """What the function `candles_after` answered."""
    if not answer:
        return None
    origin, revision, earliest, latest, altered, *flat = answer
    found = [
        unpack(int(flat[n]), flat[n + 2], interval, int(flat[n + 1]))
        for n in range(0, len(flat), 3)
    ]
    return CandlesAfter(
        origin=origin.decode(),
        revision=int(revision),
        earliest_ms=int(earliest),
        latest_ms=int(latest),
        altered_revision=int(altered),
        candles=Candles.concat(found),
    )

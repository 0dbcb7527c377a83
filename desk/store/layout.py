"""How candles and requests are laid out in the store: chunks of packed values, limits, lifetimes."""

import numpy as np
from numpy.typing import NDArray

from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval, slot_ms

CHUNK_CANDLES = 480
"""Candles per hash: below the 512 entries up to which the server keeps a hash as one flat list."""
INGEST_ROWS = 100
"""Candles per call: more would delay money calls behind it (p99 131 ms at 480, 27 ms at 100)."""
READ_CHUNKS = 8
"""Chunks per call, for the same reason: about 0.2 ms of the server's time each."""
MONEY_REQUEST_TTL_S = 48 * 3600
"""How long the answer of a money call is kept for a repeat of its request id."""
RETRY_REQUEST_TTL_S = 60
"""The same for ids minted by the adapter itself, which only cover its own repeat."""
ANSWERS_KEPT_MS = 24 * 3_600_000
"""How long the answer of a request that must happen once is given again (wall)."""
METRIC_SAMPLES_KEPT = 20_000
MAX_BLOCK_MS = 25_000
"""Longest wait for events in one call; a caller that wants more asks again."""

_RECORD = np.dtype([("slot", ">u2"), ("values", "<f8", (5,))])


def series(pair: Pair, interval: Interval) -> str:
    """Name of a series inside keys."""
    return f"{pair}:{interval}"


def chunk_ms(interval: Interval) -> int:
    """Length of time one chunk covers."""
    return CHUNK_CANDLES * slot_ms(interval)


def pack(candles: Candles, interval: Interval) -> list[tuple[int, bytes, bytes]]:
    """Chunk number, slot and packed open, high, low, close, volume of each candle."""
    step = slot_ms(interval)
    chunks, slots = np.divmod(candles.open_ms // step, CHUNK_CANDLES)
    values = np.stack(
        [candles.open, candles.high, candles.low, candles.close, candles.volume], axis=1
    ).astype("<f8")
    slot_bytes, value_bytes = slots.astype(">u2").tobytes(), values.tobytes()
    return [
        (int(chunk), slot_bytes[2 * row : 2 * row + 2], value_bytes[40 * row : 40 * row + 40])
        for row, chunk in enumerate(chunks)
    ]


def unpack(chunk: int, records: bytes, interval: Interval) -> Candles:
    """The candles of one chunk, oldest first, from its records in any order."""
    table = np.frombuffer(records, dtype=_RECORD)
    table = table[np.argsort(table["slot"])]
    slots: NDArray[np.int64] = table["slot"].astype(np.int64)
    values: NDArray[np.float64] = np.ascontiguousarray(table["values"].T, dtype=np.float64)
    return Candles(
        open_ms=(chunk * CHUNK_CANDLES + slots) * slot_ms(interval),
        open=values[0],
        high=values[1],
        low=values[2],
        close=values[3],
        volume=values[4],
    )

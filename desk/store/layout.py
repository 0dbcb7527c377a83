"""How candles and requests are laid out in the store: chunks of packed values, limits, lifetimes.

A chunk of candles is one string of 40 bytes a slot (open, high, low, close, volume, little-endian
float64), zeros where there is no candle: it is read as fast as a string is, and needs no sorting.
"""

import numpy as np

from desk.ids import Pair
from desk.market.candles import Candles, sorted_unique
from desk.market.interval import Interval, slot_ms

CHUNK_CANDLES = 480
"""Candles per string: 19 kB, so that one more candle costs no more than the copy of so much."""
INGEST_ROWS = 100
"""Candles per call: more would delay money calls behind it (p99 131 ms at 480, 27 ms at 100)."""
READ_CHUNKS = 8
"""Chunks per call, for the same reason."""
MONEY_REQUEST_TTL_S = 48 * 3600
"""How long the answer of a money call is kept for a repeat of its request id."""
RETRY_REQUEST_TTL_S = 60
"""The same for ids minted by the adapter itself, which only cover its own repeat."""
ANSWERS_KEPT_MS = 24 * 3_600_000
"""How long the answer of a request that must happen once is given again (wall)."""
METRIC_SAMPLES_KEPT = 20_000
MAX_BLOCK_MS = 25_000
"""Longest wait for events in one call; a caller that wants more asks again."""
AUDIT_HEAD = "audit:head"
_VALUES = ("open", "high", "low", "close", "volume")


def audit_key(seq: int) -> str:
    """Key of the row of the audit at a place; keys sort as the places do."""
    return f"{seq:012d}"


def series(pair: Pair, interval: Interval) -> str:
    """Name of a series inside keys."""
    return f"{pair}:{interval}"


def chunk_ms(interval: Interval) -> int:
    """Length of time one chunk covers."""
    return CHUNK_CANDLES * slot_ms(interval)


def storable(candles: Candles) -> Candles:
    """Return the candles sorted, each open time once.

    Raises `ValueError` for an open price of 0, which would read as no candle.
    """
    if not candles.open.all():
        raise ValueError("open: was 0 in a candle to be stored, expected a price")
    return sorted_unique(candles)


def pack(candles: Candles, interval: Interval) -> list[tuple[int, int, bytes]]:
    """Return chunk, first slot and packed values of each run of neighbours among storable candles."""
    slots = candles.open_ms // slot_ms(interval)
    is_first = (np.diff(slots, prepend=-1) != 1) | (slots % CHUNK_CANDLES == 0)
    begins = np.flatnonzero(is_first)
    values = np.stack([getattr(candles, name) for name in _VALUES], axis=1).astype("<f8")
    return [
        (*divmod(int(slots[begin]), CHUNK_CANDLES), values[begin:end].tobytes())
        for begin, end in zip(begins, [*begins[1:], len(slots)], strict=True)
    ]


def unpack(chunk: int, records: bytes, interval: Interval, first_slot: int = 0) -> Candles:
    """The candles of one chunk, oldest first, from its records, which begin with `first_slot`."""
    table = np.frombuffer(records, dtype="<f8").reshape(-1, len(_VALUES))
    slots = np.flatnonzero(table[:, 0])
    values = table.T if len(slots) == len(table) else table[slots].T
    columns = dict(zip(_VALUES, np.ascontiguousarray(values, dtype=np.float64), strict=True))
    open_ms = (chunk * CHUNK_CANDLES + first_slot + slots) * slot_ms(interval)
    return Candles(open_ms=open_ms, **columns)

"""Candles: the mapped history and the hot store beside bare floors and beside other stores.

A year of 1m candles and three years of open times with 200 holes. The candles are real ones, tiled,
where `RAYDESK_DATA` names the folder of them; generated ones else, which the notes say.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import peers
from bench.figures import Figure, interleaved, median, quantile
from desk.market.candles import Candle, Candles, Ints
from desk.store import server
from desk.store.candle_cache import CandleCache
from desk.store.history import History
from desk.store.layout import pack
from desk.store.valkey import ValkeyStore

YEAR = 525_600
HOLES = 200
LAST = peers.LAST
STEP_MS = 60_000
START_MS = 1_672_531_200_000
"""2023-01-01."""
PAIR, LONG_PAIR = "BTC-USDT", "ETH-USDT"
TAPE = "binance_spot_BTCUSDT_1m_2025-05-20_2025-08-18.parquet"
ROUNDS = 9
CALLS = 400
"""Timed store calls of each kind."""


@dataclass(frozen=True, slots=True)
class _Data:
    year: Candles
    three_years: Ints
    origin: str

    @property
    def end_ms(self) -> int:
        return START_MS + YEAR * STEP_MS


def figures() -> Iterator[Figure]:
    """Measure everything in one folder of its own, ours and the others in turns."""
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as name:
        home, data = Path(name), _data()
        history = History(home / "history")
        history.append(PAIR, "1m", data.year, "bench")
        history.append(LONG_PAIR, "1m", _flat(data.three_years), "bench")
        arctic, why = _arctic(home, data)
        duck, catalog = (
            peers.DuckDB(home, data.year, data.three_years),
            peers.Catalog(home, data.year),
        )
        beside = _Beside(duck=duck, catalog=catalog, arctic=arctic, why=why, origin=data.origin)
        try:
            yield from _reads(home, history, data, beside)
            yield from _rebuilds(home, history, data)
            yield from _gap_scan(home, history, data, beside)
            yield from _store(home, data, beside)
        finally:
            duck.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """The others, and rows that put one of our figures beside theirs."""

    duck: peers.DuckDB
    catalog: peers.Catalog
    arctic: dict[str, list[float]]
    why: str
    origin: str

    def rows(self, name: str, ours: float, others: dict[str, float]) -> Iterator[Figure]:
        for peer, theirs in others.items():
            yield Figure(
                name=name,
                ours=ours,
                floor=theirs,
                unit="ms",
                floor_name=peer if np.isfinite(theirs) else f"{peer}, not measured: {self.why}",
                goal="≤ 1 x peer",
                met=bool(ours <= theirs),
                notes={"candles": self.origin},
            )

    def of_arctic(self, name: str, fraction: float) -> float:
        return quantile(self.arctic[name], fraction) if self.arctic else float("nan")


def _reads(home: Path, history: History, data: _Data, beside: _Beside) -> Iterator[Figure]:
    cache, span = CandleCache(home / "cache", history), (START_MS, data.end_ms)
    cache.read(PAIR, "1m", *span)
    [file] = (home / "cache").glob(f"{PAIR}/*/*.arrow")

    def mapped() -> object:
        batch = pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)
        return [column.to_numpy() for column in batch.columns]

    ours, floor, duck, catalog = _ms(
        interleaved(
            lambda: cache.read(PAIR, "1m", *span),
            mapped,
            lambda: beside.duck.year(*span),
            beside.catalog.year,
            repetitions=ROUNDS,
        )
    )
    notes = {"candles": data.origin, "rows": YEAR}
    name = "a year of 1m candles, mapped"
    yield _absolute(name, ours, floor, "bare mapping of the same file", 1.0, notes)
    yield from beside.rows(
        name,
        ours,
        {
            "DuckDB": duck,
            "ArcticDB": beside.of_arctic("year", 0.5),
            "nautilus catalog, bars": catalog,
        },
    )

    opened, floor = _ms(
        interleaved(lambda: CandleCache(home / "cache", history).read(PAIR, "1m", *span), mapped)
    )
    yield Figure(
        name="the same, first time in a process: every bit checked",
        ours=opened,
        floor=floor,
        unit="ms",
        floor_name="bare mapping of the same file",
        goal="told",
        met=True,
        notes=notes,
    )

    copied, plain = _ms(
        interleaved(
            lambda: _copy(cache.read(PAIR, "1m", *span)),
            lambda: _copy(data.year),
            repetitions=ROUNDS,
        )
    )
    yield _times(
        "a year of 1m candles, materialised", copied, plain, "copy of the same bytes", 2.0, notes
    )


def _rebuilds(home: Path, history: History, data: _Data) -> Iterator[Figure]:
    files = sorted((home / "history" / PAIR / "1m").glob("*.parquet"))
    span, root = (START_MS, data.end_ms), home / "rebuilt"
    content = b"".join(column.tobytes() for column in _copy(data.year))

    def bare() -> object:
        return pa.concat_tables([pq.read_table(file) for file in files])

    def rebuilt() -> object:
        for file in root.glob("*/*/*.arrow"):
            file.unlink()
        return CandleCache(root, history).latest(PAIR, "1m", 1)

    def bare_and_written() -> object:
        bare()
        (home / "plain.bin").unlink(missing_ok=True)
        return (home / "plain.bin").write_bytes(content)

    ours, floor, whole, both = _ms(
        interleaved(
            lambda: history.read(PAIR, "1m", *span),
            bare,
            rebuilt,
            bare_and_written,
            repetitions=ROUNDS,
        )
    )
    notes = {"candles": data.origin, "files": len(files)}
    yield _times(
        "a year rebuilt from Parquet, hashes checked", ours, floor, "bare pyarrow read", 1.3, notes
    )
    name = "the same, with the cache file published"
    yield _times(name, whole, both, "bare pyarrow read and write of the bytes", 1.5, notes)


def _gap_scan(home: Path, history: History, data: _Data, beside: _Beside) -> Iterator[Figure]:
    cache, span = (
        CandleCache(home / "cache", history),
        (START_MS, START_MS + 3 * YEAR * STEP_MS),
    )
    found = cache.gaps(LONG_PAIR, "1m", *span)

    def differences() -> int:
        return len(np.flatnonzero(np.diff(data.three_years) > STEP_MS))

    if len(found) != differences():
        raise ValueError(f"{len(found)} holes were found, expected {differences()}")
    ours, floor, duck = _ms(
        interleaved(
            lambda: cache.gaps(LONG_PAIR, "1m", *span),
            differences,
            beside.duck.gaps,
            repetitions=ROUNDS,
        )
    )
    notes = {"candles": len(data.three_years), "holes": len(found)}
    name = "gap scan over three years of 1m"
    yield _absolute(name, ours, floor, "differences of open times", 1.0, notes)
    others = {"DuckDB": duck, "ArcticDB": beside.of_arctic("gaps", 0.5)}
    yield from beside.rows(name, ours, others)


def _store(home: Path, data: _Data, beside: _Beside) -> Iterator[Figure]:
    running = server.start(home / "store")
    store = ValkeyStore(running.url)
    try:
        store.load_functions()
        synced = store.durability()["appendfsync"]
        yield from _hot(store, data, beside, {"candles": data.origin, "appendfsync": synced})
    finally:
        store.close()
        server.stop(running)


def _hot(
    store: ValkeyStore, data: _Data, beside: _Beside, notes: dict[str, float | str]
) -> Iterator[Figure]:
    client: Any = store.connection.money
    store.write_candles(PAIR, "1m", data.year.take(slice(YEAR - 3_000, YEAR)))
    client.set("bench:last", b"\x01" * (48 * LAST))
    ours, floor = interleaved(
        lambda: store.last_candles(PAIR, "1m", LAST),
        lambda: client.get("bench:last"),
        repetitions=5 * CALLS,
    )
    duck, catalog = interleaved(beside.duck.last, beside.catalog.last, repetitions=20)
    mine = _p99(ours)
    name = "last 500 candles of the store, p99"
    yield _absolute(name, mine, _p99(floor), "bare GET of as many bytes", 2.0, notes)
    others = {
        "DuckDB": _p99(duck),
        "ArcticDB": beside.of_arctic("last", 0.99),
        "nautilus catalog": _p99(catalog),
    }
    yield from beside.rows(name, mine, others)

    ours, floor, duck, catalog = _upserts(store, client, data, beside)
    mine = _p99(ours)
    name = "upsert of one candle, durable, p99"
    yield _times(name, mine, _p99(floor), "bare durable SETRANGE of it", 2.0, notes)
    others = {
        "DuckDB": _p99(duck),
        "ArcticDB": beside.of_arctic("upsert", 0.99),
        "nautilus catalog": _p99(catalog),
    }
    yield from beside.rows(name, mine, others)


def _upserts(
    store: ValkeyStore, client: Any, data: _Data, beside: _Beside
) -> tuple[list[float], list[float], list[float], list[float]]:
    fresh = iter(_following(data.year, 2 * CALLS + 200))
    bare = iter(_following(data.year, 2 * CALLS + 200))
    ducks, bars = iter(_following(data.year, 200)), iter(_following(data.year, 200))

    def one() -> object:
        return store.write_candles(PAIR, "1m", Candles.of([next(fresh)]))

    def floor() -> object:
        [(chunk, slot, values)] = pack(Candles.of([next(bare)]), "1m")
        return client.setrange(f"bench:{chunk}", slot * len(values), values)

    ours, plain = interleaved(one, floor, repetitions=CALLS)
    duck, catalog = interleaved(
        lambda: beside.duck.upsert(next(ducks)),
        lambda: beside.catalog.upsert(next(bars)),
        repetitions=40,
    )
    return ours, plain, duck, catalog


# --- what they share --------------------------------------------------------------------------


def _absolute(  # noqa: PLR0917 - one row of the table
    name: str, ours: float, floor: float, floor_name: str, most_ms: float, notes: Any
) -> Figure:
    return Figure(
        name=name,
        ours=ours,
        floor=floor,
        unit="ms",
        floor_name=floor_name,
        goal=f"≤ {most_ms:g} ms",
        met=ours <= most_ms,
        notes=notes,
    )


def _times(  # noqa: PLR0917 - one row of the table
    name: str, ours: float, floor: float, floor_name: str, most: float, notes: Any
) -> Figure:
    return Figure(
        name=name,
        ours=ours,
        floor=floor,
        unit="ms",
        floor_name=floor_name,
        goal=f"≤ {most:g} x floor",
        met=ours <= most * floor,
        notes=notes,
    )


def _ms(seconds: list[list[float]]) -> list[float]:
    return [median(each) * 1e3 for each in seconds]


def _p99(seconds: list[float]) -> float:
    return quantile(seconds, 0.99) * 1e3


def _copy(candles: Candles) -> list[Any]:
    return [getattr(candles, name).copy() for name in peers.COLUMNS]


def _following(year: Candles, count: int) -> list[Candle]:
    last = year.row(-1)
    return [last._replace(open_ms=last.open_ms + n * STEP_MS) for n in range(1, count + 1)]


def _arctic(home: Path, data: _Data) -> tuple[dict[str, list[float]], str]:
    try:
        return peers.arctic(home, data.year, data.three_years, ROUNDS), ""
    except (OSError, subprocess.TimeoutExpired) as away:
        return {}, str(away)


def _data() -> _Data:
    open_ms = START_MS + STEP_MS * np.arange(YEAR, dtype=np.int64)
    path = Path(os.environ.get("RAYDESK_DATA", "")) / TAPE
    is_real = path.is_file()
    columns = _tiled(path) if is_real else _generated()
    rng = np.random.default_rng(7)
    lost = 1 + 7 * rng.choice(3 * YEAR // 7 - 1, HOLES, replace=False)
    three_years = np.delete(START_MS + STEP_MS * np.arange(3 * YEAR, dtype=np.int64), lost)
    return _Data(
        year=Candles(open_ms=open_ms, **columns),
        three_years=three_years,
        origin=f"real, tiled: {TAPE}" if is_real else "generated: set RAYDESK_DATA for real ones",
    )


def _tiled(path: Path) -> dict[str, Any]:
    table = pq.read_table(path)
    return {
        name: np.resize(table.column(name).to_numpy(), YEAR).astype(np.float64)
        for name in peers.COLUMNS[1:]
    }


def _generated() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    close = np.round(60_000 + np.cumsum(rng.normal(0, 5, YEAR)), 2)
    return {
        "open": close,
        "high": np.round(close + 1.07, 2),
        "low": np.round(close - 1.03, 2),
        "close": close,
        "volume": np.round(rng.gamma(2.0, 3.0, YEAR), 5),
    }


def _flat(open_ms: Ints) -> Candles:
    ones = np.ones(len(open_ms))
    return Candles(open_ms=open_ms, open=ones, high=ones, low=ones, close=ones, volume=ones)

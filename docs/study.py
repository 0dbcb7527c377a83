"""The README's study, again: candles and funding of a perpetual from two files, then `desk tune`.

`python docs/study.py CANDLES.parquet FUNDING.parquet HOME` in a new folder HOME; the columns of the files
are those of `desk.store.tape`. Prints the sweep's answer as JSON. What it rests on is stored as by a desk
whose venue had these candles, so the same files give the same answer.
"""

import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.store import kinds, server
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import DatasetAsk, Datasets
from desk.store.history import History
from desk.store.tape import read_funding_tape, read_tape
from desk.store.valkey import ValkeyStore
from desk.trading.instruments import Instrument
from desk.venues.port import FundingRate

PAIR = "BTC-USDT"
STEP_MS = 60_000
SWEEP = Path(__file__).with_name("study.yaml")
INSTRUMENT = Instrument(
    pair=PAIR,
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=100,
)


def main(candle_file: Path, funding_file: Path, home: Path) -> int:
    """Furnish the home and run the sweep in it; its exit code."""
    home.mkdir(parents=True)
    candles = read_tape(candle_file, drop_off_tick=INSTRUMENT.tick)
    running = server.start(home)
    store = ValkeyStore(running.url)
    store.load_functions()
    furnish(home, store, candles, read_funding_tape(funding_file, PAIR))
    store.close()
    server.stop(running)
    environment = {**os.environ, "DESK_HOME": str(home)}
    command = [str(Path(sys.executable).with_name("desk")), "tune", str(SWEEP), "--json"]
    return subprocess.run(command, env=environment, check=False).returncode


def furnish(home: Path, store: ValkeyStore, candles: Candles, rates: list[FundingRate]) -> None:
    """Keep instrument, candles and funding, and a dataset of all rows that have features."""
    now_ms = int(candles.open_ms[-1]) + STEP_MS
    clock = {"market_ms": now_ms, "wall_ms": int(time.time() * 1000), "speed": 1.0}
    store.put(kinds.STATE, "clock", clock, at_ms=now_ms)
    store.put(kinds.INSTRUMENTS, PAIR, INSTRUMENT, at_ms=now_ms)
    for rate in rates:
        store.put(kinds.funding_rates(PAIR), str(rate.due_ms), rate, at_ms=rate.due_ms)
    history = History(home / "history")
    history.append(PAIR, "1m", candles, str(PAIR))
    ask = DatasetAsk(
        pair=PAIR,
        interval="1m",
        start_ms=int(candles.open_ms[FEATURES_V1.lookback]),
        end_ms=now_ms,
        features=FEATURES_V1,
    )
    archive = CandleArchive(store, history, CandleCache(home / "cache", history))
    Datasets(home / "datasets", store, archive).build(ask, now_ms=now_ms)


if __name__ == "__main__":
    sys.exit(main(*(Path(word) for word in sys.argv[1:])))

"""A month whose file was damaged comes back from the venue, once and without anybody's help."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.backfill_job import ask_of
from actors.refetch import refetch_lost
from desk.market.candles import Candles
from desk.market.interval import interval_ms
from desk.store import kinds
from desk.store.candles import CandleArchive
from desk.store.history import History
from desk.store.memory import MemoryStore

HOUR_MS = interval_ms("1h")


@pytest.mark.catalogue("D17")
@pytest.mark.parametrize("damage", ["half", "gone"])
def test_a_lost_month_is_queued_once_and_forgotten_when_it_is_back(
    tmp_path: Path, walk: Callable[..., Candles], damage: str
) -> None:
    store, history = MemoryStore(), History(tmp_path)
    candles = walk(3_000, interval="1h")
    history.append("BTC-USDT", "1h", candles, "backfill")
    assert refetch_lost(store, history, "BTC-USDT", "1h", now_ms=1) == []
    entry = history.manifest("BTC-USDT", "1h").months["2023-12"]
    file = tmp_path / "BTC-USDT" / "1h" / entry.file
    if damage == "half":
        file.write_bytes(file.read_bytes()[:1_000])
    else:
        file.unlink()

    [job_id] = refetch_lost(store, history, "BTC-USDT", "1h", now_ms=2)

    doc = store.get(kinds.JOBS, job_id)
    assert doc is not None
    ask = ask_of(doc.value)
    assert (ask.start_ms, ask.end_ms) == (entry.min_open_ms, entry.max_open_ms + HOUR_MS)
    assert refetch_lost(store, history, "BTC-USDT", "1h", now_ms=3) == []
    assert list(history.manifest("BTC-USDT", "1h").lost) == ["2023-12"]

    assert ask.start_ms is not None
    assert ask.end_ms is not None
    store.write_candles("BTC-USDT", "1h", candles.between(ask.start_ms, ask.end_ms))
    CandleArchive(store, history).flush("BTC-USDT", "1h", "healed")

    after = history.manifest("BTC-USDT", "1h")
    assert after.lost == {}
    assert after.months["2023-12"].rows == entry.rows
    assert after.months["2023-12"].sources == ("healed",)
    found = history.read("BTC-USDT", "1h", 0, 2**53)
    assert found.close.tobytes() == candles.close.tobytes()

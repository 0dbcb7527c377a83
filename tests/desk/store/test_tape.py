"""Tapes: real files pass the checks, broken ones name the row."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from desk.errors import BadInput
from desk.market.candles import Candles
from desk.store.tape import read_funding_tape, read_tape

Walk = Callable[..., Candles]


def write(path: Path, candles: Candles) -> Path:
    names = ("open", "high", "low", "close", "volume")
    columns = {"open_time": candles.open_ms} | {name: getattr(candles, name) for name in names}
    parquet.write_table(pa.table(columns), path)
    return path


def test_a_written_tape_reads_back(walk: Walk, tmp_path: Path) -> None:
    candles = walk(50)

    back = read_tape(write(tmp_path / "tape.parquet", candles))

    for name in ("open_ms", "open", "high", "low", "close", "volume"):
        assert getattr(back, name).tobytes() == getattr(candles, name).tobytes()


def test_rows_drawn_over_an_outage_are_dropped_on_request(walk: Walk, tmp_path: Path) -> None:
    candles = walk(50)
    close = candles.close.copy()
    close[7] += 0.03
    path = write(tmp_path / "tape.parquet", replace(candles, close=close, high=candles.high + 0.1))

    assert len(read_tape(path)) == 50
    kept = read_tape(path, drop_off_tick=Decimal("0.1"))
    assert kept.open_ms.tolist() == np.delete(candles.open_ms, 7).tolist()


def test_volume_in_money_becomes_coins(walk: Walk, tmp_path: Path) -> None:
    candles = walk(5)
    path = write(tmp_path / "tape.parquet", replace(candles, volume=candles.volume * candles.close))

    np.testing.assert_allclose(read_tape(path, volume_in_quote=True).volume, candles.volume)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("open_ms", 61_000, "grid"),
        ("open_ms", 60_000, "rising"),
        ("low", 0.0, "above 0"),
        ("low", np.nan, "above 0"),
        ("high", np.inf, "low ≤ open"),
        ("close", 1e9, "low ≤ open"),
        ("volume", -1.0, "volume"),
        ("volume", np.nan, "volume"),
    ],
)
def test_a_broken_row_is_named(
    walk: Walk, tmp_path: Path, column: str, value: float, expected: str
) -> None:
    candles = walk(20)
    broken = getattr(candles, column).copy()
    broken[13] = value

    with pytest.raises(BadInput, match=f"row 13 .*{expected}"):
        read_tape(write(tmp_path / "tape.parquet", replace(candles, **{column: broken})))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("open,high")
    parquet.write_table(pa.table({"open_time": [1]}), tmp_path / "thin.parquet")

    with pytest.raises(BadInput, match="could not be read"):
        read_tape(tmp_path / "text")
    with pytest.raises(BadInput, match="could not be read"):
        read_tape(tmp_path / "absent.parquet")
    with pytest.raises(BadInput, match="no column open"):
        read_tape(tmp_path / "thin.parquet")


def test_the_real_month_passes_and_its_drawn_rows_go(tape: Callable[[str], Path]) -> None:
    path = tape("btc_perp_1m_2022-01.parquet")

    whole = read_tape(path, volume_in_quote=True)
    market = read_tape(path, volume_in_quote=True, drop_off_tick=Decimal(1))

    assert len(whole) == 45_031
    assert len(market) == 45_031 - 13  # the middle one of the 14 drawn rows lies on the tick
    assert sorted(set(np.diff(market.open_ms).tolist())) == [60_000, 4 * 60_000, 8 * 60_000]


def test_settlements_are_rounded_to_the_minute(tape: Callable[[str], Path]) -> None:
    rates = read_funding_tape(
        tape("binance_usdm_BTCUSDT_funding_2025-03-06_2025-06.parquet"), "BTC-USDT"
    )

    assert len(rates) == 266
    assert all(rate.due_ms % (8 * 3_600_000) == 0 for rate in rates)
    assert {rate.rate > 0 for rate in rates} == {True, False}

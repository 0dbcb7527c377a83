"""Candles in freqtrade's shape."""

from collections.abc import Sequence

from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval, interval_ms
from desk.trading.orders import Side
from serve_apps.freqtrade.books import Bot, Entry, symbol_of
from serve_apps.freqtrade.schemas import Cell, PairHistory
from serve_apps.freqtrade.text import stamp

COLUMNS = ["date", "open", "high", "low", "close", "volume"]


def pair_history(
    bot: Bot,
    pair: Pair,
    interval: Interval,
    candles: Candles,
    *,
    entries: Sequence[Entry],
    now_ms: int,
) -> PairHistory:
    """Candles as rows, with how many of our trades were opened and closed in them."""
    opens: list[int] = candles.open_ms.tolist()
    columns = zip(
        opens,
        candles.open.tolist(),
        candles.high.tolist(),
        candles.low.tolist(),
        candles.close.tolist(),
        candles.volume.tolist(),
        strict=True,
    )
    rows: list[list[Cell]] = [[stamp(at_ms), *prices, at_ms] for at_ms, *prices in columns]
    step, first_ms = interval_ms(interval), opens[0] if opens else 0
    last_ms = opens[-1] if opens else 0
    of_pair = [entry.trade for entry in entries if entry.trade.instrument == pair]

    def count(side: Side, times: Sequence[tuple[Side, int | None]]) -> int:
        return sum(
            each is side and at_ms is not None and first_ms <= at_ms < last_ms + step
            for each, at_ms in times
        )

    came = [(trade.side, trade.opened_ms) for trade in of_pair]
    went = [(trade.side, trade.closed_at_ms) for trade in of_pair]
    longs, long_exits = count(Side.BUY, came), count(Side.BUY, went)
    return PairHistory(
        strategy=bot.strategy,
        pair=symbol_of(pair),
        timeframe=interval,
        timeframe_ms=step,
        columns=[*COLUMNS, "__date_ts"],
        all_columns=COLUMNS,
        data=rows,
        length=len(rows),
        buy_signals=longs,
        sell_signals=long_exits,
        enter_long_signals=longs,
        exit_long_signals=long_exits,
        enter_short_signals=count(Side.SELL, came),
        exit_short_signals=count(Side.SELL, went),
        last_analyzed=stamp(now_ms),
        last_analyzed_ts=now_ms // 1_000,
        data_start_ts=first_ms,
        data_start=stamp(first_ms) if opens else "",
        data_stop=stamp(last_ms) if opens else "",
        data_stop_ts=last_ms,
    )

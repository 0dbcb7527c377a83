"""The wallet, and what came of all trades, in freqtrade's shape."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from statistics import fmean

from desk.clock import DAY_MS
from desk.trading import ledger as books
from desk.trading.ledger import ZERO, Ledger
from desk.trading.trade_results import standing
from serve_apps.freqtrade.books import Bot, Entry, best_pair, closed, symbol_of
from serve_apps.freqtrade.schemas import (
    STAKE_CURRENCY,
    Balance,
    Balances,
    Daily,
    DailyRecord,
    Profit,
)
from serve_apps.freqtrade.text import ago, moment, percent, ratio_of, utc


def balances(bot: Bot, leverage: Decimal) -> Balances:
    """The wallet and each position. All of them together are worth the account's equity."""
    ledger = bot.ledger
    rows, total, starting = list[Balance](), 0.0, 0.0
    if ledger is not None:
        held = {
            position.pair: abs(position.quantity) * position.average_price / leverage
            for position in ledger.positions.values()
        }
        used = sum(held.values(), ZERO)
        rows = [
            _wallet(ledger, used),
            *(_position(ledger, pair, margin) for pair, margin in sorted(held.items())),
        ]
        total, starting = float(books.equity(ledger)), float(ledger.starting_cash)
    ratio = total / starting - 1 if starting else 0.0
    return Balances(
        currencies=rows,
        total=total,
        total_bot=total,
        symbol="",
        value=0.0,
        value_bot=0.0,
        stake=STAKE_CURRENCY,
        note="" if bot.account == "live" else "Simulated balances",
        starting_capital=starting,
        starting_capital_ratio=ratio,
        starting_capital_pct=percent(ratio),
        starting_capital_fiat=0.0,
        starting_capital_fiat_ratio=0.0,
        starting_capital_fiat_pct=0.0,
    )


def profit(bot: Bot, entries: list[Entry], began_ms: int | None, now_ms: int) -> Profit:
    """Profits of closed trades, and of all of them at the last marks."""
    ledger = bot.ledger
    starting = ledger.starting_cash if ledger else ZERO
    ended = [entry.result for entry in closed(entries)]
    still = [entry for entry in entries if entry.is_open and entry.trade.filled_quantity]
    counted = [entry for entry in entries if entry.is_open or entry.is_closed_result]
    gains = [_at_mark(entry, ledger) for entry in still]
    closed_sum = float(sum((result.net for result in ended), ZERO))
    all_sum = closed_sum + float(sum((net for net, _ in gains), ZERO))
    closed_ratios = [result.ratio for result in ended]
    all_ratios = [*closed_ratios, *(ratio_of(net, stake) or 0.0 for net, stake in gains)]
    first_ms, last_ms = (
        (counted[0].trade.opened_ms, counted[-1].trade.opened_ms) if counted else (0, 0)
    )
    equity = books.equity(ledger) if ledger else ZERO
    found = standing(ended, starting=starting, equity=equity, since_ms=first_ms, to_ms=last_ms)
    fallen = found.drawdown
    lasted_s = [(result.closed_ms - result.opened_ms) / 1_000 for result in ended]
    best = best_pair(ended)
    return Profit(
        **_sums("closed", closed_sum, closed_ratios, starting),
        **_sums("all", all_sum, all_ratios, starting),
        trade_count=len(counted),
        closed_trade_count=len(ended),
        first_trade_date=moment(first_ms),
        first_trade_humanized=ago(first_ms, now_ms),
        first_trade_timestamp=first_ms,
        latest_trade_date=moment(last_ms),
        latest_trade_humanized=ago(last_ms, now_ms),
        latest_trade_timestamp=last_ms,
        avg_duration=str(timedelta(seconds=int(fmean(lasted_s)) if lasted_s else 0)),
        best_pair=symbol_of(best[0]) if best else "",
        best_rate=percent(best[1]) if best else 0.0,
        best_pair_profit_ratio=best[1] if best else 0.0,
        best_pair_profit_abs=best[2] if best else 0.0,
        winning_trades=found.won,
        losing_trades=found.lost,
        profit_factor=found.profit_factor,
        winrate=found.win_rate,
        expectancy=found.expectancy,
        expectancy_ratio=found.expectancy_ratio,
        sharpe=found.sharpe,
        sortino=found.sortino,
        sqn=found.sqn,
        calmar=found.calmar,
        cagr=found.cagr,
        max_drawdown=fallen.fraction,
        max_drawdown_abs=fallen.amount,
        max_drawdown_start=moment(fallen.start_ms),
        max_drawdown_start_timestamp=fallen.start_ms or 0,
        max_drawdown_end=moment(fallen.end_ms),
        max_drawdown_end_timestamp=fallen.end_ms or 0,
        current_drawdown=fallen.current_fraction,
        current_drawdown_abs=fallen.current_amount,
        current_drawdown_high=fallen.current_high,
        current_drawdown_start=moment(fallen.current_start_ms),
        current_drawdown_start_timestamp=fallen.current_start_ms or 0,
        trading_volume=float(_volume(entries)),
        bot_start_timestamp=began_ms or 0,
        bot_start_date=moment(began_ms),
    )


def daily(bot: Bot, entries: list[Entry], days: int, now_ms: int) -> Daily:
    """Profit of trades by the UTC day of market time on which they were closed, newest first."""
    results = [entry.result for entry in closed(entries)]
    today_ms = now_ms - now_ms % DAY_MS
    balance = float(books.equity(bot.ledger)) if bot.ledger else 0.0
    rows: list[DailyRecord] = []
    for back in range(days):
        start_ms = today_ms - back * DAY_MS
        nets = [row.net for row in results if start_ms <= row.closed_ms < start_ms + DAY_MS]
        gained = float(sum(nets, ZERO))
        balance -= gained
        rows.append(
            DailyRecord(
                date=utc(start_ms).date(),
                abs_profit=gained,
                rel_profit=gained / balance if balance > 0 else 0.0,
                starting_balance=balance,
                fiat_value=0.0,
                trade_count=len(nets),
            )
        )
    return Daily(data=rows, fiat_display_currency="", stake_currency=STAKE_CURRENCY)


def _wallet(ledger: Ledger, used: Decimal) -> Balance:
    free = float(ledger.cash - used)
    return Balance(
        currency=STAKE_CURRENCY,
        free=free,
        balance=float(ledger.cash),
        used=float(used),
        bot_owned=free,
        est_stake=free,
        est_stake_bot=free,
        stake=STAKE_CURRENCY,
        side="long",
        is_position=False,
        position=0.0,
        is_bot_managed=True,
    )


def _position(ledger: Ledger, pair: str, margin: Decimal) -> Balance:
    position = ledger.positions[pair]
    change = books.price_of(ledger, pair) - position.average_price
    worth = float(margin + position.quantity * change)
    return Balance(
        currency=symbol_of(pair),
        free=0.0,
        balance=0.0,
        used=0.0,
        est_stake=worth,
        est_stake_bot=worth,
        stake=STAKE_CURRENCY,
        side="long" if position.quantity > 0 else "short",
        is_position=True,
        position=float(abs(position.quantity)),
        is_bot_managed=bool(position.run_id),
    )


def _at_mark(entry: Entry, ledger: Ledger | None) -> tuple[Decimal, Decimal]:
    """Net profit of an open trade at the last mark, and its stake."""
    trade = entry.trade
    mark = ledger.marks.get(trade.instrument) if ledger else None
    paper = ZERO if mark is None else trade.position_size * (mark - trade.average_fill_price)
    stake = trade.filled_quantity * trade.average_fill_price / trade.leverage
    return paper + trade.realized_pnl - trade.fees, stake


def _sums(which: str, total: float, ratios: Sequence[float], starting: Decimal) -> dict[str, float]:
    mean, of_stakes = fmean(ratios) if ratios else 0.0, sum(ratios)
    of_capital = total / float(starting) if starting else 0.0
    return {
        f"profit_{which}_coin": total,
        f"profit_{which}_percent_mean": percent(mean),
        f"profit_{which}_ratio_mean": mean,
        f"profit_{which}_percent_sum": percent(of_stakes),
        f"profit_{which}_ratio_sum": of_stakes,
        f"profit_{which}_percent": percent(of_capital),
        f"profit_{which}_ratio": of_capital,
        f"profit_{which}_fiat": 0.0,
    }


def _volume(entries: Sequence[Entry]) -> Decimal:
    return sum(
        (
            order.filled_quantity * order.average_price
            for entry in entries
            for order in entry.orders
        ),
        ZERO,
    )

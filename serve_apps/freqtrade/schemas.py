"""What the facade answers: field names and types of freqtrade's REST schema, version 2.50.

Floats are floats here because its tools compute with them; our own routes give decimal strings.
`*_ratio` is a fraction, `*_pct` and `*_percent` a hundred times that, `*_timestamp` market ms UTC,
`*_date` the same as `YYYY-MM-DD hh:mm:ss`. Amounts are coins, money is USDT. A fiat currency is not
configured: its texts are empty and its amounts 0, which is how freqtrade says so.
"""

import datetime
from typing import Annotated

from pydantic import Field, JsonValue

from serve_apps.requests import Body, example
from serve_apps.schemas import Answer

SCHEMA_VERSION = 2.5
"""freqtrade's own number of the schema that these answers follow."""
STAKE_CURRENCY = "USDT"
MAX_NUMBER = (1 << 53) - 1
"""Largest whole number that every JSON reader keeps exactly."""


class Ping(Answer):
    status: str


class Version(Answer):
    version: str


class StatusMessage(Answer):
    status: str


class ResultMessage(Answer):
    result: str


class AccessToken(Answer):
    access_token: str


class AccessAndRefreshToken(AccessToken):
    refresh_token: str


class Balance(Answer):
    """The wallet, or one position."""

    currency: str
    free: float
    balance: float
    used: float
    bot_owned: float | None = None
    est_stake: float
    est_stake_bot: float | None = None
    stake: str
    side: str
    is_position: bool
    position: float
    is_bot_managed: bool


class Balances(Answer):
    currencies: list[Balance]
    total: float
    total_bot: float
    symbol: str
    value: float
    value_bot: float
    stake: str
    note: str
    starting_capital: float
    starting_capital_ratio: float
    starting_capital_pct: float
    starting_capital_fiat: float
    starting_capital_fiat_ratio: float
    starting_capital_fiat_pct: float


class Profit(Answer):
    """`closed` counts closed trades, `all` also what open ones would bring at the mark."""

    profit_closed_coin: float
    profit_closed_percent_mean: float
    profit_closed_ratio_mean: float
    profit_closed_percent_sum: float
    profit_closed_ratio_sum: float
    profit_closed_percent: float
    profit_closed_ratio: float
    profit_closed_fiat: float
    profit_all_coin: float
    profit_all_percent_mean: float
    profit_all_ratio_mean: float
    profit_all_percent_sum: float
    profit_all_ratio_sum: float
    profit_all_percent: float
    profit_all_ratio: float
    profit_all_fiat: float
    trade_count: int
    closed_trade_count: int
    first_trade_date: str
    first_trade_humanized: str
    first_trade_timestamp: int
    latest_trade_date: str
    latest_trade_humanized: str
    latest_trade_timestamp: int
    avg_duration: str
    best_pair: str
    best_rate: float
    best_pair_profit_ratio: float
    best_pair_profit_abs: float
    winning_trades: int
    losing_trades: int
    profit_factor: float | None
    """Null without a losing trade: it is infinite then."""
    winrate: float
    expectancy: float
    expectancy_ratio: float | None
    sharpe: float
    sortino: float
    sqn: float
    calmar: float
    cagr: float
    max_drawdown: float
    max_drawdown_abs: float
    max_drawdown_start: str
    max_drawdown_start_timestamp: int
    max_drawdown_end: str
    max_drawdown_end_timestamp: int
    current_drawdown: float
    current_drawdown_abs: float
    current_drawdown_high: float
    current_drawdown_start: str
    current_drawdown_start_timestamp: int
    trading_volume: float | None = None
    bot_start_timestamp: int
    bot_start_date: str


class DailyRecord(Answer):
    date: datetime.date
    abs_profit: float
    rel_profit: float
    starting_balance: float
    fiat_value: float
    trade_count: int


class Daily(Answer):
    data: list[DailyRecord]
    fiat_display_currency: str
    stake_currency: str


class ShowConfig(Answer):
    version: str
    strategy_version: str | None = None
    api_version: float
    dry_run: bool
    trading_mode: str
    margin_mode: str
    short_allowed: bool
    stake_currency: str
    stake_amount: str
    available_capital: float | None = None
    stake_currency_decimals: int
    max_open_trades: int
    minimal_roi: dict[str, JsonValue]
    stoploss: float | None = None
    stoploss_on_exchange: bool
    trailing_stop: bool | None = None
    timeframe: str | None = None
    timeframe_ms: int
    timeframe_min: int
    exchange: str
    demo_trading: bool
    strategy: str | None = None
    force_entry_enable: bool
    exit_pricing: dict[str, JsonValue]
    entry_pricing: dict[str, JsonValue]
    bot_name: str
    state: str
    runmode: str
    position_adjustment_enable: bool
    max_entry_position_adjustment: int


class TradeOrder(Answer):
    pair: str
    order_id: str
    status: str
    remaining: float | None = None
    amount: float
    safe_price: float
    cost: float
    filled: float | None = None
    ft_order_side: str
    order_type: str
    is_open: bool
    order_timestamp: int | None = None
    order_filled_timestamp: int | None = None
    ft_fee_base: float | None = None
    ft_order_tag: str | None = None


class FacadeTrade(Answer):
    """One trade. `trade_id` is a number of ours: see `serve_apps.freqtrade.books`."""

    trade_id: int
    pair: str
    base_currency: str
    quote_currency: str
    is_open: bool
    is_short: bool
    exchange: str
    amount: float
    amount_requested: float
    stake_amount: float
    strategy: str
    enter_tag: str | None = None
    timeframe: int
    """Minutes; 0 of a trade that no run made."""
    fee_open: float | None = None
    fee_open_cost: float | None = None
    fee_open_currency: str | None = None
    fee_close: float | None = None
    fee_close_cost: float | None = None
    fee_close_currency: str | None = None
    open_date: str
    open_timestamp: int
    open_fill_date: str | None
    open_fill_timestamp: int | None
    open_rate: float
    open_rate_requested: float | None = None
    open_trade_value: float
    close_date: str | None = None
    close_timestamp: int | None = None
    close_rate: float | None = None
    close_rate_requested: float | None = None
    close_profit: float | None = None
    close_profit_pct: float | None = None
    close_profit_abs: float | None = None
    profit_ratio: float | None = None
    profit_pct: float | None = None
    profit_abs: float | None = None
    realized_profit: float
    realized_profit_ratio: float | None = None
    exit_reason: str | None = None
    stop_loss_abs: float | None = None
    stop_loss_ratio: float | None = None
    stop_loss_pct: float | None = None
    initial_stop_loss_abs: float | None = None
    initial_stop_loss_ratio: float | None = None
    initial_stop_loss_pct: float | None = None
    nr_of_successful_entries: int
    nr_of_successful_exits: int
    has_open_orders: bool
    orders: list[TradeOrder]
    leverage: float | None = None
    funding_fees: float | None = None
    """Null: the books keep funding per account."""
    trading_mode: str | None = None
    amount_precision: float | None = None
    price_precision: float | None = None
    precision_mode: int | None = None


class OpenTrade(FacadeTrade):
    current_rate: float | None
    """Last mark; null before the first."""
    total_profit_abs: float
    total_profit_ratio: float | None = None


class Trades(Answer):
    trades: list[FacadeTrade]
    trades_count: int
    offset: int
    total_trades: int


type Cell = str | float | int | None


class PairHistory(Answer):
    """Candles, oldest first. The signals count trades of ours that were opened and closed in them."""

    strategy: str
    pair: str
    timeframe: str
    timeframe_ms: int
    columns: list[str]
    all_columns: list[str]
    data: list[list[Cell]]
    length: int
    buy_signals: int
    sell_signals: int
    enter_long_signals: int
    exit_long_signals: int
    enter_short_signals: int
    exit_short_signals: int
    last_analyzed: str
    last_analyzed_ts: int
    """Seconds, unlike the others."""
    data_start_ts: int
    data_start: str
    data_stop: str
    data_stop_ts: int


class ForceExitBody(Body):
    """Which trade to close: its number, our own id, or `all`."""

    model_config = example({"tradeid": "1"})

    tradeid: Annotated[str, Field(max_length=64)] | Annotated[int, Field(ge=0, le=MAX_NUMBER)]
    ordertype: Annotated[str, Field(max_length=16)] | None = None
    """`market` or null: every exit by hand is a market order here."""
    amount: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] | None = None
    """Coins; null: the whole position."""
    price: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Null only: a market order has no price."""

"""What the facade reads of the store: the bot that it shows, its trades, and their numbers.

freqtrade knows one bot with one wallet. Here that is the agent `desk` with its newest run that has
not ended, else its newest one, and the account of that run; paper while there was none.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from actors.seed import AGENT_ID
from actors.wiring import PAPER
from desk.errors import NotFound
from desk.ids import Pair, parse_pair
from desk.runs import Agent, Run
from desk.store import kinds
from desk.store.port import Store
from desk.trading.ledger import Ledger
from desk.trading.orders import Order
from desk.trading.trade_results import TradeResult
from desk.trading.trades import Trade, project
from serve_apps import lookups
from serve_apps.context import Context
from serve_apps.freqtrade.schemas import STAKE_CURRENCY
from serve_apps.views.agents import ENDED

MOST_TRADES = 5_000
"""Newest trades that profits and counts are taken over."""
_PER_MS = 1_000
_SEARCHED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """The one bot that a freqtrade tool sees."""

    agent: Agent
    run: Run | None
    """Newest that has not ended, else the newest; None before the first."""
    account: str
    ledger: Ledger | None

    @property
    def state(self) -> str:
        """freqtrade's word: running, paused or stopped."""
        if self.run is None or self.run.status in ENDED:
            return "stopped"
        return "paused" if self.run.status.value == "paused" else "running"

    @property
    def strategy(self) -> str:
        """The version that decides."""
        return self.run.version_id if self.run else self.agent.active_version_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One trade with the orders it is projected from, oldest first."""

    number: int
    trade: Trade
    orders: tuple[Order, ...]

    @property
    def is_open(self) -> bool:
        return bool(self.trade.position_size) or any(order.is_open for order in self.orders)

    @property
    def is_closed_result(self) -> bool:
        """Whether it was a position that is over; an entry that was never filled is none."""
        return not self.is_open and self.trade.filled_quantity > 0

    @property
    def result(self) -> TradeResult:
        """What it came to, once it is closed."""
        trade = self.trade
        return TradeResult(
            pair=trade.instrument,
            net=trade.realized_pnl - trade.fees,
            stake=trade.filled_quantity * trade.average_fill_price / trade.leverage,
            opened_ms=trade.opened_ms,
            closed_ms=trade.closed_at_ms or trade.opened_ms,
        )


def bot_of(ctx: Context) -> Bot:
    """Read the bot; raises `NotFound` without the agent."""
    agent = lookups.agent(ctx.store, AGENT_ID).value
    ours = [doc.value for doc in lookups.runs(ctx.store) if doc.value.agent_id == AGENT_ID]
    active = (run for run in ours if run.status not in ENDED)
    run = next(active, next(iter(ours), None))
    account = run.account if run else PAPER
    return Bot(agent=agent, run=run, account=account, ledger=ctx.store.ledger(account))


def entries_of(ctx: Context, account: str) -> list[Entry]:
    """An account's newest trades, oldest first."""
    ledger = ctx.store.ledger(account)
    newest = ctx.store.trade_ids(account=account, limit=MOST_TRADES)
    read = (_entry(ctx, trade_id, ledger) for trade_id in reversed(newest))
    return [entry for entry in read if entry is not None]


def open_entries(ctx: Context, bot: Bot) -> list[Entry]:
    """Trades that hold something or have an order under way, oldest first: no list is searched."""
    held = (position.trade_id for position in bot.ledger.positions.values()) if bot.ledger else ()
    ordered = (order.trade_id for order in ctx.store.active_orders(bot.account))
    read = (_entry(ctx, trade_id, bot.ledger) for trade_id in dict.fromkeys((*held, *ordered)))
    found = [entry for entry in read if entry is not None and entry.is_open]
    return sorted(found, key=lambda entry: entry.number)


def number_of(orders: tuple[Order, ...], trade_id: str) -> int:
    """A trade's number: when it began in ms, times 1,000, plus a checksum of its id.

    It is the same for ever, rises with time, and fits what every JSON reader keeps exactly.
    """
    began_ms = min(order.created_ms for order in orders)
    return began_ms * _PER_MS + zlib.crc32(trade_id.encode()) % _PER_MS


def trade_id_of(store: Store, given: str | int) -> str:
    """Our own id of a trade that is named by its number or by that id; raises `NotFound`."""
    text = str(given).strip()
    if not (text.isascii() and text.isdecimal()):
        if not store.orders_of_trade(text):
            raise NotFound("trade", text)
        return text
    number = int(text)
    before_ms = number // _PER_MS + 1
    for trade_id in store.trade_ids(before_ms=before_ms, limit=_SEARCHED):
        orders = tuple(store.orders_of_trade(trade_id))
        if orders and number_of(orders, trade_id) == number:
            return trade_id
        if orders and min(order.created_ms for order in orders) < before_ms - 1:
            break
    raise NotFound("trade", text)


def symbol_of(pair: Pair) -> str:
    """A pair as freqtrade writes a perpetual: `BTC/USDT:USDT`."""
    base, _, quote = pair.partition("-")
    return f"{base}/{quote}:{quote}"


def pair_of(symbol: str) -> Pair:
    """The pair of `BTC/USDT:USDT`, `BTC/USDT` or `BTC-USDT`; raises `BadInput`."""
    name, _, settled = symbol.partition(":")
    if settled and settled.upper() != STAKE_CURRENCY:
        name = symbol  # not settled in USDT: refused as written
    return parse_pair(name.replace("/", "-"))


def run_of(ctx: Context, runs: dict[str, Run | None], run_id: str) -> Run | None:
    """The run of a trade, read once each; a manual one has none."""
    if run_id not in runs:
        doc = ctx.store.get(kinds.RUNS, run_id) if run_id else None
        runs[run_id] = doc.value if doc else None
    return runs[run_id]


def best_pair(results: list[TradeResult]) -> tuple[Pair, float, float] | None:
    """The pair with the highest net profit: its ratio to what was staked, and the profit."""
    sums: dict[Pair, tuple[float, float]] = {}
    for result in results:
        net, stake = sums.get(result.pair, (0.0, 0.0))
        sums[result.pair] = (net + float(result.net), stake + float(result.stake))
    if not sums:
        return None
    pair, (net, stake) = max(sums.items(), key=lambda item: item[1][0])
    return pair, net / stake if stake else 0.0, net


def _entry(ctx: Context, trade_id: str, ledger: Ledger | None) -> Entry | None:
    orders = tuple(ctx.store.orders_of_trade(trade_id))
    if not orders:
        return None
    position = ledger.positions.get(orders[0].pair) if ledger else None
    trade = project(orders, position, mode=orders[0].account, leverage=ctx.facts.leverage)
    return Entry(number=number_of(orders, trade_id), trade=trade, orders=orders)


def closed(entries: list[Entry]) -> Iterator[Entry]:
    """Those of them that are over, and were positions."""
    return (entry for entry in entries if entry.is_closed_result)

"""The account's books: cash, positions, fees, funding, realised PnL; a fold over fills."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from desk.clock import to_iso
from desk.ids import Pair
from desk.trading.orders import Fill, Order

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One open position: signed quantity in coins, average entry price, the trade that opened it."""

    pair: Pair
    quantity: Decimal
    average_price: Decimal
    trade_id: str
    run_id: str
    opened_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Books of one account. Equity = cash + unrealised; cash already holds realised, fees, funding."""

    account: str
    starting_cash: Decimal
    cash: Decimal
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    """Signed: negative when paid."""
    external: Decimal = ZERO
    """Sum of adjustments that no order of ours explains (manual trades, liquidation, deposits)."""
    positions: Mapping[Pair, Position] = field(default_factory=dict[Pair, Position])
    marks: Mapping[Pair, Decimal] = field(default_factory=dict[Pair, Decimal])
    """Last mark price by pair, market time in `marked_ms`."""
    marked_ms: int = 0
    peak_equity: Decimal = ZERO
    """Highest equity seen at a mark: drawdown is measured from equity, never from PnL."""
    day: str = ""
    """UTC date of the daily-loss bucket, by market time."""
    day_start_equity: Decimal = ZERO
    adjustments: int = 0
    """How many position changes from outside were booked."""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A signed change of position at the venue that no order of ours explains; market time."""

    adjustment_id: str
    pair: Pair
    quantity: Decimal
    price: Decimal
    at_ms: int


def open_ledger(account: str, starting_cash: Decimal, *, now_ms: int) -> Ledger:
    """Return the books of a new account."""
    return Ledger(
        account=account,
        starting_cash=starting_cash,
        cash=starting_cash,
        peak_equity=starting_cash,
        day=_utc_date(now_ms),
        day_start_equity=starting_cash,
    )


def book_fill(ledger: Ledger, fill: Fill, *, order: Order) -> tuple[Ledger, Decimal]:
    """Book one execution and return the new books with the PnL it realised, before its fee.

    A fill that crosses zero closes the old position and opens one that belongs to `order`'s trade.
    The caller makes sure that a `fill_id` is booked once.
    """
    ledger = _rolled(ledger, fill.filled_ms)
    held = ledger.positions.get(fill.pair)
    opened = Position(
        pair=fill.pair,
        quantity=fill.side.sign * fill.quantity,
        average_price=fill.price,
        trade_id=order.trade_id,
        run_id=order.run_id,
        opened_ms=fill.filled_ms,
    )
    position, realized = _merge(held, opened)
    booked = replace(
        ledger,
        cash=ledger.cash + realized - fill.fee,
        realized_pnl=ledger.realized_pnl + realized,
        fees=ledger.fees + fill.fee,
        positions=_with_position(ledger.positions, fill.pair, position),
    )
    return booked, realized


def fold_fills(start: Ledger, executions: Iterable[tuple[Fill, Order]]) -> Ledger:
    """Book all executions in the order given: what the books must be equal to."""
    ledger = start
    for fill, order in executions:
        ledger, _ = book_fill(ledger, fill, order=order)
    return ledger


def book_funding(ledger: Ledger, amount: Decimal, *, due_ms: int) -> Ledger:
    """Book one funding settlement; `amount` is negative when paid."""
    ledger = _rolled(ledger, due_ms)
    return replace(ledger, cash=ledger.cash + amount, funding=ledger.funding + amount)


def adjust(ledger: Ledger, adjustment: Adjustment) -> Ledger:
    """Book a change of position that no order of ours explains.

    What it realises counts as `external`; it is a gain or loss like any other for drawdown and
    daily loss. A position that it opens has the adjustment's id as its trade and no run. The caller
    makes sure that an adjustment id is booked once.
    """
    ledger = _rolled(ledger, adjustment.at_ms)
    pair = adjustment.pair
    change = Position(
        pair=pair,
        quantity=adjustment.quantity,
        average_price=adjustment.price,
        trade_id=adjustment.adjustment_id,
        run_id="",
        opened_ms=adjustment.at_ms,
    )
    position, realized = _merge(ledger.positions.get(pair), change)
    return replace(
        ledger,
        cash=ledger.cash + realized,
        external=ledger.external + realized,
        adjustments=ledger.adjustments + 1,
        positions=_with_position(ledger.positions, pair, position),
    )


def transfer(ledger: Ledger, amount: Decimal, *, now_ms: int) -> Ledger:
    """Book a deposit (positive) or withdrawal: neither a gain nor a drawdown."""
    ledger = _rolled(ledger, now_ms)
    return replace(
        ledger,
        cash=ledger.cash + amount,
        external=ledger.external + amount,
        peak_equity=_peak(ledger) + amount,
        day_start_equity=ledger.day_start_equity + amount,
    )


def mark(ledger: Ledger, prices: Mapping[Pair, Decimal], now_ms: int) -> Ledger:
    """Value the positions at these prices; move peak equity and the UTC day of market time.

    A new day starts at the equity known before it began, so no loss falls between two days.
    """
    ledger = _rolled(ledger, now_ms)
    marked = replace(
        ledger,
        marks={**ledger.marks, **prices},
        marked_ms=max(ledger.marked_ms, now_ms),
    )
    return replace(marked, peak_equity=max(_peak(ledger), equity(marked)))


def price_of(ledger: Ledger, pair: Pair) -> Decimal:
    """Last mark of a pair, else the price it was bought at, else 0."""
    position = ledger.positions.get(pair)
    return ledger.marks.get(pair, position.average_price if position else ZERO)


def held_quantity(ledger: Ledger, pair: Pair) -> Decimal:
    """Signed position in coins, 0 when flat."""
    position = ledger.positions.get(pair)
    return position.quantity if position else ZERO


def unrealized(ledger: Ledger) -> Decimal:
    """PnL of the open positions at the last marks; a position without a mark counts 0."""
    return sum(
        (
            position.quantity * (price_of(ledger, pair) - position.average_price)
            for pair, position in sorted(ledger.positions.items())
        ),
        ZERO,
    )


def equity(ledger: Ledger) -> Decimal:
    """Cash plus unrealised PnL, in USDT."""
    return ledger.cash + unrealized(ledger)


def drawdown_fraction(ledger: Ledger) -> Decimal:
    """Fall of equity from its highest value, as a fraction of that value; never negative."""
    peak = _peak(ledger)
    if peak <= 0:
        return ZERO
    return max((peak - equity(ledger)) / peak, ZERO)


def daily_loss(ledger: Ledger) -> Decimal:
    """USDT lost since the UTC day of the last booking began, unrealised included; 0 when gained."""
    return max(_day_start(ledger) - equity(ledger), ZERO)


def daily_loss_fraction(ledger: Ledger) -> Decimal:
    """Daily loss as a fraction of the equity the day began with."""
    start = _day_start(ledger)
    return daily_loss(ledger) / start if start > 0 else ZERO


def exposure(ledger: Ledger) -> Decimal:
    """Sum of absolute notionals (quantity times price) in USDT."""
    return sum((exposure_of(ledger, pair) for pair in sorted(ledger.positions)), ZERO)


def exposure_of(ledger: Ledger, pair: Pair) -> Decimal:
    """Absolute notional of one position in USDT."""
    return abs(held_quantity(ledger, pair)) * price_of(ledger, pair)


def _merge(held: Position | None, change: Position) -> tuple[Position | None, Decimal]:
    """The position after a signed change at a price, and the PnL the change realised."""
    if held is None or held.quantity == 0:
        return (change if change.quantity else None), ZERO
    total = held.quantity + change.quantity
    if (change.quantity > 0) == (held.quantity > 0) or change.quantity == 0:
        cost = held.quantity * held.average_price + change.quantity * change.average_price
        return replace(held, quantity=total, average_price=cost / total), ZERO
    closed = min(abs(change.quantity), abs(held.quantity))
    gain = (change.average_price - held.average_price) * (1 if held.quantity > 0 else -1)
    if total == 0:
        return None, closed * gain
    is_flipped = (total > 0) != (held.quantity > 0)
    return replace(change if is_flipped else held, quantity=total), closed * gain


def _with_position(
    positions: Mapping[Pair, Position], pair: Pair, position: Position | None
) -> dict[Pair, Position]:
    others = {key: value for key, value in positions.items() if key != pair}
    return others if position is None else {**others, pair: position}


def _rolled(ledger: Ledger, at_ms: int) -> Ledger:
    """Begin the UTC day of `at_ms` unless it has begun; an older time changes nothing."""
    day = _utc_date(at_ms)
    if day <= ledger.day:
        return ledger
    return replace(ledger, day=day, day_start_equity=equity(ledger))


def _utc_date(at_ms: int) -> str:
    return to_iso(at_ms)[:10]


def _day_start(ledger: Ledger) -> Decimal:
    return ledger.day_start_equity if ledger.day else ledger.starting_cash


def _peak(ledger: Ledger) -> Decimal:
    return ledger.peak_equity or ledger.starting_cash

"""What must hold of orders, fills and books at every moment; each check returns its breaches as texts.

A breach is never repaired here: it halts trading and alerts.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

from desk.ids import Pair
from desk.trading import ledger as books
from desk.trading.ledger import ZERO, Ledger
from desk.trading.orders import TRANSITIONS, Fill, Order, OrderState

S8_TOLERANCE = Decimal("1e-8")


def s1_fills_make_the_order(orders: Sequence[Order], fills: Sequence[Fill]) -> list[str]:
    """S1: the fills of an order add up to what it says is filled, and to no more than its quantity."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in fills:
        totals[fill.client_order_id] += fill.quantity
    breaches: list[str] = []
    for order in orders:
        total = totals.pop(order.client_order_id, ZERO)
        if total != order.filled_quantity:
            breaches.append(
                f"S1: fills of {order.client_order_id} were {total}, expected {order.filled_quantity}"
            )
        if total > order.quantity:
            breaches.append(
                f"S1: {order.client_order_id} filled {total}, expected at most {order.quantity}"
            )
    return breaches + [f"S1: fills of {unknown} had no order" for unknown in sorted(totals)]


def s2_fill_is_applied_once(fills: Sequence[Fill]) -> list[str]:
    """S2: no fill id is booked twice."""
    counts = Counter(fill.fill_id for fill in fills)
    return [
        f"S2: fill {fill_id} was applied {count} times, expected once"
        for fill_id, count in sorted(counts.items())
        if count > 1
    ]


def s3_position_is_its_fills(
    ledger: Ledger, fills: Sequence[Fill], adjustments: Mapping[Pair, Decimal]
) -> list[str]:
    """S3: every position is the sum of its signed fills and of its external adjustments."""
    expected: defaultdict[Pair, Decimal] = defaultdict(Decimal)
    for fill in fills:
        expected[fill.pair] += fill.side.sign * fill.quantity
    for pair, quantity in adjustments.items():
        expected[pair] += quantity
    return [
        f"S3: position of {pair} was {books.held_quantity(ledger, pair)}, expected {expected[pair]}"
        for pair in sorted({*expected, *ledger.positions})
        if books.held_quantity(ledger, pair) != expected[pair]
    ]


def s6_rows_move_by_the_table(history: Sequence[Order]) -> list[str]:
    """S6: the stored versions of one order, oldest first, rise by 1 and follow the transitions."""
    breaches: list[str] = []
    if history and (history[0].version != 1 or history[0].state is not OrderState.INTENT):
        first = history[0]
        breaches.append(
            f"S6: {first.client_order_id} began as {first.state} at version {first.version}"
        )
    for before, after in pairwise(history):
        if after.version != before.version + 1:
            breaches.append(
                f"S6: {after.client_order_id} went from version {before.version} to {after.version}"
            )
        if after.state not in TRANSITIONS[before.state]:
            breaches.append(
                f"S6: {after.client_order_id} went from {before.state} to {after.state}"
            )
    return breaches


def s7_reservations_are_open_intents(
    orders: Sequence[Order],
    reservations: Mapping[str, str],
    *,
    exposure_cap: Decimal | None = None,
) -> list[str]:
    """S7: what is reserved is exactly what open orders asked for, and not above the cap.

    `reservations`: client order id → USDT as the store keeps it. `exposure_cap`: USDT, None for none.
    """
    expected = {
        order.client_order_id: order.reserved_quote
        for order in orders
        if order.is_open and order.reserved_quote
    }
    found = {key: Decimal(value) for key, value in reservations.items() if Decimal(value)}
    breaches = [
        f"S7: reservation of {key} was {found.get(key, ZERO)}, expected {expected.get(key, ZERO)}"
        for key in sorted({*expected, *found})
        if found.get(key) != expected.get(key)
    ]
    total = sum(found.values(), ZERO)
    if exposure_cap is not None and total > exposure_cap:
        breaches.append(f"S7: reservations were {total}, expected at most {exposure_cap}")
    return breaches


def s8_books_balance(
    ledger: Ledger,
    *,
    reported_equity: Decimal | None = None,
    tolerance: Decimal = S8_TOLERANCE,
) -> list[str]:
    """S8: start + realised - fees + funding + external + unrealised is the equity.

    `reported_equity` is what somebody else says (the venue, a recomputation); None checks the books
    against themselves. `tolerance` in USDT.
    """
    expected = (
        ledger.starting_cash
        + ledger.realized_pnl
        - ledger.fees
        + ledger.funding
        + ledger.external
        + books.unrealized(ledger)
    )
    equity = books.equity(ledger) if reported_equity is None else reported_equity
    if abs(equity - expected) <= tolerance:
        return []
    return [f"S8: equity of {ledger.account} was {equity}, expected {expected}"]


def books_equal_their_fills(
    ledger: Ledger, recomputed: Ledger, *, tolerance: Decimal = S8_TOLERANCE
) -> list[str]:
    """The stored books and the fold over all fills (`ledger.fold_fills`) agree in every money field."""
    pairs = sorted({*ledger.positions, *recomputed.positions})
    compared = {
        "realized_pnl": (ledger.realized_pnl, recomputed.realized_pnl),
        "fees": (ledger.fees, recomputed.fees),
        **{
            f"position {pair}": (
                books.held_quantity(ledger, pair),
                books.held_quantity(recomputed, pair),
            )
            for pair in pairs
        },
    }
    return [
        f"ledger {name} was {found}, expected {expected}"
        for name, (found, expected) in compared.items()
        if abs(found - expected) > tolerance
    ]

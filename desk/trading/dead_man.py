"""When the venue's dead-man timer may stand guard over resting entries.

It cancels everything that rests on the account: foreign orders and protective stops too. So it is
armed only while entries of ours are all that rests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from desk.trading.orders import Order, OrderState

TIMEOUT_S = 30
"""Wall seconds of silence after which the venue cancels; it takes 10 to 120."""
RENEW_S = 8.0
"""Wall seconds between two renewals: three may be lost."""
RESTS_AFTER_MS = 2_000
"""Wall ms after sending from which an order counts as resting: a market order is done by then."""
FACTS_MAX_AGE_MS = 60_000
"""Wall ms after which the reconciler's count of foreign orders is not known any more."""

_AT_VENUE = frozenset({OrderState.OPEN, OrderState.PARTIAL, OrderState.CANCELLING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Whether the timer is to run; `off` says why not although entries rest."""

    armed: bool
    off: str = ""


def guard(
    active: Sequence[Order],
    *,
    holds_position: bool,
    foreign_orders: int | None,
    wall_ms: int,
) -> Guard:
    """Judge by the account's unfinished orders, its books, and what the reconciler saw.

    `foreign_orders`: open orders at the venue that are not ours; None when that is not known.
    """
    if not any(_rests(order, wall_ms) for order in active):
        return Guard(armed=False)
    if foreign_orders is None:
        return Guard(armed=False, off="foreign_orders_unknown")
    if foreign_orders:
        return Guard(armed=False, off="foreign_orders")
    if holds_position:
        return Guard(armed=False, off="protective_stops_rest")
    return Guard(armed=True)


def _rests(order: Order, wall_ms: int) -> bool:
    is_old = wall_ms - order.sent_wall_ms >= RESTS_AFTER_MS
    return not order.reduce_only and order.state in _AT_VENUE and is_old

"""The check every intent must pass: limits of the run, then guardrails of the account."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from desk.ids import Pair
from desk.trading import ledger as books
from desk.trading.breaker import Breaker, is_cooling
from desk.trading.commit_pace import MOST_P99_MS
from desk.trading.intents import OrderIntent
from desk.trading.ledger import ZERO, Ledger, Position
from desk.trading.limits import (
    AccountPolicy,
    RiskLimitSet,
    default_limits,
    default_live_policy,
    default_paper_policy,
    validate_limits,
    validate_policy,
)
from desk.trading.orders import Order, Side
from desk.trading.venue_health import VenueHealth, objection

__all__ = [
    "AccountPolicy",
    "Approved",
    "Refused",
    "RiskLimitSet",
    "VenueView",
    "account_loss",
    "check",
    "default_limits",
    "default_live_policy",
    "default_paper_policy",
    "held_buffer_bps",
    "liquidation_buffer_bps",
    "reach",
    "reservation",
    "run_loss",
    "validate_limits",
    "validate_policy",
    "worst_notionals",
]

MAINTENANCE_FRACTION = Decimal("0.0055")
"""Maintenance margin of the lowest tier plus the taker fee of the closing order."""
MIN_LIQUIDATION_BUFFER_BPS = Decimal(50)
STORE_SLOW = "store_slow"
MARGIN_COOLDOWN_MS = 600_000
"""Market ms without entries on a pair after the venue refused one for want of margin."""

_ROUNDING = Decimal("1e-9")
"""Lots are computed in floats: a size that is the cap but for its last digits is within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved[T]:
    """An intent or order that passed the check; the executor takes nothing else."""

    value: T
    limits_set_id: str
    executed_s: float | None = None
    """How long the executor took, where the ledger handed the order to it; None: it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueView:
    """How the account's exchange does; `health` None: it was never compared with."""

    health: VenueHealth | None
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Which limit spoke, how much was asked and how much was left."""

    limit: str
    asked: str
    allowed: str
    scope: str = "run"
    """run or account: whose limit it was."""


def check(
    intent: OrderIntent,
    *,
    ledger: Ledger,
    open_orders: Sequence[Order],
    limits: RiskLimitSet,
    policy: AccountPolicy,
    breaker: Breaker,
    price: Decimal,
    leverage: Decimal,
    now_ms: int,
    max_mark_age_ms: int | None = None,
    pair_cooldown_until_ms: int = 0,
    venue: VenueView | None = None,
    slow_commit_ms: float | None = None,
    min_liquidation_buffer_bps: Decimal = MIN_LIQUIDATION_BUFFER_BPS,
) -> Approved[OrderIntent] | Refused:
    """Approve an intent, or name the first limit it would cross, in the order of the contract.

    `open_orders` are all of the account that are not terminal: what they may still fill counts as
    held. Exposures are notionals at `price` for the intent's pair and at the last mark for others.
    Loss and drawdown limits look at the account's books as last marked. With `max_mark_age_ms`
    entries are refused while the last mark is older; before `pair_cooldown_until_ms`; with a
    `venue`, while it does not answer or has not answered for long enough; and with `slow_commit_ms`,
    the p99 of a store that is too slow to follow orders with. Reduce-only intents always pass: what
    cannot be sent now waits at the executor.
    """
    if intent.reduce_only:
        return Approved(value=intent, limits_set_id=limits.set_id)
    notionals = _notionals_with(intent, ledger, open_orders, price)
    refused = (
        _out_of_touch(venue)
        or _behind(slow_commit_ms)
        or _stale(ledger, now_ms, max_mark_age_ms)
        or _against_run(intent.pair, notionals, ledger, limits, leverage)
        or _against_account(intent.pair, notionals, ledger, policy, leverage)
        or _too_near_liquidation(
            intent, ledger, price, leverage, least_bps=min_liquidation_buffer_bps
        )
        or _cooling(breaker, now_ms)
        or _cooling_pair(pair_cooldown_until_ms, now_ms)
    )
    return refused or Approved(value=intent, limits_set_id=limits.set_id)


def reservation(intent: OrderIntent, *, price: Decimal) -> Decimal:
    """Return the USDT of exposure to reserve for an intent; reduce-only ones need none."""
    return ZERO if intent.reduce_only else intent.quantity * price


def reach(held: Decimal, orders: Iterable[Order], side: Side) -> Decimal:
    """Return the signed position farthest toward a side that fills of these orders can lead to."""
    reduced, plain = held, ZERO
    for order in orders:
        if order.reduce_only:
            reduced = _reduced(reduced, order)
        elif order.side is side:
            plain += order.remaining_quantity
    if side is Side.BUY:
        return max(held, reduced) + plain
    return min(held, reduced) - plain


def worst_notionals(ledger: Ledger, open_orders: Sequence[Order]) -> dict[Pair, Decimal]:
    """Absolute USDT of every pair at its last mark, if its orders fill as badly as they can.

    Pairs that are flat and can only stay so are left out.
    """
    notionals: dict[Pair, Decimal] = {}
    for pair in sorted({*ledger.positions, *(order.pair for order in open_orders)}):
        orders = [order for order in open_orders if order.pair == pair]
        held = books.held_quantity(ledger, pair)
        worst = max(abs(reach(held, orders, side)) for side in Side)
        if notional := worst * _price(ledger, pair, orders):
            notionals[pair] = notional
    return notionals


def liquidation_buffer_bps(
    leverage: Decimal, *, maintenance_fraction: Decimal = MAINTENANCE_FRACTION
) -> Decimal:
    """Return how far the price may move against a new long before it is liquidated, in bps.

    Isolated margin: the level is `price * (1 - 1/leverage) / (1 - maintenance)`. A short has more.
    """
    level = (1 - 1 / leverage) / (1 - maintenance_fraction)
    return (1 - level) * 10_000


def held_buffer_bps(
    held: Position,
    price: Decimal,
    leverage: Decimal,
    *,
    maintenance_fraction: Decimal = MAINTENANCE_FRACTION,
) -> Decimal:
    """Return how far the price may still move before a held position is liquidated, in bps of it.

    Isolated margin as above, from the average entry price; negative beyond the level.
    """
    sign = 1 if held.quantity > 0 else -1
    level = held.average_price * (1 - sign / leverage) / (1 - sign * maintenance_fraction)
    return sign * (price - level) / price * 10_000


def run_loss(ledger: Ledger, limits: RiskLimitSet) -> Refused | None:
    """Name the loss limit of a run that the marked books have reached, if any.

    Sizes are not looked at: a price that moved is no breach, only an order can be.
    """
    lost, drawdown = books.daily_loss(ledger), books.drawdown_fraction(ledger)
    return _reached("max_daily_loss", lost, limits.max_daily_loss, "run") or _reached(
        "max_drawdown", drawdown, limits.max_drawdown, "run"
    )


def account_loss(ledger: Ledger, policy: AccountPolicy) -> Refused | None:
    """Name the loss guardrail of the account that the marked books have reached, if any."""
    lost, drawdown = books.daily_loss_fraction(ledger), books.drawdown_fraction(ledger)
    return _reached("max_daily_loss", lost, policy.max_daily_loss, "account") or _reached(
        "max_drawdown", drawdown, policy.max_drawdown, "account"
    )


def _reduced(held: Decimal, order: Order) -> Decimal:
    if held > 0 and order.side is Side.SELL:
        return max(held - order.remaining_quantity, ZERO)
    if held < 0 and order.side is Side.BUY:
        return min(held + order.remaining_quantity, ZERO)
    return held  # reduce-only: it can neither open nor enlarge a position


def _notionals_with(
    intent: OrderIntent, ledger: Ledger, open_orders: Sequence[Order], price: Decimal
) -> dict[Pair, Decimal]:
    """Absolute notional of every pair: of the intent's once it is filled, of others at worst.

    What the intent's pair holds on the other side does not count: a flip must not be refused for
    the position that its own exit closes.
    """
    notionals = worst_notionals(ledger, open_orders)
    orders = [order for order in open_orders if order.pair == intent.pair]
    held = books.held_quantity(ledger, intent.pair)
    after = reach(held, orders, intent.side) + intent.signed_quantity
    with_intent = {**notionals, intent.pair: abs(after) * price}
    return {pair: notional for pair, notional in with_intent.items() if notional}


def _price(ledger: Ledger, pair: Pair, orders: list[Order]) -> Decimal:
    known = books.price_of(ledger, pair)
    return known or max((order.reference_price for order in orders), default=ZERO)


def _out_of_touch(venue: VenueView | None) -> Refused | None:
    found = None if venue is None else objection(venue.health, wall_ms=venue.wall_ms)
    if found is None:
        return None
    limit, asked, allowed = found
    return Refused(limit=limit, asked=asked, allowed=allowed, scope="account")


def _behind(slow_commit_ms: float | None) -> Refused | None:
    if slow_commit_ms is None:
        return None
    took, most = f"p99 {slow_commit_ms:.0f} ms", f"{MOST_P99_MS:.0f} ms"
    return Refused(limit=STORE_SLOW, asked=took, allowed=most, scope="account")


def _stale(ledger: Ledger, now_ms: int, max_mark_age_ms: int | None) -> Refused | None:
    if max_mark_age_ms is None or now_ms - ledger.marked_ms <= max_mark_age_ms:
        return None
    age = f"{now_ms - ledger.marked_ms} ms"
    return Refused(
        limit="equity_stale", asked=age, allowed=f"{max_mark_age_ms} ms", scope="account"
    )


def _against_run(
    pair: Pair,
    notionals: dict[Pair, Decimal],
    ledger: Ledger,
    limits: RiskLimitSet,
    leverage: Decimal,
) -> Refused | None:
    return (
        _above("max_position_size", notionals.get(pair, ZERO), limits.max_position_size, "run")
        or _above("leverage_cap", leverage, limits.leverage_cap, "run")
        or run_loss(ledger, limits)
        or _too_many(notionals, limits.max_open_positions, "run")
    )


def _against_account(
    pair: Pair,
    notionals: dict[Pair, Decimal],
    ledger: Ledger,
    policy: AccountPolicy,
    leverage: Decimal,
) -> Refused | None:
    equity = max(books.equity(ledger), ZERO)
    total = sum(notionals.values(), ZERO)
    of_pair, scope = notionals.get(pair, ZERO), "account"
    return (
        _above("max_total_exposure", total, policy.max_total_exposure * equity, scope)
        or _above(
            "max_instrument_exposure", of_pair, policy.max_instrument_exposure * equity, scope
        )
        or _too_many(notionals, policy.max_open_positions, scope)
        or account_loss(ledger, policy)
        or _above("max_leverage", leverage, policy.max_leverage, scope)
    )


def _above(limit: str, asked: Decimal, allowed: Decimal, scope: str) -> Refused | None:
    if asked <= allowed * (1 + _ROUNDING):
        return None
    return Refused(limit=limit, asked=f"{asked:f}", allowed=f"{allowed:f}", scope=scope)


def _reached(limit: str, lost: Decimal, allowed: Decimal, scope: str) -> Refused | None:
    if lost < allowed:
        return None
    return Refused(limit=limit, asked=f"{lost:f}", allowed=f"{allowed:f}", scope=scope)


def _too_many(notionals: dict[Pair, Decimal], allowed: int, scope: str) -> Refused | None:
    if len(notionals) <= allowed:
        return None
    return Refused(
        limit="max_open_positions", asked=str(len(notionals)), allowed=str(allowed), scope=scope
    )


def _too_near_liquidation(
    intent: OrderIntent,
    ledger: Ledger,
    price: Decimal,
    leverage: Decimal,
    *,
    least_bps: Decimal,
) -> Refused | None:
    """A new position's buffer, and that of the held one which the intent would enlarge."""
    buffer_bps = liquidation_buffer_bps(leverage)
    held = ledger.positions.get(intent.pair)
    if held is not None and held.quantity * intent.side.sign > 0:
        buffer_bps = min(buffer_bps, held_buffer_bps(held, price, leverage))
    if buffer_bps >= least_bps:
        return None
    return Refused(
        limit="liquidation_buffer",
        asked=f"{buffer_bps:.1f} bps",
        allowed=f"{least_bps:f} bps",
        scope="account",
    )


def _cooling(breaker: Breaker, now_ms: int) -> Refused | None:
    if not is_cooling(breaker, now_ms):
        return None
    return Refused(
        limit="circuit_breaker",
        asked=breaker.trigger_reason,
        allowed=f"after {breaker.cooldown_until_ms}",
        scope="account",
    )


def _cooling_pair(until_ms: int, now_ms: int) -> Refused | None:
    if now_ms >= until_ms:
        return None
    return Refused(
        limit="pair_cooldown", asked=f"at {now_ms}", allowed=f"after {until_ms}", scope="account"
    )

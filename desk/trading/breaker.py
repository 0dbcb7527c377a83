"""The circuit breaker of an account: it trips on losses, by mark to market as well as by fills."""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from desk.clock import MINUTE_MS
from desk.trading import ledger as books
from desk.trading.ledger import Ledger
from desk.trading.limits import AccountPolicy


class BreakerState(StrEnum):
    OK = "ok"
    COOLDOWN = "cooldown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is stored of one account's breaker; a restart continues the cool-down."""

    account: str
    state: BreakerState = BreakerState.OK
    cooldown_until_ms: int = 0
    trigger_reason: str = ""
    tripped_ms: int = 0
    reference_equity: Decimal = Decimal(0)
    """Losses are measured from it: the highest equity since the breaker closed or the UTC day
    began; in cool-down the equity when it last tripped. 0: nothing seen yet."""
    day: str = ""
    """UTC day of the books when it was last looked at."""


def is_cooling(breaker: Breaker, now_ms: int) -> bool:
    """Whether only reduce-only orders may pass now."""
    return breaker.state is BreakerState.COOLDOWN and now_ms < breaker.cooldown_until_ms


def observe(breaker: Breaker, *, ledger: Ledger, policy: AccountPolicy, now_ms: int) -> Breaker:
    """Look at the marked books and return the breaker; the same object when nothing changed.

    Call it at every mark, not only when an order is asked for. Once tripped it stays so for the
    whole cool-down, however the equity moves; a further loss of the same size starts the cool-down
    anew. When it closes, losses are measured from the equity of that moment, so that it cannot
    flap around its threshold.
    """
    equity = books.equity(ledger)
    if is_cooling(breaker, now_ms):
        return _deepened(breaker, equity, policy, now_ms)
    if breaker.state is BreakerState.COOLDOWN:
        breaker = reset(breaker, ledger=ledger)
    breaker = _raised(breaker, ledger, equity)
    reason = _reason(breaker, ledger, policy)
    return _tripped(breaker, reason, equity, policy, now_ms) if reason else breaker


def reset(breaker: Breaker, *, ledger: Ledger) -> Breaker:
    """Close the breaker and measure losses from the present equity; an operator may do so early."""
    return Breaker(account=breaker.account, reference_equity=books.equity(ledger), day=ledger.day)


def _reason(breaker: Breaker, ledger: Ledger, policy: AccountPolicy) -> str:
    if books.drawdown_fraction(ledger) >= policy.max_drawdown:
        return "max_drawdown"
    if books.daily_loss_fraction(ledger) >= policy.max_daily_loss:
        return "max_daily_loss"
    if _loss_fraction(breaker, books.equity(ledger)) >= policy.circuit_breaker_loss:
        return "circuit_breaker_loss"
    return ""


def _raised(breaker: Breaker, ledger: Ledger, equity: Decimal) -> Breaker:
    if ledger.day > breaker.day:
        # From the equity the day began with: a loss over midnight is not forgotten.
        reference = max(ledger.day_start_equity, equity)
        return replace(breaker, day=ledger.day, reference_equity=reference)
    if equity <= breaker.reference_equity:
        return breaker
    return replace(breaker, reference_equity=equity)


def _loss_fraction(breaker: Breaker, equity: Decimal) -> Decimal:
    reference = breaker.reference_equity
    return (reference - equity) / reference if reference > 0 else Decimal(0)


def _tripped(
    breaker: Breaker, reason: str, equity: Decimal, policy: AccountPolicy, now_ms: int
) -> Breaker:
    return replace(
        breaker,
        state=BreakerState.COOLDOWN,
        cooldown_until_ms=now_ms + policy.cooldown_minutes * MINUTE_MS,
        trigger_reason=reason,
        tripped_ms=now_ms,
        reference_equity=equity,
    )


def _deepened(breaker: Breaker, equity: Decimal, policy: AccountPolicy, now_ms: int) -> Breaker:
    if _loss_fraction(breaker, equity) < policy.circuit_breaker_loss:
        return breaker
    return _tripped(breaker, breaker.trigger_reason, equity, policy, now_ms)

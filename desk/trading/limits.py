"""Caps of runs and of accounts: the records, their defaults, and what counts as a sensible one."""

from dataclasses import dataclass
from decimal import Decimal

from desk.errors import BadInput

MOST_SETS = 200
"""Limit sets of a desk: each mark looks at all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimitSet:
    """A named, versioned set of caps for runs. Money in USDT, `max_drawdown` a fraction of peak equity."""

    set_id: str
    name: str
    max_position_size: Decimal
    """Largest notional of one position, and the size that target 1.0 means."""
    leverage_cap: Decimal
    max_daily_loss: Decimal
    max_drawdown: Decimal
    max_open_positions: int
    effective_from_ms: int
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPolicy:
    """Guardrails of an account; exposures and loss as fractions of equity."""

    account: str
    max_total_exposure: Decimal = Decimal("0.30")
    max_instrument_exposure: Decimal = Decimal("0.10")
    max_open_positions: int = 5
    max_daily_loss: Decimal = Decimal("0.02")
    max_drawdown: Decimal = Decimal("0.05")
    max_leverage: Decimal = Decimal(3)
    circuit_breaker_loss: Decimal = Decimal("0.02")
    cooldown_minutes: int = 60
    flatten_on_drawdown: bool = True
    """Whether reaching `max_drawdown` cancels the account's entries and closes its positions."""


def default_limits(*, effective_from_ms: int = 0) -> RiskLimitSet:
    """Return the risk limit set `default`: a tenth of the paper account's starting cash a position."""
    return RiskLimitSet(
        set_id="default",
        name="Default",
        max_position_size=Decimal(1000),
        leverage_cap=Decimal(3),
        max_daily_loss=Decimal(200),
        max_drawdown=Decimal("0.10"),
        max_open_positions=3,
        effective_from_ms=effective_from_ms,
    )


def default_live_policy(account: str = "live") -> AccountPolicy:
    """Return the guardrails of a real account."""
    return AccountPolicy(account=account)


def default_paper_policy(account: str = "paper") -> AccountPolicy:
    """Return wider guardrails: on paper a run should meet its own limits before the account's."""
    return AccountPolicy(
        account=account,
        max_total_exposure=Decimal("1.0"),
        max_instrument_exposure=Decimal("0.5"),
        max_open_positions=10,
        max_daily_loss=Decimal("0.05"),
        max_drawdown=Decimal("0.25"),
        circuit_breaker_loss=Decimal("0.05"),
        flatten_on_drawdown=False,
    )


def validate_limits(limits: RiskLimitSet) -> RiskLimitSet:
    """Return the set unchanged, or raise `BadInput` naming the first field that makes no sense."""
    if not limits.set_id:
        raise BadInput("set_id", "was empty, expected a name of letters and digits")
    if not limits.name:
        raise BadInput("name", "was empty, expected the name operators will see")
    _positive("max_position_size", limits.max_position_size, "USDT")
    _leverage("leverage_cap", limits.leverage_cap)
    _positive("max_daily_loss", limits.max_daily_loss, "USDT")
    _fraction("max_drawdown", limits.max_drawdown)
    _count("max_open_positions", limits.max_open_positions)
    return limits


def validate_policy(policy: AccountPolicy) -> AccountPolicy:
    """Return the policy unchanged, or raise `BadInput` naming the first field that makes no sense."""
    _positive("max_total_exposure", policy.max_total_exposure, "as a fraction of equity")
    _positive("max_instrument_exposure", policy.max_instrument_exposure, "as a fraction of equity")
    if policy.max_instrument_exposure > policy.max_total_exposure:
        raise BadInput(
            "max_instrument_exposure",
            f"was {policy.max_instrument_exposure}, expected at most max_total_exposure "
            f"({policy.max_total_exposure})",
        )
    _count("max_open_positions", policy.max_open_positions)
    _fraction("max_daily_loss", policy.max_daily_loss)
    _fraction("max_drawdown", policy.max_drawdown)
    _leverage("max_leverage", policy.max_leverage)
    _fraction("circuit_breaker_loss", policy.circuit_breaker_loss)
    _count("cooldown_minutes", policy.cooldown_minutes)
    return policy


def _positive(field: str, value: Decimal, unit: str) -> None:
    if not (value.is_finite() and value > 0):
        raise BadInput(field, f"was {value}, expected a number above 0, {unit}")


def _fraction(field: str, value: Decimal) -> None:
    if not (value.is_finite() and 0 < value <= 1):
        raise BadInput(field, f"was {value}, expected a fraction above 0 and at most 1")


def _leverage(field: str, value: Decimal) -> None:
    if not (value.is_finite() and 1 <= value <= 125):
        raise BadInput(field, f"was {value}, expected from 1 to 125")


def _count(field: str, value: int) -> None:
    if value < 1:
        raise BadInput(field, f"was {value}, expected a whole number of at least 1")

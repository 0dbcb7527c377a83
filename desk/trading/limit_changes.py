"""Edits of limits: what loosens them, and what they may not go beyond."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from desk.errors import BadInput
from desk.trading.limits import AccountPolicy, RiskLimitSet, validate_limits, validate_policy

LIMITS = (
    "max_position_size",
    "leverage_cap",
    "max_daily_loss",
    "max_drawdown",
    "max_open_positions",
)
"""Of a set; each is looser the higher it is."""
GUARDRAILS = (
    "max_total_exposure",
    "max_instrument_exposure",
    "max_open_positions",
    "max_daily_loss",
    "max_drawdown",
    "max_leverage",
    "circuit_breaker_loss",
    "cooldown_minutes",
    "flatten_on_drawdown",
)
"""Of an account; each is looser the higher it is, but for the two below."""
LOOSER_WHEN_LOWER = frozenset({"cooldown_minutes", "flatten_on_drawdown"})

type Change = Decimal | int | bool | str
type Changes = Mapping[str, Change]


def edited_limits(before: RiskLimitSet, changes: Changes, *, now_ms: int) -> RiskLimitSet:
    """Return the next revision of a set, in force from `now_ms`.

    Raises `BadInput` for a change of nothing, for an unknown field and for a value without sense.
    """
    _check_names(changes, (*LIMITS, "name"))
    return validate_limits(replace(before, **dict(changes), effective_from_ms=now_ms))  # pyright: ignore[reportArgumentType] - names and types are the body's


def edited_policy(before: AccountPolicy, changes: Changes) -> AccountPolicy:
    """Return the account's guardrails after an edit. Raises `BadInput` as for a set."""
    _check_names(changes, GUARDRAILS)
    return validate_policy(replace(before, **dict(changes)))  # pyright: ignore[reportArgumentType] - as above


def loosened[T: (RiskLimitSet, AccountPolicy)](before: T, after: T) -> tuple[str, ...]:
    """Name every limit that allows more than before."""
    names = LIMITS if isinstance(before, RiskLimitSet) else GUARDRAILS
    return tuple(name for name in names if _is_looser(name, before, after))


def check_against_account(
    limits: RiskLimitSet, policy: AccountPolicy, *, equity: Decimal, names: Iterable[str] = LIMITS
) -> None:
    """Raise `BadInput` for the first of these limits that is looser than the account's guardrail.

    Fractions of the guardrails count on `equity`, in USDT.
    """
    shares = {"max_position_size": "max_instrument_exposure", "max_daily_loss": "max_daily_loss"}
    plain = {
        "leverage_cap": "max_leverage",
        "max_drawdown": "max_drawdown",
        "max_open_positions": "max_open_positions",
    }
    for name in (name for name in LIMITS if name in set(names)):
        guardrail = shares.get(name) or plain[name]
        of_account = Decimal(getattr(policy, guardrail))
        most = of_account * equity if name in shares else of_account
        asked = Decimal(getattr(limits, name))
        if asked > most:
            share = f" = {of_account:f} of {equity:f} USDT equity" if name in shares else ""
            raise BadInput(
                name,
                f"was {asked:f}, expected at most {most.normalize():f}: {guardrail} of account"
                f" {policy.account}{share}",
            )


def check_against_venue(field: str, leverage: Decimal, most: int) -> None:
    """Raise `BadInput` for a leverage that the venue gives on no pair."""
    if leverage > most:
        raise BadInput(field, f"was {leverage:f}, expected at most {most}, the venue's maximum")


def _is_looser(name: str, before: object, after: object) -> bool:
    was, now = getattr(before, name), getattr(after, name)
    return bool(now < was) if name in LOOSER_WHEN_LOWER else bool(now > was)


def _check_names(changes: Changes, known: Iterable[str]) -> None:
    names = tuple(known)
    if not changes:
        raise BadInput("body", f"changes nothing, expected at least one of {', '.join(names)}")
    for name in changes:
        if name not in names:
            raise BadInput(name, f"cannot be changed, expected one of {', '.join(names)}")

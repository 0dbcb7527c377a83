"""Accounts: books, positions, exposure against its caps, as the API shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from typing import Literal

from desk.learning.versions import AgentVersion
from desk.runs import Run
from desk.store.port import Doc
from desk.trading import ledger as books
from desk.trading.breaker import Breaker, is_cooling
from desk.trading.ledger import ZERO, Ledger, Position
from desk.trading.limits import AccountPolicy
from desk.trading.orders import Order, OrderState
from serve_apps.schemas import (
    AccountRiskView,
    AccountView,
    CapView,
    InstrumentExposureView,
    ModeName,
    PositionView,
)
from serve_apps.views.text import money

type Baselines = Mapping[str, bool]
"""Run id → whether its version is the shipped rule."""

UNRESOLVED = frozenset({OrderState.SENDING, OrderState.UNKNOWN, OrderState.QUARANTINED})


def baselines(runs: Sequence[Doc[Run]], versions: Mapping[str, Doc[AgentVersion]]) -> Baselines:
    """Which runs trade the shipped rule."""
    return {
        doc.value.run_id: (version := versions.get(doc.value.version_id)) is not None
        and version.value.is_baseline
        for doc in runs
    }


def mode_of(account: str) -> ModeName:
    """Every account but the exchange's own is paper."""
    return "live" if account == "live" else "paper"


def account_view(
    ledger: Ledger, orders: Sequence[Order], kill_reason: str | None, baseline: Baselines
) -> AccountView:
    """Books of one account at the last marks; `orders` are those that are not terminal."""
    equity = books.equity(ledger)
    day_start = ledger.day_start_equity if ledger.day else ledger.starting_cash
    return AccountView(
        account=ledger.account,
        mode=mode_of(ledger.account),
        equity=money(equity),
        cash=money(ledger.cash),
        starting_cash=money(ledger.starting_cash),
        unrealized_pnl=money(books.unrealized(ledger)),
        realized_pnl=money(ledger.realized_pnl),
        fees=money(ledger.fees),
        funding=money(ledger.funding),
        day=ledger.day,
        day_pnl=money(equity - day_start),
        peak_equity=money(ledger.peak_equity),
        drawdown=float(books.drawdown_fraction(ledger)),
        exposure=money(books.exposure(ledger)),
        kill_reason=kill_reason,
        marked_ms=ledger.marked_ms,
        ledger_version=ledger.version,
        positions=[
            _position_view(ledger, position, baseline)
            for _, position in sorted(ledger.positions.items())
        ],
        open_orders=len(orders),
        unresolved_orders=sum(order.state in UNRESOLVED for order in orders),
    )


def account_risk_view(
    ledger: Ledger,
    *,
    policy: AccountPolicy,
    breaker: Breaker,
    reserved: Mapping[str, Decimal],
    kill_reason: str | None,
    now_ms: int,
) -> AccountRiskView:
    """How much of each guardrail is used; `reserved` is USDT by pair for orders under way."""
    equity = books.equity(ledger)
    promised = sum(reserved.values(), ZERO)
    cooling = is_cooling(breaker, now_ms)
    pairs = sorted({*ledger.positions, *reserved})
    return AccountRiskView(
        account=ledger.account,
        mode=mode_of(ledger.account),
        state="cooldown" if cooling else "ok",
        cooldown_until_ms=breaker.cooldown_until_ms if cooling else None,
        trigger_reason=breaker.trigger_reason if cooling else "",
        kill_reason=kill_reason,
        equity=money(equity),
        exposure=money(books.exposure(ledger)),
        reserved=money(promised),
        caps=_caps(ledger, policy, breaker, promised),
        instruments=[
            InstrumentExposureView(
                pair=pair,
                notional=money(books.exposure_of(ledger, pair)),
                fraction_of_equity=money(_share(books.exposure_of(ledger, pair), equity)),
                reserved=money(reserved.get(pair, ZERO)),
            )
            for pair in pairs
        ],
        policy={
            field.name: money(Decimal(getattr(policy, field.name)))
            for field in fields(policy)
            if field.name != "account"
        },
    )


def _caps(
    ledger: Ledger, policy: AccountPolicy, breaker: Breaker, promised: Decimal
) -> list[CapView]:
    equity = books.equity(ledger)
    total = books.exposure(ledger) + promised
    largest = max((books.exposure_of(ledger, pair) for pair in ledger.positions), default=ZERO)
    reference = breaker.reference_equity
    since = max(_share(reference - equity, reference), ZERO)
    return [
        _cap("max_total_exposure", _share(total, equity), policy.max_total_exposure, "fraction"),
        _cap(
            "max_instrument_exposure",
            _share(largest, equity),
            policy.max_instrument_exposure,
            "fraction",
        ),
        _cap(
            "max_open_positions",
            Decimal(len(ledger.positions)),
            Decimal(policy.max_open_positions),
            "count",
        ),
        _cap(
            "max_daily_loss", books.daily_loss_fraction(ledger), policy.max_daily_loss, "fraction"
        ),
        _cap("max_drawdown", books.drawdown_fraction(ledger), policy.max_drawdown, "fraction"),
        _cap("circuit_breaker_loss", since, policy.circuit_breaker_loss, "fraction"),
    ]


def _cap(
    name: str, used: Decimal, cap: Decimal, unit: Literal["fraction", "count", "x", "USDT"]
) -> CapView:
    # A cap on losses speaks when it is reached, one on exposure or a count when it is passed.
    breached = used >= cap if "loss" in name or name == "max_drawdown" else used > cap
    return CapView(name=name, used=money(used), cap=money(cap), unit=unit, breached=breached)


def _share(part: Decimal, whole: Decimal) -> Decimal:
    return (part / whole).quantize(Decimal("1e-6")) if whole > 0 else ZERO


def _position_view(ledger: Ledger, position: Position, baseline: Baselines) -> PositionView:
    mark = ledger.marks.get(position.pair)
    return PositionView(
        account=ledger.account,
        pair=position.pair,
        side="buy" if position.quantity > 0 else "sell",
        quantity=money(position.quantity),
        average_price=money(position.average_price),
        mark_price=money(mark) if mark is not None else None,
        notional=money(abs(position.quantity) * mark) if mark is not None else None,
        unrealized_pnl=money(position.quantity * (mark - position.average_price))
        if mark is not None
        else None,
        trade_id=position.trade_id,
        run_id=position.run_id,
        baseline=baseline.get(position.run_id, False),
        opened_ms=position.opened_ms,
    )

"""Limits with their use and headroom: by account, and by run."""

from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal
from typing import Literal

from actors.limit_book import default_policy
from actors.run_book import ACTIVE
from desk.errors import NotFound
from desk.runs import Run
from desk.store import kinds
from desk.store.port import Doc
from desk.trading import ledger as books
from desk.trading import risk
from desk.trading.breaker import Breaker, is_cooling
from desk.trading.ledger import ZERO, Ledger
from desk.trading.limits import AccountPolicy, RiskLimitSet
from desk.trading.orders import Order
from serve_apps import lookups
from serve_apps.context import Context
from serve_apps.schemas import AccountRiskView, CapView, InstrumentExposureView, RunRiskView
from serve_apps.views.accounts import mode_of
from serve_apps.views.text import money

type Unit = Literal["fraction", "count", "x", "USDT", "bps"]
AT_THE_CAP = frozenset({"max_daily_loss", "max_drawdown", "circuit_breaker_loss"})
"""Speak when they are reached; those on exposure, counts and leverage when they are passed."""


def read_account_risk(ctx: Context, account: str) -> AccountRiskView:
    """Every limit of an account and of its runs. Raises `NotFound` before its books are opened."""
    store = ctx.store
    ledger = store.ledger(account)
    if ledger is None:
        raise NotFound("ledger", account)
    policy = store.get(kinds.ACCOUNT_POLICIES, account)
    breaker = store.get(kinds.BREAKERS, account)
    orders = store.active_orders(account)
    runs = [doc.value for doc in lookups.runs(store) if doc.value.account == account]
    return account_risk_view(
        ledger,
        orders,
        policy=policy or Doc(key=account, value=default_policy(account), version=0, at_ms=0),
        breaker=breaker.value if breaker else Breaker(account=account),
        kill_reason=store.kill_reason(account),
        now_ms=ctx.clock.now_ms(),
        leverage=ctx.facts.leverage,
        least_buffer_bps=ctx.facts.min_liquidation_buffer_bps,
        runs=[
            run_risk_view(
                run,
                store.get(kinds.RISK_LIMITS, run.risk_limit_set_id),
                ledger,
                orders,
                leverage=ctx.facts.leverage,
            )
            for run in runs
            if run.status in ACTIVE
        ],
    )


def account_risk_view(
    ledger: Ledger,
    orders: Sequence[Order],
    *,
    policy: Doc[AccountPolicy],
    breaker: Breaker,
    kill_reason: str | None,
    now_ms: int,
    leverage: Decimal,
    least_buffer_bps: Decimal,
    runs: list[RunRiskView],
) -> AccountRiskView:
    """How much of each guardrail is used; `orders` are those that are not terminal."""
    equity, cooling = books.equity(ledger), is_cooling(breaker, now_ms)
    reserved: dict[str, Decimal] = {}
    for order in orders:
        reserved[order.pair] = reserved.get(order.pair, ZERO) + order.reserved_quote
    return AccountRiskView(
        account=ledger.account,
        mode=mode_of(ledger.account),
        state="cooldown" if cooling else "ok",
        cooldown_until_ms=breaker.cooldown_until_ms if cooling else None,
        trigger_reason=breaker.trigger_reason if cooling else "",
        kill_reason=kill_reason,
        equity=money(equity),
        exposure=money(books.exposure(ledger)),
        reserved=money(sum(reserved.values(), ZERO)),
        caps=[
            *_caps(ledger, orders, policy.value, breaker, leverage),
            _buffer(leverage, least_buffer_bps),
        ],
        instruments=[
            InstrumentExposureView(
                pair=pair,
                notional=money(books.exposure_of(ledger, pair)),
                fraction_of_equity=money(_share(books.exposure_of(ledger, pair), equity)),
                reserved=money(reserved.get(pair, ZERO)),
            )
            for pair in sorted({*ledger.positions, *reserved})
        ],
        policy={
            field.name: money(Decimal(getattr(policy.value, field.name)))
            for field in fields(policy.value)
            if field.name != "account"
        },
        policy_version=policy.version,
        runs=runs,
    )


def run_risk_view(
    run: Run,
    limits: Doc[RiskLimitSet] | None,
    ledger: Ledger,
    orders: Sequence[Order],
    *,
    leverage: Decimal,
) -> RunRiskView:
    """One run's limits with their use; none while its set is missing."""
    return RunRiskView(
        run_id=run.run_id,
        pair=run.pair,
        status=run.status.value,
        pause_reason=run.pause_reason,
        set_id=run.risk_limit_set_id,
        set_version=limits.version if limits else 0,
        caps=_run_caps(run, limits.value, ledger, orders, leverage) if limits else [],
    )


def _run_caps(
    run: Run,
    limits: RiskLimitSet,
    ledger: Ledger,
    orders: Sequence[Order],
    leverage: Decimal,
) -> list[CapView]:
    notionals = risk.worst_notionals(ledger, orders)
    held, count = notionals.get(run.pair, ZERO), Decimal(len(notionals))
    drawdown = books.drawdown_fraction(ledger)
    return [
        _cap("max_position_size", held, limits.max_position_size, "USDT"),
        _cap("leverage_cap", leverage, limits.leverage_cap, "x"),
        _cap("max_daily_loss", books.daily_loss(ledger), limits.max_daily_loss, "USDT"),
        _cap("max_drawdown", drawdown, limits.max_drawdown, "fraction"),
        _cap("max_open_positions", count, Decimal(limits.max_open_positions), "count"),
    ]


def _caps(
    ledger: Ledger,
    orders: Sequence[Order],
    policy: AccountPolicy,
    breaker: Breaker,
    leverage: Decimal,
) -> list[CapView]:
    """Exposures at worst: with everything that orders under way may still fill."""
    equity, notionals = books.equity(ledger), risk.worst_notionals(ledger, orders)
    total = _share(sum(notionals.values(), ZERO), equity)
    largest = _share(max(notionals.values(), default=ZERO), equity)
    count, most = Decimal(len(notionals)), Decimal(policy.max_open_positions)
    daily, drawdown = books.daily_loss_fraction(ledger), books.drawdown_fraction(ledger)
    reference = breaker.reference_equity
    since = max(_share(reference - equity, reference), ZERO)
    return [
        _cap("max_total_exposure", total, policy.max_total_exposure, "fraction"),
        _cap("max_instrument_exposure", largest, policy.max_instrument_exposure, "fraction"),
        _cap("max_open_positions", count, most, "count"),
        _cap("max_daily_loss", daily, policy.max_daily_loss, "fraction"),
        _cap("max_drawdown", drawdown, policy.max_drawdown, "fraction"),
        _cap("max_leverage", leverage, policy.max_leverage, "x"),
        _cap("circuit_breaker_loss", since, policy.circuit_breaker_loss, "fraction"),
    ]


def _cap(name: str, used: Decimal, cap: Decimal, unit: Unit) -> CapView:
    return CapView(
        name=name,
        used=money(used),
        cap=money(cap),
        headroom=money(cap - used),
        unit=unit,
        breached=used >= cap if name in AT_THE_CAP else used > cap,
    )


def _buffer(leverage: Decimal, least_bps: Decimal) -> CapView:
    """The one limit from below: an entry has this much room, and needs that much."""
    has_bps = risk.liquidation_buffer_bps(leverage).quantize(Decimal("0.1"))
    return CapView(
        name="liquidation_buffer",
        used=money(has_bps),
        cap=money(least_bps),
        headroom=money(has_bps - least_bps),
        unit="bps",
        breached=has_bps < least_bps,
    )


def _share(part: Decimal, whole: Decimal) -> Decimal:
    return (part / whole).quantize(Decimal("1e-6")) if whole > 0 else ZERO

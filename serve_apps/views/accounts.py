"""Accounts: books and positions, as the API shows them."""

from collections.abc import Mapping, Sequence

from desk.learning.versions import AgentVersion
from desk.runs import Run
from desk.store.port import Doc
from desk.trading import ledger as books
from desk.trading.ledger import Ledger, Position
from desk.trading.orders import Order, OrderState
from serve_apps.schemas import (
    AccountView,
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

"""Both stores, and small rows to put into them."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from desk.evaluation.report import EvaluationReport
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion, VersionStatus
from desk.runs import Agent, AuditEvent, Mode, Run, RunStatus
from desk.store.memory import MemoryStore
from desk.store.port import Event, Fence, Store, Stream
from desk.trading.ledger import Adjustment, Ledger
from desk.trading.orders import Fill, Leg, Order, OrderState, Side


@pytest.fixture(params=["memory", "valkey"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn, empty."""
    if request.param == "memory":
        return MemoryStore()
    return request.getfixturevalue("store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Makes rows; every field can be overridden."""

    def order(self, name: str = "c1", **changes: Any) -> Order:
        order = Order(
            client_order_id=name,
            account="paper",
            run_id="run",
            decision_id=f"d-{name}",
            trade_id=name,
            pair="BTC-USDT",
            leg=Leg.ENTRY,
            side=Side.BUY,
            quantity=Decimal("0.0150"),
            reduce_only=False,
            reference_price=Decimal("60000.10"),
            decided_open_ms=1_700_000_040_000,
            created_ms=1_700_000_101_000,
            trace_id="tr1",
            reserved_quote=Decimal("900.0015"),
        )
        return replace(order, **changes)

    def fill(self, name: str = "f1", **changes: Any) -> Fill:
        fill = Fill(
            fill_id=name,
            client_order_id="c1",
            venue_order_id="v1",
            pair="BTC-USDT",
            side=Side.BUY,
            quantity=Decimal("0.0050"),
            price=Decimal("60000.10"),
            fee=Decimal("0.15"),
            is_maker=False,
            filled_ms=1_700_000_161_000,
        )
        return replace(fill, **changes)

    def adjustment(self, name: str = "a1", **changes: Any) -> Adjustment:
        adjustment = Adjustment(
            adjustment_id=name,
            pair="ETH-USDT",
            quantity=Decimal("-0.50"),
            price=Decimal("2000.10"),
            at_ms=1_700_000_161_000,
        )
        return replace(adjustment, **changes)

    def audit(self, name: str = "a1", **changes: Any) -> AuditEvent:
        row = AuditEvent(
            audit_id=name,
            actor="operator",
            action="run.pause",
            resource="run/r1",
            at_ms=1_700_000_161_000,
            before={"status": "running", "limit": 1.5},
            after={"status": "paused", "legs": ["a", None]},
            trace_id="tr1",
            sha256=f"hash of {name}",
        )
        return replace(row, **changes)

    def agent(self, active: str = "", **changes: Any) -> Agent:
        agent = Agent(
            agent_id="desk",
            name="Desk",
            allowed_instruments=("BTC-USDT", "ETH-USDT"),
            active_version_id=active,
        )
        return replace(agent, **changes)

    def run(self, **changes: Any) -> Run:
        run = Run(
            run_id="run",
            agent_id="desk",
            account="paper",
            mode=Mode.PAPER,
            pair="BTC-USDT",
            interval="1m",
            version_id="v1",
            risk_limit_set_id="default",
            decision_threshold=0.35,
            status=RunStatus.RUNNING,
            started_ms=1,
        )
        return replace(run, **changes)

    def version(self, name: str, **changes: Any) -> AgentVersion:
        version = AgentVersion(
            version_id=name,
            agent_id="desk",
            name=name,
            algorithm="ppo",
            is_baseline=False,
            status=VersionStatus.DRAFT,
            artifact_uri="",
            artifact_sha256="",
            artifact_bytes=0,
            feature_set_id="v1-1",
            created_ms=500,
        )
        return replace(version, **changes)

    def evaluation(self, name: str = "e1", **changes: Any) -> EvaluationReport:
        report = EvaluationReport(
            evaluation_id=name,
            agent_id="desk",
            version_id="v1",
            is_baseline=False,
            pair="BTC-USDT",
            interval="1m",
            period_start_ms=0,
            period_end_ms=1,
            decision_threshold=0.35,
            engine="nautilus_trader 1.231.0",
            candle_count=1000,
            trade_count=40,
            win_rate=0.6,
            net_pnl_after_fees="12.5",
            fees="3",
            funding="0",
            starting_balance="10000",
            final_balance="10012.5",
            max_drawdown=0.02,
            sharpe=float("nan"),
            exposure=0.5,
            buy_and_hold_pnl="-5",
            parity_max_abs_diff="0",
            fill_count=80,
            verdict="pass",
            reasons=(),
            feature_set_id="v1-1",
            dataset_id="ds-1",
            dataset_sha256="00",
            fill_spec_id="fs1",
            seed=7,
            created_ms=1_700_000_000_001,
        )
        return replace(report, **changes)

    def dataset(self, name: str = "ds-1", **changes: Any) -> Dataset:
        dataset = Dataset(
            dataset_id=name,
            pair="BTC-USDT",
            interval="1m",
            start_ms=0,
            end_ms=1,
            sha256="00",
            rows=1000,
            missing=0,
            feature_set_id="v1-1",
            lookback=30,
        )
        return replace(dataset, **changes)

    def ledger(self, account: str = "paper") -> Ledger:
        return Ledger(account=account, starting_cash=Decimal(10_000), cash=Decimal("10000.00"))

    def event(self, topic: str = "order", key: str = "c1", **data: Any) -> Event:
        return Event(topic=topic, key=key, data=data, at_ms=5, trace_id="tr1", stream=Stream.ORDERS)


@pytest.fixture(scope="session")
def rows() -> Rows:
    return Rows()


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """A store with a ledger, an owner, and short ways to change it."""

    store: Store
    rows: Rows
    fence: Fence

    def ledger(self) -> Ledger:
        found = self.store.ledger("paper")
        assert found is not None
        return found

    def create(
        self, order: Order, request_id: str = "", ledger: Ledger | None = None, **more: Any
    ) -> Order:
        return self.store.create_order(
            order,
            ledger or self.ledger(),
            fence=self.fence,
            request_id=request_id or f"create {order.client_order_id}",
            event=self.rows.event("order_created", order.client_order_id),
            **more,
        )

    def move(self, before: Order, state: OrderState, request_id: str = "", **changes: Any) -> Order:
        return self.store.move_order(
            before,
            replace(before, state=state, **changes),
            fence=self.fence,
            request_id=request_id or f"{before.client_order_id} {before.version} {state}",
            event=self.rows.event("order_moved", before.client_order_id, state=state.value),
        )

    def opened(self, name: str = "c1", **changes: Any) -> Order:
        sending = self.move(self.create(self.rows.order(name, **changes)), OrderState.SENDING)
        return self.move(sending, OrderState.OPEN)

    def fill(
        self, fill: Fill, before: Order, state: OrderState, request_id: str = ""
    ) -> tuple[Order, Ledger] | None:
        ledger = self.ledger()
        return self.store.apply_fill(
            fill,
            before,
            replace(before, state=state, filled_quantity=before.filled_quantity + fill.quantity),
            ledger,
            replace(ledger, cash=ledger.cash - fill.fee, fees=ledger.fees + fill.fee),
            fence=self.fence,
            request_id=request_id or f"fill {fill.fill_id}",
            event=self.rows.event("fill_applied", fill.fill_id),
        )


@pytest.fixture
def books(any_store: Store, rows: Rows) -> Books:
    fence = any_store.acquire_lease("executor:paper", "me", 6_000)
    any_store.create_ledger(rows.ledger(), fence=fence, event=rows.event("ledger_created"))
    return Books(store=any_store, rows=rows, fence=fence)

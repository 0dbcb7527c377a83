"""An operator's commands on the stage: what they change, what they refuse and why."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from actors import live_gates, start_gates
from actors.commands import BackfillAsk, FeedScope, Preflight, ReconcileReport, StartRun, Turned
from actors.control import Control, ControlParts
from actors.names import ActorAway
from actors.order_executor import Cancel
from actors.signal_status import status_key, wish_key
from actors.source_book import CANDLES, THRESHOLDS_S, key_of
from actors.wiring import Wiring
from desk.errors import BadInput, NotFound
from desk.evaluation.promotion import PromotionVerdict
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.features import FEATURES_V1
from desk.runs import Mode, Run, RunStatus
from desk.store import kinds
from desk.store.port import Event
from desk.trading import risk, venue_health
from desk.trading.orders import Order, OrderState
from desk.trading.venue_health import VenueHealth
from desk.wallclock import wall_ms
from tests.actors.fakes import PAIR
from tests.actors.stage import BEGIN_MS, RUN_ID, Stage

WHO: dict[str, Any] = {"actor": "alice", "trace_id": "tr-op"}
PAPER_RUN = StartRun(mode=Mode.PAPER, pair=PAIR, risk_limit_set_id="default")


class Desk:
    """The stage with the commands, and the floor that they reach."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.watched: list[str] = []
        self.backfills: list[str] = []
        self.polls: list[tuple[str, tuple[str, ...]]] = []
        self.is_supervisor_away = False
        self.wiring = Wiring(
            store_url="", home=Path("/nowhere"), venue_url="", pairs=(PAIR,), intervals=("1m",)
        )
        version = AgentVersion(
            version_id="v1",
            agent_id="desk",
            name="v1",
            algorithm="ppo",
            is_baseline=False,
            status=VersionStatus.DRAFT,
            artifact_uri="",
            artifact_sha256="",
            artifact_bytes=0,
            feature_set_id=FEATURES_V1.feature_set_id,
            created_ms=BEGIN_MS,
        )
        self.stage.store.put(kinds.VERSIONS, "v1", version, at_ms=BEGIN_MS)
        self.stage.next_candle()

    @property
    def control(self) -> Control:
        return Control(
            ControlParts(
                wiring=self.wiring, store=self.stage.store, clock=self.stage.clock, floor=self
            )
        )

    def approver_of(self, account: str) -> Stage:
        return self.stage

    def executor_of(self, account: str) -> "Desk":
        return self

    async def execute(self, approved: Any) -> Order:
        return await self.stage.execute(approved)

    async def cancel(self, client_order_id: str, reason: str) -> Order:
        ask = Cancel(client_order_id=client_order_id, reason=reason)
        order = await self.stage.executor.cancel(ask)
        await self.stage.executor.quiet()
        return order

    async def watch_run(self, run: Run) -> None:
        if self.is_supervisor_away:
            raise ActorAway("supervisor", "killed")
        self.watched.append(run.run_id)

    async def reconcile(self, account: str, trace_id: str) -> ReconcileReport:
        return ReconcileReport(checked=3, updated=1, errors=0, reconciled_at_ms=7)

    async def backfill(self, job_id: str, ask: BackfillAsk) -> None:
        self.backfills.append(job_id)

    async def poll_now(self, pair: str, names: tuple[str, ...]) -> None:
        self.polls.append((pair, names))
        if self.is_supervisor_away:
            raise ActorAway("candle_poller", "killed")

    def do(self, command: Callable[[Control], Awaitable[Any]]) -> Any:
        async def carry_out() -> Any:
            return await command(self.control)

        return asyncio.run(carry_out())

    def start(self, **changes: Any) -> Run:
        ask = replace(PAPER_RUN, **changes)
        return self.do(lambda control: control.start_run("desk", ask, **WHO))

    def preflight(self, **changes: Any) -> Preflight:
        ask = replace(PAPER_RUN, **changes)
        return self.do(lambda control: control.preflight("desk", ask, **WHO))

    def refused(self, **changes: Any) -> str:
        """The field for which a start is refused."""
        with pytest.raises(BadInput) as refusal:
            self.start(**changes)
        return refusal.value.field

    def end_runs(self) -> None:
        for doc in self.stage.store.list(kinds.RUNS):
            ended = replace(doc.value, status=RunStatus.STOPPED)
            self.stage.store.put(kinds.RUNS, doc.key, ended, at_ms=doc.at_ms)

    def end_run(self) -> None:
        self.stage.change_run(lambda run: replace(run, status=RunStatus.STOPPED))

    def audited(self) -> list[str]:
        return [doc.value.action for doc in self.stage.store.list(kinds.AUDIT)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_start_stores_a_starting_run_has_it_watched_and_audits(desk: Desk) -> None:
    desk.end_run()

    run = desk.start()

    row = desk.stage.store.get(kinds.RUNS, run.run_id)
    assert row is not None
    assert (run.status, run.version_id, run.account) == (RunStatus.STARTING, "v1", "paper")
    assert desk.watched == [run.run_id]
    assert desk.audited() == ["run.start"]


def test_a_start_survives_a_supervisor_that_is_away(desk: Desk) -> None:
    desk.end_run()
    desk.is_supervisor_away = True

    run = desk.start()

    assert desk.stage.store.get(kinds.RUNS, run.run_id) is not None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pair": "nonsense"}, "pair"),
        ({"pair": "DOGE-USDT"}, "pair"),
        ({"decision_threshold": 1.5}, "decision_threshold"),
        ({"feature_set_id": "v9"}, "feature_set_id"),
        ({"stop_loss_fraction": Decimal(0)}, "stop_loss_fraction"),
        ({"stop_loss_fraction": Decimal(1)}, "stop_loss_fraction"),
        ({"take_profit_fraction": Decimal("NaN")}, "take_profit_fraction"),
    ],
)
def test_a_start_names_what_is_wrong(desk: Desk, changes: dict[str, Any], field: str) -> None:
    desk.end_run()

    with pytest.raises(BadInput) as refused:
        desk.start(**changes)

    assert refused.value.field == field


def test_a_start_needs_its_version_and_its_limits(desk: Desk) -> None:
    desk.end_run()

    with pytest.raises(NotFound, match="version"):
        desk.start(version_id="v9")
    with pytest.raises(NotFound, match="risk limit set"):
        desk.start(risk_limit_set_id="none")


def test_one_active_run_per_pair_and_account(desk: Desk) -> None:
    desk.end_run()
    first = desk.start()

    with pytest.raises(BadInput, match=first.run_id):
        desk.start()


@pytest.mark.catalogue("R09")
def test_a_pair_that_the_agent_may_not_trade_is_refused(desk: Desk) -> None:
    desk.end_run()
    agent = desk.stage.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    desk.stage.store.put(
        kinds.AGENTS, "desk", replace(agent.value, allowed_instruments=("ETH-USDT",)), at_ms=0
    )

    with pytest.raises(BadInput, match="allowed_instruments"):
        desk.start()


def test_too_few_candles_are_refused_with_the_remedy(desk: Desk) -> None:
    desk.end_run()
    desk.stage.clock.advance(3_600_000)

    with pytest.raises(BadInput, match="stale_candles"):
        desk.start()


@pytest.mark.parametrize(
    ("status", "why"), [(None, "has no status"), ("unavailable", "is unavailable")]
)
def test_a_start_needs_a_source_that_is_known_to_be_ok(
    desk: Desk, status: str | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.end_run()
    found = desk.stage.store.get(kinds.SOURCES, key_of(CANDLES, PAIR, "1m"))
    assert found is not None
    rows = (replace(found.value, status=status),) if status else ()
    monkeypatch.setattr(start_gates, "read_sources", lambda *_, **__: rows)

    with pytest.raises(BadInput, match=why):
        desk.start()


def test_a_start_while_the_kill_switch_is_on_is_refused(desk: Desk) -> None:
    desk.end_run()
    event = Event(topic="risk", key="all", data={}, at_ms=0)
    desk.stage.store.set_kill("all", on=True, reason="storm", event=event)

    with pytest.raises(BadInput, match="storm"):
        desk.start()


def test_live_is_refused_with_every_gate_that_is_not_passed(desk: Desk) -> None:
    desk.end_run()

    with pytest.raises(BadInput) as refused:
        desk.start(mode=Mode.LIVE)

    text = str(refused.value)
    for gate in ("API_TOKEN", "exchange keys", "not promoted", "not_evaluated_on_pair"):
        assert gate in text
    assert desk.watched == []


def test_keys_and_a_token_alone_do_not_select_live(desk: Desk) -> None:
    desk.end_run()
    desk.wiring = replace(
        desk.wiring, has_api_token=True, api_key=SecretStr("k"), secret_key=SecretStr("s")
    )

    with pytest.raises(BadInput) as refused:
        desk.start(mode=Mode.LIVE)

    assert "not promoted" in str(refused.value)
    assert "exchange keys" not in str(refused.value)


@pytest.fixture
def ready(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose live gates are all passed, but for the stop that a start has to name."""
    desk.end_run()
    desk.wiring = replace(
        desk.wiring, has_api_token=True, api_key=SecretStr("k"), secret_key=SecretStr("s")
    )
    row = desk.stage.store.get(kinds.VERSIONS, "v1")
    assert row is not None
    promoted = replace(row.value, status=VersionStatus.PROMOTED)
    desk.stage.store.put(kinds.VERSIONS, "v1", promoted, at_ms=0)
    passed = PromotionVerdict(reasons=(), evaluation_id="ev1")
    monkeypatch.setattr(live_gates, "promotion_verdict", lambda *_: passed)
    monkeypatch.setattr(live_gates, "check_durability", lambda _: None)
    compared = venue_health.answered(VenueHealth(account="live"), wall_ms=wall_ms())
    desk.stage.store.put(kinds.VENUES, "live", compared, at_ms=0)
    desk.stage.store.put(kinds.STATE, "reconciled:live", {"errors": 0}, at_ms=0)
    return desk


LIVE_RUN = {"mode": Mode.LIVE, "stop_loss_fraction": Decimal("0.02")}
NAME = f"desk/{PAIR}"


def test_live_needs_a_protective_stop(ready: Desk) -> None:
    with pytest.raises(BadInput) as refused:
        ready.start(mode=Mode.LIVE)

    assert refused.value.problem == f"live is refused: {live_gates.NO_PROTECTIVE_STOP}"


def test_a_preflight_lists_every_gate_with_its_value_and_threshold(ready: Desk) -> None:
    found = ready.preflight(mode=Mode.LIVE)

    failed = [gate for gate in found.gates if not gate.passed]
    assert [gate.gate for gate in failed] == ["protective_stop"]
    assert failed[0].problem == live_gates.NO_PROTECTIVE_STOP
    assert all(gate.value and gate.threshold for gate in found.gates)
    assert {
        "instrument_allowed",
        "risk_limits_active",
        "one_run_per_pair",
        "api_token",
        "exchange_keys",
        "version_promoted",
        "promotion_gate",
        "unresolved_orders",
        "durability",
        "exchange_answers",
        "reconciled",
        "kill_switch",
        "data_quality",
        "data_sources",
    } < {gate.gate for gate in found.gates}
    assert (found.allowed, found.confirm_token) == (False, None)


def test_a_paper_start_needs_no_token_and_gets_none(ready: Desk) -> None:
    found = ready.preflight()

    assert (found.allowed, found.confirm_token) == (True, None)
    assert ready.start().mode is Mode.PAPER


def test_going_live_takes_a_token_and_the_runs_name(ready: Desk) -> None:
    token = ready.preflight(**LIVE_RUN).confirm_token
    assert token is not None

    assert ready.refused(**LIVE_RUN, confirm_token=token) == "confirm_name"
    assert ready.refused(**LIVE_RUN, confirm_token=token, confirm_name="desk") == "confirm_name"
    assert ready.refused(**LIVE_RUN, confirm_name=NAME) == "confirm_token"
    assert ready.refused(**LIVE_RUN, confirm_name=NAME, confirm_token="a.b") == "confirm_token"
    assert ready.watched == []

    run = ready.start(**LIVE_RUN, confirm_token=token, confirm_name=NAME)

    assert (run.mode, run.account, run.stop_loss_fraction) == (
        Mode.LIVE,
        "live",
        Decimal("0.02"),
    )


@pytest.mark.parametrize(
    "other",
    [
        {"stop_loss_fraction": Decimal("0.9")},
        {"take_profit_fraction": Decimal("0.02")},
        {"decision_threshold": 0.0},
        {"version_id": "v1"},
        {"learning_enabled": True},
    ],
)
def test_a_token_starts_nothing_but_what_it_was_asked_for(
    ready: Desk, other: dict[str, Any]
) -> None:
    token = ready.preflight(**LIVE_RUN).confirm_token

    asked = {**LIVE_RUN, **other, "confirm_token": token, "confirm_name": NAME}

    assert ready.refused(**asked) == "confirm_token"
    assert ready.start(**LIVE_RUN, confirm_token=token, confirm_name=NAME).mode is Mode.LIVE


def test_a_token_starts_one_run_also_after_a_restart(ready: Desk) -> None:
    asked = {
        **LIVE_RUN,
        "confirm_token": ready.preflight(**LIVE_RUN).confirm_token,
        "confirm_name": NAME,
    }
    ready.start(**asked)
    ready.end_runs()  # every command makes its own `Control`: nothing is held but the store

    with pytest.raises(BadInput, match="used before"):
        ready.do(
            lambda control: control.start_run(
                "desk", replace(PAPER_RUN, **asked), actor="alice", trace_id="tr-again"
            )
        )


def test_a_token_expires_after_a_minute(ready: Desk) -> None:
    token = ready.preflight(**LIVE_RUN).confirm_token
    assert token is not None
    key = token.partition(".")[0]
    row = ready.stage.store.get(kinds.CONFIRMATIONS, key)
    assert row is not None
    old = replace(row.value, issued_ms=row.value.issued_ms - 60_000)
    ready.stage.store.put(kinds.CONFIRMATIONS, key, old, at_ms=0)

    assert ready.refused(**LIVE_RUN, confirm_token=token, confirm_name=NAME) == "confirm_token"


def test_a_live_account_that_reconciles_with_errors_or_never_did_starts_nothing(
    ready: Desk,
) -> None:
    for row, text in (({"errors": 2}, "left 2 errors"), (None, "never reconciled")):
        if row is None:
            ready.stage.store.delete(kinds.STATE, "reconciled:live")
        else:
            ready.stage.store.put(kinds.STATE, "reconciled:live", row, at_ms=0)
        with pytest.raises(BadInput, match=text):
            ready.start(**LIVE_RUN)


@pytest.mark.catalogue("O23")
def test_O23_a_live_start_waits_until_the_exchange_answers_steadily(desk: Desk) -> None:
    desk.end_run()
    away = VenueHealth(account="live")
    for _ in range(venue_health.BAD_CHECKS):
        away = venue_health.failed(away, "HTTP 503", wall_ms=wall_ms())
    almost = venue_health.answered(away, wall_ms=wall_ms())
    desk.stage.store.put(kinds.VENUES, "live", almost, at_ms=0)

    with pytest.raises(BadInput) as refused:
        desk.start(mode=Mode.LIVE)

    assert "exchange_maintenance: the exchange has 1 good checks" in str(refused.value)


def test_pause_resume_and_stop_move_the_current_run(desk: Desk) -> None:
    paused = desk.do(lambda control: control.pause_run("desk", "lunch", **WHO))
    again = desk.do(lambda control: control.pause_run("desk", "other", **WHO))
    resumed = desk.do(lambda control: control.resume_run("desk", "", **WHO))
    stopped = desk.do(lambda control: control.stop_run("desk", "", flatten=False, **WHO))

    assert (paused.status, paused.pause_reason) == (RunStatus.PAUSED, "lunch")
    assert again == paused
    assert resumed.status is RunStatus.RUNNING
    assert stopped.status is RunStatus.STOPPED
    assert set(desk.audited()) == {"run.pause", "run.resume", "run.stop"}
    with pytest.raises(NotFound):
        desk.do(lambda control: control.pause_run("desk", "", **WHO))


def test_stopping_flat_closes_the_position_and_only_that(desk: Desk) -> None:
    desk.stage.decide(1.0)
    desk.stage.next_candle()

    desk.do(lambda control: control.stop_run("desk", "", flatten=True, **WHO))
    for _ in range(3):
        desk.stage.next_candle()

    entry, exit_ = desk.stage.orders()
    assert (exit_.reduce_only, exit_.quantity) == (True, entry.quantity)
    assert exit_.trade_id == entry.trade_id
    assert desk.stage.held == 0


def test_stopping_ends_an_entry_that_has_not_filled(desk: Desk) -> None:
    desk.stage.decide(1.0)

    desk.do(lambda control: control.stop_run("desk", "", flatten=False, **WHO))
    desk.stage.next_candle()

    [order] = desk.stage.orders()
    assert (order.state, order.reason) == (OrderState.CANCELLED, "run_stopped")
    assert desk.stage.held == 0


@pytest.mark.catalogue("R05")
def test_the_kill_switch_stops_runs_ends_entries_and_flattens(desk: Desk) -> None:
    desk.stage.decide(1.0)
    desk.stage.decide(-1.0)  # the exit and the new entry wait for the next open

    stopped = desk.do(lambda control: control.kill(on=True, reason="storm", flatten=True, **WHO))
    for _ in range(3):
        desk.stage.next_candle()

    assert stopped == 1
    assert desk.stage.run.pause_reason == "kill_switch"
    assert desk.stage.held == 0
    assert desk.stage.store.reservations("paper") == {}
    assert desk.stage.store.kill_reason("paper") == "storm"
    with pytest.raises(BadInput, match="storm"):
        desk.do(lambda control: control.resume_run("desk", "", **WHO))


def test_flattening_what_is_being_closed_already_makes_no_second_exit(desk: Desk) -> None:
    desk.stage.decide(1.0)
    desk.stage.next_candle()
    trade_id = desk.stage.orders()[0].trade_id
    desk.do(lambda control: control.close_trade(trade_id, None, "operator", **WHO))

    desk.do(lambda control: control.kill(on=True, reason="storm", flatten=True, **WHO))
    exits = [order for order in desk.stage.orders() if order.reduce_only]
    for _ in range(3):
        desk.stage.next_candle()

    assert len(exits) == 1
    assert desk.stage.held == 0


def test_lifting_the_kill_switch_lets_the_operator_resume(desk: Desk) -> None:
    desk.do(lambda control: control.kill(on=True, reason="storm", flatten=False, **WHO))

    for lift in (
        lambda control: control.kill(on=False, reason=" ", flatten=False, **WHO),
        lambda control: control.resume_run("desk", "calm", **WHO),
    ):
        with pytest.raises(BadInput):
            desk.do(lift)
    desk.do(lambda control: control.kill(on=False, reason="calm", flatten=False, **WHO))
    paused = desk.stage.run.status
    with pytest.raises(BadInput, match="say why"):
        desk.do(lambda control: control.resume_run("desk", " ", **WHO))
    desk.do(lambda control: control.resume_run("desk", "calm", **WHO))

    assert paused is RunStatus.PAUSED
    assert desk.stage.run.status is RunStatus.RUNNING
    assert sorted(desk.audited()) == ["run.resume", "trading.kill", "trading.kill_lifted"]


def test_an_agents_own_kill_switch_stops_its_runs_and_entries_until_it_is_lifted(
    desk: Desk,
) -> None:
    def turn(*, on: bool, reason: str, flatten: bool = False) -> int:
        return desk.do(
            lambda control: control.kill_agent("desk", on=on, reason=reason, flatten=flatten, **WHO)
        )

    desk.stage.decide(1.0)
    desk.stage.next_candle()
    assert desk.stage.held > 0

    assert turn(on=True, reason="odd", flatten=True) == 1
    for _ in range(3):
        desk.stage.next_candle()

    assert desk.stage.run.pause_reason == "kill_switch"
    assert desk.stage.held == 0
    assert desk.stage.store.kill_reason("paper") is None  # other agents trade on
    for refused in (
        lambda control: control.resume_run("desk", "calm", **WHO),
        lambda control: control.kill_agent("nobody", on=True, reason="x", flatten=False, **WHO),
        lambda control: control.kill_agent("desk", on=False, reason="", flatten=False, **WHO),
    ):
        with pytest.raises((BadInput, NotFound)):
            desk.do(refused)
    turn(on=False, reason="checked")
    desk.do(lambda control: control.resume_run("desk", "checked", **WHO))
    assert desk.stage.run.status is RunStatus.RUNNING
    rows = {doc.value.action: doc.value for doc in desk.stage.store.list(kinds.AUDIT)}
    lifted = rows["agent.kill_lifted"]
    assert lifted.before == {"kill_switch": True, "reason": "odd"}
    assert lifted.after["reason"] == "checked"


@pytest.mark.catalogue("O31")
def test_closing_a_trade_twice_is_one_order_and_never_flips(desk: Desk) -> None:
    desk.stage.decide(1.0)
    desk.stage.next_candle()
    trade_id = desk.stage.orders()[0].trade_id

    def close(control: Control) -> Awaitable[str]:
        return control.close_trade(trade_id, None, "operator", **WHO)

    async def at_once() -> list[str]:
        return await asyncio.gather(*(close(desk.control) for _ in range(5)))

    first = asyncio.run(at_once())
    second = desk.do(close)
    for _ in range(3):
        desk.stage.next_candle()

    assert {*first, second} == {first[0]}
    assert len(desk.stage.orders()) == 2
    assert desk.stage.held == 0
    with pytest.raises(BadInput, match="no open position"):
        desk.do(close)


def test_a_part_of_a_trade_can_be_closed(desk: Desk) -> None:
    desk.stage.decide(1.0)
    desk.stage.next_candle()
    trade_id, held = desk.stage.orders()[0].trade_id, desk.stage.held

    desk.do(lambda control: control.close_trade(trade_id, Decimal("0.0050"), "operator", **WHO))
    for _ in range(3):
        desk.stage.next_candle()

    assert desk.stage.held == held - Decimal("0.0050")


def test_closing_what_is_not_there_says_so(desk: Desk) -> None:
    with pytest.raises(NotFound, match="trade"):
        desk.do(lambda control: control.close_trade("t1none", None, "operator", **WHO))


def test_reconciling_everything_adds_the_accounts_up(desk: Desk) -> None:
    report = desk.do(lambda control: control.reconcile(None, **WHO))

    assert report == ReconcileReport(checked=3, updated=1, errors=0, reconciled_at_ms=7)
    with pytest.raises(NotFound, match="account"):
        desk.do(lambda control: control.reconcile("savings", **WHO))


def test_a_backfill_is_a_stored_job_before_its_poller_hears(desk: Desk) -> None:
    ask = BackfillAsk(pair=PAIR, interval="1m", start_ms=1, end_ms=2)

    job = desk.do(lambda control: control.backfill(ask, **WHO))

    row = desk.stage.store.get(kinds.JOBS, job.job_id)
    assert row is not None
    assert row.value.arguments == {"pair": PAIR, "interval": "1m", "start_ms": 1, "end_ms": 2}
    assert desk.backfills == [job.job_id]


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (BackfillAsk(pair="DOGE-USDT", interval="1m"), "pair"),
        (BackfillAsk(pair=PAIR, interval="7m"), "interval"),
        (BackfillAsk(pair=PAIR, interval="1m", start_ms=5, end_ms=5), "start_ms"),
        (BackfillAsk(pair=PAIR, interval="1m", max_batches=0), "max_batches"),
    ],
)
def test_a_backfill_names_what_is_wrong(desk: Desk, ask: BackfillAsk, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        desk.do(lambda control: control.backfill(ask, **WHO))

    assert refused.value.field == field


def test_an_inactive_limit_set_is_refused(desk: Desk) -> None:
    desk.end_run()
    off = replace(risk.default_limits(), active=False)
    desk.stage.store.put(kinds.RISK_LIMITS, "default", off, at_ms=0)

    with pytest.raises(BadInput, match="not active"):
        desk.start()


def test_channels_are_paused_and_resumed_in_their_rows_and_run_by_a_wish(desk: Desk) -> None:
    desk.wiring = replace(desk.wiring, telegram_channels=("calls", "news"))

    def turn(wish: str) -> tuple[int, list[bool], int]:
        count = asyncio.run(
            desk.control.turn_source("telegram", wish, actor="me", trace_id=f"tr-{wish}")
        )
        keys = [status_key("telegram", f"telegram:{name}") for name in ("calls", "news")]
        rows = [desk.stage.store.get(kinds.SOURCES, key) for key in keys]
        found = desk.stage.store.get(kinds.STATE, wish_key("telegram"))
        enabled = [row.value.enabled for row in rows if row is not None]
        return count, enabled, found.version if found else 0

    assert turn("run") == (2, [], 1)
    assert turn("pause") == (2, [False, False], 1)
    assert turn("resume") == (2, [True, True], 2)
    audited = [doc.value.action for doc in desk.stage.store.list(kinds.AUDIT)]
    assert sorted(audited) == ["source.pause", "source.resume", "source.run"]


def test_feeds_of_tradingview_are_turned_each_once_whatever_tokens_they_have(desk: Desk) -> None:
    feeds = (("main", "hash1"), ("main", "hash2"), ("other", "hash3"))
    desk.wiring = replace(desk.wiring, tradingview_feeds=feeds, tradingview_sync_interval_min=120)

    count = asyncio.run(desk.control.turn_source("tradingview", "pause", actor="me", trace_id="tr"))

    keys = [status_key("tradingview", name) for name in ("main", "other")]
    rows = [desk.stage.store.get(kinds.SOURCES, key) for key in keys]
    assert count == 2
    assert [row.value.enabled for row in rows if row is not None] == [False, False]
    assert rows[0] is not None
    assert rows[0].value.freshness_threshold_s > 7_200


def test_a_source_without_channels_is_not_turned(desk: Desk) -> None:
    with pytest.raises(NotFound):
        asyncio.run(desk.control.turn_source("telegram", "run", actor="me", trace_id="tr"))
    assert desk.stage.store.list(kinds.AUDIT) == []


# --- the exchange's sources ---------------------------------------------------------------------

FEEDS = tuple(name for name in THRESHOLDS_S if name != CANDLES)


def turn_feeds(desk: Desk, wish: str, scope: FeedScope | None = None, **options: Any) -> Turned:
    given: dict[str, Any] = {**WHO, "trace_id": f"tr-{wish}", **options}
    return desk.do(lambda control: control.turn_feeds(wish, scope or FeedScope(), **given))


def switched_off(desk: Desk) -> set[str]:
    docs = desk.stage.store.list(kinds.SOURCES)
    return {doc.key for doc in docs if not doc.value.enabled}


def test_the_exchange_is_paused_row_by_row_and_resumed_with_a_poll(desk: Desk) -> None:
    every = {f"{CANDLES}:{PAIR}:1m", *(f"{name}:{PAIR}:" for name in FEEDS)}

    paused = turn_feeds(desk, "pause")
    off = switched_off(desk)
    turn_feeds(desk, "pause")
    resumed = turn_feeds(desk, "resume")

    assert off == every
    assert paused == Turned(sources=len(every), run_ids=(RUN_ID,))
    assert (resumed.run_ids, switched_off(desk)) == ((), set())
    assert desk.polls == [(PAIR, ("1m",)), ("", FEEDS)]
    assert sorted(desk.audited()) == ["source.pause", "source.pause", "source.resume"]


@pytest.mark.parametrize(
    ("scope", "rows", "runs"),
    [
        (FeedScope(source_type="orderbook"), {f"orderbook:{PAIR}:"}, ()),
        (FeedScope(interval="1m"), {f"{CANDLES}:{PAIR}:1m"}, (RUN_ID,)),
        (FeedScope(pair="btc-usdt", source_type=CANDLES), {f"{CANDLES}:{PAIR}:1m"}, (RUN_ID,)),
    ],
)
def test_a_pause_is_of_what_was_named_and_names_the_runs_that_will_pause(
    desk: Desk, scope: FeedScope, rows: set[str], runs: tuple[str, ...]
) -> None:
    rehearsed = turn_feeds(desk, "pause", scope, dry_run=True)
    before = (switched_off(desk), desk.audited())

    assert turn_feeds(desk, "pause", scope) == rehearsed == Turned(sources=len(rows), run_ids=runs)
    assert before == (set(), [])
    assert switched_off(desk) == rows


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (FeedScope(pair="DOGE-USDT"), "pair"),
        (FeedScope(pair="nonsense"), "pair"),
        (FeedScope(interval="5m"), "interval"),
        (FeedScope(interval="1m", source_type="ticker"), "interval"),
        (FeedScope(source_type="telegram"), "source_type"),
    ],
)
def test_a_scope_that_fits_no_source_changes_nothing(
    desk: Desk, scope: FeedScope, field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        turn_feeds(desk, "pause", scope)

    assert refused.value.field == field
    assert (switched_off(desk), desk.audited()) == (set(), [])


def test_a_run_asks_the_pollers_and_one_that_is_away_fails_nothing(desk: Desk) -> None:
    desk.is_supervisor_away = True

    turned = turn_feeds(desk, "run", FeedScope(source_type=CANDLES))

    assert (turned.sources, desk.polls) == (1, [(PAIR, ("1m",))])


def test_a_paused_exchange_ends_in_a_paused_run_and_a_resumed_one_is_asked_again(
    desk: Desk,
) -> None:
    """The drill: what an operator sees from the pause to the next decision."""
    stage = desk.stage
    stage.decide(0.0)

    warned = turn_feeds(desk, "pause", FeedScope(source_type=CANDLES))
    stage.clock.advance(121_000)
    asyncio.run(stage.loop.turn())

    assert warned.run_ids == (RUN_ID,)
    assert (stage.run.status, stage.run.pause_reason) == (
        RunStatus.PAUSED,
        "data_integrity_block",
    )
    turn_feeds(desk, "resume", FeedScope(source_type=CANDLES))
    assert switched_off(desk) == set()
    assert turn_feeds(desk, "pause").run_ids == (), "a run that is paused already is not warned of"

"""Schemathesis presses every button of the API with every kind of data, and the desk trades on."""

import os
import time
from decimal import Decimal
from pathlib import Path

import pytest

from actors.audit_keeper import check_store
from actors.wiring import PAPER
from desk.runs import Action
from desk.store import kinds
from desk.trading import invariants
from tests.cluster.desk_on_ray import RunningDesk, eventually
from tests.cluster.driven_api import Operator, drive, full_learning_plane, served_api
from tests.orders.verdict import orders_of

pytestmark = pytest.mark.cluster

SEED = int(os.environ.get("RAYDESK_DRIVE_SEED", "8"))
IN_SUITE = 3_000
IN_NIGHTLY = int(os.environ.get("RAYDESK_DRIVE_REQUESTS", "100000"))
EXAMPLES_A_ROUND = 20
ROUND_S = 3_000.0


@pytest.mark.timeout(400)
def test_nothing_that_the_description_allows_or_forbids_brings_a_server_error_or_an_unknown_answer(
    desk: RunningDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_learning_plane(desk.wiring.namespace), served_api(desk) as api:
        with Operator(api.client) as operator:
            found = drive(api.url, tmp_path, max_examples=2, seed=SEED, within_s=300)
        with capsys.disabled():
            print(f"\n{api.counted.requests} requests: {sorted(api.counted.statuses.items())}")
        assert found.returncode == 0, found.stdout[-20_000:]
        assert api.counted.requests >= IN_SUITE
        assert_trades_on(desk, operator)


@pytest.mark.nightly
@pytest.mark.timeout(6 * 3_600)
def test_a_hundred_thousand_requests_leave_the_desk_trading_and_its_books_whole(
    desk: RunningDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began_s, rounds = time.monotonic(), 0
    with full_learning_plane(desk.wiring.namespace), served_api(desk) as api:
        with Operator(api.client) as operator:
            while api.counted.requests < IN_NIGHTLY:
                examples, seed = EXAMPLES_A_ROUND, SEED + rounds
                found = drive(api.url, tmp_path, max_examples=examples, seed=seed, within_s=ROUND_S)
                rounds += 1
                with capsys.disabled():
                    took_s = time.monotonic() - began_s
                    print(f"\n{took_s:.0f} s: {sorted(api.counted.statuses.items())}", flush=True)
                assert found.returncode == 0, found.stdout[-20_000:]
        decided = [doc for run_id in operator.run_ids for doc in decisions_of(desk, run_id)]
        with capsys.disabled():
            print(f"{api.counted.requests} requests in {rounds} rounds; {len(decided)} decisions")
        assert len(decided) > 100
        assert_trades_on(desk, operator)


def decisions_of(desk: RunningDesk, run_id: str) -> list[str]:
    """Ids of what a run decided by its policy; what a gate held is no decision."""
    docs = desk.store.list(kinds.decisions_of_run(run_id), limit=10_000)
    return [doc.key for doc in docs if doc.value.action is not Action.HOLD]


def assert_trades_on(desk: RunningDesk, operator: Operator) -> None:
    """The run decides and trades again by itself; no order is orphaned; books and audit are whole."""
    run = eventually(operator.running, within_s=60, what="a running run")
    assert operator.failed == []
    desk.run_id = run
    before, orders_before = len(decisions_of(desk, run)), len(orders_of(desk.store, PAPER))
    eventually(
        lambda: len(decisions_of(desk, run)) >= before + 5, within_s=120, what="five decisions"
    )
    eventually(
        lambda: len(orders_of(desk.store, PAPER)) > orders_before, within_s=120, what="an order"
    )
    desk.stop_run(flatten=True)
    eventually(lambda: not desk.store.active_orders(PAPER), within_s=60, what="no open order")
    report = desk.reconcile()
    assert (report.errors, report.updated) == (0, 0)
    assert_books_are_whole(desk)
    assert check_store(desk.store).broken is None


def assert_books_are_whole(desk: RunningDesk) -> None:
    ledger = desk.ledger()
    orders = orders_of(desk.store, PAPER)
    fills = [fill for one in orders for fill in desk.store.fills_of_order(one.client_order_id)]
    resting, reserved = desk.store.active_orders(PAPER), desk.store.reservations(PAPER)
    nothing: dict[str, Decimal] = {}
    assert invariants.s1_fills_make_the_order(orders, fills) == []
    assert invariants.s2_fill_is_applied_once(fills) == []
    assert invariants.s3_position_is_its_fills(ledger, fills, nothing) == []
    assert invariants.s7_reservations_are_open_intents(resting, reserved) == []
    assert invariants.s8_books_balance(ledger) == []
    assert len(fills) > 0

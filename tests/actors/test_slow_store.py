"""A disk under the store that has become slow: entries wait, exits do not, the operator is told."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from pathlib import Path
from unittest import mock

import pytest

from actors import risk_ledger
from desk.store import kinds, server
from desk.store.valkey import ValkeyStore
from desk.trading.commit_pace import LEAST_SLOW, WINDOW_S
from desk.trading.risk import Approved, Refused
from desk.wallclock import monotonic_s
from tests.actors.stage import Stage
from tests.actors.test_risk_ledger import approve, hold, wish

SLOW_US = "400000"


@pytest.mark.catalogue("I15")
@pytest.mark.timeout(120)
def test_I15_entries_wait_while_the_disk_is_slow_and_exits_do_not(
    home: Path, shim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = home / "slow"
    with monkeypatch.context() as shimmed:
        shimmed.setenv("LD_PRELOAD", str(shim))
        shimmed.setenv("SLOWFS", str(slow))
        running = server.start(home)
    store = ValkeyStore(running.url)
    store.load_functions()
    stage = Stage(store)
    stage.next_candle()
    hold(stage)
    assert isinstance(approve(stage, wish("before", quantity="0.0020")), Approved)

    slow.write_text(SLOW_US)
    for _ in range(LEAST_SLOW):
        asyncio.run(stage.ledger.turn())
    entry, exit_ = approve(stage, wish("entry")), approve(stage, wish("exit", reduce_only=True))
    slow.unlink()

    assert isinstance(entry, Refused)
    assert (entry.limit, entry.scope) == ("store_slow", "account")
    assert isinstance(exit_, Approved)
    [alert] = [doc.value for doc in store.list(kinds.ALERTS) if doc.value.code == "store_slow"]
    assert int(alert.value) > int(alert.threshold)
    with mock.patch.object(risk_ledger, "monotonic_s", return_value=monotonic_s() + WINDOW_S + 1):
        asyncio.run(stage.ledger.turn())
        assert isinstance(approve(stage, wish("after", quantity="0.0020")), Approved)
    store.close()

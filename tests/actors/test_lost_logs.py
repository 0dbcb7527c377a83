"""A disk that takes no more log lines, and figures that cannot be recorded: trading goes on."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog

from desk.errors import StoreUnavailable
from desk.logs import LossyLogger
from desk.store.memory import MemoryStore
from desk.store.port import Sample
from tests.actors.stage import Stage

PROJECT = Path(__file__).parents[2]
TRADES = """
import json, os, sys
from actors.heartbeat import leave
from desk.logs import in_own_process
from tests.actors.stage import Stage
from tests.actors.test_risk_ledger import approve, wish

stage = in_own_process(Stage)
stage.next_candle()
stage.decide(1.0)
stage.decide(1.0)
refused = approve(stage, wish("too-large", quantity="100"))
with open(sys.argv[1], "w") as told:
    json.dump({"states": [order.state.value for order in stage.orders()], "refused": refused.limit}, told)
leave("the test is over")
"""
FULL = Path("/dev/full")


@pytest.mark.catalogue("I18")
@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full: a disk that is always full")
def test_I18_a_full_log_disk_keeps_no_order_from_its_life_and_no_process_from_leaving(
    tmp_path: Path,
) -> None:
    told = tmp_path / "told.json"
    with FULL.open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", TRADES, str(told)],
            cwd=PROJECT,
            stdout=full,
            stderr=full,
            timeout=60,
            check=False,
        )

    assert json.loads(told.read_text()) == {
        "states": ["filled"],
        "refused": "max_position_size",
    }
    assert ended.returncode == 1, "leave() did not end the process"


class Full(io.StringIO):
    """A file on a disk that is full for a while."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(28, "No space left on device")
        return super().write(text)


@pytest.mark.catalogue("I18")
def test_lines_that_were_lost_are_counted_in_front_of_the_next_one() -> None:
    disk = Full()
    logger = structlog.wrap_logger(
        LossyLogger(disk), processors=[lambda _, __, event: event["event"]]
    )

    logger.info("kept")
    disk.is_full = True
    logger.info("lost")
    logger.error("lost too")
    disk.is_full = False
    logger.warning("kept again")

    assert disk.getvalue().splitlines() == ["kept", "log_lines_lost count=2", "kept again"]


class NoFigures(MemoryStore):
    """A store whose metric streams take nothing."""

    def record(self, samples: Sequence[Sample]) -> None:
        raise StoreUnavailable("no room for samples")


@pytest.mark.catalogue("I18")
def test_figures_that_cannot_be_recorded_keep_no_decision_from_its_end() -> None:
    stage = Stage(NoFigures())
    stage.next_candle()

    decision = stage.decide(1.0)
    stage.decide(1.0)

    assert decision.client_order_ids
    assert [order.state.value for order in stage.orders()] == ["filled"]

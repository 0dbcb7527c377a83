"""A policy that is silent, or answers with numbers that are none: every decision holds, and one alert says so."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.version_registry import artifacts_of
from desk.market.features import FEATURES_V1
from desk.runs import Action, Alert, RunStatus
from desk.store import kinds
from tests.actors.paper_session import Session, put_version
from tests.actors.stage import RUN_ID


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def alerts(session: Session) -> dict[str, Alert]:
    return {doc.value.code: doc.value for doc in session.store.list(kinds.ALERTS)}


def run_on(session: Session, version_id: str) -> None:
    session.change_run(lambda run: replace(run, version_id=version_id))


@pytest.mark.catalogue("M03")
def test_m03_logits_that_are_no_numbers_hold_with_an_alert_until_they_are_well(
    session: Session,
) -> None:
    crafted = {
        "layers.0.weight": np.full((3, FEATURES_V1.size + 1), 3e38, dtype=np.float32),
        "layers.0.bias": np.array([0.0, 0.0, 9.0], dtype=np.float32),
    }
    put_version(session.store, session.home, "crafted", tensors=crafted)
    run_on(session, "crafted")
    session.go_on(3)

    held = session.decisions()
    assert {(one.action, one.hold_reason) for one in held} == {(Action.HOLD, "logits_non_finite")}
    assert session.orders() == []
    alert = alerts(session)["logits_non_finite"]
    assert (alert.status, alert.severity, alert.count) == ("open", "critical", 3)
    assert alert.trace_id == held[0].trace_id
    assert session.run.status is RunStatus.RUNNING

    run_on(session, "v1")
    session.go_on(1)

    assert session.decisions()[0].hold_reason == ""
    assert alerts(session)["logits_non_finite"].status == "resolved"


def test_a_silent_policy_is_told_once_and_resolved_by_its_first_answer_also_after_a_restart(
    session: Session,
) -> None:
    folder = artifacts_of(session.home).path("v1")
    shutil.move(folder, session.home / "away")
    session.go_on(2)
    assert session.decisions()[0].hold_reason == "policy_unavailable"
    alert = alerts(session)["policy_unavailable"]
    assert (alert.status, alert.severity, alert.count) == ("open", "warning", 2)
    assert alert.alert_id == f"policy_unavailable:{RUN_ID}"

    shutil.move(session.home / "away", folder)
    session.loop = session.new_loop()
    session.go_on(1)

    assert alerts(session)["policy_unavailable"].status == "resolved"
    session.go_on(1)
    assert alerts(session)["policy_unavailable"].count == 2


def test_doubt_is_no_trouble(session: Session) -> None:
    session.change_run(lambda run: replace(run, decision_threshold=1.0))

    session.go_on(2)

    assert session.decisions()[0].hold_reason == "low_confidence"
    assert alerts(session) == {}

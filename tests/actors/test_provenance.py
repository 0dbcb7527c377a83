"""A live run whose decisions could not be traced back decides nothing, and says which part is missing."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors import live_gates as gates_of_live
from actors.live_gates import Plan, live_gates
from actors.provenance import provenance_of
from actors.version_registry import artifacts_of
from actors.wiring import Wiring
from desk.evaluation.promotion import PromotionVerdict
from desk.learning.versions import AgentVersion, VersionStatus
from desk.runs import Action, Mode, Provenance, RunStatus
from desk.settings import load_settings
from desk.store import kinds
from desk.venues.bingx_wire import BingxConfig
from tests.actors.fakes import PAIR
from tests.actors.paper_session import DATASET, Session, put_version
from tests.actors.stage import BEGIN_MS


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A live run of which everything is on record."""
    opened = Session(tmp_path, enforce_provenance=True)
    opened.change_run(lambda run: replace(run, mode=Mode.LIVE))
    return opened


def change_version(session: Session, **changes: Any) -> None:
    doc = session.store.get(kinds.VERSIONS, "v1")
    assert doc is not None
    session.store.put(kinds.VERSIONS, "v1", replace(doc.value, **changes), at_ms=doc.at_ms)


def change_run(session: Session, **changes: Any) -> None:
    session.change_run(lambda run: replace(run, **changes))


def another_dataset(session: Session) -> None:
    other = replace(DATASET, sha256="cd" * 32)
    session.store.put(kinds.DATASETS, DATASET.dataset_id, other, at_ms=1)


def flip(session: Session, name: str) -> None:
    path = artifacts_of(session.home).path("v1") / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(content))


def remove_artifact(session: Session) -> None:
    shutil.rmtree(artifacts_of(session.home).path("v1"))


VERSION = AgentVersion(
    version_id="v1",
    agent_id="desk",
    name="v1",
    algorithm="ppo",
    is_baseline=False,
    status=VersionStatus.PROMOTED,
    artifact_uri="",
    artifact_sha256="",
    artifact_bytes=0,
    feature_set_id="",
    created_ms=1,
)
DATASET_MISSING = "provenance_dataset_missing"
FEATURES_MISSING = "provenance_feature_set_missing"
ARTIFACT_MISSING = "provenance_artifact_missing"
ARTIFACT_UNAVAILABLE = "provenance_artifact_unavailable"

HARMS: list[tuple[str, Callable[[Session], object], str]] = [
    ("no dataset named", lambda s: change_run(s, dataset_id=""), DATASET_MISSING),
    ("no record", lambda s: s.store.delete(kinds.DATASETS, DATASET.dataset_id), DATASET_MISSING),
    ("dataset of another hash", another_dataset, DATASET_MISSING),
    ("no features named", lambda s: change_run(s, feature_set_id=""), FEATURES_MISSING),
    ("unknown features", lambda s: change_run(s, feature_set_id="v1-0"), FEATURES_MISSING),
    ("no version", lambda s: s.store.delete(kinds.VERSIONS, "v1"), ARTIFACT_MISSING),
    ("no place", lambda s: change_version(s, artifact_uri=""), ARTIFACT_MISSING),
    ("no hash", lambda s: change_version(s, artifact_sha256=""), ARTIFACT_MISSING),
    ("files gone", remove_artifact, ARTIFACT_UNAVAILABLE),
    ("weights flipped", lambda s: flip(s, "policy.safetensors"), ARTIFACT_UNAVAILABLE),
    ("card edited", lambda s: flip(s, "card.json"), ARTIFACT_UNAVAILABLE),
]
EACH_HARM = pytest.mark.parametrize(
    ("harm", "code"), [pytest.param(harm, code, id=name) for name, harm, code in HARMS]
)


def test_a_live_run_of_which_everything_is_on_record_decides(session: Session) -> None:
    session.go_on(2)

    assert {one.action for one in session.decisions()} <= {Action.TRADE, Action.KEEP}
    assert all("provenance" in [gate.gate for gate in one.gates] for one in session.decisions())


@EACH_HARM
def test_each_decision_is_held_by_the_code_of_what_is_missing(
    session: Session, harm: Callable[[Session], object], code: str
) -> None:
    session.go_on(1)
    before = session.decisions()[0]
    orders = len(session.orders())
    harm(session)

    session.go_on(1)

    record = session.decisions()[0]
    assert record.open_ms > before.open_ms
    assert (record.action, record.hold_reason, record.gates[-1].code) == (Action.HOLD, code, code)
    assert record.observation_sha256 == ""
    assert len(session.orders()) == orders
    assert session.run.status is RunStatus.RUNNING


@EACH_HARM
def test_paper_and_runs_without_the_setting_are_not_held_by_it(
    tmp_path: Path, harm: Callable[[Session], object], code: str
) -> None:
    paper = Session(tmp_path / "paper", enforce_provenance=True)
    lax = Session(tmp_path / "lax")
    change_run(lax, mode=Mode.LIVE)
    for session in (paper, lax):
        harm(session)
        found = provenance_of(session.store, session.home, session.run)
        assert (found != Provenance()) or "" in {session.run.dataset_id, session.run.feature_set_id}
        if session.run.feature_set_id != "v1-0":  # not computed at all: there is nothing to show
            session.go_on(1)
            assert session.decisions()[0].hold_reason != code


def test_what_is_put_right_lets_the_run_decide_again(session: Session) -> None:
    away = session.home / "away"
    folder = artifacts_of(session.home).path("v1")
    shutil.move(folder, away)
    session.go_on(1)
    assert session.decisions()[0].hold_reason == ARTIFACT_UNAVAILABLE
    shutil.move(away, folder)

    session.go_on(1)

    assert session.decisions()[0].hold_reason == ""


def wiring_of(session: Session, *, enforce: bool) -> Wiring:
    return Wiring(
        store_url="",
        home=session.home,
        venue_url="",
        pairs=(PAIR,),
        intervals=("1m",),
        enforce_provenance=enforce,
    )


def provenance_gates(session: Session, *, enforce: bool) -> list[str]:
    """What a live start is told of its provenance, among everything else that it lacks."""
    store = session.store
    agent, limits = store.get(kinds.AGENTS, "desk"), store.get(kinds.RISK_LIMITS, "default")
    assert agent is not None
    assert limits is not None
    plan = Plan(
        run=session.run,
        agent=agent.value,
        version=VERSION,
        limits=limits.value,
        follows_agent=False,
    )
    told = live_gates(store, wiring_of(session, enforce=enforce), plan)
    return [gate.problem for gate in told if gate.problem.startswith("provenance_")]


@EACH_HARM
def test_a_live_start_is_refused_by_the_same_code_with_its_remedy(
    session: Session,
    harm: Callable[[Session], object],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = PromotionVerdict(reasons=(), evaluation_id="ev1")
    monkeypatch.setattr(gates_of_live, "promotion_verdict", lambda *_: passed)
    assert provenance_gates(session, enforce=True) == []
    harm(session)

    [refused] = provenance_gates(session, enforce=True)

    assert refused.startswith(f"{code}: ")
    assert len(refused) > len(code) + 10
    assert provenance_gates(session, enforce=False) == []


@pytest.mark.parametrize("text", ["true", "false", None])
def test_the_setting_reaches_the_gates(text: str | None) -> None:
    environment = {} if text is None else {"RL_ENFORCE_PROVENANCE": text}
    venue = BingxConfig(base_url="http://127.0.0.1:1", api_key="", secret="")

    wiring = Wiring.of(load_settings(environment), store_url="", venue=venue)

    assert wiring.enforce_provenance is (text == "true")


def test_a_follower_takes_the_dataset_of_the_version_it_follows(session: Session) -> None:
    later = replace(DATASET, dataset_id="ds-later", sha256="ef" * 32)
    session.store.put(kinds.DATASETS, "ds-later", later, at_ms=2)
    put_version(
        session.store,
        session.home,
        "v2",
        seed=11,
        dataset_id="ds-later",
        dataset_sha256="ef" * 32,
        promoted_pairs=(PAIR,),  # a live run follows to no other
    )
    session.store.put(kinds.STATE, f"follows:{session.run.run_id}", {}, at_ms=BEGIN_MS)
    agent = session.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    session.store.put(
        kinds.AGENTS, "desk", replace(agent.value, active_version_id="v2"), at_ms=BEGIN_MS
    )

    session.go_on(1)

    record = session.decisions()[0]
    assert (record.version_id, record.hold_reason) == ("v2", "")
    assert (record.dataset_id, record.dataset_sha256) == ("ds-later", "ef" * 32)
    assert session.run.dataset_id == "ds-later"

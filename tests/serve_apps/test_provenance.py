"""Replays in a trace, evidence of a decision, and a trade's explanation, as the API answers them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from desk.clock import DAY_MS
from desk.runs import Action
from desk.store.memory import MemoryStore
from tests.actors.fakes import PAIR
from tests.actors.paper_session import Session
from tests.actors.stage import RUN_ID
from tests.serve_apps.scene import HERE, FakeDesk, Scene


@pytest.fixture
def session(tmp_path: Path) -> Session:
    opened = Session(tmp_path)
    opened.go_on(12)
    return opened


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    store = session.store
    assert isinstance(store, MemoryStore)
    scene = Scene(
        store=store,
        clock=session.clock,
        desk=FakeDesk(store, session.clock),
        fence=store.acquire_lease("nobody", "test", 60_000),
        home=session.home,
    )
    with TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 50_000)) as opened:
        yield opened


def test_a_trace_is_told_with_its_decisions_made_again(
    session: Session, client: TestClient
) -> None:
    record = session.decisions()[2]

    story = client.get(f"/traces/{record.trace_id}").json()

    [found] = story["replays"]
    assert (found["verdict"], found["decision_id"]) == ("identical", record.decision_id)
    assert found["recorded"] == found["recomputed"]
    assert found["recorded"]["observation_sha256"] == record.observation_sha256
    assert (found["findings"], found["first_difference"]) == ([], None)


def test_a_repaint_is_told_by_feature_with_both_values(
    session: Session, client: TestClient
) -> None:
    record = session.decisions()[0]
    stored = session.store.read_candles(PAIR, "1m", record.open_ms, record.open_ms + 1)
    session.store.write_candles(PAIR, "1m", replace(stored, close=stored.close + 50.0))

    [found] = client.get(f"/traces/{record.trace_id}").json()["replays"]

    assert found["verdict"] == "different"
    assert found["findings"][0]["code"] == "replay_candles_changed"
    difference = found["first_difference"]
    assert difference["feature"] == "return_1"
    assert difference["recorded"] != difference["recomputed"]


def test_a_decision_of_last_year_is_still_found_and_made_again(
    session: Session, client: TestClient
) -> None:
    record = session.decisions()[0]
    session.clock.advance(400 * DAY_MS)

    story = client.get(f"/traces/{record.trace_id}").json()

    assert [one["verdict"] for one in story["replays"]] == ["identical"]
    assert story["candle"]["open_ms"] == record.open_ms


def test_decisions_are_listed_with_their_evidence(session: Session, client: TestClient) -> None:
    rows = client.get(f"/agents/desk/runs/{RUN_ID}/decisions").json()["items"]

    evidence = rows[0]["evidence"]
    assert len(evidence["artifact_sha256"]) == len(evidence["candle_sha256"]) == 64
    assert evidence["window_rows"] == 240
    assert evidence["size_quote"] == "1000"
    assert evidence["limits_revision"] == 1
    assert evidence["integrity"]["blocks"] == []
    assert len(rows[0]["dataset_sha256"]) == 64


def test_a_trade_is_explained_and_an_unknown_one_is_404(
    session: Session, client: TestClient
) -> None:
    record = next(one for one in session.decisions()[::-1] if one.action is Action.TRADE)

    made = client.get(f"/trades/{record.client_order_ids[-1]}/explanation").json()

    assert made["decisions"][0]["decision_id"] == record.decision_id
    assert made["decisions"][0]["contributions"][0]["feature"]
    assert set(made["pnl"]) == {"price", "slippage", "fees", "funding"}
    assert made["words"]
    assert client.get("/trades/t1nothing/explanation").status_code == 404

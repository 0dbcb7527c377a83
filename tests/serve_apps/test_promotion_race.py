"""Two operators promote at once, over HTTP and on the real store: one wins, the other is told."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.learning.versions import VersionStatus
from desk.runs import Agent
from desk.store import kinds
from desk.store.port import Doc, Gate
from desk.store.valkey import ValkeyStore
from tests.actors.test_version_switch import evaluated, make_version
from tests.serve_apps.scene import HERE, PAIR, make_scene

ROUNDS = 5


class Meeting(ValkeyStore):
    """Lets nobody move the pointer before both have judged."""

    both: threading.Barrier

    def flip_version(
        self, before: Doc[Agent], after: Agent, gate: Gate, **given: Any
    ) -> Doc[Agent]:
        self.both.wait(10)
        return super().flip_version(before, after, gate, **given)


@pytest.fixture
def meeting(store: ValkeyStore, valkey_server: Any) -> Iterator[Meeting]:
    """The real store with a champion and two challengers that passed."""
    opened = Meeting(valkey_server.url)
    agent = Agent(
        agent_id="desk", name="Desk", allowed_instruments=(PAIR,), active_version_id="champion"
    )
    champion = make_version("champion", status=VersionStatus.PROMOTED, promoted_at_ms=1)
    opened.put(kinds.VERSIONS, "champion", champion, at_ms=0)
    for name in ("v1", "v2"):
        opened.put(kinds.VERSIONS, name, make_version(name), at_ms=0)
        evaluated(opened, f"e-{name}", name, pair=PAIR)
    opened.put(kinds.AGENTS, "desk", agent, at_ms=0)
    yield opened
    opened.close()


@pytest.fixture
def client(meeting: Meeting) -> Iterator[TestClient]:
    scene = replace(make_scene(), store=meeting)
    with TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 50_000)) as opened:
        yield opened


def statuses(store: ValkeyStore) -> Counter[VersionStatus]:
    return Counter(doc.value.status for doc in store.list(kinds.VERSIONS))


def active(store: ValkeyStore) -> str:
    found = store.get(kinds.AGENTS, "desk")
    assert found is not None
    return found.value.active_version_id


def promote(client: TestClient, version_id: str) -> int:
    return client.post(f"/agents/desk/versions/{version_id}/promote").status_code


@pytest.mark.catalogue("M04")
def test_M04_of_two_promotions_at_once_one_wins_and_the_other_is_a_409(
    client: TestClient, meeting: Meeting
) -> None:
    meeting.both = threading.Barrier(2)

    with ThreadPoolExecutor(2) as callers:
        asked = {name: callers.submit(promote, client, name) for name in ("v1", "v2")}
        answers = {name: future.result(20) for name, future in asked.items()}

    assert sorted(answers.values()) == [200, 409]
    winner = next(name for name, status in answers.items() if status == 200)
    assert active(meeting) == winner
    assert statuses(meeting) == Counter(
        {VersionStatus.PROMOTED: 1, VersionStatus.RETIRED: 1, VersionStatus.EVALUATING: 1}
    )


@pytest.mark.catalogue("M04")
def test_M04_a_failing_gate_is_a_409_and_the_champion_stays(
    client: TestClient, meeting: Meeting
) -> None:
    failed = {"verdict": "fail", "reasons": ("net_pnl_non_positive",), "created_ms": 2_000}
    evaluated(meeting, "e-later", "v1", pair=PAIR, **failed)
    meeting.both = threading.Barrier(1)

    answer = client.post("/agents/desk/versions/v1/promote")

    assert answer.status_code == 409
    assert "net_pnl_non_positive" in answer.json()["detail"]
    assert active(meeting) == "champion"
    assert statuses(meeting)[VersionStatus.RETIRED] == 0


@pytest.mark.catalogue("M04")
def test_M04_promotions_and_rollbacks_that_race_leave_one_promoted_version_which_is_the_active_one(
    client: TestClient, meeting: Meeting
) -> None:
    meeting.both = threading.Barrier(1)
    paths = ["v1/promote", "v2/promote", "v1/rollback", "v2/rollback"] * ROUNDS

    def ask(path: str) -> int:
        return client.post(f"/agents/desk/versions/{path}").status_code

    with ThreadPoolExecutor(4) as callers:
        answers = Counter(callers.map(ask, paths))

    promoted = [
        doc.key
        for doc in meeting.list(kinds.VERSIONS)
        if doc.value.status is VersionStatus.PROMOTED
    ]
    assert promoted == [active(meeting)]
    assert set(answers) <= {200, 409, 422}
    assert answers[200] > 0

"""The policy replicas: the registered artifact or nothing, and a hold for every doubt."""

import asyncio
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors import version_registry
from actors.version_registry import artifacts_of, ensure_baseline
from desk.errors import ArtifactRefused, BadInput, NotFound
from desk.learning.baseline import BASELINE_VERSION_ID, baseline_card, baseline_tensors
from desk.learning.policy import PolicyAnswer, load_policy
from desk.market.features import FEATURES_V1
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import DocStore
from serve_apps.policy import STUCK_AFTER_S, PolicyReplica, PolicyStuck
from serve_apps.policy_shelf import PolicyShelf

SIZE = FEATURES_V1.size + 1


def up() -> list[float]:
    values = [0.0] * SIZE
    values[FEATURES_V1.index("trend_60_240")] = 2.0
    return values


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def shelf(store: MemoryStore, tmp_path: Path) -> PolicyShelf:
    ensure_baseline(tmp_path, store, "desk", 1)
    return PolicyShelf(tmp_path, store, kept=2)


def copy_of_baseline(store: MemoryStore, home: Path, version_id: str) -> None:
    doc = store.get(kinds.VERSIONS, BASELINE_VERSION_ID)
    assert doc is not None
    card = baseline_card() | {"version_id": version_id}
    version = replace(doc.value, version_id=version_id)
    version_registry.register(store, artifacts_of(home), version, card, baseline_tensors())


def ask(
    shelf: PolicyShelf, values: list[float], version_id: str = BASELINE_VERSION_ID
) -> PolicyAnswer:
    return asyncio.run(shelf.answer(version_id, values, 0.35))


def test_a_replica_answers_exactly_like_the_policy_itself(shelf: PolicyShelf) -> None:
    answer = ask(shelf, up())

    itself = load_policy(baseline_card(), baseline_tensors())
    alone = itself.answer(np.asarray(up(), dtype=np.float32), 0.35)
    assert answer == replace(alone, artifact_sha256=answer.artifact_sha256)
    assert len(answer.artifact_sha256) == 64
    assert (answer.target, answer.held, answer.version_id) == (1.0, False, BASELINE_VERSION_ID)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_a_number_that_is_not_finite_is_a_hold(shelf: PolicyShelf, bad: float) -> None:
    with np.errstate(over="ignore"):
        answer = ask(shelf, [*up()[:-1], bad])

    assert answer.held
    assert answer.reason == "observation_non_finite"


def test_low_confidence_is_a_hold(shelf: PolicyShelf) -> None:
    answer = asyncio.run(shelf.answer(BASELINE_VERSION_ID, [0.0] * SIZE, 0.9999))

    assert (answer.held, answer.reason) == (True, "low_confidence")


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE + 1])
def test_an_observation_of_another_size_is_refused(shelf: PolicyShelf, size: int) -> None:
    with pytest.raises(BadInput, match="observation"):
        ask(shelf, [0.0] * size)


def test_an_unknown_version_is_not_found(shelf: PolicyShelf) -> None:
    with pytest.raises(NotFound):
        ask(shelf, up(), "ppo-nothing")


@pytest.mark.catalogue("M07")
def test_a_changed_file_is_refused_and_never_served(shelf: PolicyShelf, tmp_path: Path) -> None:
    path = artifacts_of(tmp_path).path(BASELINE_VERSION_ID) / "policy.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(content))

    for _ in range(2):
        with pytest.raises(ArtifactRefused, match="sha256"):
            ask(shelf, up())
    assert shelf.versions == ()


def test_only_the_last_used_versions_are_kept(
    shelf: PolicyShelf, store: MemoryStore, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        copy_of_baseline(store, tmp_path, name)

    async def story() -> None:
        await shelf.answer("a", up(), 0.0)
        await shelf.answer("b", up(), 0.0)
        await shelf.answer("a", up(), 0.0)
        await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)

    asyncio.run(story())

    assert shelf.versions == ("a", BASELINE_VERSION_ID)


def test_a_load_does_not_hold_up_answers_of_other_versions_and_happens_once(
    shelf: PolicyShelf, store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_baseline(store, tmp_path, "slow")
    let_go, loads = threading.Event(), list[str]()
    real = version_registry.policy_of

    def patiently(home: Path, version: version_registry.AgentVersion, store: DocStore) -> object:
        loads.append(version.version_id)
        if version.version_id == "slow":
            assert let_go.wait(10)
        return real(home, version, store)

    monkeypatch.setattr("serve_apps.policy_shelf.policy_of", patiently)

    async def story() -> None:
        await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)
        waiting = [asyncio.create_task(shelf.answer("slow", up(), 0.0)) for _ in range(3)]
        while "slow" not in loads:
            await asyncio.sleep(0.001)
        answer = await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)
        assert answer.version_id == BASELINE_VERSION_ID
        assert shelf.loading_s > 0
        let_go.set()
        assert {(await task).version_id for task in waiting} == {"slow"}

    asyncio.run(story())

    assert loads == [BASELINE_VERSION_ID, "slow"]
    assert shelf.loading_s == 0.0


def test_a_replica_whose_load_does_not_end_calls_itself_ill(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replica = PolicyReplica("redis://127.0.0.1:1", str(tmp_path))
    asyncio.run(replica.check_health())

    monkeypatch.setattr(PolicyShelf, "loading_s", STUCK_AFTER_S + 1)

    with pytest.raises(PolicyStuck):
        asyncio.run(replica.check_health())


def test_a_replica_process_loads_neither_torch_nor_pickled_models() -> None:
    heavy = "torch, ray.rllib, nautilus_trader, numba, ccxt, pyarrow"
    script = f"import serve_apps.policy, sys; print([m for m in '{heavy}'.split(', ') if m in sys.modules])"

    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"

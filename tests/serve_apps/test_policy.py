"""The policy replicas: the registered artifact or nothing, and a hold for every doubt."""

import asyncio
import hashlib
import json
import pickle
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
from desk.learning.policy import MlpPolicy, PolicyAnswer, load_policy
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


def test_what_waits_at_once_is_answered_in_one_pass_as_it_would_be_alone(
    shelf: PolicyShelf,
) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(0.0, 2.0, (100, SIZE)).astype(np.float32).tolist()
    rows[7][3] = float("nan")
    thresholds = rng.random(len(rows)).tolist()

    async def story() -> tuple[list[PolicyAnswer], int]:
        first = await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)
        batch = shelf._policies[BASELINE_VERSION_ID]
        before = batch.passes
        asked = [
            shelf.answer(BASELINE_VERSION_ID, row, threshold)
            for row, threshold in zip(rows, thresholds, strict=True)
        ]
        together = await asyncio.gather(*asked)
        assert first.target == 1.0
        return together, batch.passes - before

    together, passes = asyncio.run(story())

    policy = shelf._policies[BASELINE_VERSION_ID].policy
    alone = [
        policy.answer(np.asarray(row, dtype=np.float32), threshold)
        for row, threshold in zip(rows, thresholds, strict=True)
    ]
    assert passes == 2, "64 rows, then the others"
    assert together == alone
    assert together[7].reason == "observation_non_finite"


def test_what_is_asked_about_together_is_answered_together_beside_others(
    shelf: PolicyShelf,
) -> None:
    rng = np.random.default_rng(5)
    groups = [rng.normal(0.0, 2.0, (rows, SIZE)).astype(np.float32) for rows in (3, 1, 61, 3)]

    async def story() -> tuple[list[list[PolicyAnswer]], int]:
        await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)
        batch = shelf._policies[BASELINE_VERSION_ID]
        before = batch.passes
        asked = [shelf.answers(BASELINE_VERSION_ID, rows.tolist(), 0.4) for rows in groups]
        return await asyncio.gather(*asked), batch.passes - before

    together, passes = asyncio.run(story())

    policy = shelf._policies[BASELINE_VERSION_ID].policy
    assert together == [[policy.answer(row, 0.4) for row in rows] for rows in groups]
    assert passes == 2, "no caller's rows are torn apart: 3 and 1, then 61 and 3"


def test_a_caller_that_gave_up_takes_nobody_elses_answer_away(shelf: PolicyShelf) -> None:
    async def story() -> list[object]:
        await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)
        tasks = [
            asyncio.create_task(shelf.answer(BASELINE_VERSION_ID, up(), 0.0)) for _ in range(3)
        ]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    first, given_up, last = asyncio.run(story())

    assert isinstance(first, PolicyAnswer)
    assert isinstance(given_up, asyncio.CancelledError)
    assert first == last


def test_a_pass_that_fails_is_every_callers_answer_and_the_next_one_is_its_own(
    shelf: PolicyShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> list[object]:
        await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)
        with monkeypatch.context() as broken:
            broken.setattr(MlpPolicy, "answers", lambda *_: 1 / 0)
            asked = (shelf.answer(BASELINE_VERSION_ID, up(), 0.0) for _ in range(3))
            failed = await asyncio.gather(*asked, return_exceptions=True)
        return [*failed, await shelf.answer(BASELINE_VERSION_ID, up(), 0.0)]

    *failed, well = asyncio.run(story())

    assert [type(one) for one in failed] == [ZeroDivisionError] * 3
    assert isinstance(well, PolicyAnswer)


def test_versions_that_change_under_way_drop_no_request_and_mix_no_answers(
    shelf: PolicyShelf, store: MemoryStore, tmp_path: Path
) -> None:
    names = [BASELINE_VERSION_ID, "a", "b", "c"]
    for name in names[1:]:
        copy_of_baseline(store, tmp_path, name)
    active = [names[number // 25 % 4] for number in range(300)]

    async def story() -> list[PolicyAnswer]:
        tasks = list[asyncio.Task[PolicyAnswer]]()
        for number, name in enumerate(active):
            tasks.append(asyncio.create_task(shelf.answer(name, up(), 0.0)))
            if number % 7 == 0:
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    answers = asyncio.run(story())

    assert [one.version_id for one in answers] == active
    assert {one.target for one in answers} == {1.0}


@pytest.mark.catalogue("M03")
@pytest.mark.parametrize(
    "values", [[2.0, 2.0], [2.0, -2.0], [0.0, -2.0]], ids=["inf", "nan", "-inf"]
)
def test_m03_finite_weights_that_overflow_hold_instead_of_choosing(
    shelf: PolicyShelf, store: MemoryStore, tmp_path: Path, values: list[float]
) -> None:
    weight = np.zeros((3, SIZE), dtype=np.float32)
    weight[0, :2] = 3e38
    crafted = {"layers.0.weight": weight, "layers.0.bias": np.zeros(3, dtype=np.float32)}
    doc = store.get(kinds.VERSIONS, BASELINE_VERSION_ID)
    assert doc is not None
    card = baseline_card() | {"version_id": "crafted"}
    version = replace(doc.value, version_id="crafted")
    version_registry.register(store, artifacts_of(tmp_path), version, card, crafted)

    answer = asyncio.run(shelf.answer("crafted", values + [0.0] * (SIZE - 2), 0.0))

    assert not np.isfinite(answer.logits).all()
    assert (answer.held, answer.reason) == (True, "logits_non_finite")
    assert (answer.target, answer.confidence) == (0.0, 0.0)


def harm(home: Path, name: str, content: bytes) -> None:
    path = artifacts_of(home).path(BASELINE_VERSION_ID) / name
    path.chmod(0o644)
    path.write_bytes(content)


def content_of(home: Path, name: str) -> bytes:
    return (artifacts_of(home).path(BASELINE_VERSION_ID) / name).read_bytes()


@pytest.mark.catalogue("M01")
@pytest.mark.parametrize("name", ["policy.safetensors", "card.json"])
def test_m01_after_any_flipped_byte_the_version_is_refused_and_what_is_at_hand_goes_on(
    shelf: PolicyShelf, store: MemoryStore, tmp_path: Path, name: str
) -> None:
    copy_of_baseline(store, tmp_path, "serving")
    whole = content_of(tmp_path, name)
    served = ask(shelf, up(), "serving")
    rng = np.random.default_rng(1)

    for at in rng.choice(len(whole), size=12, replace=False).tolist():
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        harm(tmp_path, name, bytes(flipped))
        with pytest.raises(ArtifactRefused):
            ask(shelf, up())
        assert ask(shelf, up(), "serving") == served

    harm(tmp_path, name, whole)
    assert ask(shelf, up()).version_id == BASELINE_VERSION_ID


@pytest.mark.catalogue("M02")
@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"[-1.0,0.0,1.0]", b"[-1.0,0.0,0.5]"),
        (b'"is_baseline":true', b'"is_baseline":false'),
        (b'"tanh"', b'"relu"'),
        (b'"observation_size":', b'"observation_size":1'),
        (FEATURES_V1.feature_set_id.encode(), b"v1-000000000000"),
    ],
)
def test_m02_a_card_that_was_edited_after_registration_is_refused(
    shelf: PolicyShelf, tmp_path: Path, was: bytes, becomes: bytes
) -> None:
    card = content_of(tmp_path, "card.json")
    assert was in card
    harm(tmp_path, "card.json", card.replace(was, becomes))

    with pytest.raises(ArtifactRefused, match="it was edited"):
        ask(shelf, up())


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def hostile(kind: str, trap: Path) -> bytes:
    """A file that calls itself safetensors: eight bytes of header length, a JSON header, data."""
    pickled = pickle.dumps(Trap(trap))
    header = json.dumps(
        {"layers.0.weight": {"dtype": "F32", "shape": [3, 1 << 40], "data_offsets": [0, 12 << 40]}}
    ).encode()
    return {
        "pickle": pickled,
        "pickle behind a header": (8).to_bytes(8, "little") + b"{}      " + pickled,
        "header of 2^63": (1 << 63).to_bytes(8, "little") + b"{}",
        "header of 2^64-1": (2**64 - 1).to_bytes(8, "little") + b"{}",
        "header longer than the file": (1 << 20).to_bytes(8, "little") + b"{}",
        "tensor of 12 TiB": len(header).to_bytes(8, "little") + header + b"\0" * 64,
        "deep header": (200_000).to_bytes(8, "little") + b"[" * 200_000,
        "empty": b"",
    }[kind]


HOSTILE = (
    "pickle",
    "pickle behind a header",
    "header of 2^63",
    "header of 2^64-1",
    "header longer than the file",
    "tensor of 12 TiB",
    "deep header",
    "empty",
)


@pytest.mark.catalogue("M07")
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("is_forged", [False, True], ids=["as registered", "hashes forged too"])
def test_m07_a_hostile_file_is_refused_and_nothing_in_it_runs(
    shelf: PolicyShelf, store: MemoryStore, tmp_path: Path, kind: str, is_forged: bool
) -> None:
    trap = tmp_path / "sprung"
    content = hostile(kind, trap)
    harm(tmp_path, "policy.safetensors", content)
    if is_forged:  # whoever did it also wrote the card and the store's record
        sha256 = hashlib.sha256(content).hexdigest()
        doc = store.get(kinds.VERSIONS, BASELINE_VERSION_ID)
        assert doc is not None
        card = json.loads(content_of(tmp_path, "card.json")) | {"sha256": sha256}
        harm(tmp_path, "card.json", json.dumps(card).encode())
        forged = replace(
            doc.value,
            artifact_sha256=sha256,
            card_sha256=hashlib.sha256(json.dumps(card).encode()).hexdigest(),
        )
        store.put(kinds.VERSIONS, BASELINE_VERSION_ID, forged, at_ms=1)

    with pytest.raises(ArtifactRefused):
        ask(shelf, up())

    assert not trap.exists()
    if kind == "pickle":
        pickle.loads(content)
        assert trap.exists(), "the trap works"


@pytest.mark.catalogue("M07")
def test_m07_a_file_of_any_size_is_read_no_further_than_ours_reach(
    shelf: PolicyShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desk.store.artifacts.MOST_BYTES", 1 << 16)
    path = artifacts_of(tmp_path).path(BASELINE_VERSION_ID) / "policy.safetensors"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse: a terabyte of nothing

    with pytest.raises(ArtifactRefused, match="more than 65,536 bytes"):
        ask(shelf, up())


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
    replica = PolicyReplica("redis://127.0.0.1:1", tmp_path)
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

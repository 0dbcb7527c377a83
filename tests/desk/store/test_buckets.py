"""Files in a bucket, over S3's real wire: the same as on a disk, one writer at a time, never half."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.version_registry import artifacts_of
from desk.errors import ArtifactRefused, FilesUnavailable, NotFound, SettingsError, StoreCorrupt
from desk.market.candles import Candles
from desk.settings import load_settings
from desk.store.artifacts import TENSORS, ArtifactCard, Artifacts
from desk.store.bucket import Bucket
from desk.store.bucket_folder import BucketFolder
from desk.store.candle_cache import CandleCache
from desk.store.evaluation_files import EQUITY, EvaluationFiles
from desk.store.history import History
from desk.store.memory import MemoryStore
from desk.store.places import Place, shared_folder, try_out
from desk.store.signal_archive import SignalArchive
from tests.desk.store.s3_wire import BUCKET, S3Wire

JUNE_MS = 1_748_736_000_000
DAY_ROWS = 1_440
SERIES = ("BTC-USDT", "1m")
KEYS = "key:secret"
FIELDS = ("open_ms", "open", "high", "low", "close", "volume")
MOTO = ("moto[s3]==5.2.5", "flask", "flask-cors")
type Series = Callable[..., Candles]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A bucket somewhere, and the store that hands out its leases."""

    uri: str
    store: MemoryStore

    def history(self, machine: Path) -> History:
        """As another machine opens it: files beside it are its own, the bucket and store are not."""
        place = Place(home=machine, files=self.uri)
        return History(shared_folder(place, "history", self.store))


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "raydesk-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wire")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def wire() -> Generator[S3Wire]:
    opened = S3Wire()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def moto() -> Generator[str]:
    """The endpoint of an S3 that others wrote, in an environment of its own."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("moto has an environment of its own, for which uv is needed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    needs = [word for name in MOTO for word in ("--with", name)]
    serve = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    command = [uv, "run", "--no-project", "--python", sys.executable, *needs, "python", "-c", serve]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint, until_s = f"127.0.0.1:{port}", time.monotonic() + 60
    made = urllib.request.Request(f"http://{endpoint}/{BUCKET}", method="PUT")
    while True:
        try:
            urllib.request.urlopen(made, timeout=5).close()
            break
        except OSError as away:
            if server.poll() is not None or time.monotonic() > until_s:
                server.kill()
                pytest.skip(f"moto did not start: {away}")
            time.sleep(0.2)
    yield endpoint
    server.terminate()
    server.wait(10)


@pytest.fixture(params=["wire", pytest.param("moto", marks=pytest.mark.nightly)])
def given(request: pytest.FixtureRequest) -> Given:
    """Each promise on our wire, and nightly on moto."""
    if request.param == "wire":
        uri = request.getfixturevalue("wire").uri()
    else:
        endpoint, prefix = request.getfixturevalue("moto"), f"p{random.randrange(10**9)}"
        uri = f"s3://{BUCKET}/{prefix}?region=us-east-1&endpoint_override={endpoint}&scheme=http"
    return Given(uri=uri, store=MemoryStore())


def _equal(left: Candles, right: Candles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in FIELDS)


def _all(history: History) -> Candles:
    return history.read(*SERIES, 0, 2**53)


def test_a_history_in_a_bucket_is_the_one_on_a_disk(
    given: Given, tmp_path: Path, series: Series
) -> None:
    ours, theirs = given.history(tmp_path / "a"), History(tmp_path / "disk")
    candles = series(3 * DAY_ROWS, start_ms=JUNE_MS - DAY_ROWS * 60_000)
    revised = Candles(**{name: getattr(candles, name)[100:200] * 1 for name in FIELDS})
    revised.close[:] += 1
    parts = [candles.take(slice(0, 2_000)), candles, revised, candles.take(slice(0, 0))]

    for part in parts:
        assert ours.append(*SERIES, part, "test") == theirs.append(*SERIES, part, "test")

    elsewhere = given.history(tmp_path / "b")
    assert _equal(_all(elsewhere), _all(theirs))
    assert elsewhere.series() == theirs.series() == [SERIES]
    assert elsewhere.bounds(*SERIES) == theirs.bounds(*SERIES)
    assert elsewhere.verify(*SERIES) == {}
    months = elsewhere.manifest(*SERIES).months
    assert {month: entry.sha256 for month, entry in months.items()} == {
        month: entry.sha256 for month, entry in theirs.manifest(*SERIES).months.items()
    }
    cache = CandleCache(tmp_path / "cache", elsewhere)
    assert _equal(cache.read(*SERIES, 0, 2**53), _all(theirs))
    ours.append(*SERIES, candles.take(slice(100, 200)), "test")
    assert _equal(cache.read(*SERIES, 0, 2**53), candles)


def test_writers_on_several_machines_lose_no_row_and_readers_see_whole_states(
    given: Given, tmp_path: Path, series: Series
) -> None:
    candles, steps = series(DAY_ROWS, start_ms=JUNE_MS), 3
    whole, lost_turns, seen = threading.Barrier(4), list[int](), list[int]()
    done = threading.Event()

    def write(machine: int) -> None:
        history = given.history(tmp_path / f"m{machine}")
        mine = candles.take(np.arange(len(candles)) % 3 == machine)
        whole.wait()
        for step in range(steps):
            part = mine.take(np.arange(len(mine)) % steps == step)
            for tries in range(200):
                try:
                    history.append(*SERIES, part, f"m{machine}")
                    break
                except FilesUnavailable:
                    lost_turns.append(tries)
                    time.sleep(random.random() * 0.2 * (tries + 1))
            else:
                raise AssertionError("never got a turn")

    def read() -> None:
        history = given.history(tmp_path / "reader")
        whole.wait()
        while not done.is_set():
            seen.append(len(_all(history)))

    threads = [threading.Thread(target=write, args=(machine,)) for machine in range(3)]
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join(120)
    done.set()
    reader.join(30)

    assert _equal(_all(given.history(tmp_path / "last")), candles)
    assert seen
    assert given.history(tmp_path / "last").manifest(*SERIES).lost == {}
    assert lost_turns, "the machines never met: the test shows nothing"


def test_a_writer_that_lost_its_turn_before_its_head_arrived_never_undoes_the_next(
    wire: S3Wire, tmp_path: Path, series: Series
) -> None:
    given = Given(uri=wire.uri(), store=MemoryStore())
    first, second = series(20, start_ms=JUNE_MS), series(20, start_ms=JUNE_MS + 20 * 60_000)
    slow, quick = given.history(tmp_path / "slow"), given.history(tmp_path / "quick")

    def overtaken(method: str, key: str) -> None:
        if method == "PUT" and "/manifest/" in key:
            wire.fail = lambda _method, _key: None
            quick.append(*SERIES, second, "quick")

    wire.fail = overtaken
    with pytest.raises(FilesUnavailable, match="another process changed"):
        slow.append(*SERIES, first, "slow")

    assert _equal(_all(quick), second)
    assert slow.append(*SERIES, first, "slow") == 20
    assert len(_all(quick)) == 40
    named = {entry.file for entry in quick.manifest(*SERIES).months.values()}
    left = {key.rsplit("/", 1)[1] for key in wire.listed() if key.endswith(".parquet")}
    assert left == named, "what the overtaken writer left is swept by the next"


def test_a_store_that_was_restored_goes_on_where_the_bucket_is(
    wire: S3Wire, tmp_path: Path, series: Series
) -> None:
    candles = series(80, start_ms=JUNE_MS)
    old, restored = (Given(uri=wire.uri(), store=MemoryStore()) for _ in range(2))
    for step in range(0, 60, 10):
        old.history(tmp_path).append(*SERIES, candles.take(slice(step, step + 10)), "old")

    restored.history(tmp_path).append(*SERIES, candles.take(slice(60, 70)), "new")
    restored.history(tmp_path).append(*SERIES, candles.take(slice(70, 80)), "new")

    assert _equal(_all(restored.history(tmp_path)), candles)


def test_a_write_cut_off_before_the_head_leaves_the_old_state(
    wire: S3Wire, tmp_path: Path, series: Series
) -> None:
    given = Given(uri=wire.uri(), store=MemoryStore())
    history, before = given.history(tmp_path), series(20, start_ms=JUNE_MS)
    history.append(*SERIES, before, "test")

    wire.fail = lambda method, key: 403 if method == "PUT" and "/manifest/" in key else None
    with pytest.raises(FilesUnavailable):
        history.append(*SERIES, series(40, start_ms=JUNE_MS, seed=2), "test")

    wire.fail = lambda _method, _key: None
    assert _equal(_all(history), before)


def test_a_damaged_object_is_never_believed(wire: S3Wire, tmp_path: Path, series: Series) -> None:
    given = Given(uri=wire.uri(), store=MemoryStore())
    history = given.history(tmp_path)
    history.append(*SERIES, series(20, start_ms=JUNE_MS), "test")
    [key] = [key for key in wire.listed() if key.endswith(".parquet")]
    wire.objects[key] = b"x" + wire.objects[key][1:]

    assert len(_all(history)) == 0
    assert list(history.manifest(*SERIES).lost) == ["2025-06"]
    assert history.damaged(*SERIES) == [f"{key.rsplit('/', 1)[1]}.damaged"]

    history.append(*SERIES, series(20, start_ms=JUNE_MS), "test")
    del wire.objects[next(key for key in wire.listed() if key.endswith(".parquet"))]
    assert list(history.verify(*SERIES)) == ["2025-06"], "what is gone is found without a read"


def test_signals_and_evaluations_come_back_from_a_bucket(given: Given, tmp_path: Path) -> None:
    from desk.market.signals import receive

    here, there = (Place(home=tmp_path / name, files=given.uri) for name in ("a", "b"))
    receipts = [receive("main", b"text %d" % n, received_ms=JUNE_MS + n) for n in range(5)]
    SignalArchive(shared_folder(here, "history", given.store)).append("main", receipts)
    found = SignalArchive(shared_folder(there, "history", given.store)).read("main", 0, 2**53)
    assert [row for _, _, row in found] == receipts[::-1]

    evaluation_id = f"ev-{'0' * 20}"
    table = pa.table({"equity": [1.0, 2.0]})
    hashes = EvaluationFiles(shared_folder(here, "evaluations")).write(
        evaluation_id, {EQUITY: table}
    )
    files = EvaluationFiles(shared_folder(there, "evaluations"))
    assert files.read(evaluation_id, EQUITY, hashes[EQUITY]).equals(table)
    with pytest.raises(StoreCorrupt):
        files.read(evaluation_id, EQUITY, "0" * 64)
    with pytest.raises(NotFound):
        files.read(evaluation_id, "trades.parquet", "0" * 64)


# --- artifacts ------------------------------------------------------------------------------------

CARD = ArtifactCard(
    version_id="v1",
    algorithm="ppo",
    is_baseline=False,
    feature_set_id="fs1",
    observation_size=2,
    levels=(-1.0, 0.0, 1.0),
)


def _tensors(value: float = 1.0) -> dict[str, np.ndarray]:
    return {
        "layers.0.weight": np.full((3, 2), value, dtype=np.float32),
        "layers.0.bias": np.zeros(3, dtype=np.float32),
    }


def _artifacts(given: Given, machine: Path, patience_s: float | None = None) -> Artifacts:
    return artifacts_of(Place(home=machine, files=given.uri), patience_s=patience_s)


def test_a_version_trained_on_one_machine_is_loaded_on_another_and_kept_there(
    given: Given, tmp_path: Path
) -> None:
    written = _artifacts(given, tmp_path / "worker").write(CARD, _tensors())
    assert _artifacts(given, tmp_path / "worker").write(CARD, _tensors()) == written
    with pytest.raises(ArtifactRefused, match="other content"):
        _artifacts(given, tmp_path / "third").write(CARD, _tensors(2.0))

    head = _artifacts(given, tmp_path / "head")
    assert head.read("v1", expected_sha256=written.sha256).card == written
    assert head.uri("v1").startswith("s3://desk/")
    alone = Artifacts(tmp_path / "head" / "artifacts")
    assert alone.read("v1").card == written, "once it is here, no bucket is asked"
    with pytest.raises(ArtifactRefused, match="no artifact v2"):
        head.read("v2")


def test_a_decision_does_not_wait_for_a_bucket_that_hangs(wire: S3Wire, tmp_path: Path) -> None:
    given = Given(uri=wire.uri(), store=MemoryStore())
    _artifacts(given, tmp_path / "worker").write(CARD, _tensors())
    wire.hangs_s = 1.0
    head = _artifacts(given, tmp_path / "head", patience_s=0.1)

    began_s = time.monotonic()
    for _ in range(3):
        with pytest.raises(ArtifactRefused):
            head.read("v1")
    assert time.monotonic() - began_s < 1.0

    until_s = time.monotonic() + 30
    while not (tmp_path / "head" / "artifacts" / "v1").exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert head.read("v1").card.version_id == "v1"


def test_a_damaged_version_in_the_bucket_is_refused_and_not_copied(
    wire: S3Wire, tmp_path: Path
) -> None:
    given = Given(uri=wire.uri(), store=MemoryStore())
    _artifacts(given, tmp_path / "worker").write(CARD, _tensors())
    wire.objects[f"prod/artifacts/v1/{TENSORS}"] = b"other"

    with pytest.raises(ArtifactRefused, match="does not have its card's sha256"):
        _artifacts(given, tmp_path / "head").read("v1")
    assert not (tmp_path / "head" / "artifacts" / "v1").exists()


# --- what may be wrong ----------------------------------------------------------------------------


def test_what_is_wrong_with_a_bucket_is_one_sentence_with_setting_and_remedy(
    wire: S3Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_out(Place(home=tmp_path, files=wire.uri()))
    assert [key for key in wire.listed() if not key.endswith("/")] == []

    with pytest.raises(FilesUnavailable, match=r"^DESK_FILES: .*no bucket other: make it"):
        try_out(Place(home=tmp_path, files=wire.uri().replace("//desk/", "//other/")))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = wire.uri().replace(wire.endpoint, f"127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(FilesUnavailable, match=r"^DESK_FILES: .*can be reached"):
        try_out(Place(home=tmp_path, files=nobody))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    with pytest.raises(FilesUnavailable, match=r"^DESK_FILES: .*refused: set AWS_ACCESS_KEY_ID"):
        try_out(Place(home=tmp_path, files=f"{wire.uri('second')}"))


def test_a_folder_that_cannot_be_used_is_one_sentence_too(tmp_path: Path) -> None:
    try_out(Place(home=tmp_path, files=str(tmp_path / "shared")))
    (tmp_path / "file").touch()
    with pytest.raises(FilesUnavailable, match=r"^DESK_FILES: .*name another folder"):
        try_out(Place(home=tmp_path, files=str(tmp_path / "file")))


def test_a_bucket_that_hangs_ends_by_its_deadline_and_one_that_stumbles_is_asked_again(
    wire: S3Wire,
) -> None:
    stumbles = iter([503, 503])
    wire.fail = lambda _method, _key: next(stumbles, None)
    bucket = Bucket(wire.uri())
    bucket.put("a/b", b"content")
    assert bucket.read("a/b") == b"content"

    wire.hangs_s = 5.0
    hasty, began_s = Bucket(wire.uri(), deadline_s=0.5), time.monotonic()
    with pytest.raises(FilesUnavailable, match=r"^DESK_FILES: reading .* did not end in 0.5 s"):
        hasty.read("a/b")
    assert time.monotonic() - began_s < 3.0


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("ftp://host/path", "s3://bucket/prefix"),
        ("s3:///prefix", "s3://bucket/prefix"),
        ("shared", "whole path"),
        (f"s3://{KEYS}@bucket/p", "must not hold keys"),
        ("s3://bucket/p?endpoint=x", "no option endpoint"),
        ("s3://bucket/p?scheme=ftp", "http or https"),
        ("gs://bucket/../other", "names? the prefix|`..`"),
    ],
)
def test_a_place_that_is_none_is_refused_by_the_settings(files: str, said: str) -> None:
    with pytest.raises(SettingsError, match=rf"DESK_FILES.*({said})") as refused:
        load_settings({"DESK_FILES": files})
    assert "secret@" not in str(refused.value)


def test_a_folder_of_a_bucket_is_not_changed_without_the_store(
    wire: S3Wire, tmp_path: Path
) -> None:
    folder = BucketFolder(Bucket(wire.uri()), "history/x", locks=tmp_path)
    with pytest.raises(RuntimeError, match="opened for reading"), folder.locked():
        pass
    with pytest.raises(RuntimeError, match="without its lock"):
        folder.put_head(json.dumps({}).encode())

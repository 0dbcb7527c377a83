"""A copy of a desk: taken while it writes, proved by loading it, and brought back the same."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from desk.errors import BadInput, StoreUnavailable
from desk.store import server
from desk.store.backup import CARD, back_up, read_card, restore, state_of
from desk.store.kinds import STATE
from desk.store.valkey import ValkeyStore

RELEASE = "0.1.0"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with rows and files, its server running."""
    folder = tmp_path / "home"
    running = server.start(folder)
    store = ValkeyStore(running.url)
    store.load_functions()
    for number in range(50):
        store.put(STATE, f"row{number}", {"n": number}, at_ms=number)
    (folder / "history" / "BTC").mkdir(parents=True)
    (folder / "history" / "BTC" / "2026-01.parquet").write_bytes(b"candles" * 1000)
    (folder / "cache").mkdir()
    (folder / "cache" / "big").write_bytes(b"x")
    yield folder
    store.close()
    last = server.find(folder)
    if last is not None:
        server.stop(last)


def stop(home: Path) -> None:
    running = server.find(home)
    assert running is not None
    server.stop(running)


def test_what_is_brought_back_is_what_was_there(home: Path, tmp_path: Path) -> None:
    state, rows = state_of(home)
    made = back_up(home, tmp_path / "copy", release=RELEASE)

    brought = restore(tmp_path / "copy", tmp_path / "new")

    assert brought == made == read_card(tmp_path / "copy")
    assert state_of(tmp_path / "new") == (state, rows) == (made.state_sha256, made.rows)
    assert rows >= 50
    history = tmp_path / "new" / "history" / "BTC" / "2026-01.parquet"
    assert history.read_bytes() == b"candles" * 1000
    assert not (tmp_path / "new" / "cache").exists(), "made anew from what is kept"
    assert server.find(tmp_path / "new") is None, "nothing is left running"


def test_a_stopped_desk_is_copied_too(home: Path, tmp_path: Path) -> None:
    state = state_of(home)
    stop(home)

    made = back_up(home, tmp_path / "copy", release=RELEASE)

    assert (made.state_sha256, made.rows) == state


def test_a_copy_taken_while_others_write_is_a_state_that_was(home: Path, tmp_path: Path) -> None:
    """Rows are written in order: the copy has a first part of them, and all that was acknowledged before."""
    running = server.find(home)
    assert running is not None
    over, written = threading.Event(), list[int]()

    def write() -> None:
        store = ValkeyStore(running.url)
        while not over.is_set():
            store.put(STATE, f"later{len(written):06d}", {"n": len(written)}, at_ms=1)
            written.append(len(written))
        store.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 20:
            over.wait(0.01)
        before = len(written)
        back_up(home, tmp_path / "copy", release=RELEASE)
    finally:
        over.set()
        writer.join()
    restore(tmp_path / "copy", tmp_path / "new")

    again = server.start(tmp_path / "new")
    store = ValkeyStore(again.url)
    found = [n for n in range(len(written)) if store.get(STATE, f"later{n:06d}") is not None]
    store.close()
    server.stop(again)
    assert found == list(range(len(found)))
    assert len(found) >= before


def test_the_server_rewrites_its_file_again_afterwards(home: Path, tmp_path: Path) -> None:
    running = server.find(home)
    assert running is not None
    client = ValkeyStore(running.url).connection.bulk
    before = client.config_get("auto-aof-rewrite-percentage")

    back_up(home, tmp_path / "copy", release=RELEASE)

    assert client.config_get("auto-aof-rewrite-percentage") == before


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "state"])
def test_a_damaged_copy_is_refused_by_name_and_leaves_nothing(
    home: Path, tmp_path: Path, harm: str
) -> None:
    copy, new = tmp_path / "copy", tmp_path / "new"
    back_up(home, copy, release=RELEASE)
    parquet = copy / "history" / "BTC" / "2026-01.parquet"
    named = "2026-01.parquet"
    match harm:
        case "flip":
            parquet.write_bytes(b"C" + parquet.read_bytes()[1:])
        case "cut":
            parquet.write_bytes(parquet.read_bytes()[:-1])
        case "remove":
            parquet.unlink()
        case _:
            card = json.loads((copy / CARD).read_text())
            (copy / CARD).write_text(json.dumps(card | {"state_sha256": "0" * 64}))
            named = "reads otherwise"

    with pytest.raises(BadInput, match=named):
        restore(copy, new)

    assert not new.exists()


def test_a_copy_that_names_files_outside_of_it_is_not_trusted(home: Path, tmp_path: Path) -> None:
    back_up(home, tmp_path / "copy", release=RELEASE)
    card = json.loads((tmp_path / "copy" / CARD).read_text())
    card["files"]["../home/cache/big"] = "0" * 64
    (tmp_path / "copy" / CARD).write_text(json.dumps(card))

    with pytest.raises(BadInput, match="outside"):
        restore(tmp_path / "copy", tmp_path / "new")


def test_nothing_that_exists_is_written_over(home: Path, tmp_path: Path) -> None:
    back_up(home, tmp_path / "copy", release=RELEASE)

    with pytest.raises(BadInput, match="not empty"):
        back_up(home, tmp_path / "copy", release=RELEASE)
    with pytest.raises(BadInput, match="not empty"):
        restore(tmp_path / "copy", home)
    with pytest.raises(BadInput, match="inside"):
        back_up(home, home / "copy", release=RELEASE)
    with pytest.raises(BadInput, match="no copy"):
        restore(tmp_path / "nowhere", tmp_path / "new")


def test_a_home_without_a_store_has_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="desk up"):
        back_up(tmp_path / "home", tmp_path / "copy", release=RELEASE)


def test_an_external_store_is_left_to_its_own_tools(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "copy", release=RELEASE, has_store=False)
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    restore(tmp_path / "copy", tmp_path / "new")

    assert made.state_sha256 == ""
    assert not (tmp_path / "new" / "store").exists()
    assert list(made.files) == ["history/BTC/2026-01.parquet"]

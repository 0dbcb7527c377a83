"""A copy of a desk that can be trusted: taken while it trades, loaded once before it counts, hashed.

What is kept: the store's append-only file, history, artifacts, datasets, evaluations and studies. Not
kept: caches, logs and what belongs to one start. The store is copied first, so that every file that
a row names is in the copy too: files are there before their rows.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import batched
from pathlib import Path
from typing import Any, cast

from desk.errors import BadInput, StoreUnavailable
from desk.store import server
from desk.store.connection import Connection
from desk.store.server_address import store_folder
from desk.wallclock import monotonic_s, wall_ms

KEPT = ("history", "artifacts", "datasets", "evaluations", "sweeps", "jobs")
APPENDED = "appendonlydir"
CARD = "backup.json"
REWRITE_S = 120.0
"""How long a rewrite of the store's file that is under way may take to end."""
BATCH = 500
"""Rows that are read at once."""
PASSES = 10
"""Looks at the files until none changed since it was copied."""

type Progress = Callable[[str, int, int], None]
"""What is worked on, how many of it are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a copy holds; kept beside it as `backup.json`."""

    made_wall_ms: int
    release: str
    files: dict[str, str]
    """SHA-256 by path."""
    total_bytes: int
    state_sha256: str
    """Of the store's rows as a server read them from the copy; empty where the store is external."""
    rows: int
    """Of the store."""


def back_up(
    home: Path, into: Path, *, release: str, has_store: bool = True, told: Progress | None = None
) -> Backup:
    """Copy the desk of a home folder, whether it runs or not, into an empty or new folder.

    `has_store` false leaves an external store to its own tools. Raises `BadInput` for a folder that
    holds something, `StoreUnavailable` where the store's file keeps changing or its copy does not load.
    """
    if into.exists() and any(into.iterdir()):
        raise BadInput("folder", f"{into} is not empty: name a new one")
    if into.resolve().is_relative_to(home.resolve()):
        raise BadInput("folder", f"{into} is inside of {home}: name one outside of it")
    into.mkdir(parents=True, exist_ok=True)
    told = told or (lambda _what, _done, _of: None)
    if has_store:
        _copy_store(home, into)
    _copy_files(home, into, told)
    state, rows = _tried_out(into) if has_store else ("", 0)
    files = {str(path.relative_to(into)): path for path in _files_of(into)}
    hashes: dict[str, str] = {}
    for number, (name, path) in enumerate(sorted(files.items())):
        told("hashing", number + 1, len(files))
        hashes[name] = _sha256(path)
    backup = Backup(
        made_wall_ms=wall_ms(),
        release=release,
        files=hashes,
        total_bytes=sum(path.stat().st_size for path in files.values()),
        state_sha256=state,
        rows=rows,
    )
    (into / CARD).write_text(json.dumps(asdict(backup), indent=1))
    return backup


def restore(copy: Path, home: Path, *, told: Progress | None = None) -> Backup:
    """Bring a copy back into an empty or new home folder; returns once its state is proved the same.

    Raises `BadInput` for a home that holds something, a folder that is no copy, and a file of it that
    is damaged or missing: nothing is left in the home then.
    """
    told = told or (lambda _what, _done, _of: None)
    if home.exists() and any(home.iterdir()):
        raise BadInput("home", f"{home} is not empty: name a new one, or move this one away")
    backup = read_card(copy)
    for number, (name, sha256) in enumerate(backup.files.items()):
        told("checking", number + 1, len(backup.files))
        path = copy / name
        if not path.is_file():
            raise BadInput("folder", f"{name} is missing in {copy}: take another copy")
        if _sha256(path) != sha256:
            raise BadInput("folder", f"{name} in {copy} is damaged: take another copy")
    made = not home.exists()
    try:
        for number, name in enumerate(backup.files):
            told("copying", number + 1, len(backup.files))
            target = home / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(copy / name, target)
        if backup.state_sha256:
            store_folder(home)
            found, _ = state_of(home)
            if found != backup.state_sha256:
                raise BadInput(
                    "folder", f"the store of {copy} reads otherwise than when it was made"
                )
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        if not made:
            home.mkdir(exist_ok=True)
        raise
    return backup


def read_card(copy: Path) -> Backup:
    """What a copy says of itself. Raises `BadInput` for a folder that is none."""
    try:
        backup = Backup(**json.loads((copy / CARD).read_text()))
    except (OSError, ValueError, TypeError) as wrong:
        raise BadInput("folder", f"{copy} is no copy of a desk ({wrong})") from None
    for name in backup.files:
        if not (copy / name).resolve().is_relative_to(copy.resolve()):
            raise BadInput(
                "folder", f"{copy} names {name}, which is outside of it: do not trust it"
            )
    return backup


def state_of(home: Path) -> tuple[str, int]:
    """SHA-256 over every lasting row of a home's store, and their number.

    Starts its server where none runs, and ends it again. What expires by itself does not count.
    """
    running = server.find(home)
    started = running is None
    running = running or server.start(home)
    try:
        connection = Connection(running.url)
        try:
            return _digest(connection.bulk)
        finally:
            connection.close()
    finally:
        if started:
            server.stop(running)


# --- the store ----------------------------------------------------------------------------------


def _copy_store(home: Path, into: Path) -> None:
    source, target = store_folder(home) / APPENDED, into / "store" / APPENDED
    running = server.find(home)
    if running is None:
        if not source.is_dir():
            raise StoreUnavailable(f"no store was ever started in {home}: run `desk up`")
        shutil.copytree(source, target)
        return
    connection = Connection(running.url)
    client = connection.bulk
    try:
        with_rewrites = client.config_get("auto-aof-rewrite-percentage")
        client.config_set("auto-aof-rewrite-percentage", 0)
        try:
            _await_rewrite(client)
            # Bases never change, the newest part only grows: a copy ends in the middle of a row at
            # worst, which a server leaves out, as after a loss of power.
            shutil.copytree(source, target)
        finally:
            client.config_set(
                "auto-aof-rewrite-percentage", with_rewrites["auto-aof-rewrite-percentage"]
            )
    finally:
        connection.close()


def _await_rewrite(client: Any) -> None:
    until_s = monotonic_s() + REWRITE_S
    while client.info("persistence")["aof_rewrite_in_progress"]:
        if monotonic_s() > until_s:
            raise StoreUnavailable(
                f"the store has rewritten its file for {REWRITE_S:.0f} s: try again later"
            )
        time.sleep(0.1)


def _tried_out(into: Path) -> tuple[str, int]:
    """Load the copied store with a server of its own; the copy itself stays as it is."""
    with tempfile.TemporaryDirectory(prefix="rd-backup-") as folder:
        trial = Path(folder)
        shutil.copytree(into / "store" / APPENDED, store_folder(trial) / APPENDED)
        return state_of(trial)


def _digest(client: Any) -> tuple[str, int]:
    digest, rows = hashlib.sha256(), 0
    found: list[bytes] = sorted(client.scan_iter(count=1000))
    for keys in batched(found, BATCH):
        asked = client.pipeline(transaction=False)
        for key in keys:
            asked.pttl(key)
            asked.type(key)
        answers = asked.execute()
        lasting = [
            (key, kind)
            for key, left_ms, kind in zip(keys, answers[::2], answers[1::2], strict=True)
            if left_ms == -1
        ]
        read = client.pipeline(transaction=False)
        for key, kind in lasting:
            _READ[_text(kind)](read, key)
        for (key, _), value in zip(lasting, read.execute(), strict=True):
            rows += 1
            digest.update(f"{_text(key)} {_in_order(value)!r}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest(), rows


_READ: Mapping[str, Callable[[Any, Any], Any]] = {
    "string": lambda read, key: read.get(key),
    "hash": lambda read, key: read.hgetall(key),
    "set": lambda read, key: read.smembers(key),
    "zset": lambda read, key: read.zrange(key, 0, -1, withscores=True),
    "list": lambda read, key: read.lrange(key, 0, -1),
    "stream": lambda read, key: read.xrange(key),
}


def _in_order(value: Any) -> Any:
    """Of what has no order of its own."""
    if isinstance(value, dict):
        return sorted(cast("dict[bytes, bytes]", value).items())
    return sorted(cast("set[bytes]", value)) if isinstance(value, set) else value


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "surrogateescape")


# --- the files ----------------------------------------------------------------------------------


def _copy_files(home: Path, into: Path, told: Progress) -> None:
    """Copy until nothing changed while it was copied, and drop what went away meanwhile."""
    for _ in range(PASSES):
        wanted = {path.relative_to(home): path for name in KEPT for path in _files_of(home / name)}
        changed = 0
        for number, (name, path) in enumerate(sorted(wanted.items())):
            told("copying", number + 1, len(wanted))
            changed += _copied_anew(path, into / name)
        for name in KEPT:
            for path in _files_of(into / name):
                if path.relative_to(into) not in wanted:
                    path.unlink()
        if not changed:
            return
    raise StoreUnavailable(f"files of {home} changed in each of {PASSES} looks: try again later")


def _copied_anew(source: Path, target: Path) -> bool:
    """Copy a file that is not there in this state; false where it is, or went away."""
    try:
        found = source.stat()
        if target.exists():
            had = target.stat()
            if (had.st_size, had.st_mtime_ns) == (found.st_size, found.st_mtime_ns):
                return False
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    except FileNotFoundError:
        return False
    return True


def _files_of(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

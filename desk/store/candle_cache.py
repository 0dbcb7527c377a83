"""The history as memory-mapped Arrow files: every process of a node reads the same pages.

Derived from the history and never the truth: one uncompressed Arrow IPC file per series, named by
the hash of the manifest it was made from and by a checksum of its columns. When the manifest has
changed, or the file is damaged or gone, the first process to notice makes it anew.
"""

import fcntl
import os
import tempfile
import threading
import zlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from desk.ids import Pair, parse_pair
from desk.market.candles import Candles
from desk.market.gaps import Presence, Run, find_gaps
from desk.market.interval import CALENDAR_MS, Interval, parse_interval
from desk.store.candle_file import COLUMNS
from desk.store.folders import Stamp
from desk.store.history import History

MOST_BYTES = 8 << 30
"""Disk the cache may take: forty series of three years of minutes; the least recently opened go."""
_NAMES = ("open_ms", *COLUMNS)
_ATTEMPTS = 5
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    stamp: Stamp
    candles: Candles
    present: Presence


class CandleCache:
    """Reads of whole histories without decoding or copying them, for any number of processes.

    The arrays are views of mapped pages and cannot be written to; they stay valid after the file was
    replaced. What the history has published is seen by the next call. Thread-safe. A cache that
    cannot be written (a full disk) costs time, not candles.
    """

    def __init__(self, root: Path, history: History, *, most_bytes: int = MOST_BYTES) -> None:
        self._root, self._history, self._most_bytes = root, history, most_bytes
        self._opened: dict[tuple[Pair, Interval], _Opened] = {}
        self._turn = threading.Lock()

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Candles with `start_ms <= open_ms < end_ms`, oldest first."""
        return self._series(pair, interval).candles.between(start_ms, end_ms)

    def latest(self, pair: Pair, interval: Interval, count: int) -> Candles:
        """The newest `count` candles, oldest first."""
        candles = self._series(pair, interval).candles
        return candles.take(slice(max(len(candles) - max(count, 0), 0), None))

    def earliest(self, pair: Pair, interval: Interval, count: int) -> Candles:
        """The oldest `count` candles, oldest first."""
        return self._series(pair, interval).candles.take(slice(0, max(count, 0)))

    def gaps(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> list[Run]:
        """Holes of the history in `[start_ms, end_ms)`, from its bitmap if the interval has a fixed grid."""
        series = self._series(pair, interval)
        if interval in CALENDAR_MS:
            open_ms = series.candles.open_ms
            return find_gaps(open_ms, interval, start_ms=start_ms, end_ms=end_ms)
        return series.present.gaps(start_ms, end_ms)

    def _series(self, pair: Pair, interval: Interval) -> _Opened:
        key = (pair, interval)
        stamp = self._history.stamp(pair, interval)
        if stamp is None:
            none = np.zeros(0, dtype=np.int64)
            return _Opened((0, 0, 0), Candles.empty(), Presence.of(none, interval))
        known = self._opened.get(key)
        if known is not None and known.stamp == stamp:
            return known
        with self._turn:
            known = self._opened.get(key)
            if known is None or known.stamp != stamp:
                known = self._opened[key] = self._open(pair, interval, stamp)
            return known

    def _open(self, pair: Pair, interval: Interval, stamp: Stamp) -> _Opened:
        folder = self._root / parse_pair(pair) / parse_interval(interval)
        sha256 = self._history.manifest(pair, interval).sha256
        found = _sound(folder, sha256, stamp)
        if found is not None:
            return found
        with _locked(folder):
            # Another process may have been quicker, and made it by the time the lock was ours.
            return _sound(folder, sha256, stamp) or self._rebuild(pair, interval, folder)

    def _rebuild(self, pair: Pair, interval: Interval, folder: Path) -> _Opened:
        """Decode the history and publish it; hold the lock of the folder."""
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)  # by a process that was killed while it wrote
        candles = Candles.empty()
        for _ in range(_ATTEMPTS):
            stamp = self._history.stamp(pair, interval) or (0, 0, 0)
            sha256 = self._history.manifest(pair, interval).sha256
            candles = self._history.read(pair, interval, 0, 2**62)
            if self._history.stamp(pair, interval) != stamp:
                continue
            try:
                fresh = _write(folder, sha256, candles, interval)
                self._make_room(fresh)
            except OSError as full:
                _log.warning("candle_cache_unwritten", folder=str(folder), reason=str(full))
                return _Opened(stamp, candles, Presence.of(candles.open_ms, interval))
            return _map(fresh, stamp)
        # Written to without a pause: what was read last is whole, only too old to be kept.
        # Rewritten during every read: what was read last is whole, but the next call looks again.
        return _Opened((0, 0, 0), candles, Presence.of(candles.open_ms, interval))

    def _make_room(self, fresh: Path) -> None:
        """Forget older files of this series, then the least recently opened of all others."""
        for old in fresh.parent.glob("*.arrow"):
            if old != fresh:
                old.unlink(missing_ok=True)
        seen = [(file, file.stat()) for file in self._root.glob("*/*/*.arrow")]
        total = sum(stat.st_size for _, stat in seen)
        for file, stat in sorted(seen, key=lambda one: one[1].st_mtime_ns):
            if total <= self._most_bytes:
                return
            if file != fresh:
                file.unlink(missing_ok=True)
                total -= stat.st_size


def _write(folder: Path, sha256: str, candles: Candles, interval: Interval) -> Path:
    """Publish by rename. Not forced to disk: what a power cut leaves of it fails its checksum."""
    pa = _arrow()
    columns = [np.ascontiguousarray(getattr(candles, name)) for name in _NAMES]
    batch = pa.record_batch([pa.array(column) for column in columns], names=list(_NAMES))
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
    os.close(descriptor)
    try:
        with ThreadPoolExecutor(1, "checksum") as pool:
            checksum = pool.submit(_checksum, columns)
            present = Presence.of(candles.open_ms, interval)
            notes = {
                b"start_ms": str(present.start_ms).encode(),
                b"step_ms": str(present.step_ms).encode(),
                b"count": str(present.count).encode(),
                b"bits": present.bits.tobytes(),
            }
            batch = batch.replace_schema_metadata(notes)
            with pa.OSFile(temporary, "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
                writer.write_batch(batch)
            whole = _checksum([present.bits], checksum.result())
        path = folder / f"{sha256[:32]}-{whole:08x}.arrow"
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _sound(folder: Path, sha256: str, stamp: Stamp) -> _Opened | None:
    """Open the file made from a manifest, if it is there and every bit of it is as it was written."""
    for path in folder.glob(f"{sha256[:32]}-*.arrow"):
        try:
            opened = _map(path, stamp)
            columns = [getattr(opened.candles, name) for name in _NAMES]
            checksum = _checksum([*columns, opened.present.bits])
            if f"{checksum:08x}" == path.stem.rpartition("-")[2]:
                os.utime(path)
                return opened
            reason = "its columns do not have the checksum in its name"
        except FileNotFoundError:
            continue
        except (OSError, ValueError, LookupError) as broken:
            reason = str(broken)
        _log.warning("candle_cache_damaged", file=str(path), reason=reason, remedy="made anew")
        path.unlink(missing_ok=True)
    return None


def _map(path: Path, stamp: Stamp) -> _Opened:
    pa = _arrow()
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    if reader.num_record_batches != 1:
        raise ValueError(f"it has {reader.num_record_batches} batches, expected 1")
    batch = reader.get_batch(0)
    batch.validate(full=True)
    columns = {name: batch.column(name).to_numpy(zero_copy_only=True) for name in _NAMES}
    notes: dict[bytes, bytes] = batch.schema.metadata
    if len(notes[b"bits"]) % 8:
        raise ValueError("its bitmap does not end with a word, as an older release left it")
    present = Presence(
        start_ms=int(notes[b"start_ms"]),
        step_ms=int(notes[b"step_ms"]),
        count=int(notes[b"count"]),
        bits=np.frombuffer(notes[b"bits"], dtype=np.uint8),
    )
    return _Opened(stamp, Candles(**columns), present)


def _checksum(columns: list[Any], checksum: int = 0) -> int:
    for column in columns:
        checksum = zlib.crc32(column, checksum)
    return checksum


def _arrow() -> Any:
    # Imported where it is used: processes that only touch hot candles must not pay 60 MB for it.
    arrow = import_module("pyarrow")
    import_module("pyarrow.ipc")
    return arrow


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""All candles, in one Parquet file per pair, interval and month, named by a manifest.

The manifest is the commit point: a new month file gets a name of its own, then the manifest that
names it replaces the old one. A crash in between leaves the old state and an unused file.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from desk.ids import Pair, parse_pair
from desk.market.candles import Candles, sorted_unique
from desk.market.interval import Interval, parse_interval
from desk.store.candle_file import (
    COLUMNS,
    blank,
    from_parquet,
    from_parquet_into,
    to_parquet,
)
from desk.store.decision_archive import FOLDER as DECISIONS
from desk.store.folders import Folder, Stamp, folder_of
from desk.store.manifest import (
    Manifest,
    MonthFile,
    read_manifest,
    set_aside,
    sweep,
    verified,
    write_manifest,
)
from desk.store.signal_archive import FOLDER as SIGNALS

_OTHERS = (SIGNALS, DECISIONS)
"""Folders beside those of pairs."""

_MOST_THREADS = 4


class History:
    """The candle files under one root folder (`history` of `DESK_HOME` or `DESK_FILES`).

    Several processes may use it at once: changes of one series queue behind a lock, and
    readers see the last published manifest. A file that is missing or does not have its recorded
    hash is moved aside, dropped from the manifest and listed by `damaged`, so that its month shows
    up as a gap and is fetched again.
    """

    def __init__(self, root: Path | Folder) -> None:
        self._root = folder_of(root)
        self._folders: dict[tuple[Pair, Interval], Folder] = {}

    def append(self, pair: Pair, interval: Interval, candles: Candles, source: str) -> int:
        """Merge candles by open time, the given ones win; returns how many rows that changed.

        Idempotent: rows that are there already change nothing and rewrite nothing.
        """
        given = sorted_unique(candles)
        changed = 0
        folder = self._folder(pair, interval)
        with folder.locked():
            manifest = read_manifest(folder)
            sweep(folder, manifest)
            months = given.open_ms.astype("datetime64[ms]").astype("datetime64[M]")
            for month in np.unique(months):
                part = given.take(months == month)
                changed += self._merge(folder, manifest, str(month), part, source)
        return changed

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Candles with `start_ms <= open_ms < end_ms`, oldest first."""
        folder = self._folder(pair, interval)
        return self._gather(folder, read_manifest(folder), start_ms, end_ms)

    def stamp(self, pair: Pair, interval: Interval) -> Stamp | None:
        """What tells at the price of one look whether the series may have changed."""
        return self._folder(pair, interval).stamp()

    def bounds(self, pair: Pair, interval: Interval) -> tuple[int, int, int] | None:
        """(earliest open_ms, latest open_ms, count), or None for an empty series."""
        months = self.manifest(pair, interval).months.values()
        if not months:
            return None
        return (
            min(entry.min_open_ms for entry in months),
            max(entry.max_open_ms for entry in months),
            sum(entry.rows for entry in months),
        )

    def manifest(self, pair: Pair, interval: Interval) -> Manifest:
        """The files of a series and their hashes."""
        return read_manifest(self._folder(pair, interval))

    def series(self) -> list[tuple[Pair, Interval]]:
        """Every pair and interval that has files."""
        return [(pair, interval) for pair, interval in self._root.headed(2) if pair not in _OTHERS]

    def verify(self, pair: Pair, interval: Interval) -> dict[str, MonthFile]:
        """Look at every file of a series, set aside what is damaged; returns what is lost, by month.

        On a disk each is hashed. A bucket proves its objects itself: there only what is gone is found.
        """
        folder = self._folder(pair, interval)
        months = read_manifest(folder).months
        there = set(folder.names()) if folder.proves_content else None
        for month, entry in months.items():
            is_whole = verified(folder, entry) is not None if there is None else entry.file in there
            if not is_whole:
                self._changed_or_damaged(folder, month)
        return self.manifest(pair, interval).lost

    def damaged(self, pair: Pair, interval: Interval) -> list[str]:
        """Names of files that were moved aside because they did not have their recorded hash."""
        names = self._folder(pair, interval).names()
        return [name for name in names if name.endswith(".damaged")]

    def _merge(
        self, folder: Folder, manifest: Manifest, month: str, given: Candles, source: str
    ) -> int:
        entry = manifest.months.get(month)
        known = None if entry is None else verified(folder, entry)
        if entry is not None and known is None:
            set_aside(folder, manifest, month)
            entry = None
        stored = Candles.empty() if known is None else from_parquet(known)
        changed = _count_changed(stored, given)
        if changed == 0:
            return 0
        merged = sorted_unique(Candles.concat([stored, given]))
        content = to_parquet(merged)
        sha256 = hashlib.sha256(content).hexdigest()
        sources = {source} if entry is None else {source, *entry.sources}
        fresh = MonthFile(
            file=folder.new_name(f"{month}-{sha256[:12]}"),
            rows=len(merged),
            min_open_ms=int(merged.open_ms[0]),
            max_open_ms=int(merged.open_ms[-1]),
            sha256=sha256,
            sources=tuple(sorted(sources)),
            revision=1 if entry is None else entry.revision + 1,
        )
        folder.put(fresh.file, content)
        manifest.months[month] = fresh
        if month in manifest.lost and fresh.rows >= manifest.lost[month].rows:
            del manifest.lost[month]
        write_manifest(folder, manifest)
        if entry is not None and entry.file != fresh.file:
            folder.remove(entry.file)
        return changed

    def _gather(self, folder: Folder, manifest: Manifest, start_ms: int, end_ms: int) -> Candles:
        """Decode the months of a range side by side, each into its place of the answer."""
        wanted = [
            (month, entry)
            for month, entry in sorted(manifest.months.items())
            if entry.min_open_ms < end_ms and entry.max_open_ms >= start_ms
        ]
        if not wanted:
            return Candles.empty()
        whole = blank(sum(entry.rows for _, entry in wanted))
        places, first = list[Candles](), 0
        for _, entry in wanted:
            places.append(whole.take(slice(first, first + entry.rows)))
            first += entry.rows

        def load(at: int) -> Candles:
            month, entry = wanted[at]
            content = verified(folder, entry)
            if content is None:
                return self._changed_or_damaged(folder, month)
            from_parquet_into(content, places[at])
            return places[at]

        threads = min(len(wanted), os.cpu_count() or 1, _MOST_THREADS)
        if threads > 1:
            with ThreadPoolExecutor(threads, "history") as pool:
                parts = list(pool.map(load, range(len(wanted))))
        else:
            parts = [load(at) for at in range(len(wanted))]
        in_place = all(part is place for part, place in zip(parts, places, strict=True))
        return (whole if in_place else Candles.concat(parts)).between(start_ms, end_ms)

    def _changed_or_damaged(self, folder: Folder, month: str) -> Candles:
        """A month whose file is not what a manifest said: as it is now, or set aside."""
        with folder.locked():
            manifest = read_manifest(folder)
            newer = manifest.months.get(month)
            content = None if newer is None else verified(folder, newer)
            if newer is not None and content is None:
                set_aside(folder, manifest, month)
        return Candles.empty() if content is None else from_parquet(content)

    def _folder(self, pair: Pair, interval: Interval) -> Folder:
        folder = self._folders.get((pair, interval))
        if folder is None:
            folder = self._root.sub(parse_pair(pair), parse_interval(interval))
            self._folders[pair, interval] = folder
        return folder


def _count_changed(stored: Candles, given: Candles) -> int:
    """How many given rows are absent or different; both are sorted by open time."""
    at = np.searchsorted(stored.open_ms, given.open_ms)
    known = at < len(stored)
    known[known] = stored.open_ms[at[known]] == given.open_ms[known]
    same = known.copy()
    for name in COLUMNS:
        ours, theirs = getattr(stored, name), getattr(given, name)
        same[known] &= ours[at[known]] == theirs[known]
    return int(np.count_nonzero(~same))

"""Rows that left the store: Parquet files by series and day, with a manifest.

A day is several files once it has many rows, so that none is rewritten without bound.
"""

import hashlib
import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from desk.errors import BadInput
from desk.store.folders import Folder, folder_of
from desk.store.manifest import (
    Manifest,
    MonthFile,
    read_manifest,
    set_aside,
    sweep,
    verified,
    write_manifest,
)

MOST_ROWS = 1_000
"""Of one file: what one change rewrites and one read holds."""
_SERIES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:@+-]{0,63}")
_REMEDY = "restore the file from a backup: its rows are nowhere else"

type Placed[R] = tuple[int, str, R]
"""When it was, ms; key within the series; the row."""


class DayArchive[R](ABC):
    """The files of one kind of row under `history` of `DESK_HOME` or `DESK_FILES`. Several processes may
    use it at once.

    A file that is missing or does not have its recorded hash is moved aside, logged as an error and
    named by `lost`; it is never taken for an empty one.
    """

    folder = ""
    """Its name under `history`."""
    field = "series"
    """What a series is called where its name is refused."""

    def __init__(self, history: Path | Folder) -> None:
        self._root = folder_of(history).sub(self.folder)

    @abstractmethod
    def key_of(self, row: R) -> str:
        """Key of a row within its series."""

    @abstractmethod
    def at_of(self, row: R) -> int:
        """When it was, ms UTC: its day is that of this time."""

    @abstractmethod
    def origin_of(self, row: R) -> str:
        """Who delivered it, for the manifest."""

    @abstractmethod
    def packed(self, rows: Sequence[R]) -> bytes:
        """Rows as the content of a Parquet file."""

    @abstractmethod
    def unpacked(self, content: bytes, series: str) -> list[R]:
        """The rows of a file."""

    def append(self, series: str, rows: list[R]) -> None:
        """Keep rows of one series; durable on return. Rows that its newest file of the day has already
        change nothing; `read` gives any other repeat once, too."""
        if not rows:
            return
        folder = self._folder(series)
        with folder.locked():
            manifest = read_manifest(folder)
            sweep(folder, manifest)
            days: dict[str, list[R]] = {}
            for row in rows:
                days.setdefault(_day(self.at_of(row)), []).append(row)
            for day, given in sorted(days.items()):
                self._merge(series, folder, manifest, day, given)

    def read(self, series: str, start_ms: int, before_ms: int) -> Iterator[Placed[R]]:
        """Rows of `[start_ms, before_ms)`, newest first, then by key downwards, each
        once. Opens only files of that time, one after the other as they are needed."""
        folder = self._folder(series)
        waiting = sorted(
            (entry.max_open_ms, name)
            for name, entry in read_manifest(folder).months.items()
            if entry.min_open_ms < before_ms and entry.max_open_ms >= start_ms
        )
        held: list[tuple[_Downwards, R]] = []
        last = None
        while waiting or held:
            if waiting and (not held or waiting[-1][0] >= held[0][0].place[0]):
                for row in self._load(series, waiting.pop()[1]):
                    if start_ms <= (at_ms := self.at_of(row)) < before_ms:
                        heapq.heappush(held, (_Downwards((at_ms, self.key_of(row))), row))
                continue
            order, row = heapq.heappop(held)
            if order.place != last:
                last = order.place
                yield *order.place, row

    def lost(self, series: str, start_ms: int, before_ms: int) -> list[str]:
        """Days (`2026-01-31`) of which rows of that time are damaged or gone."""
        return sorted(
            {
                _day(entry.min_open_ms)
                for entry in read_manifest(self._folder(series)).lost.values()
                if entry.min_open_ms < before_ms and entry.max_open_ms >= start_ms
            }
        )

    def rows(self, series: str) -> int:
        """How many rows its files have, by the manifest."""
        return sum(entry.rows for entry in read_manifest(self._folder(series)).months.values())

    def _merge(
        self,
        series: str,
        folder: Folder,
        manifest: Manifest,
        day: str,
        given: list[R],
    ) -> None:
        parts = sorted(name for name in (*manifest.months, *manifest.lost) if _is_of(name, day))
        number = int(parts[-1][len(day) + 1 :]) if parts else 1
        entry = manifest.months.get(f"{day}.{number:05d}")
        known = None if entry is None else verified(folder, entry)
        if entry is not None and known is None:
            set_aside(folder, manifest, f"{day}.{number:05d}", remedy=_REMEDY)
        stored = [] if known is None else self.unpacked(known, series)
        if len(stored) >= MOST_ROWS or (parts and known is None):
            number, stored, entry = number + 1, [], None
        rows = {self.key_of(row): row for row in (*given, *stored)}
        if len(rows) == len(stored):
            return
        merged = sorted(rows.values(), key=lambda row: (self.at_of(row), self.key_of(row)))
        content = self.packed(merged)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{day}.{number:05d}"
        fresh = MonthFile(
            file=folder.new_name(f"{name}-{sha256[:12]}"),
            rows=len(merged),
            min_open_ms=self.at_of(merged[0]),
            max_open_ms=self.at_of(merged[-1]),
            sha256=sha256,
            sources=tuple(sorted({self.origin_of(row) for row in merged})),
            revision=1 if entry is None else entry.revision + 1,
        )
        folder.put(fresh.file, content)
        manifest.months[name] = fresh
        write_manifest(folder, manifest)
        if entry is not None and entry.file != fresh.file:
            folder.remove(entry.file)

    def _load(self, series: str, name: str) -> list[R]:
        """The rows of a file as the manifest names it now; none if it had to be set aside."""
        folder = self._folder(series)
        entry = read_manifest(folder).months.get(name)
        content = None if entry is None else verified(folder, entry)
        if entry is not None and content is None:
            # Rewritten between the two reads, or damaged: only who has the lock can tell.
            with folder.locked():
                manifest = read_manifest(folder)
                entry = manifest.months.get(name)
                content = None if entry is None else verified(folder, entry)
                if entry is not None and content is None:
                    set_aside(folder, manifest, name, remedy=_REMEDY)
        return [] if content is None else self.unpacked(content, series)

    def _folder(self, series: str) -> Folder:
        if not _SERIES.fullmatch(series):
            raise BadInput(self.field, f"was {series!r}, expected letters, digits and _ : @ + -")
        return self._root.sub(series)


class _Downwards:
    """A time and a key that sort newest first."""

    def __init__(self, place: tuple[int, str]) -> None:
        self.place = place

    def __lt__(self, other: "_Downwards") -> bool:
        return self.place > other.place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Downwards) and self.place == other.place

    __hash__ = None  # pyright: ignore[reportAssignmentType] - compared, never a key


def _is_of(name: str, day: str) -> bool:
    return name.startswith(f"{day}.")


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()

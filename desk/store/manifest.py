"""The manifest of a folder of files: what belongs to it, with hashes, published in one step.

The manifest is the commit point: a new file gets a name of its own, then the manifest that names it
replaces the old one. A crash in between leaves the old state and an unused file.
"""

import fcntl
import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from desk.store.codec import from_json, to_json
from desk.store.durable import publish

MANIFEST = "manifest.json"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthFile:
    """One Parquet file; `min_open_ms` and `max_open_ms` are its first and last open time."""

    file: str
    rows: int
    min_open_ms: int
    max_open_ms: int
    sha256: str
    sources: tuple[str, ...]
    """Who delivered rows of it."""
    revision: int
    """How often the month was rewritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the history of one series consists of, by month (`2025-06`)."""

    months: dict[str, MonthFile] = field(default_factory=dict[str, MonthFile])
    lost: dict[str, MonthFile] = field(default_factory=dict[str, MonthFile])
    """Files that were damaged or gone, until their month holds as many candles again."""

    @property
    def sha256(self) -> str:
        """Hash over all files: it changes exactly when a candle does."""
        digests = [f"{month}:{entry.sha256}" for month, entry in sorted(self.months.items())]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def verified(folder: Path, entry: MonthFile) -> bytes | None:
    """The content of a file; None if it is gone or does not have its recorded hash."""
    try:
        content = (folder / entry.file).read_bytes()
    except FileNotFoundError:
        return None
    return content if hashlib.sha256(content).hexdigest() == entry.sha256 else None


def set_aside(
    folder: Path,
    manifest: Manifest,
    month: str,
    *,
    remedy: str = "the month is fetched again by the next backfill",
) -> None:
    """Drop an entry whose file is damaged or gone; hold the lock."""
    entry = manifest.lost[month] = manifest.months.pop(month)
    damaged = folder / entry.file
    if damaged.exists():
        damaged.replace(folder / f"{entry.file}.damaged")
    write_manifest(folder, manifest)
    _log.error(
        "history_file_damaged",
        file=str(damaged),
        rows=entry.rows,
        expected_sha256=entry.sha256,
        remedy=remedy,
    )


def sweep(folder: Path, manifest: Manifest) -> None:
    """Remove what a writer left that was killed before it could publish; hold the lock."""
    named = {entry.file for entry in manifest.months.values()}
    for file in (*folder.glob(".*.tmp"), *folder.glob("*.parquet")):
        if file.name not in named:
            file.unlink(missing_ok=True)


def read_manifest(folder: Path) -> Manifest:
    """What was published last; empty for a new folder."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Manifest()
    try:
        return from_json(Manifest, content)
    except ValueError as wrong:
        # Written in one step, so only the disk can have done this; the month files stay.
        path.replace(folder / f"{MANIFEST}.damaged")
        _log.error("history_manifest_damaged", file=str(path), reason=str(wrong))
        return Manifest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish; hold the lock."""
    ordered = replace(
        manifest,
        months=dict(sorted(manifest.months.items())),
        lost=dict(sorted(manifest.lost.items())),
    )
    text = json.dumps(json.loads(to_json(Manifest, ordered)), indent=1)
    publish(folder / MANIFEST, text.encode())


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Changes of one folder queue here, over all processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

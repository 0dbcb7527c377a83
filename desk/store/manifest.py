"""The manifest of a folder of files: what belongs to it, with hashes, published in one step.

The manifest is the commit point: a new file gets a name of its own, then the manifest that names it
replaces the old one. A crash in between leaves the old state and an unused file.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace

import structlog

from desk.store.codec import from_json, to_json
from desk.store.folders import Folder

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


def verified(folder: Folder, entry: MonthFile) -> bytes | None:
    """The content of a file; None if it is gone or does not have its recorded hash."""
    content = folder.read(entry.file)
    if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
        return None
    return content


def set_aside(
    folder: Folder,
    manifest: Manifest,
    month: str,
    *,
    remedy: str = "the month is fetched again by the next backfill",
) -> None:
    """Drop an entry whose file is damaged or gone; hold the lock."""
    entry = manifest.lost[month] = manifest.months.pop(month)
    folder.set_aside(entry.file)
    write_manifest(folder, manifest)
    _log.error(
        "history_file_damaged",
        file=f"{folder.where}/{entry.file}",
        rows=entry.rows,
        expected_sha256=entry.sha256,
        remedy=remedy,
    )


def sweep(folder: Folder, manifest: Manifest) -> None:
    """Remove what a writer left that was killed before it could publish; hold the lock."""
    named = {entry.file for entry in manifest.months.values()}
    left = [name for name in folder.names() if _is_left(name) and name not in named]
    if left:
        folder.settle(_written(manifest))
    for name in left:
        folder.remove(name)


def _is_left(name: str) -> bool:
    return name.endswith(".parquet") or (name.startswith(".") and name.endswith(".tmp"))


def read_manifest(folder: Folder) -> Manifest:
    """What was published last; empty for a new folder."""
    content = folder.head()
    if content is None:
        return Manifest()
    try:
        return from_json(Manifest, content)
    except ValueError as wrong:
        # Written in one step, so only the disk can have done this; the month files stay.
        folder.set_head_aside()
        _log.error("history_manifest_damaged", folder=folder.where, reason=str(wrong))
        return Manifest()


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    """Publish; hold the lock."""
    folder.put_head(_written(manifest))


def _written(manifest: Manifest) -> bytes:
    ordered = replace(
        manifest,
        months=dict(sorted(manifest.months.items())),
        lost=dict(sorted(manifest.lost.items())),
    )
    return json.dumps(json.loads(to_json(Manifest, ordered)), indent=1).encode()

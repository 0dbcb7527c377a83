"""A folder of published files, on a disk or in a bucket: the one door to everything that nodes share.

What both promise: a file is wholly there or not at all, what was put is durable on return, and a
folder with a head (its manifest) changes by one writer at a time. How a bucket keeps the last promise
without a rename and without a lock stands in `desk.store.bucket_folder`.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from desk.store.durable import publish

HEAD = "manifest.json"

type Stamp = tuple[int, int, int]
"""What differs after every publication of a head."""


class Folder(Protocol):
    """Names are single words; `sub` leads further down. Every method may raise `OSError` on a disk,
    `FilesUnavailable` in a bucket."""

    @property
    def where(self) -> str:
        """As an operator finds it: a path or a URI."""
        ...

    @property
    def proves_content(self) -> bool:
        """Whether the storage itself keeps a file as it was put: then a look at its name is enough
        between reads, which hash it anyway."""
        ...

    def sub(self, *names: str) -> "Folder":
        """A folder inside; it need not exist."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write a file in one step, over what was there."""
        ...

    def new_name(self, stem: str) -> str:
        """Name for a data file; hold the lock. In a bucket no two writers ever choose the same."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""
        ...

    def set_aside(self, name: str) -> None:
        """Keep a damaged file under `NAME.damaged`; one that is not there is fine."""
        ...

    def names(self) -> list[str]:
        """Files directly inside, in order."""
        ...

    def head(self) -> bytes | None:
        """What was published last; None for a new folder."""
        ...

    def put_head(self, content: bytes) -> None:
        """Publish; hold the lock. In a bucket: raises `FilesUnavailable` when it was lost meanwhile."""
        ...

    def set_head_aside(self) -> None:
        """Keep a damaged head under another name."""
        ...

    def stamp(self) -> Stamp | None:
        """What tells cheaply whether the head changed; None for a new folder."""
        ...

    def headed(self, depth: int) -> list[tuple[str, ...]]:
        """Folders so far down that have a head, by their names."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Changes of one folder queue here, over all processes."""
        ...

    def settle(self, content: bytes) -> None:
        """Before files that `content`, the head that was read, does not name are removed: in a bucket
        it is put anew, so that the late head of an overtaken writer, which may name them, never counts.
        Hold the lock."""
        ...


class LocalFolder:
    """A folder on a disk, or on one that nodes mount at the same place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # A text: joining a path takes longer than a look at it.
        self._head = f"{path}/{HEAD}"

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def proves_content(self) -> bool:
        return False

    def sub(self, *names: str) -> "LocalFolder":
        return LocalFolder(self.path.joinpath(*names))

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, content: bytes) -> None:
        publish(self.path / name, content)

    def new_name(self, stem: str) -> str:
        return f"{stem}.parquet"

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def set_aside(self, name: str) -> None:
        damaged = self.path / name
        if damaged.exists():
            damaged.replace(self.path / f"{name}.damaged")

    def names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.path) if entry.is_file())
        except FileNotFoundError:
            return []

    def head(self) -> bytes | None:
        return self.read(HEAD)

    def put_head(self, content: bytes) -> None:
        self.put(HEAD, content)

    def set_head_aside(self) -> None:
        self.set_aside(HEAD)

    def stamp(self) -> Stamp | None:
        try:
            seen = os.stat(self._head)
        except FileNotFoundError:
            return None
        return (seen.st_ino, seen.st_mtime_ns, seen.st_size)

    def headed(self, depth: int) -> list[tuple[str, ...]]:
        found = self.path.glob("/".join(("*",) * depth + (HEAD,)))
        return sorted(path.relative_to(self.path).parts[:-1] for path in found)

    @contextmanager
    def locked(self) -> Generator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def settle(self, content: bytes) -> None:
        """Nobody is overtaken on a disk: its lock lasts."""


def folder_of(root: "Path | Folder") -> Folder:
    """A path as a folder; a folder as it is."""
    return LocalFolder(root) if isinstance(root, Path) else root

"""A folder in a bucket. Object stores know no rename, no lock and no compare-and-set, so:

- A file is put under its final name in one request. Data files have names that no other writer
  chooses, and the head that names them is put last.
- Each head is an object of its own, `manifest/GENERATION-EPOCH-NUMBER.json`; the highest name counts.
- The right to change a folder is a lease of the desk's store: whoever takes it gets a higher epoch than
  anybody had. After a head was put its writer asks the store whether the epoch is still its own. If it
  is, no head is higher and whoever comes next reads this one, for it takes its epoch later. If not, the
  call fails, and what it was to keep still lies where it came from. However late a head of an older
  epoch arrives, it never beats one of a newer epoch.
- Who removes files that no head names puts the head it read once more before: an overtaken writer's
  head that names them may still be under way, and is beaten then.
- A store that was restored, or a new one, counts epochs from a lower number: its writers see that
  theirs are their own and still not the highest, and begin the next generation.

Processes of one machine also queue behind a file lock, so that they do not take turns by failing.
"""

import fcntl
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from desk.errors import Fenced, FilesUnavailable
from desk.store.bucket import Bucket
from desk.store.folders import Stamp
from desk.store.port import Fence, LeaseStore

HEADS = "manifest"
LEASE_MS = 120_000
TRIES = 5
"""Looks for the newest head: between listing and reading it may be replaced."""
_HEAD = re.compile(r"([0-9]{6,})-([0-9]{12,})-([0-9]{6,})[.]json")

type Rank = tuple[int, int, int]
"""Generation, epoch and number of a head."""


class BucketFolder:
    """Objects under one key of a bucket. `locks` is a folder of this machine; `leases` the desk's store,
    without which nothing that has a head can be changed."""

    def __init__(
        self, bucket: Bucket, key: str, *, locks: Path, leases: LeaseStore | None = None
    ) -> None:
        self._bucket, self._key, self._locks, self._leases = bucket, key, locks, leases
        self._fence: Fence | None = None
        self._token = ""
        self._rank: Rank = (0, 0, 0)
        """Of the head that was put last under this lock."""

    @property
    def where(self) -> str:
        return f"{self._bucket.where}/{self._key}"

    @property
    def proves_content(self) -> bool:
        return True

    def sub(self, *names: str) -> "BucketFolder":
        key = "/".join((self._key, *names))
        return BucketFolder(self._bucket, key, locks=self._locks, leases=self._leases)

    def read(self, name: str) -> bytes | None:
        return self._bucket.read(f"{self._key}/{name}")

    def put(self, name: str, content: bytes) -> None:
        self._bucket.put(f"{self._key}/{name}", content)

    def new_name(self, stem: str) -> str:
        return f"{stem}-{self._token}.parquet"

    def remove(self, name: str) -> None:
        self._bucket.remove(f"{self._key}/{name}")

    def set_aside(self, name: str) -> None:
        content = self.read(name)
        if content is not None:
            self.put(f"{name}.damaged", content)
            self.remove(name)

    def names(self) -> list[str]:
        return self._bucket.keys(self._key)

    def head(self) -> bytes | None:
        for _ in range(TRIES):
            newest = self._newest()
            if newest is None:
                return None
            content = self.read(f"{HEADS}/{_name_of(newest)}")
            if content is not None:
                return content
        raise FilesUnavailable(
            f"DESK_FILES: the head of {self.where} changed in each of {TRIES} looks: try again later"
        )

    def put_head(self, content: bytes) -> None:
        fence = self._held()
        generation, epoch, number = self._rank
        self._rank = (generation, epoch, number + 1)
        self.put(f"{HEADS}/{_name_of(self._rank)}", content)
        self._check(fence)
        lower = [rank for rank in self._ranks() if rank < self._rank]
        # The one before stays for readers that have just listed it.
        for rank in lower[:-1]:
            self.remove(f"{HEADS}/{_name_of(rank)}")

    def set_head_aside(self) -> None:
        newest = self._newest()
        if newest is not None:
            self.set_aside(f"{HEADS}/{_name_of(newest)}")

    def stamp(self) -> Stamp | None:
        return self._newest()

    def headed(self, depth: int) -> list[tuple[str, ...]]:
        found = set[tuple[str, ...]]()
        for key in self._bucket.keys(self._key, recursive=True):
            parts = tuple(key.split("/"))
            if len(parts) == depth + 2 and parts[-2] == HEADS and _rank_of(parts[-1]) is not None:
                found.add(parts[:depth])
        return sorted(found)

    @contextmanager
    def locked(self) -> Generator[None]:
        if self._leases is None:
            raise RuntimeError(f"{self.where} was opened for reading, and is to be changed")
        self._locks.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(self.where.encode()).hexdigest()[:24]
        with (self._locks / name).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            owner = f"{socket.gethostname()}:{os.getpid()}"
            self._fence = self._leases.acquire_lease(f"files:{name}", owner, LEASE_MS)
            self._token = secrets.token_hex(4)
            try:
                self._rank = (self._generation(self._fence), self._fence.epoch, 0)
                yield
            finally:
                self._fence = None

    def settle(self, content: bytes) -> None:
        self.put_head(content)

    def _check(self, fence: Fence) -> None:
        if self._leases is None:
            return
        try:
            self._leases.renew_lease(fence, LEASE_MS)
        except Fenced as newer:
            raise FilesUnavailable(
                f"DESK_FILES: another process changed {self.where} meanwhile; what was to be kept is"
                " still where it came from, and is tried again"
            ) from newer

    def _held(self) -> Fence:
        if self._fence is None:
            raise RuntimeError(f"{self.where} is to be changed without its lock")
        return self._fence

    def _generation(self, fence: Fence) -> int:
        newest = self._newest()
        if newest is None or newest[1] < fence.epoch:
            return 0 if newest is None else newest[0]
        # A higher epoch than the highest that the store gave: this writer is overtaken, or the store
        # is not the one that gave it.
        self._check(fence)
        return newest[0] + 1

    def _ranks(self) -> list[Rank]:
        found = (_rank_of(name) for name in self._bucket.keys(f"{self._key}/{HEADS}"))
        return sorted(rank for rank in found if rank is not None)

    def _newest(self) -> Rank | None:
        ranks = self._ranks()
        return ranks[-1] if ranks else None


def _name_of(rank: Rank) -> str:
    return f"{rank[0]:06d}-{rank[1]:012d}-{rank[2]:06d}.json"


def _rank_of(name: str) -> Rank | None:
    """None for what is no head: one that was set aside, or a stranger's."""
    found = _HEAD.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))

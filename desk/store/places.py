"""Where a desk's files lie: its own in `DESK_HOME`, those that nodes share there or where `DESK_FILES` says."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from desk.errors import FilesUnavailable
from desk.store.bucket import Bucket, is_bucket
from desk.store.bucket_folder import BucketFolder
from desk.store.folders import Folder, LocalFolder
from desk.store.port import LeaseStore

SHARED = ("history", "artifacts", "datasets", "evaluations")
PROBE = b"raydesk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A home folder and the setting `DESK_FILES`; None: everything is in the home folder."""

    home: Path
    files: str | None = None

    def __truediv__(self, name: str) -> Path:
        """What is this machine's own."""
        return self.home / name


type Home = Path | Place
"""A plain path is a home that has everything."""


def local_home(home: Home) -> Path:
    """The folder that is this machine's own."""
    return home.home if isinstance(home, Place) else home


def shared_folder(home: Home, name: str, leases: LeaseStore | None = None) -> Folder:
    """One of the folders that every node sees. `leases` is the desk's store, for who changes manifests."""
    place = home if isinstance(home, Place) else Place(home=home)
    if place.files is None:
        return LocalFolder(place.home / name)
    if not is_bucket(place.files):
        return LocalFolder(Path(place.files) / name)
    locks = place.home / "run" / "files"
    return BucketFolder(_bucket(place.files), name, locks=locks, leases=leases)


def try_out(place: Place) -> None:
    """Write, list, read and remove a small file where `DESK_FILES` says.

    Raises `FilesUnavailable` with the setting and the remedy; a home of its own needs no look.
    """
    if place.files is None:
        return
    folder = shared_folder(place, "probe")
    name = "written-by-desk-up"
    try:
        folder.put(name, PROBE)
        seen, content = folder.names(), folder.read(name)
        folder.remove(name)
    except OSError as refused:
        raise FilesUnavailable(
            f"DESK_FILES: {folder.where} cannot be used ({refused}): name another folder"
        ) from None
    if name not in seen or content != PROBE:
        raise FilesUnavailable(
            f"DESK_FILES: {folder.where} did not give back what was written: name another place"
        )


@lru_cache(maxsize=8)
def _bucket(uri: str) -> Bucket:
    """One client a process: it keeps its connections."""
    return Bucket(uri)

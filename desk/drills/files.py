"""Injections by files under DESK_HOME. What a file was is kept beside it until it is put back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KEPT, ABSENT = ".before-drill", ".absent-before-drill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file with other bytes, or one that was not there."""

    path: Path
    change: Callable[[bytes], bytes]

    def begin(self) -> None:
        keep = _beside(self.path, KEPT if self.path.exists() else ABSENT)
        before = self.path.read_bytes() if self.path.exists() else b""
        _write(keep, before)
        _write(self.path, self.change(before))

    def again(self) -> None:
        return

    def heal(self) -> None:
        put_back(self.path)


def put_back(path: Path) -> bool:
    """Make a file what it was before a drill; False where no drill had changed it."""
    kept, absent = _beside(path, KEPT), _beside(path, ABSENT)
    if kept.exists():
        kept.replace(path)
        return True
    if absent.exists():
        path.unlink(missing_ok=True)
        absent.unlink()
        return True
    return False


def put_all_back(home: Path) -> list[Path]:
    """The same for whatever a drill that was killed left under the artifacts and the run folder."""
    folders = [home / "run", *(home / "artifacts").glob("*")]
    left = [
        path.with_name(path.name.removesuffix(mark))
        for folder in folders
        for mark in (KEPT, ABSENT)
        for path in folder.glob(f"*{mark}")
    ]
    return [path for path in left if put_back(path)]


def flipped(data: bytes) -> bytes:
    """The same bytes but for one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _beside(path: Path, mark: str) -> Path:
    return path.with_name(path.name + mark)


def _write(path: Path, data: bytes) -> None:
    """By rename: nobody reads half of it."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.replace(path)

"""What a drill lays hands on, said by the drills: the API, the exchange's control plane, processes, files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from desk.errors import DeskError


class DrillRefused(DeskError):
    """The drill cannot be held on this desk as it stands; the text says what to do first."""


class Api(Protocol):
    """The operator API. Raises `DeskError` for a refusal and for a desk that does not answer."""

    def get(self, path: str, **query: object) -> Any: ...

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any: ...


class Injection(Protocol):
    """One thing that is broken, and put right again."""

    def begin(self) -> None:
        """Break it."""
        ...

    def again(self) -> None:
        """Keep it broken: called now and then until it is healed."""
        ...

    def heal(self) -> None:
        """Put it right. Healing what was never broken, or is healed, changes nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Where the processes of the desk are found. An empty answer: there is none now."""

    actor: Callable[[str], int | None]
    """Pid of an actor, as the API tells it."""
    store: Callable[[], int | None]
    """Pid of the embedded store."""
    policies: Callable[[], list[int]]
    """Pids of the policy's replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Several injections as one; healed in the reverse order, each of them whatever the others do."""

    parts: tuple[Injection, ...]

    def begin(self) -> None:
        for part in self.parts:
            part.begin()

    def again(self) -> None:
        for part in self.parts:
            part.again()

    def heal(self) -> None:
        failed: DeskError | None = None
        for part in reversed(self.parts):
            try:
                part.heal()
            except DeskError as problem:
                failed = problem
        if failed is not None:
            raise failed


def home_file(home: Path, *parts: str) -> Path:
    """A file of the desk that must be there. Raises `DrillRefused`."""
    path = home.joinpath(*parts)
    if not path.is_file():
        raise DrillRefused(f"there is no file {path}: the drill needs it")
    return path

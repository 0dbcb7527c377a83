"""Where the parts of the running desk are: `DESK_HOME/run/desk.json`, written by its launcher."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from desk.store.server_address import write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """Addresses of one running desk; `pid` is the launcher's."""

    pid: int
    api_url: str
    venue_url: str
    venue_name: str
    """What the pages call the exchange: `simulator 30x`, `vst`, `live` or the URL."""
    store_url: str = field(repr=False)
    ray_address: str
    ray_dashboard_url: str
    started_wall_ms: int

    @staticmethod
    def path(home: Path) -> Path:
        """Where it lies."""
        return home / "run" / "desk.json"

    @classmethod
    def read(cls, home: Path) -> "RunFile | None":
        """The file of the running desk, or None."""
        try:
            return cls(**json.loads(cls.path(home).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, home: Path) -> None:
        """Publish by rename, to this user only: the store's address may hold its password."""
        target = self.path(home)
        fresh = target.with_suffix(".new")
        write_private(fresh, json.dumps(asdict(self), indent=1))
        fresh.replace(target)

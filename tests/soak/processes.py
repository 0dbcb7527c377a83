"""The processes of a desk by name, and the memory that is their own."""

from collections import Counter
from contextlib import suppress
from pathlib import Path

from desk.store import kinds
from desk.store.valkey import ValkeyStore
from tests.processes import command_of, processes_of

KNOWN = {
    "ray::ServeReplica:policy": "policy replica",
    "ray::ServeReplica:operator": "operator API replica",
    "ray::ServeController": "Serve controller",
    "ray::ProxyActor": "Serve proxy",
    "raylet/raylet": "raylet",
    "gcs_server": "Ray's control store",
    "dashboard.py": "Ray's dashboard",
    "ray-dashboard": "Ray's dashboard",
    "dashboard/agent.py": "Ray's dashboard agent",
    "runtime_env/agent": "Ray's environment agent",
    "monitor.py": "Ray's monitor",
    "log_monitor.py": "Ray's log monitor",
    "start\0--head": "Ray's starter",
    "valkey-server": "store",
    "bingx_sim": "simulator",
    "desk\0up": "launcher",
}
"""What a command line holds, longest first: what each is called."""

HEAD_PROCESSES = frozenset(
    {
        "raylet",
        "Ray's control store",
        "Ray's dashboard",
        "Ray's dashboard agent",
        "Ray's environment agent",
        "Ray's monitor",
        "Ray's log monitor",
        "Ray's starter",
    }
)
"""Each takes Ray's whole head along."""


def takes_head(name: str) -> bool:
    """Whether the death of a process of this name ends every actor."""
    return name.rstrip(" 0123456789") in HEAD_PROCESSES


def own_bytes(pid: int) -> int | None:
    """Memory that is this process's own (anonymous), without files it has mapped; None: it is gone."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    return None


def named(home: Path, store: ValkeyStore) -> dict[int, str]:
    """Name by pid: actors as their supervisor calls them, the others by what they are."""
    actors = {doc.value.pid: doc.key for doc in store.list(kinds.ACTORS, limit=500)}
    found: dict[int, str] = {}
    counts: Counter[str] = Counter()
    for pid in sorted(processes_of(home)):
        name = actors.get(pid) or _kind_of(command_of(pid))
        if not name:
            continue
        counts[name] += 1
        found[pid] = name if counts[name] == 1 else f"{name} {counts[name]}"
    return found


def _kind_of(command: str) -> str:
    kinds_ = sorted(KNOWN, key=len, reverse=True)
    return next((KNOWN[part] for part in kinds_ if part in command), "")

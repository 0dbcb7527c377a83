"""Opening the store: the embedded one of a home folder, or an external one."""

from pathlib import Path

from desk.errors import SettingsError
from desk.store.port import Store
from desk.store.server_address import url_of
from desk.store.valkey import ValkeyStore

_WAIT_AOF = "wait_aof"
_DURABLE = {
    "role": "master",
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
}


def open_store(redis_url: str | None, home: Path) -> ValkeyStore:
    """Return the store at `REDIS_URL`, or the embedded one of a home folder; connects on first use.

    Starts no server: the launcher does, with `desk.store.server.start`. Raises `SettingsError` for
    a URL of another kind.
    """
    return ValkeyStore(url_of(home) if redis_url is None else redis_url)


def check_durability(store: Store) -> None:
    """Raise `SettingsError` unless an acknowledged write survives a power loss. Live mode needs it."""
    found = store.durability()
    waits = found.get(_WAIT_AOF) == "yes"
    wrong = [
        f"{name} was {found[name]}, expected {wanted}"
        for name, wanted in _DURABLE.items()
        if found[name] != wanted and not (found[name] == "unknown" and waits)
    ]
    if not wrong:
        return
    remedy = (
        f"append ?{_WAIT_AOF}=yes to it so that each change waits for the disk"
        if "unknown" in found.values()
        else "set it with CONFIG SET"
    )
    raise SettingsError(
        f"REDIS_URL: the store is not durable enough for live mode ({'; '.join(wrong)}): {remedy},"
        " or unset REDIS_URL to use the embedded store"
    )

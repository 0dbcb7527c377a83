"""Where the embedded server of a home folder listens, and its private files."""

import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from desk.errors import StoreUnavailable

SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A socket path, or a loopback port with a password where the path would be too long."""

    socket: str = ""
    port: int = 0
    password: str = ""

    @property
    def url(self) -> str:
        """What `ValkeyStore` takes."""
        if self.socket:
            return f"unix://{self.socket}"
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def url_of(home: Path) -> str:
    """Where the server of this home listens, or will listen. Raises `StoreUnavailable` before its first start."""
    path = _socket_path(home)
    if path is not None:
        return Address(socket=path).url
    try:
        return read_address(home).url
    except (OSError, ValueError) as absent:
        raise StoreUnavailable(f"no store was ever started in {home}: run `desk up`") from absent


def choose_address(home: Path) -> Address:
    """The address for a start: the one clients already know wherever that is possible."""
    path = _socket_path(home)
    if path is not None:
        return Address(socket=path)
    try:
        known = read_address(home)
    except (OSError, ValueError):
        known = Address(password=secrets.token_urlsafe(32))
    return Address(port=_free_port(known.port), password=known.password)


def read_address(home: Path) -> Address:
    """The address of the last start. Raises OSError or ValueError when there is none."""
    stored: dict[str, Any] = json.loads((home / "store" / "server.json").read_text("utf-8"))
    return Address(**stored)


def ask(address: Address, section: str) -> dict[str, Any]:
    """`INFO` of the server at an address, over a connection of its own with short deadlines."""
    pool = redis.ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - untyped **kwargs
        address.url,
        socket_timeout=1.0,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    client: Any = redis.Redis(connection_pool=pool)
    try:
        client.ping()
        return client.info(section)
    finally:
        pool.disconnect()


def store_folder(home: Path) -> Path:
    """The folder of the server's files, readable by its owner only."""
    folder = home / "store"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _socket_path(home: Path) -> str | None:
    path = str((home / "store" / "valkey.sock").absolute())
    return path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES else None


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StoreUnavailable("no loopback port was free for the store server")

"""Which sockets a process listens on, as the kernel tells it."""

import ipaddress
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LISTEN = "0A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One TCP socket that accepts connections."""

    pid: int
    title: str
    address: Address
    port: int

    @property
    def is_loopback(self) -> bool:
        return self.address.is_loopback


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Every listening TCP socket of these processes; one that several share is told once."""
    found: dict[str, Listener] = {}
    rows = {inode: row for name in ("tcp", "tcp6") for inode, row in _listening(name).items()}
    for pid in pids:
        with suppress(OSError):
            title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    inode = os.readlink(link).removeprefix("socket:[").removesuffix("]")
                    if inode in rows:
                        address, port = rows[inode]
                        one = Listener(pid=pid, title=title, address=address, port=port)
                        found.setdefault(inode, one)
    return list(found.values())


def _listening(name: str) -> dict[str, tuple[Address, int]]:
    lines = Path("/proc/net", name).read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {row[9]: _address(row[1]) for row in fields if row[3] == _LISTEN}


def _address(text: str) -> tuple[Address, int]:
    """Of `0100007F:1F90`: words of four bytes in the machine's order, then the port."""
    packed, _, port = text.partition(":")
    words = [bytes.fromhex(packed[at : at + 8])[::-1] for at in range(0, len(packed), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address, int(port, 16)

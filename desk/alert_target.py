"""Which URLs may be told of alerts: none that leads into a private network, or to a cloud's metadata."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from desk.errors import BadInput

SETTING = "ALERT_WEBHOOK_URL"
_LOOPBACK_NAME = "localhost"
_NAT64 = ipaddress.ip_network("64:ff9b::/32")

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that may be called."""

    scheme: str
    host: str
    port: int
    path: str
    is_loopback: bool


def parse_target(url: str) -> Target:
    """Read the receiver's URL. Raises `BadInput` for one that may not be called."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadInput(SETTING, "is no URL, expected https://host/path") from None
    host, wrong = parts.hostname or "", _problem(parts, url)
    if wrong:
        raise BadInput(SETTING, wrong)
    literal, is_loopback = _literal(host), is_loopback_host(host)
    if literal is not None and not is_loopback and not is_public(literal):
        raise BadInput(SETTING, "names an address that is not public: use a public one")
    if parts.scheme == "http" and not is_loopback:
        raise BadInput(SETTING, "was http, expected https outside of this machine")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        scheme=parts.scheme,
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        path=path,
        is_loopback=is_loopback,
    )


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    literal = _literal(host)
    return host == _LOOPBACK_NAME or (literal is not None and literal.is_loopback)


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet: none of a private network, of a cloud's
    metadata, of this machine, or of one of these inside an IPv6 address."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if wrapped is not None or address.teredo is not None or address in _NAT64:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _problem(parts: SplitResult, url: str) -> str:
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "is no URL of a receiver, expected https://host/path"
    if parts.username is not None or parts.password is not None:
        return "holds a name or password: put what is secret into the path"
    if not url.isascii() or any(char.isspace() or ord(char) < 32 for char in url):
        return "holds a character that a URL must not hold: write it with %"
    if "%" in parts.hostname:
        return "names a network interface: use a plain host"
    return ""


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

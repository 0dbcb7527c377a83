"""Where a request comes from. `X-Forwarded-For` counts only where a configured proxy sent it.

A proxy appends the address it sees to the header, so that the right-most entry is its own word and
everything to the left of the first entry that is no proxy of ours is the client's invention.
"""

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import Scope

HEADER = "x-forwarded-for"

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Networks of checked settings."""
    return tuple(ipaddress.ip_network(cidr) for cidr in cidrs)


def is_within(address: Address, known: Iterable[Network]) -> bool:
    """Whether an address is of one of the networks; none of the other family is."""
    return any(address.version == network.version and address in network for network in known)


def client_address(scope: Scope, proxies: tuple[Network, ...]) -> Address | None:
    """The right-most address of the way here that is no proxy of ours; None where it cannot be read.

    Without a header, and where all of the way are proxies of ours, it is the furthest one.
    """
    peer = _peer(scope)
    if peer is None or not is_within(peer, proxies):
        return peer
    address = peer
    for entry in reversed(_entries(scope)):
        hop = _read(entry)
        if hop is None or not is_within(hop, proxies):
            return hop
        address = hop
    return address


def is_local(scope: Scope, proxies: tuple[Network, ...]) -> bool:
    """Whether the request was made on this machine: from loopback, and not passed on by a proxy.

    A header on a connection that is none of a configured proxy is no proof of anything but that
    somebody passed the request on, or claims to.
    """
    peer = _peer(scope)
    if peer is None or (_entries(scope) and not is_within(peer, proxies)):
        return False
    address = client_address(scope, proxies)
    return address is not None and address.is_loopback


def is_https(scope: Scope, proxies: tuple[Network, ...]) -> bool:
    """Whether the client speaks TLS, to us or to a configured proxy that says so."""
    peer = _peer(scope)
    if peer is not None and is_within(peer, proxies):
        said = Headers(scope=scope).get("x-forwarded-proto")
        return (said or scope["scheme"]).strip().lower() == "https"
    return scope["scheme"] == "https"


def _peer(scope: Scope) -> Address | None:
    client = scope.get("client")
    return _read(client[0]) if client else None


def _entries(scope: Scope) -> list[str]:
    """Of all such headers, in their order: several lines are one list."""
    found = Headers(scope=scope).getlist(HEADER)
    return [entry.strip() for entry in ",".join(found).split(",")] if found else []


def _read(text: str) -> Address | None:
    """An address with or without a port; IPv4 in IPv6 is IPv4."""
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not port.removeprefix(":").isdecimal():
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdecimal():
            return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address

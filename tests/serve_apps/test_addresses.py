"""Where a request comes from, whatever its headers claim."""

import hashlib
import ipaddress

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from serve_apps.addresses import client_address, is_https, is_local, networks
from serve_apps.context import Feeds
from tests.serve_apps.scene import HERE, TOKEN, Scene

PROXY, TRADINGVIEW = "10.0.0.7", "52.89.214.238"
PROXIES = networks(("10.0.0.0/24", "2001:db8::/64"))
FEED_TOKEN = "f" * 32
FEEDS = Feeds(
    token_hashes=(("main", hashlib.sha256(FEED_TOKEN.encode()).hexdigest()),),
    cidrs=(f"{TRADINGVIEW}/32",),
)


def scope(peer: str | None, *headers: str, proto: str = "") -> Scope:
    lines = [(b"x-forwarded-for", header.encode("latin-1")) for header in headers]
    lines += [(b"x-forwarded-proto", proto.encode())] if proto else []
    client = (peer, 1) if peer is not None else None
    return {"type": "http", "scheme": "http", "client": client, "headers": lines}


@pytest.mark.parametrize(
    ("peer", "headers", "wanted"),
    [
        (TRADINGVIEW, (), TRADINGVIEW),
        (TRADINGVIEW, ("1.2.3.4",), TRADINGVIEW),
        ("127.0.0.1", (TRADINGVIEW,), "127.0.0.1"),
        (PROXY, (), PROXY),
        (PROXY, (TRADINGVIEW,), TRADINGVIEW),
        (PROXY, (f"127.0.0.1, {TRADINGVIEW}, 6.6.6.6",), "6.6.6.6"),
        (PROXY, (f"6.6.6.6, {TRADINGVIEW}, 10.0.0.9",), TRADINGVIEW),
        (PROXY, (f"{TRADINGVIEW}", "6.6.6.6"), "6.6.6.6"),
        (PROXY, ("10.0.0.3, 10.0.0.9",), "10.0.0.3"),
        (PROXY, (f"{TRADINGVIEW}:4711",), TRADINGVIEW),
        (PROXY, (f"::ffff:{TRADINGVIEW}",), TRADINGVIEW),
        (f"::ffff:{PROXY}", (TRADINGVIEW,), TRADINGVIEW),
        ("2001:db8::1", ("[2001:db9::5]:443",), "2001:db9::5"),
        (PROXY, (f"{TRADINGVIEW}, unknown",), None),
        (PROXY, (f"{TRADINGVIEW},",), None),
        (PROXY, ("",), None),
        (PROXY, (f"{TRADINGVIEW}:x",), None),
        ("testclient", (TRADINGVIEW,), None),
        (None, (TRADINGVIEW,), None),
    ],
)
def test_the_address_is_the_rightmost_that_is_no_proxy_of_ours(
    peer: str | None, headers: tuple[str, ...], wanted: str | None
) -> None:
    found = client_address(scope(peer, *headers), PROXIES)
    assert (str(found) if found else None) == wanted


ADDRESSES = st.ip_addresses().map(str)
OUTSIDE = st.ip_addresses(v=4).filter(lambda ip: ip not in ipaddress.ip_network("10.0.0.0/24"))


@given(OUTSIDE, st.lists(st.one_of(ADDRESSES, st.text(alphabet="x,: []1.", max_size=9))))
def test_nothing_that_a_client_writes_changes_the_address_its_proxy_saw(
    client: ipaddress.IPv4Address, written: list[str]
) -> None:
    assert client_address(scope(PROXY, ", ".join([*written, str(client)])), PROXIES) == client


@given(OUTSIDE, st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_without_a_configured_proxy_a_header_is_not_read(
    peer: ipaddress.IPv4Address, header: str
) -> None:
    claimed = scope(str(peer), header.encode("utf-8").decode("latin-1"))
    assert client_address(claimed, ()) == client_address(claimed, PROXIES) == peer


@pytest.mark.parametrize(
    ("peer", "headers", "proxies", "wanted"),
    [
        ("127.0.0.1", (), (), True),
        ("::1", (), (), True),
        ("127.0.0.1", (TRADINGVIEW,), (), False),
        ("127.0.0.1", ("127.0.0.1",), (), False),
        (PROXY, ("127.0.0.1",), ("10.0.0.0/24",), True),
        (PROXY, ("127.0.0.1",), (), False),
        ("127.0.0.1", (f"127.0.0.1, {TRADINGVIEW}",), ("127.0.0.0/8",), False),
        (TRADINGVIEW, (), (), False),
    ],
)
def test_local_is_only_what_nobody_passed_on(
    peer: str, headers: tuple[str, ...], proxies: tuple[str, ...], wanted: bool
) -> None:
    assert is_local(scope(peer, *headers), networks(proxies)) is wanted


def test_tls_is_believed_of_a_configured_proxy_alone() -> None:
    assert is_https(scope(PROXY, proto="https"), PROXIES)
    assert not is_https(scope(PROXY, proto="http"), PROXIES)
    assert not is_https(scope("6.6.6.6", proto="https"), PROXIES)


# --- through the application ---------------------------------------------------------------------


def sent(scene: Scene, peer: str, header: str, *proxies: str) -> int:
    app = scene.app(token=TOKEN, feeds=FEEDS, proxies=proxies)
    client = TestClient(app, base_url=HERE, client=(peer, 40_000))
    path = f"/webhooks/tradingview/{FEED_TOKEN}"
    return client.post(path, content=b"buy", headers={"x-forwarded-for": header}).status_code


@pytest.mark.catalogue("S11")
def test_an_alert_is_taken_by_the_address_that_a_configured_proxy_saw(scene: Scene) -> None:
    assert sent(scene, PROXY, TRADINGVIEW, "10.0.0.0/24") == 202
    assert sent(scene, PROXY, f"{TRADINGVIEW}, 6.6.6.6", "10.0.0.0/24") == 404
    assert sent(scene, PROXY, TRADINGVIEW) == 404
    assert sent(scene, "6.6.6.6", TRADINGVIEW, "10.0.0.0/24") == 404


def test_without_a_token_a_proxy_on_this_machine_does_not_open_the_api(scene: Scene) -> None:
    client = TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 40_000))
    assert client.get("/agents").status_code == 200
    assert client.get("/agents", headers={"x-forwarded-for": "6.6.6.6"}).status_code == 403


def test_without_a_token_a_configured_proxy_passes_on_what_comes_from_this_machine(
    scene: Scene,
) -> None:
    app = scene.app(proxies=("10.0.0.0/24",))
    client = TestClient(app, base_url=HERE, client=(PROXY, 40_000))
    assert client.get("/agents", headers={"x-forwarded-for": "127.0.0.1"}).status_code == 200
    assert client.get("/agents", headers={"x-forwarded-for": TRADINGVIEW}).status_code == 403
    assert client.get("/agents").status_code == 403

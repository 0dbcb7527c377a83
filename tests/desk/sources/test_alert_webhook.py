"""The webhook goes nowhere it must not, signs what it says, and ends in time."""

import asyncio
import ipaddress
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from desk.alert_queue import notice_of
from desk.alert_target import is_public, parse_target
from desk.errors import BadInput, FeedError, SettingsError
from desk.runs import Alert
from desk.settings import load_settings
from desk.sources import alert_webhook
from desk.sources.alert_webhook import AlertWebhook, signature

SECRET = "a secret of a receiver"
NOTICE = notice_of(
    Alert(
        alert_id="late_fill:c1",
        category="ops",
        severity="warning",
        code="late_fill",
        detail="a fill came late ☃",
        created_ms=1_000,
    ),
    at_ms=2_000,
)
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def answering(answer: bytes, heard: list[bytes]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        heard.append(head + await reader.readexactly(length))
        writer.write(answer)
        await writer.drain()
        writer.close()

    return serve


def call(serve: Serve, host: str = "127.0.0.1") -> None:
    """Tell one notice to a server on this machine."""

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = SecretStr(f"http://{host}:{port}/hooks/x?y=1")
        async with server:
            await AlertWebhook(url, SecretStr(SECRET), now_ms=lambda: 7_000).tell(NOTICE)

    asyncio.run(run())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_notice_is_posted_signed_and_with_its_id(host: str) -> None:
    heard: list[bytes] = []
    call(answering(OK, heard), host)

    [head, body] = heard[0].split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hooks/x?y=1 HTTP/1.1"
    assert f"X-Raydesk-Delivery: {NOTICE.notice_id}" in lines
    assert f"X-Raydesk-Signature: t=7,v1={signature(SECRET.encode(), 7, body)}" in lines
    assert json.loads(body)["detail"] == "a fill came late ☃"
    assert SECRET.encode() not in heard[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 " + b"2" * 20_000 + b"\r\n",
        b"",
    ],
)
def test_anything_but_2xx_is_a_failure_and_no_redirect_is_followed(answer: bytes) -> None:
    heard: list[bytes] = []

    with pytest.raises(FeedError):
        call(answering(answer, heard))

    assert len(heard) == 1


def test_a_receiver_that_drips_or_hangs_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_webhook, "CALL_TIMEOUT_S", 0.3)

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"H")
            await asyncio.sleep(0.05)

    with pytest.raises(FeedError, match="did not answer"):
        call(drip)


def test_an_answer_without_an_end_keeps_nobody() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except OSError:
            writer.close()

    call(flood)


class Names:
    """A resolver that answers what it is told, and lines that note where they would lead."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0
        self.called: list[tuple[str, int, str | None]] = []

    async def resolve(self, _: str, __: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)

    async def connect(self, address: str, port: int, name: str | None) -> Any:
        self.called.append((address, port, name))
        raise ConnectionRefusedError

    def tell(self, url: str) -> str:
        hook = AlertWebhook(
            SecretStr(url), SecretStr(SECRET), resolve=self.resolve, connect=self.connect
        )
        with pytest.raises(FeedError) as failed:
            asyncio.run(hook.tell(NOTICE))
        return str(failed.value)


INNER = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.0.1", "192.0.2.1", "::1", "::"),
    *("fe80::1", "fd00::1", "fd00:ec2::254", "::ffff:169.254.169.254", "::ffff:8.8.8.8"),
    *("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:4136:e378::1", "ff02::1"),
)


@pytest.mark.catalogue("S06")
@pytest.mark.parametrize("address", INNER)
def test_S06_a_name_that_leads_inside_is_never_called(address: str) -> None:
    for answer in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        names = Names(answer)
        assert "must not be called" in names.tell("https://alerts.example/x")
        assert names.called == []


@pytest.mark.catalogue("S06")
def test_S06_the_address_that_was_judged_is_the_one_that_is_called() -> None:
    names = Names(["8.8.8.8"], ["169.254.169.254"])

    assert "away" in names.tell("https://alerts.example/x")
    assert (names.asked, names.called) == (1, [("8.8.8.8", 443, "alerts.example")])

    assert "must not be called" in names.tell("https://alerts.example/x")
    assert len(names.called) == 1


def test_this_machine_by_name_stays_on_this_machine() -> None:
    names = Names(["127.0.0.1", "8.8.8.8"])

    assert "must not be called" in names.tell("http://localhost:9/x")
    assert names.called == []


@pytest.mark.catalogue("S06")
@pytest.mark.parametrize(
    "url",
    [
        *(
            f"https://[{one}]/" if ":" in one else f"https://{one}/"
            for one in INNER
            if one not in {"127.0.0.1", "::1"}
        ),
        *(
            "http://alerts.example/",
            "http://8.8.8.8/",
            "ftp://alerts.example/",
            "file:///etc/passwd",
        ),
        *("https://", "https://user:word@alerts.example/", "https://alerts.example:99999/"),
        *(
            "https://alerts.example/a b",
            "https://alerts.example/\r\nX: y",
            "https://[fe80::1%25eth0]/",
        ),
        *("//alerts.example/", "alerts.example", "https://exämple.org/"),
    ],
)
def test_S06_a_setting_that_names_such_a_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="ALERT_WEBHOOK_URL"):
        parse_target(url)
    with pytest.raises(SettingsError, match="ALERT_WEBHOOK_URL"):
        load_settings({"ALERT_WEBHOOK_URL": url, "ALERT_WEBHOOK_SECRET": SECRET})


@pytest.mark.parametrize("odd", ["0x7f000001", "2130706433", "127.1", "localhost.", "0177.0.0.1"])
def test_odd_spellings_of_this_machine_are_names_like_any_other(odd: str) -> None:
    names = Names(["127.0.0.1"])

    assert "must not be called" in names.tell(f"https://{odd}/")


@given(st.ip_addresses(v=4))
def test_an_address_inside_ipv6_is_never_public(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    wrapped = (
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x0064FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    )

    assert not any(is_public(one) for one in wrapped)


def test_settings_belong_together_and_stay_hidden() -> None:
    good = {"ALERT_WEBHOOK_URL": "https://alerts.example/canary", "ALERT_WEBHOOK_SECRET": SECRET}
    shown = repr(load_settings(good))

    assert "canary" not in shown
    assert SECRET not in shown
    for name, value in good.items():
        with pytest.raises(SettingsError, match="belong together"):
            load_settings({name: value})
    with pytest.raises(SettingsError, match="ALERT_TELEGRAM_CHAT_ID needs"):
        load_settings({"ALERT_TELEGRAM_CHAT_ID": "@desk_alerts"})

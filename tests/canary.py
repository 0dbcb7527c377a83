"""A secret of its own for every setting that holds one, and a search for all of them in any bytes.

The settings are asked which of them are secret, so that a new one is planted by itself. What is
searched is the core of a planted value: letters and digits, which JSON and URLs leave as they are.
Base64 and hexadecimal hide it, so they are searched as well, at each offset and in both cases.
"""

import base64
import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from pydantic import SecretStr

from desk.settings import setting_names

AWKWARD = '"/+&='
"""Appended where a setting takes it: a form that is escaped wrongly would be found in pieces."""


def secret_names() -> list[str]:
    """Every setting that is declared a secret."""
    return [
        name
        for name, field in setting_names().items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    ]


def core(name: str) -> str:
    """24 letters and digits that stand for one setting and occur nowhere else."""
    digest = hashlib.sha256(f"canary {name}".encode()).hexdigest()
    return f"Canary{digest[:18]}"


def planted(*, redis_url: str = "", closed_port: int = 9) -> dict[str, str]:
    """A value for every secret setting, each in the form it must have; addresses lead to loopback."""
    shapes = {
        "REDIS_URL": redis_url or f"redis://:{core('REDIS_URL')}@127.0.0.1:{closed_port}/0",
        "TELEGRAM_SESSION": _session(closed_port),
        "TRADINGVIEW_FEED_TOKENS": f"main={core('TRADINGVIEW_FEED_TOKENS')}-{'f' * 16}",
        "ALERT_WEBHOOK_URL": f"http://localhost:{closed_port}/{core('ALERT_WEBHOOK_URL')}",
    }
    return {name: shapes.get(name, core(name) + AWKWARD) for name in secret_names()}


def _session(port: int) -> str:
    """A Telethon session of a server on loopback, with its canary in the midst of the key."""
    name = core("TELEGRAM_SESSION")
    key = base64.urlsafe_b64decode(name) * 14
    packed = struct.pack(">B4sH256s", 2, bytes([127, 0, 0, 1]), port, b"\0\0" + key[:254])
    text = "1" + base64.urlsafe_b64encode(packed).decode()
    assert name in text
    return text


@dataclass(frozen=True, slots=True)
class Found:
    """One canary where it must not be."""

    setting: str
    form: str
    where: str
    around: bytes


def search(places: Iterable[tuple[str, bytes]]) -> list[Found]:
    """Every canary in every place, in any form."""
    forms = [(name, form, text) for name in secret_names() for form, text in _forms(core(name))]
    return [
        Found(name, form, where, content[max(0, at - 60) : at + 20])
        for where, content in places
        for name, form, text in forms
        if (at := content.find(text)) >= 0
    ]


def _forms(text: str) -> Iterator[tuple[str, bytes]]:
    raw = text.encode()
    yield "as it is", raw
    yield "small letters", raw.lower()
    yield "hexadecimal", raw.hex().encode()
    yield "capital hexadecimal", raw.hex().upper().encode()
    for offset in range(3):
        # The first and last characters mix with what stands beside: they are left away.
        encoded = base64.b64encode(b"\0" * offset + raw)
        inner = encoded[4 if offset else 0 : -4]
        yield f"base64 at {offset}", inner
        yield f"base64 for URLs at {offset}", inner.replace(b"+", b"-").replace(b"/", b"_")


def shown(found: list[Found]) -> str:
    """For an assertion's message."""
    return "\n".join(f"{one.setting} ({one.form}) in {one.where}: {one.around!r}" for one in found)


def as_environment(values: Mapping[str, str]) -> dict[str, str]:
    """The planted values with what has to stand beside them."""
    return {
        **values,
        "TELEGRAM_API_ID": "7",
        "TELEGRAM_CHAT_IDS": "calls",
        "ALERT_TELEGRAM_CHAT_ID": "desk_alerts",
    }

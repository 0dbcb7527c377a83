"""Secrets in what the desk's own objects show, and that the search for them finds what it should."""

import base64
import io
import json
import pickle
from urllib.parse import quote

import pytest
import structlog

from actors.run_file import RunFile
from actors.wiring import Wiring
from desk.logs import configure_logs
from desk.settings import Settings, load_settings
from desk.venues.connect import bingx_config
from serve_apps.operator_api import OperatorWiring
from tests.canary import AWKWARD, as_environment, core, planted, search, secret_names, shown

pytestmark = pytest.mark.catalogue("S07")


@pytest.fixture
def settings() -> Settings:
    return load_settings(as_environment(planted()))


@pytest.fixture
def wiring(settings: Settings) -> Wiring:
    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    return Wiring.of(settings, store_url=url, venue=bingx_config(settings, "http://127.0.0.1:9"))


def test_every_secret_setting_takes_its_canary(settings: Settings) -> None:
    wanted = {"API_TOKEN", "REDIS_URL", "BINGX_SECRET_KEY", "TELEGRAM_SESSION"}
    assert wanted <= set(secret_names())
    for name, field in Settings.model_fields.items():
        alias = str(field.validation_alias)
        if alias in secret_names():
            assert core(alias) in getattr(settings, name).get_secret_value(), alias


@pytest.mark.parametrize("name", secret_names())
def test_the_search_finds_a_secret_in_each_of_its_forms(name: str) -> None:
    value = core(name) + AWKWARD
    forms = [
        value.encode(),
        json.dumps({"a": value}).encode(),
        quote(value, safe="").encode(),
        repr(value.encode()).encode(),
        value.encode().hex().encode(),
        *(base64.b64encode(b"x" * n + value.encode() + b"y" * n) for n in range(4)),
        *(base64.urlsafe_b64encode(b"\xff" * n + value.encode()) for n in range(4)),
    ]

    for form in forms:
        assert {one.setting for one in search([("here", b"before " + form + b" after")])} == {name}
    assert search([("elsewhere", b"before " + value[8:20].encode())]) == []


def test_no_object_that_carries_secrets_shows_one(settings: Settings, wiring: Wiring) -> None:
    given = OperatorWiring.of(settings, wiring, "simulator")
    run_file = RunFile(
        pid=1,
        api_url="",
        venue_url="",
        venue_name="",
        store_url=wiring.store_url,
        ray_address="",
        ray_dashboard_url="",
        started_wall_ms=1,
    )
    carriers = [settings, wiring, given, run_file, bingx_config(settings, "http://127.0.0.1:9")]
    text = " ".join(f"{one!r} {one}" for one in carriers)
    text += f"{settings.model_dump()} {settings.model_dump_json()}"

    found = search([("repr", text.encode())])

    assert not found, shown(found)
    assert pickle.loads(pickle.dumps(wiring)) == wiring


@pytest.mark.parametrize("name", secret_names())
def test_a_refusal_of_the_settings_repeats_no_secret(name: str) -> None:
    values = as_environment(planted())
    for wrong in (values | {name: ""}, values | {"PORT": "0"}, values | {"HOST": "no such"}):
        try:
            load_settings(wrong)
        except Exception as refused:  # noqa: BLE001 - whatever it is, it must not show them
            chain = f"{refused!r} {refused} {refused.__cause__!r}"
            found = search([("refusal", chain.encode())])
            assert not found, shown(found)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_a_traceback_in_the_log_shows_no_local_value(stream: io.StringIO) -> None:
    configure_logs(stream=stream)

    def fail(scope: dict[str, str]) -> None:
        raise LookupError(f"nothing of {len(scope)}")

    try:
        fail({"authorization": core("API_TOKEN")})
    except LookupError:
        structlog.get_logger().exception("request_failed", path="/x")
    structlog.reset_defaults()

    assert "LookupError: nothing of 1" in stream.getvalue()
    assert "in fail" in stream.getvalue()
    assert not search([("log", stream.getvalue().encode())])

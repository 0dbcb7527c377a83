"""Settings: read once, refused with one sentence that names the remedy."""

import pickle
from pathlib import Path

import pytest

from desk.errors import SettingsError
from desk.settings import OUR_PREFIXES, load_settings, setting_names

SECRETS = {"API_TOKEN": "canary-token", "BINGX_API_KEY": "canary-key", "BINGX_SECRET_KEY": "canary"}


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings({})

    assert settings.uses_simulator
    assert (settings.host, settings.port, settings.bingx_recv_window_ms) == (
        "127.0.0.1",
        8000,
        5000,
    )
    assert settings.home == Path("~/.raydesk").expanduser()
    assert settings.redis_url is None


def test_only_the_given_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "home", "API_TOKEN", "PORT", "SIM_SPEED"):
        monkeypatch.setenv(name, "77")

    settings = load_settings({"DESK_HOME": "/srv/desk"})

    assert settings.home == Path("/srv/desk")
    assert (settings.api_token, settings.port, settings.sim_speed) == (None, 8000, 60.0)
    assert load_settings().port == 77


def test_lists_are_split_checked_and_sorted() -> None:
    settings = load_settings(
        {
            "BINGX_MARKET_DATA_PAIRS": "btc-usdt, ETH-USDT,",
            "BINGX_MARKET_DATA_INTERVALS": "1h,1m, 5m",
        }
    )

    assert settings.market_data_pairs == ("BTC-USDT", "ETH-USDT")
    assert settings.market_data_intervals == ("1m", "5m", "1h")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BINGX_MARKET_DATA_PAIRS", "BTC", "BTC-USDT"),
        ("BINGX_MARKET_DATA_INTERVALS", "7m", "1m 3m 5m"),
        ("BINGX_RECV_WINDOW", "5001", "5000"),
        ("BINGX_BASE_URL", "prod", "vst, live or a URL"),
        ("BINGX_BASE_URL", "https://me:word@venue.example", "BINGX_API_KEY"),
        ("PORT", "eighty", "integer"),
        ("SIM_SPEED", "0.5", "greater than or equal to 1"),
        ("DATA_GAP_HEAL_ENABLED", "maybe", "boolean"),
        ("HOST", "0.0.0.0", "API_TOKEN"),
        ("BINGX_API_KEY", "k", "BINGX_SECRET_KEY"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_name_and_remedy(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({name: value})

    text = str(refused.value)
    assert name in text
    assert says in text
    assert "\n" not in text


@pytest.mark.parametrize("prefix", sorted(OUR_PREFIXES))
def test_a_misspelt_name_of_ours_is_an_error(prefix: str) -> None:
    with pytest.raises(SettingsError, match="is not a setting"):
        load_settings({f"{prefix}NO_SUCH_THING": "1"})


def test_a_misspelt_name_is_met_with_the_right_one() -> None:
    with pytest.raises(SettingsError, match="did you mean BINGX_MARKET_DATA_PAIRS"):
        load_settings({"BINGX_MARKET_DATA_PAIR": "BTC-USDT"})


def test_other_peoples_variables_and_empty_values_are_ignored() -> None:
    settings = load_settings({"PATH": "/bin", "RAY_ADDRESS": "auto", "PORT": "", "REDIS_URL": ""})

    assert (settings.port, settings.redis_url) == (8000, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_loopback_needs_no_token(host: str) -> None:
    assert load_settings({"HOST": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "desk.internal"])
def test_regression_14_an_open_address_needs_a_token(host: str) -> None:
    with pytest.raises(SettingsError, match="API_TOKEN"):
        load_settings({"HOST": host})

    with pytest.raises(SettingsError, match="24 characters"):
        load_settings({"HOST": host, "API_TOKEN": "t" * 23})
    assert load_settings({"HOST": host, "API_TOKEN": "t" * 24}).host == host


@pytest.mark.catalogue("S07")
def test_S07_secrets_show_nowhere_and_survive_pickling() -> None:
    settings = load_settings(SECRETS)

    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    copy = pickle.loads(pickle.dumps(settings))

    assert "canary" not in shown
    assert copy == settings
    assert copy.api_token is not None
    assert copy.api_token.get_secret_value() == "canary-token"


@pytest.mark.catalogue("S07")
def test_S07_a_refusal_does_not_repeat_a_secret() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({**SECRETS, "PORT": "0"})

    assert "canary" not in str(refused.value)


def test_every_setting_is_described_and_under_one_of_its_names() -> None:
    public = {"REDIS_URL", "API_TOKEN", "HOST", "PORT", "OTEL_EXPORTER_OTLP_ENDPOINT"}

    for name, field in setting_names().items():
        assert name in public or name.startswith(OUR_PREFIXES), name
        assert field.description, name


def test_regression_14_no_setting_switches_a_gate_off() -> None:
    switches = ("SKIP", "DISABLE", "BYPASS", "FORCE", "INSECURE", "NO_AUTH")

    words = [f"_{word}" for word in switches]  # RL_ENFORCE_PROVENANCE switches one on
    assert not [name for name in setting_names() if any(word in f"_{name}" for word in words)]


@pytest.mark.parametrize(
    "tokens",
    [
        "main",
        "main=short",
        "Main=" + "a" * 32,
        "main=" + "a" * 31 + "/",
        ",".join(f"main={letter * 32}" for letter in "abc"),
        "main=" + "a" * 32 + ",other=" + "a" * 32,
    ],
)
def test_a_wrong_feed_token_is_refused_without_being_shown(tokens: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"TRADINGVIEW_FEED_TOKENS": tokens})
    assert "TRADINGVIEW_FEED_TOKENS" in str(refused.value)
    assert tokens not in str(refused.value)


SESSION = "1" + "A" * 351 + "="
TELEGRAM = {
    "TELEGRAM_API_ID": "7",
    "TELEGRAM_API_HASH": "canary-hash",
    "TELEGRAM_SESSION": SESSION,
    "TELEGRAM_CHAT_IDS": "@Calls, -1001234567,calls",
}


def test_channels_are_named_in_one_way() -> None:
    settings = load_settings(TELEGRAM)
    assert settings.telegram_chat_ids == ("calls", "-1001234567")
    assert "canary" not in repr(settings)
    assert SESSION not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"TELEGRAM_SESSION": ""},
        {"TELEGRAM_API_HASH": ""},
        {"TELEGRAM_API_ID": ""},
        {"TELEGRAM_SESSION": "1canary"},
        {"TELEGRAM_CHAT_IDS": "../etc"},
        {"TELEGRAM_CHATS": "calls"},
    ],
)
@pytest.mark.catalogue("S07")
def test_S07_a_telegram_setting_that_is_missing_or_wrong_is_named_and_not_repeated(
    wrong: dict[str, str],
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(TELEGRAM | wrong)
    assert "TELEGRAM_" in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("cidrs", "problem"),
    [("10.0.0.7/24", "host bits"), ("proxy", "proxy"), ("0.0.0.0/0", "/0"), ("::/0", "/0")],
)
def test_a_proxy_that_is_no_network_or_everybody_is_refused(cidrs: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        load_settings({"TRUSTED_PROXY_CIDRS": f"10.1.0.0/16,{cidrs}"})
    assert "TRUSTED_PROXY_CIDRS" in str(refused.value)


def test_nobody_is_a_trusted_proxy_until_one_is_named() -> None:
    assert load_settings({}).trusted_proxy_cidrs == ()
    given = load_settings({"TRUSTED_PROXY_CIDRS": "10.0.0.7, 2001:db8::/64"})
    assert given.trusted_proxy_cidrs == ("10.0.0.7/32", "2001:db8::/64")
    with pytest.raises(SettingsError, match="TRUSTED_PROXY_CIDRS"):
        load_settings({"TRUSTED_PROXY_CIDR": "10.0.0.7"})

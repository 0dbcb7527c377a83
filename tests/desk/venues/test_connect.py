"""Which venue the settings mean: keys alone never select a real one."""

import pytest

from desk.errors import SettingsError
from desk.settings import load_settings
from desk.venues.connect import bingx_config

SIMULATOR = "http://127.0.0.1:4242"
KEYS = {"BINGX_API_KEY": "a-key", "BINGX_SECRET_KEY": "a-secret"}


@pytest.mark.parametrize(
    ("environment", "base_url", "key", "secret", "asset"),
    [
        ({}, SIMULATOR, "sim-key", "sim-secret", "USDT"),
        (KEYS, SIMULATOR, "a-key", "a-secret", "USDT"),
        ({"BINGX_BASE_URL": "live"}, "https://open-api.bingx.com", "", "", "USDT"),
        ({**KEYS, "BINGX_BASE_URL": "live"}, "https://open-api.bingx.com", "a-key", "a-secret", "USDT"),
        ({**KEYS, "BINGX_BASE_URL": "vst"}, "https://open-api-vst.bingx.com", "a-key", "a-secret", "VST"),
        ({"BINGX_BASE_URL": "http://10.0.0.9:1"}, "http://10.0.0.9:1", "", "", "USDT"),
    ],
)  # fmt: skip
def test_settings_choose_the_venue_and_its_keys(
    environment: dict[str, str], *, base_url: str, key: str, secret: str, asset: str
) -> None:
    config = bingx_config(load_settings(environment), SIMULATOR)

    assert (config.base_url, config.api_key, config.secret) == (base_url, key, secret)
    assert config.collateral_asset == asset


def test_window_and_share_are_handed_on() -> None:
    settings = load_settings({"BINGX_RECV_WINDOW": "2500"})

    config = bingx_config(settings, SIMULATOR, market_share=0.25)

    assert (config.recv_window_ms, config.market_share) == (2500, 0.25)


def test_simulator_that_does_not_run_is_named() -> None:
    with pytest.raises(SettingsError, match="BINGX_BASE_URL"):
        bingx_config(load_settings({}), None)

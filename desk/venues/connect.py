"""Which venue the settings mean, as the adapter's configuration."""

from desk.errors import SettingsError
from desk.settings import NAMED_VENUES, Settings
from desk.venues.bingx_wire import BingxConfig

SIMULATOR_KEY = "sim-key"
SIMULATOR_SECRET = "sim-secret"


def bingx_config(
    settings: Settings, simulator_url: str | None, *, market_share: float = 1.0
) -> BingxConfig:
    """Return the configuration of the venue the settings name.

    `simulator_url` is where the bundled simulator listens; it serves when `BINGX_BASE_URL` is
    unset, whether or not keys are set, with its own default keys if none are. `market_share` is
    this process's share of the address's market data budget.
    Raises `SettingsError` if the simulator is meant and no url is given.
    """
    base_url = _base_url(settings, simulator_url)
    key, secret = settings.bingx_api_key, settings.bingx_secret_key
    is_simulator = settings.uses_simulator
    return BingxConfig(
        base_url=base_url,
        api_key=key.get_secret_value() if key else SIMULATOR_KEY if is_simulator else "",
        secret=secret.get_secret_value() if secret else SIMULATOR_SECRET if is_simulator else "",
        recv_window_ms=settings.bingx_recv_window_ms,
        collateral_asset="VST" if base_url == NAMED_VENUES["vst"] else "USDT",
        market_share=market_share,
    )


def _base_url(settings: Settings, simulator_url: str | None) -> str:
    named = settings.bingx_base_url
    if named is not None:
        return NAMED_VENUES.get(named, named)
    if simulator_url is None:
        raise SettingsError(
            "BINGX_BASE_URL: is unset and the simulator does not run, start it or set the URL"
        )
    return simulator_url

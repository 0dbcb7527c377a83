"""Where the desk is that an application is built for: its run file, or settings that name it all."""

from actors.run_file import RunFile
from desk.errors import SettingsError
from desk.settings import Settings


def running_desk(settings: Settings) -> RunFile:
    """Addresses of the desk of `DESK_HOME`.

    Serve may build applications before the launcher wrote them down, as on Kubernetes: with an external
    store and exchange the settings name the same. Raises `SettingsError` where neither does.
    """
    found = RunFile.read(settings.home)
    if found is not None:
        return found
    if settings.redis_url is None or settings.bingx_base_url is None:
        raise SettingsError(f"no desk runs in {settings.home}: start it with `desk up`")
    return RunFile(
        pid=0,
        api_url=settings.local_api_url,
        venue_url=settings.bingx_base_url,
        venue_name=settings.bingx_base_url,
        store_url=settings.redis_url.get_secret_value(),
        ray_address=settings.ray_address or "",
        ray_dashboard_url="",
        started_wall_ms=0,
    )

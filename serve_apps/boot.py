"""Bring actors and Serve to life on a running Ray, then end: `python -m serve_apps.boot`.

Settings come from the environment, addresses from the launcher's run file. Safe to repeat: what
lives is left alone, what is missing is started, what is stored stays. With `stop` it ends them, on a
Ray that goes on without them.
"""

import logging
import sys
from typing import Any

import ray

from actors.boot import start_actors, stop_actors
from actors.learning_jobs import fail_abandoned
from actors.parts.foundation import market_clock
from actors.run_file import RunFile
from actors.seed import seed
from actors.wiring import NAMESPACE, Wiring
from desk.errors import DeskError, SettingsError
from desk.logs import configure_logs
from desk.settings import load_settings
from desk.store.valkey import ValkeyStore
from desk.venues.connect import bingx_config
from serve_apps.operator_api import deploy, undeploy


def main(*, is_stop: bool = False) -> None:
    """Seed the store, start Serve's policy, the actors, and the operator API, in this order.

    `is_stop` ends them the other way round.
    """
    settings = load_settings()
    run_file = RunFile.read(settings.home)
    if run_file is None:
        raise SettingsError(f"no desk is being started in {settings.home}: use `desk up`")
    untyped: Any = ray  # its init is not fully typed
    untyped.init(
        address=run_file.ray_address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    venue = bingx_config(settings, run_file.venue_url)
    wiring = Wiring.of(settings, store_url=run_file.store_url, venue=venue)
    if is_stop:
        undeploy()
        stop_actors(wiring)
        return
    store = ValkeyStore(run_file.store_url)
    seed(store, settings.place, settings.market_data_pairs)
    fail_abandoned(
        store, clock=market_clock(store, is_first=True)
    )  # their workers died with the last Ray
    deploy(settings, wiring, venue_name=run_file.venue_name, start_actors=start_actors)


if __name__ == "__main__":
    configure_logs()
    try:
        main(is_stop=sys.argv[1:] == ["stop"])
    except DeskError as failed:
        sys.stderr.write(f"{failed}\n")
        sys.exit(2 if isinstance(failed, SettingsError) else 1)

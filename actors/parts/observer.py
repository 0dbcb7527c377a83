"""The observer's parts, and the work that it has done in a process of its own."""

import importlib
from typing import Any

import ray

from actors.drift_watch import WatchParts
from actors.observer import ObserverParts
from actors.parts.foundation import market_clock, open_store
from actors.wiring import Wiring
from desk.evaluation.drift import DriftLimits
from desk.ids import Pair
from desk.logs import configure_logs


def observer_parts(wiring: Wiring) -> ObserverParts:
    """Build in the observer's process."""
    store = open_store(wiring)

    def make_profile(version_id: str, pair: Pair) -> None:
        profile_version.remote(wiring, version_id, pair)

    return ObserverParts(
        watch=WatchParts(
            store=store,
            clock=market_clock(store),
            limits=DriftLimits(
                confidence_baseline=wiring.drift_confidence_baseline,
                confidence_delta=wiring.drift_confidence_delta,
            ),
            make_profile=make_profile,
        )
    )


@ray.remote(
    num_cpus=0,
    max_retries=0,
    max_calls=1,
    runtime_env={"env_vars": {"RAY_worker_niceness": "10", "OMP_NUM_THREADS": "1"}},
)
def profile_version(wiring: Wiring, version_id: str, pair: Pair) -> bool:
    """Store the profile of a version on a pair; false where there are too few candles.

    Its process ends with the call: what it loaded would else stay resident.
    """
    configure_logs()
    jobs: Any = importlib.import_module("actors.parts.jobs")
    profiles: Any = importlib.import_module("actors.drift_profiles")
    parts = jobs.job_parts(wiring)
    made = profiles.keep_profile(parts.home, parts.store, parts.candles, version_id, pair)
    return made is not None

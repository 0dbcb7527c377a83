"""The policy on Ray Serve: an observation goes in, a wanted position comes out. No torch, no pickle.

The replicas hold no truth: which version is asked is said by the caller with every observation, so
that promotion and rollback need no change here and no two rows of a decision mix versions.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from actors.heartbeat import settle_collector
from actors.parts.decisions import SERVE_DEPLOYMENT
from actors.tally_book import SharedTally
from desk.errors import DeskError
from desk.learning.observation import SIGNS
from desk.learning.policy import PolicyAnswer
from desk.logs import configure_logs
from desk.store.places import Home
from desk.store.valkey import ValkeyStore
from serve_apps.policy_shelf import PolicyShelf

if TYPE_CHECKING:  # Serve costs 80 MB and 2 s: only what deploys loads it
    from ray.serve import Application

STUCK_AFTER_S = 20.0


class PolicyStuck(DeskError):
    """A load does not end: the replica must be replaced."""


class PolicyReplica:
    """One replica. Its callers have a deadline of their own and hold when it passes."""

    def __init__(self, store_url: str, home: Home) -> None:
        configure_logs()
        store = ValkeyStore(store_url)
        self._shelf = PolicyShelf(home, store)
        self._tally = SharedTally(store, "policy")
        settle_collector()

    async def decide(
        self, version_id: str, observation: list[float], threshold: float = 0.0
    ) -> PolicyAnswer:
        """Answer for one observation float32[F + 1]; below `threshold` the answer is held."""
        return await self._shelf.answer(version_id, observation, threshold)

    async def decide_each(
        self, version_id: str, features: list[float], threshold: float = 0.0
    ) -> tuple[PolicyAnswer, PolicyAnswer, PolicyAnswer]:
        """Answer for float32[F] beside each sign of the position: short, flat, long. As `decide` would."""
        rows = [[*features, sign] for sign in SIGNS]
        short, flat, long = await self._shelf.answers(version_id, rows, threshold)
        return short, flat, long

    async def versions(self) -> list[str]:
        """Versions this replica has at hand."""
        return list(self._shelf.versions)

    async def check_health(self) -> None:
        """Serve replaces a replica whose check raises. It comes every 2 s, so figures go along."""
        await self._tally.tell()
        if self._shelf.loading_s > STUCK_AFTER_S:
            raise PolicyStuck(f"loading an artifact took more than {STUCK_AFTER_S:g} s")


def application(
    store_url: str, home: Home, *, replicas: int = 2, resources: Mapping[str, float] | None = None
) -> "Application":
    """The Serve application `policy`; it has no route and is called by handle."""
    serve: Any = import_module("ray.serve")  # its decorators are not typed
    deployment = serve.deployment(
        PolicyReplica,
        name=SERVE_DEPLOYMENT,
        num_replicas=replicas,
        max_ongoing_requests=64,
        max_queued_requests=256,
        health_check_period_s=2,
        health_check_timeout_s=3,
        graceful_shutdown_timeout_s=5,
        # What it answered is in the record of the decision.
        logging_config={"enable_access_log": False},
        ray_actor_options={"num_cpus": 0, "resources": dict(resources or {})},
    )
    return deployment.bind(store_url, home)


def build(_args: Mapping[str, str]) -> "Application":
    """The application for `serve deploy`: addresses as the desk of DESK_HOME has them."""
    # Only what deploys needs these: a replica stays without every actor's class.
    from actors.tree import trading_resource  # noqa: PLC0415
    from desk.settings import load_settings  # noqa: PLC0415
    from serve_apps.running import running_desk  # noqa: PLC0415

    settings = load_settings()
    store_url = running_desk(settings).store_url
    return application(store_url, settings.place, resources=trading_resource())

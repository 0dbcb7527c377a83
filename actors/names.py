"""Names of the actors, and how one asks another: by name, with a deadline, never by a kept handle."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray
from ray import ObjectRef
from ray.actor import ActorProxy
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from desk.errors import DeskError

if TYPE_CHECKING:  # a poller's process must not import every other actor to learn its name
    from actors.candle_poller import CandlePoller
    from actors.decision_loop import DecisionLoop
    from actors.feed_sync import FeedSync
    from actors.gap_monitor import GapMonitor
    from actors.market_feeds import MarketFeedPoller
    from actors.observer import Observer
    from actors.order_executor import OrderExecutor
    from actors.reconciler import Reconciler
    from actors.risk_ledger import RiskLedger
    from actors.signal_poller import SignalPoller
    from actors.supervisor import Supervisor


class ActorAway(DeskError):
    """An actor did not answer in time: the outcome is unknown, ask again under the same ids."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why

    def __str__(self) -> str:
        return f"{self.name} did not answer: {self.why}"


class ActorRestarting(ActorAway):
    """Ray is starting its next incarnation."""


class ActorGone(ActorAway):
    """There is no actor of that name any more: it has to be started anew."""


@dataclass(frozen=True, slots=True)
class Role[T]:
    """A kind of actor: `T` is its shell."""

    name: str

    def of(self, key: str = "") -> str:
        """Name of one actor of this kind: `candle_poller:BTC-USDT`."""
        return f"{self.name}:{key}" if key else self.name


SUPERVISOR: "Role[Supervisor]" = Role("supervisor")
CANDLE_POLLER: "Role[CandlePoller]" = Role("candle_poller")
GAP_MONITOR: "Role[GapMonitor]" = Role("gap_monitor")
RISK_LEDGER: "Role[RiskLedger]" = Role("risk_ledger")
ORDER_EXECUTOR: "Role[OrderExecutor]" = Role("order_executor")
RECONCILER: "Role[Reconciler]" = Role("reconciler")
FEED_POLLER: "Role[MarketFeedPoller]" = Role("feed_poller")
SIGNAL_POLLER: "Role[SignalPoller]" = Role("signal_poller")
FEED_SYNC: "Role[FeedSync]" = Role("feed_sync")
OBSERVER: "Role[Observer]" = Role("observer")
DECISION_LOOP: "Role[DecisionLoop]" = Role("decision_loop")


def find[T](role: Role[T], key: str = "", *, namespace: str) -> ActorProxy[T]:
    """Typed handle of a running actor. Raises `ActorGone` when there is none of that name."""
    try:
        return ray.get_actor(role.of(key), namespace=namespace)
    except ValueError:
        raise ActorGone(role.of(key), "no such actor") from None


class Door[T]:
    """One named actor as another sees it; its handle is looked up again when it died."""

    def __init__(self, role: Role[T], key: str, *, namespace: str) -> None:
        self.name = role.of(key)
        self._role = role
        self._key = key
        self._namespace = namespace
        self._handle: ActorProxy[T] | None = None

    async def ask[R](self, call: Callable[[ActorProxy[T]], ObjectRef[R]], *, within_s: float) -> R:
        """Call a method and wait for its answer; the actor's own errors arrive as they were raised.

        Raises `ActorAway` when no answer came in time: the method may still run to its end.
        """
        try:
            return await asyncio.wait_for(self._call(call), within_s)
        except TimeoutError:
            raise ActorAway(self.name, f"no answer in {within_s:g} s") from None
        except ActorDiedError as died:
            self._handle = None
            raise ActorGone(self.name, str(died).splitlines()[0]) from None
        except ActorUnavailableError as away:
            raise ActorRestarting(self.name, str(away).splitlines()[0]) from None
        except RayTaskError as failed:
            cause = failed.cause
            if isinstance(cause, DeskError):
                raise cause from None
            raise

    async def _call[R](self, call: Callable[[ActorProxy[T]], ObjectRef[R]]) -> R:
        if self._handle is None:
            # Asking the cluster for a name blocks for a millisecond: once per incarnation of ours.
            self._handle = find(self._role, self._key, namespace=self._namespace)
        return await call(self._handle)

"""The supervisor's parts, and its children as it handles them on Ray."""

import asyncio
import shutil
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from actors import tree
from actors.heartbeat import Heartbeat
from actors.names import ActorAway, ActorGone, ActorRestarting
from actors.parts.archive import archive_candles
from actors.parts.foundation import market_clock, open_store
from actors.supervisor import Child, SupervisorParts
from actors.tree import ChildSpec
from actors.wiring import Wiring
from desk.runs import Job, Run
from desk.store import server


class RayChild:
    """One actor of the tree, by name."""

    def __init__(self, spec: ChildSpec, wiring: Wiring) -> None:
        self.name, self.role, self.pairs = spec.name, spec.role, spec.pairs
        self._spec, self._wiring = spec, wiring
        self._handle: Any = None

    async def start(self) -> None:
        self._handle = tree.start(self._spec, self._wiring)

    async def beat(self, within_s: float) -> Heartbeat:
        try:
            return await asyncio.wait_for(self._ask(), within_s)
        except TimeoutError:
            raise ActorAway(self.name, f"no heartbeat in {within_s:g} s") from None
        except ActorDiedError as died:
            self._handle = None
            raise ActorGone(self.name, str(died).splitlines()[0]) from None
        except ActorUnavailableError:
            raise ActorRestarting(self.name, "restarting") from None
        except RayTaskError as failed:
            raise ActorAway(self.name, str(failed).strip().splitlines()[-1]) from None

    async def kill(self, *, for_good: bool) -> None:
        try:
            handle = self._found()
        except ActorGone:
            return
        # Killing a stopped process waits some seconds for it.
        await asyncio.to_thread(lambda: ray.kill(handle, no_restart=for_good))
        if for_good:
            self._handle = None

    async def _ask(self) -> Heartbeat:
        return await self._found().heartbeat.remote()

    def _found(self) -> Any:
        if self._handle is None:
            try:
                self._handle = ray.get_actor(self.name, namespace=self._wiring.namespace)
            except ValueError:
                raise ActorGone(self.name, "no such actor") from None
        return self._handle


def supervisor_parts(wiring: Wiring) -> SupervisorParts:
    """Build in the supervisor's process."""
    store = open_store(wiring)

    def standing() -> list[Child]:
        return [RayChild(spec, wiring) for spec in tree.children(wiring)]

    def loop_of(run: Run) -> Child:
        return RayChild(tree.loop_child(wiring, run), wiring)

    def archive() -> None:
        archive_candles.remote(wiring)

    def has_worker(name: str) -> bool:
        try:
            ray.get_actor(name, namespace=wiring.namespace)
        except ValueError:
            return False
        return True

    def take_up(job: Job) -> bool:
        # The engines' types cost 50 MB: loaded with the first training that was lost.
        from actors.learning_jobs import take_up_training  # noqa: PLC0415

        return take_up_training(wiring, store, job, clock=market_clock(store))

    return SupervisorParts(
        store=store,
        clock=market_clock(store),
        children=standing,
        loop_of=loop_of,
        archive=archive,
        has_worker=has_worker,
        take_up=take_up,
        free_disk_bytes=lambda: shutil.disk_usage(wiring.home).free,
        least_free_disk_bytes=lambda: server.least_free_bytes(wiring.home),
        beat_every_s=wiring.heartbeat_every_s,
        beat_patience_s=wiring.heartbeat_patience_s,
        stale_loop_s=wiring.stale_loop_s,
        archive_every_s=wiring.archive_every_s,
    )

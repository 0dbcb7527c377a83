"""Starting the actors of a desk whose store, venue and Ray are up; done once everybody's heart beats."""

import asyncio
from functools import partial

import ray
import structlog

from actors import tree
from actors.market_time import clock_fact
from actors.names import SUPERVISOR, ActorAway, Door
from actors.parts.foundation import open_store, read_anchor
from actors.parts.supervision import supervisor_parts
from actors.parts.venue import market_data
from actors.supervisor import SupervisorActor
from actors.tree import ChildSpec
from actors.watch import UP
from actors.wiring import Wiring
from desk.errors import Banned, DeskError, VenueUnavailable
from desk.store import kinds
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

CLOCK_PATIENCE_S = 60.0
UP_PATIENCE_S = 300.0
"""Longer than two starts of one child may take, so that the second try of a slow one counts."""


class NotStarted(DeskError):
    """Some actors did not come up in time; the text names them."""


def start_actors(wiring: Wiring, *, within_s: float = UP_PATIENCE_S) -> list[str]:
    """Start the tree and return its names; Ray must be initialised. Raises `NotStarted`.

    Safe to repeat: what lives is left alone.
    """
    asyncio.run(read_clock(wiring))
    spec = ChildSpec(
        name=SUPERVISOR.of(),
        role=SUPERVISOR.name,
        actor=SupervisorActor,
        build=partial(supervisor_parts, wiring),
    )
    tree.start(spec, wiring)
    return asyncio.run(_await_children(wiring, within_s))


def stop_actors(wiring: Wiring) -> None:
    """End every actor of the tree, the supervisor last."""
    supervisor = Door(SUPERVISOR, "", namespace=wiring.namespace)
    asyncio.run(supervisor.ask(lambda actor: actor.stop.remote(), within_s=60.0))
    ray.kill(ray.get_actor(SUPERVISOR.of(), namespace=wiring.namespace), no_restart=True)


async def read_clock(wiring: Wiring) -> None:
    """Store a first reading of the venue's clock: nobody may live on another time before it."""
    store = open_store(wiring)
    venue, until_s = market_data(wiring, store), monotonic_s() + CLOCK_PATIENCE_S
    try:
        while True:
            try:
                read = await venue.server_clock()
                break
            except Banned:
                if read_anchor(store) is None:
                    raise
                return  # the last reading goes on: a ban must not keep the desk from its state
            except VenueUnavailable:
                if monotonic_s() > until_s:
                    raise
                await asyncio.sleep(0.5)
    finally:
        await venue.close()
    store.put(kinds.STATE, "clock", clock_fact(read), at_ms=read.market_ms)


async def _await_children(wiring: Wiring, within_s: float) -> list[str]:
    door, until_s = Door(SUPERVISOR, "", namespace=wiring.namespace), monotonic_s() + within_s
    waiting = {SUPERVISOR.of(): "not there"}
    while monotonic_s() < until_s:
        try:
            states = await door.ask(lambda actor: actor.states.remote(), within_s=within_s)
        except ActorAway:
            await asyncio.sleep(0.2)
            continue
        waiting = {name: status for name, status in states.items() if status != UP}
        if not waiting:
            return list(states)
        await asyncio.sleep(0.2)
    named = ", ".join(f"{name} ({status})" for name, status in waiting.items())
    raise NotStarted(f"not up after {within_s:g} s: {named}; read their logs")

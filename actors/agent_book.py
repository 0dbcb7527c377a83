"""The rows of agents: every change is made on the row as it stands, stored and audited."""

from collections.abc import Callable
from dataclasses import asdict

from actors.audit import Audit
from actors.events import ops_event
from actors.store_calls import retried, stored
from desk.clock import Clock
from desk.errors import NotFound, VersionConflict
from desk.runs import Agent
from desk.store import kinds
from desk.store.port import Store


async def move_agent(
    store: Store,
    clock: Clock,
    agent_id: str,
    change: Callable[[Agent], Agent],
    *,
    action: str,
    trace_id: str,
    expected_version: int | None = None,
) -> tuple[Agent, Agent]:
    """Store what `change` makes of an agent; returns it before and after.

    Raises `NotFound`, what `change` raises, and `VersionConflict` when the row is not at
    `expected_version`; without one the change is made again on a row that moved meanwhile.
    """

    async def attempt() -> tuple[Agent, Agent]:
        found = await stored(lambda: store.get(kinds.AGENTS, agent_id))
        if found is None:
            raise NotFound("agent", agent_id)
        if expected_version is not None and found.version != expected_version:
            raise VersionConflict(f"agent {agent_id}", expected_version, found.version)
        after, now_ms = change(found.value), clock.now_ms()
        said = {"agent_id": agent_id, "action": action}
        event = ops_event("agent", agent_id, said, at_ms=now_ms, trace_id=trace_id)
        if after != found.value:
            await stored(
                lambda: store.put(
                    kinds.AGENTS,
                    agent_id,
                    after,
                    at_ms=found.at_ms,
                    expected_version=found.version,
                    event=event,
                )
            )
        return found.value, after

    return await (attempt() if expected_version is not None else retried(attempt))


async def change_agent(
    store: Store,
    clock: Clock,
    agent_id: str,
    change: Callable[[Agent], Agent],
    *,
    action: str,
    actor: str,
    trace_id: str,
    expected_version: int | None = None,
) -> None:
    """As `move_agent`, with an audit row of the fields that moved; a change of nothing leaves none."""
    before, after = await move_agent(
        store,
        clock,
        agent_id,
        change,
        action=action,
        trace_id=trace_id,
        expected_version=expected_version,
    )
    old, new = asdict(before), asdict(after)
    moved = sorted(name for name in new if new[name] != old[name])
    if moved:
        await Audit(store, clock).note(
            action,
            f"agent/{agent_id}",
            actor=actor,
            trace_id=trace_id,
            before={name: old[name] for name in moved},
            after={name: new[name] for name in moved},
        )

"""The kill switches: of all accounts, and of one agent. Stored first, then carried out, then answered.

Of all accounts the store itself refuses every entry from the flag on. Of an agent the flag is on its
row: its risk ledger and its executor look at it, the executor between the order's row and its sending.
An answer means that no entry is on its way to the venue any more: those that had begun to be sent when
the flag came are waited for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace

import structlog

from actors.agent_book import move_agent
from actors.audit import Audit
from actors.closing import Closer
from actors.events import ops_event
from actors.market_time import MarketClock
from actors.run_book import DECIDING, RunBook
from actors.store_calls import stored
from desk import runs
from desk.errors import BadInput, DeskError, IllegalTransition
from desk.runs import Agent, Run
from desk.store import kinds
from desk.store.port import Store
from desk.trading.orders import Order, OrderState
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

KILL_SWITCH = "kill_switch"
SETTLE_S = 0.8
"""For how long an answer waits for entries that are being sent, and for cancels, which go on behind it."""
LOOK_EVERY_S = 0.02


def kill_reason_of(store: Store, account: str, run_id: str) -> str | None:
    """Why no entry of this run may go out: its account's kill switch or its agent's; None: it may."""
    if (reason := store.kill_reason(account)) is not None:
        return reason
    run = store.get(kinds.RUNS, run_id)
    agent = store.get(kinds.AGENTS, run.value.agent_id) if run else None
    return runs.agent_kill_reason(agent.value) if agent else None


class KillSwitches:
    """Sets and lifts them; holds nothing but what it still carries out."""

    def __init__(
        self, store: Store, clock: MarketClock, closer: Closer, accounts: Sequence[str]
    ) -> None:
        self._store, self._clock, self._closer = store, clock, closer
        self._accounts = accounts
        self._runs, self._audit = RunBook(store, clock), Audit(store, clock)
        self._behind: set[asyncio.Task[object]] = set()

    async def turn_all(
        self, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str
    ) -> int:
        """Set or lift the switch of all accounts; returns how many runs it stops.

        Raises `BadInput` for lifting it without a reason.
        """
        _need_reason(on=on, reason=reason)
        now_ms = self._clock.now_ms()
        before = await stored(lambda: self._store.kill_reason("all"))
        event = ops_event(
            "risk", "all", {KILL_SWITCH: on, "reason": reason}, at_ms=now_ms, trace_id=trace_id
        )
        await stored(lambda: self._store.set_kill("all", on=on, reason=reason, event=event))
        stopped = 0
        if on:
            stopped = len(await self._stop(lambda _: True, trace_id))
            await self._settle(lambda _: True, (OrderState.SENDING,))
            for account in self._accounts if flatten else ():
                await self._flatten(account, None, trace_id)
        else:
            for wish in await stored(lambda: self._store.list(kinds.FLATTENINGS)):
                await self._closer.drop_wish(str(wish.value["account"]), str(wish.value["pair"]))
        await self._audit.note(
            "trading.kill" if on else "trading.kill_lifted",
            "account/all",
            actor=actor,
            trace_id=trace_id,
            before={KILL_SWITCH: before is not None, "reason": before or ""},
            after={KILL_SWITCH: on, "reason": reason, "flatten": flatten, "runs": stopped},
        )
        return stopped

    async def turn_agent(
        self, agent_id: str, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str
    ) -> int:
        """Set or lift an agent's own switch; returns how many runs it stops.

        Raises `NotFound`, and `BadInput` for lifting it without a reason.
        """
        _need_reason(on=on, reason=reason)
        before, after = await self._flag(agent_id, on=on, reason=reason, trace_id=trace_id)
        ours = [run for run in await self._runs.active() if run.agent_id == agent_id]
        run_ids = {run.run_id for run in ours}
        stopped = 0
        if on:
            stopped = len(await self._stop(lambda run: run.agent_id == agent_id, trace_id))
            of_agent = await self._run_ids(agent_id) | run_ids
            await self._settle(
                lambda order: order.run_id in of_agent, (OrderState.INTENT, OrderState.SENDING)
            )
            for run in ours if flatten else ():
                await self._flatten(run.account, run.pair, trace_id)
        else:
            for run in ours:
                await self._closer.drop_wish(run.account, run.pair)
        await self._audit.note(
            "agent.kill" if on else "agent.kill_lifted",
            f"agent/{agent_id}",
            actor=actor,
            trace_id=trace_id,
            before={KILL_SWITCH: before.kill_switch, "reason": before.kill_reason},
            after={
                KILL_SWITCH: after.kill_switch,
                "reason": reason,
                "flatten": flatten,
                "runs": stopped,
            },
        )
        return stopped

    async def _flag(
        self, agent_id: str, *, on: bool, reason: str, trace_id: str
    ) -> tuple[Agent, Agent]:
        return await move_agent(
            self._store,
            self._clock,
            agent_id,
            lambda agent: replace(agent, kill_switch=on, kill_reason=reason if on else ""),
            action=KILL_SWITCH,
            trace_id=trace_id,
        )

    async def _run_ids(self, agent_id: str) -> set[str]:
        """Of the agent's runs that have ended too: their entries may still be under way."""
        docs = await stored(lambda: self._store.list(kinds.RUNS, limit=500))
        return {doc.key for doc in docs if doc.value.agent_id == agent_id}

    async def _stop(self, is_ours: Callable[[Run], bool], trace_id: str) -> list[str]:
        """Pause what decides."""
        stopped: list[str] = []
        for run in await self._runs.active():
            if run.status not in DECIDING or not is_ours(run):
                continue
            try:
                await self._runs.change(
                    run.run_id, lambda run: runs.pause(run, KILL_SWITCH), trace_id=trace_id
                )
            except IllegalTransition:
                continue  # it has ended meanwhile
            stopped.append(run.run_id)
        return stopped

    async def _settle(
        self, is_ours: Callable[[Order], bool], sendable: tuple[OrderState, ...]
    ) -> None:
        """Have entries cancelled, and wait until none of them can reach the venue any more.

        Cancels that take longer go on behind the answer, and the executor sees to what they miss.
        """
        cancels = [
            self._run(self._closer.cancel_entries(account, None, reason=KILL_SWITCH, only=is_ours))
            for account in self._accounts
        ]
        until_s = monotonic_s() + SETTLE_S
        await asyncio.wait(cancels, timeout=SETTLE_S)
        while going := await self._going_out(is_ours, sendable):
            if monotonic_s() > until_s:
                log.warning("kill_answers_before_venue", client_order_ids=going)
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _going_out(
        self, is_ours: Callable[[Order], bool], sendable: tuple[OrderState, ...]
    ) -> list[str]:
        found: list[str] = []
        for account in self._accounts:
            active = await stored(lambda name=account: self._store.active_orders(name))
            found += [
                order.client_order_id
                for order in active
                if not order.reduce_only and order.state in sendable and is_ours(order)
            ]
        return found

    def _run(self, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
        task = asyncio.ensure_future(work)
        self._behind.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._behind.discard(task)
        if not task.cancelled() and (failed := task.exception()) is not None:
            log.warning("kill_cancels_failed", error=repr(failed))

    async def _flatten(self, account: str, pair: str | None, trace_id: str) -> None:
        """Every pair that is held, or that an order in flight may still come to hold; or only one."""
        active = await stored(lambda: self._store.active_orders(account))
        ledger = await stored(lambda: self._store.ledger(account))
        if ledger is None:
            return
        held = {*ledger.positions, *(order.pair for order in active)}
        for each in sorted(held if pair is None else held & {pair}):
            try:
                await self._closer.wish_flat(account, each, reason=KILL_SWITCH, trace_id=trace_id)
            except DeskError as away:
                # The wish is stored: the account's reconciler carries it out.
                log.warning("flatten_waits", account=account, pair=each, error=str(away))


def _need_reason(*, on: bool, reason: str) -> None:
    if not on and not reason.strip():
        raise BadInput("reason", "was empty: say why the kill switch is lifted")

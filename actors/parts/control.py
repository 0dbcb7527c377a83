"""The parts of the operator's commands: doors to the running actors."""

from actors.candle_messages import PollNow, StartBackfill
from actors.commands import BackfillAsk, ReconcileReport
from actors.control import Control, ControlParts
from actors.doors import ExecutorDoor, LedgerDoor, poller_door
from actors.market_feeds import ACTIVITY, PRICES
from actors.names import FEED_POLLER, RECONCILER, SUPERVISOR, Door
from actors.parts.foundation import market_clock, open_store
from actors.reconciler import Reconcile
from actors.supervisor import Watched
from actors.wiring import Wiring
from desk.runs import Run
from desk.store.port import Store

WATCH_S = 5.0
RECONCILE_S = 60.0
BACKFILL_S = 5.0
POLL_S = 5.0


class RayFloor:
    """The running actors, by name."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring, self._namespace = wiring, wiring.namespace

    def approver_of(self, account: str) -> LedgerDoor:
        return LedgerDoor(account, namespace=self._namespace)

    def executor_of(self, account: str) -> ExecutorDoor:
        return ExecutorDoor(account, namespace=self._namespace)

    async def watch_run(self, run: Run) -> None:
        door = Door(SUPERVISOR, "", namespace=self._namespace)
        ask = Watched(run=run)
        await door.ask(lambda actor: actor.watch.remote(ask), within_s=WATCH_S)

    async def reconcile(self, account: str, trace_id: str) -> ReconcileReport:
        door = Door(RECONCILER, account, namespace=self._namespace)
        ask = Reconcile(trace_id=trace_id)
        return await door.ask(lambda actor: actor.reconcile.remote(ask), within_s=RECONCILE_S)

    async def backfill(self, job_id: str, ask: BackfillAsk) -> None:
        door = poller_door(self._wiring, ask.pair)
        start = StartBackfill(job_id=job_id, ask=ask)
        await door.ask(lambda actor: actor.backfill.remote(start), within_s=BACKFILL_S)

    async def poll_now(self, pair: str, names: tuple[str, ...]) -> None:
        ask = PollNow(names=names, pair=pair)
        if pair:
            door = poller_door(self._wiring, pair)
            await door.ask(lambda actor: actor.poll_now.remote(ask), within_s=POLL_S)
            return
        for group in (PRICES, ACTIVITY):
            feeds = Door(FEED_POLLER, group, namespace=self._namespace)
            await feeds.ask(lambda actor: actor.poll_now.remote(ask), within_s=POLL_S)


def control(wiring: Wiring, store: Store | None = None) -> Control:
    """The operator's commands on a running desk; Ray must be initialised in this process."""
    store = store or open_store(wiring)
    return Control(
        ControlParts(
            wiring=wiring,
            store=store,
            clock=market_clock(store),
            floor=RayFloor(wiring),
        )
    )

"""What a loss does at once, without any order being asked for: runs pause, and an account may flatten."""

import structlog

from actors.alerts import Cause, raise_alert
from actors.audit import Audit
from actors.closing import keep_wish
from actors.run_book import DECIDING, RunBook
from actors.store_calls import stored
from desk import ids
from desk.clock import Clock
from desk.errors import VersionConflict
from desk.ids import Pair
from desk.runs import Run
from desk.store import kinds
from desk.store.port import Store
from desk.trading import ledger as books
from desk.trading import risk
from desk.trading.ledger import Ledger
from desk.trading.limits import MOST_SETS, AccountPolicy
from desk.trading.risk import Refused

log = structlog.stdlib.get_logger()

DRAWDOWN_FLATTEN = "drawdown_flatten"


class LossWatch:
    """Judges the marked books of one account against its runs' limit sets and its own policy.

    Safe to repeat and over a crash: the alert and the audit row come before the pause or the wish
    they tell of, so that a second try tells of it again rather than nobody.
    """

    def __init__(self, account: str, store: Store, clock: Clock) -> None:
        self._account, self._store, self._clock = account, store, clock
        self._runs = RunBook(store, clock)
        self._audit = Audit(store, clock)
        self._actor = f"risk_ledger:{account}"

    async def look(self, ledger: Ledger, policy: AccountPolicy, *, trace_id: str = "") -> None:
        """Pause every deciding run whose loss limit, or whose account's, is reached.

        With `policy.flatten_on_drawdown` a drawdown of the account also has everything closed.
        Raises `StoreUnavailable`; the next look makes up for it.
        """
        if not books.drawdown_fraction(ledger) and not books.daily_loss(ledger):
            return
        trace_id = trace_id or ids.trace_id("mark", self._account, ledger.marked_ms)
        of_account = risk.account_loss(ledger, policy)
        sets = await stored(lambda: self._store.list(kinds.RISK_LIMITS, limit=MOST_SETS))
        losses = {doc.key: risk.run_loss(ledger, doc.value) for doc in sets}
        if of_account is not None or any(losses.values()):
            for run in await self._runs.active():
                found = losses.get(run.risk_limit_set_id) or of_account
                if run.account == self._account and run.status in DECIDING and found is not None:
                    await self._pause(run, found, trace_id)
        drawdown = books.drawdown_fraction(ledger)
        if policy.flatten_on_drawdown and drawdown >= policy.max_drawdown:
            await self._flatten(ledger, policy, trace_id)

    async def _pause(self, run: Run, reached: Refused, trace_id: str) -> None:
        said = f"{reached.scope}: lost {reached.asked}, allowed {reached.allowed}"
        await self._audit.note(
            "run.pause",
            f"run/{run.run_id}",
            actor=self._actor,
            trace_id=trace_id,
            before={"status": run.status.value, "pause_reason": run.pause_reason},
            after={"status": "paused", "pause_reason": reached.limit, "detail": said},
        )
        await self._runs.pause(
            run.run_id, reached.limit, category="risk", detail=said, trace_id=trace_id
        )

    async def _flatten(self, ledger: Ledger, policy: AccountPolicy, trace_id: str) -> None:
        """Wish flat every pair that is held, or that an entry under way may come to hold."""
        active = await stored(lambda: self._store.active_orders(self._account))
        entries = {order.pair for order in active if not order.reduce_only}
        for pair in sorted({*ledger.positions, *entries}):
            await self._wish_flat(pair, ledger, policy, trace_id)

    async def _wish_flat(
        self, pair: Pair, ledger: Ledger, policy: AccountPolicy, trace_id: str
    ) -> None:
        key = f"{self._account}:{pair}"
        if await stored(lambda: self._store.get(kinds.FLATTENINGS, key)) is not None:
            return
        now_ms, lost = self._clock.now_ms(), f"{books.drawdown_fraction(ledger):.6f}"
        allowed = f"{policy.max_drawdown:f}"
        cause = Cause(
            code=DRAWDOWN_FLATTEN,
            about=self._account,
            category="risk",
            severity="critical",
            detail=f"{self._account}: drawdown {lost} of {allowed} reached: entries are cancelled"
            " and positions closed",
            trace_id=trace_id,
            metric="drawdown_fraction",
            value=lost,
            threshold=allowed,
        )
        await raise_alert(self._store, cause, at_ms=now_ms)
        await self._audit.note(
            "account.flatten",
            f"account/{self._account}",
            actor=self._actor,
            trace_id=trace_id,
            before={"held": f"{books.held_quantity(ledger, pair):f}"},
            after={"pair": pair, "reason": DRAWDOWN_FLATTEN, "drawdown": lost},
        )
        try:
            await keep_wish(
                self._store,
                self._account,
                pair,
                reason=DRAWDOWN_FLATTEN,
                trace_id=trace_id,
                at_ms=now_ms,
                expected_version=0,
            )
        except VersionConflict:
            log.info("flatten_wished_already", account=self._account, pair=pair)

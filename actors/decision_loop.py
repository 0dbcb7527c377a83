"""The decision loop of one run: gates, features, policy, legs, approval, execution; once per candle."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import ray
import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.asked_ahead import Answers, AskedAhead, Question, ask_ahead
from actors.candle_messages import CandleClosed
from actors.decision_book import DecisionBook, is_complete, with_outcome
from actors.decision_draft import POLICY_UNAVAILABLE, Draft
from actors.decision_scene import (
    Scene,
    ends_at,
    features_of,
    looked_at,
    read_scene,
    read_sources,
    reference_price,
    silence,
)
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.market_time import MarketClock, acceleration_grace_ms
from actors.pause_lift import lift_pause
from actors.placement import Approver, Executor, Placement, place
from actors.run_book import RunBook
from actors.store_calls import rebuilt, stored
from desk import ids, runs
from desk.engines import standstill
from desk.engines.standstill import Standstill
from desk.errors import (
    BadInput,
    DeskError,
    IllegalTransition,
    LedgerMismatch,
    NotFound,
    VersionConflict,
)
from desk.learning.observation import SIGNS, observation
from desk.learning.policy import NON_FINITE_LOGITS, NON_FINITE_OBSERVATION, PolicyAnswer
from desk.market import features
from desk.market.candles import Candles
from desk.market.feature_stream import FeatureStream
from desk.market.interval import interval_ms
from desk.market.signal_features import NO_SIGNALS, Signals
from desk.runs import Action, DecisionRecord, Run, RunStatus
from desk.store import kinds
from desk.store.candle_window import CandleWindow
from desk.store.places import Home
from desk.store.port import Store
from desk.store.read_ahead import read_ahead
from desk.trading import intents
from desk.trading import ledger as books
from desk.trading.intents import OrderIntent, Protection
from desk.trading.risk import Refused
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

TURN_S = 1.0
WARM_S = 10.0
UNHEARD_AFTER_S = 2.0
"""A stored candle of which nobody told us is decided on after this long."""

POLICY_TROUBLES = (POLICY_UNAVAILABLE, NON_FINITE_OBSERVATION, NON_FINITE_LOGITS)
ORDERS_IN_FLIGHT = "orders_in_flight"
NOT_PLACED = "not_placed"
EXIT_UNRESOLVED = "exit_unresolved"
SHADOW = "shadow_mode"


# --- what it needs ------------------------------------------------------------------------------


class PolicyClient(Protocol):
    """Where the policy is asked. Any error, or no answer in time, means hold."""

    async def decide(
        self, version_id: str, values: list[float], threshold: float
    ) -> PolicyAnswer: ...

    async def decide_each(
        self, version_id: str, features: list[float], threshold: float
    ) -> Answers:
        """As `decide` for the features beside each sign of the position."""
        ...


async def nothing_to_warm(_version_id: str) -> None:
    """For collaborators that answer at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopParts:
    """Collaborators and settings. `warm` connects to whatever a first decision would wait for."""

    run_id: str
    store: Store
    clock: MarketClock
    policy: PolicyClient
    approver: Approver
    executor: Executor
    warm: Callable[[str], Awaitable[None]] = nothing_to_warm
    policy_deadline_s: float = 1.0
    feature_max_freshness_s: int = 180
    feature_ood_zscore_limit: float = 6.0
    enforce_provenance: bool = False
    home: Home = Path("/nonexistent")
    """Where the artifacts are that provenance is proved by."""


class PlacementUnfinished(DeskError):
    """Ledger or executor did not answer: whether there is an order is not known."""


# --- the shell ----------------------------------------------------------------------------------


class DecisionLoop:
    """Shell only: every gate, number and leg is a rule's to say.

    Order of events, safe at every crash: the decision is claimed in the store, then its orders are
    approved and sent, then it is completed and the run moves on. A claim that a crash left behind
    is carried on while its candle is the newest, under the same ids, and never decided again.
    """

    def __init__(self, build: Callable[[], LoopParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._store, self._clock = parts, parts.store, parts.clock
        self._runs = RunBook(parts.store, parts.clock, actor=f"decision_loop:{parts.run_id}")
        self._book = DecisionBook(parts.run_id, parts.store, parts.clock)
        self._pulse = Pulse(f"decision_loop:{parts.run_id}")
        self._one_at_a_time = asyncio.Lock()
        self._may_have_claim = True
        self._known: Run | None = None
        """The run as a turn last read it."""
        self._is_warm = False
        self._may_have_alert = True
        self._unheard: tuple[int, float] = (0, 0.0)
        self._stream: FeatureStream | None = None
        self._window: CandleWindow | None = None
        self._question: Question | None = None
        """What the last decision asked the policy with."""
        self._step_ms = 0
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def on_candle_closed(self, closed: CandleClosed) -> None:
        """Decide on the newest candle. A candle that was decided on before changes nothing."""
        await self._hear(closed)

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    # --- loop -----------------------------------------------------------------------------------

    async def turn(self) -> float:
        """Start, finish what a crash left, catch up with the newest candle, notice silence."""
        standstill.resume()  # those whom a loop stopped that was killed then
        self._known = run = await self._runs.get(self._parts.run_id)
        if not self._is_warm:
            await self._warm(run)
        if run.status is RunStatus.STARTING:
            run = await self._begin(run)
        async with self._one_at_a_time:
            await self._finish_claim(run)
        if run.status is RunStatus.RUNNING:
            await self._notice_silence(run)
            await self._catch_up(run)
        elif run.status is RunStatus.PAUSED and run.pause_reason in runs.DATA_PAUSES:
            await self._lift(run)
        return TURN_S

    async def _warm(self, run: Run) -> None:
        """Before the first candle, whose deadlines are short."""
        self._is_warm = True
        shown = await stored(lambda: features_of(self._store, run))
        if shown.anchor is not None:
            self._stream = FeatureStream(shown, interval_ms(run.interval))
        try:
            await asyncio.wait_for(self._parts.warm(run.version_id), WARM_S)
        except Exception as failed:  # noqa: BLE001 - then the first decision waits, or holds
            log.warning("loop_not_warm", run_id=run.run_id, error=repr(failed))

    async def _begin(self, run: Run) -> Run:
        """Let a run decide, on candles that close from now on."""
        bounds = await stored(lambda: self._store.candle_bounds(run.pair, run.interval))
        newest_ms = bounds[1] if bounds else 0

        def start(run: Run) -> Run:
            return replace(runs.start(run), last_decided_open_ms=newest_ms)

        return await self._runs.change(run.run_id, start)

    async def _notice_silence(self, run: Run) -> None:
        """Pause when a required source has gone silent without a candle to tell of it."""
        now_ms, speed = self._clock.now_ms(), self._clock.anchor.speed
        found = await stored(lambda: read_sources(self._store, run, now_ms=now_ms, speed=speed))
        if (why := silence(found, now_ms=now_ms, speed=speed)) is not None:
            code, detail = why
            await self._runs.pause(run.run_id, code, category="data", detail=detail)

    async def _lift(self, run: Run) -> None:
        parts = self._parts
        is_lifted = await lift_pause(
            self._store,
            self._clock,
            run,
            enforce_provenance=parts.enforce_provenance,
            home=parts.home,
        )
        self._pulse.count("lifted", int(is_lifted))

    async def _catch_up(self, run: Run) -> None:
        """Decide on the newest candle when nobody told us of it; older ones are gone."""
        bounds = await stored(lambda: self._store.candle_bounds(run.pair, run.interval))
        if bounds is None or bounds[1] <= run.last_decided_open_ms:
            return
        newest_ms, (seen_ms, since_s) = bounds[1], self._unheard
        now_s = asyncio.get_running_loop().time()
        if newest_ms != seen_ms:
            self._unheard = (newest_ms, now_s)
        elif now_s - since_s >= UNHEARD_AFTER_S:
            self._pulse.count("caught_up")
            await self._hear(_closed(run, newest_ms))

    async def _hear(self, closed: CandleClosed) -> None:
        async with self._one_at_a_time:
            run = self._known
            if run is None or self._may_have_claim:
                run = await self._runs.get(self._parts.run_id)
                if not _is_due(run, closed):
                    self._pulse.count("passed_over")
                    return
                if await self._finish_claim(run) == closed.open_ms:
                    return
            try:
                await self._decide_in_peace(closed, run)
            except (IllegalTransition, LedgerMismatch) as wrong:
                # The model is wrong: nothing may be traded on it.
                self._pulse.count("model_errors")
                log.exception("model_error", run_id=run.run_id, trace_id=closed.trace_id)
                await self._pause("model_error", "ops", str(wrong), closed.trace_id)

    async def _decide_in_peace(self, closed: CandleClosed, known: Run) -> None:
        """Learners of this machine stand still as soon as the policy is asked, or as long as a
        decision may take."""
        window = self._window_of(known)
        began_s, ahead = monotonic_s(), self._ask_ahead(closed, window)
        still = Standstill()
        most = asyncio.get_running_loop().call_later(standstill.MOST_S, still.end)
        try:
            if ahead is not None:
                await ahead.leave()
            still.begin()
            await self._decide(closed, known, window, ahead, began_s)
        finally:
            most.cancel()
            still.end()
            if ahead is not None:
                ahead.drop()

    # --- one decision ---------------------------------------------------------------------------

    def _look(
        self, closed: CandleClosed, known: Run, window: CandleWindow
    ) -> tuple[Run, Scene] | None:
        """The run and its scene as they stand now, in one trip; None: there is nothing to decide.

        What was known of the run and of its candles says only where to look.
        """
        held = window.held
        store = read_ahead(
            self._store,
            known.account,
            looked_at(known),
            listed=((kinds.GAPS, held.first_ms),),
            held=held,
        )
        found = store.get(kinds.RUNS, known.run_id)
        if found is None:
            raise NotFound("run", known.run_id)
        if not _is_due(found.value, closed):
            return None
        scene = read_scene(
            store,
            found.value,
            now_ms=self._clock.now_ms(),
            speed=self._clock.anchor.speed,
            enforce_provenance=self._parts.enforce_provenance,
            held=window,
            home=self._parts.home,
        )
        return found.value, scene

    async def _decide(
        self,
        closed: CandleClosed,
        known: Run,
        window: CandleWindow,
        ahead: AskedAhead | None,
        began_s: float,
    ) -> None:
        before = window.read_whole
        seen = await stored(lambda: self._look(closed, known, window))
        self._pulse.count("windows_read", window.read_whole - before)
        if seen is None:
            self._pulse.count("passed_over")
        else:
            await self._decide_on(closed, *seen, ahead, began_s)

    def _window_of(self, known: Run) -> CandleWindow:
        if self._window is None:
            self._window = CandleWindow(self._store, known.pair, known.interval)
            self._step_ms = interval_ms(known.interval)
        return self._window

    def _ask_ahead(self, closed: CandleClosed, window: CandleWindow) -> AskedAhead | None:
        if self._question is None:
            return None
        try:
            return ask_ahead(
                self._question,
                closed,
                window,
                lambda shown, candles: self._observe(shown, candles, NO_SIGNALS),
                self._parts.policy.decide_each,
            )
        except BadInput:  # candles that cannot be: the gates say so of what is stored
            return None

    async def _decide_on(
        self, closed: CandleClosed, run: Run, scene: Scene, ahead: AskedAhead | None, began_s: float
    ) -> None:
        if len(scene.window) and not ends_at(scene.window, closed.open_ms):
            self._pulse.count("superseded")
            return
        if (version_id := scene.run.version_id) != run.version_id:
            shown, learnt_from = scene.run.feature_set_id, scene.run.dataset_id
            await self._runs.change(
                run.run_id,
                lambda run: replace(
                    run, version_id=version_id, feature_set_id=shown, dataset_id=learnt_from
                ),
            )
        limit = self._parts.feature_ood_zscore_limit
        draft = Draft(closed=closed, scene=scene, feature_ood_zscore_limit=limit, began_s=began_s)
        legs = await self._think(draft, ahead)
        if legs:
            draft.legs = draft.client_order_ids = tuple(leg.client_order_id for leg in legs)
        self._may_have_claim = True  # what is cut off from here on, the next turn finishes
        try:
            is_mine, placement = await self._claim_and_place(draft, legs, run)
        except PlacementUnfinished as away:
            # Whether an order exists is not known. The claim stands; the next turn carries it on.
            self._pulse.count("placements_unfinished")
            log.warning("placement_unfinished", trace_id=closed.trace_id, error=str(away))
            return
        if not is_mine:
            return
        if placement is not None:
            await self._note(draft, placement)
        await self._complete(draft.record(now_ms=self._clock.now_ms()))
        self._may_have_claim = False

    async def _claim_and_place(
        self, draft: Draft, legs: list[OrderIntent], run: Run
    ) -> tuple[bool, Placement | None]:
        """Whether the decision is ours to make, and what became of its legs.

        The claim and the first leg go out together: the store takes no order whose claim it has not
        committed. Raises `PlacementUnfinished`.
        """
        if not legs:
            return await self._book.claim(draft.record(now_ms=self._clock.now_ms())), None
        after = self._book.claim_id(draft.decision_id)
        placing = asyncio.ensure_future(self._place(legs, run, after=after))
        await asyncio.sleep(0)  # the leg leaves before the record is written
        try:
            is_mine = await self._book.claim(draft.record(now_ms=self._clock.now_ms()))
        finally:
            [placed] = await asyncio.gather(placing, return_exceptions=True)
        if not is_mine:
            return False, None
        try:
            if isinstance(placed, VersionConflict):  # the claim was slow, now it is there
                placed = await self._place(legs, run)
            elif isinstance(placed, BaseException):
                raise placed
        except DeskError as away:
            raise PlacementUnfinished(str(away)) from away
        return True, placed

    async def _think(self, draft: Draft, ahead: AskedAhead | None) -> list[OrderIntent]:
        """Everything before the first order: returns the legs to place."""
        if ahead is not None and not ahead.has_seen(draft.scene):
            ahead = None
        if not await self._is_admitted(draft) or not self._is_observed(draft, ahead):
            return []
        self._question = Question.of(draft.scene)
        if ahead is not None and not ahead.is_of(draft.scene.run):
            ahead = None
        with draft.stage("policy", since_s=None if ahead is None else ahead.began_s):
            draft.answer = await self._ask_policy(draft, ahead)
        await self._tell_of_policy(draft)
        if draft.answer is None:
            draft.judge("policy", POLICY_UNAVAILABLE)
            return []
        if not draft.judge("policy", draft.answer.reason if draft.answer.held else ""):
            return []
        legs = self._legs(draft, draft.answer.target)
        if not draft.hold_reason:
            draft.action = Action.TRADE if legs else Action.KEEP
        if legs and draft.scene.run.is_shadow:
            draft.legs = tuple(leg.client_order_id for leg in legs)
            draft.judge("mode", SHADOW, "decides and records, never orders")
            return []
        return legs

    async def _is_admitted(self, draft: Draft) -> bool:
        scene, admission = draft.scene, draft.scene.admission
        draft.gates.extend(admission.gates)
        draft.warnings = admission.warnings
        if isinstance(admission, runs.Admitted):
            in_flight = ", ".join(order.client_order_id for order in scene.orders_in_flight)
            return draft.judge(ORDERS_IN_FLIGHT, ORDERS_IN_FLIGHT if in_flight else "", in_flight)
        draft.hold_reason = admission.code
        if isinstance(admission, runs.Paused):
            trace_id = draft.closed.trace_id
            await self._pause(admission.code, "data", admission.gates[-1].detail, trace_id)
        return False

    def _is_observed(self, draft: Draft, ahead: AskedAhead | None) -> bool:
        """Gate 7: the features exist, are finite, in distribution and fresh."""
        scene, parts = draft.scene, self._parts
        with draft.stage("features"):
            values = (
                self._observe(scene.features, scene.window, scene.signals)
                if ahead is None
                else ahead.features
            )
            held = books.held_quantity(scene.ledger, scene.run.pair) if scene.ledger else 0
            draft.observation = observation(values, int(held > 0) - int(held < 0))
            closed_ms = draft.closed.open_ms + interval_ms(scene.run.interval)
            reason, detail = scene.features.refusal(
                values, scene.signals, closed_ms, parts.feature_ood_zscore_limit
            )
        grace_ms = acceleration_grace_ms(self._clock.anchor.speed)
        oldest_ms = scene.now_ms - parts.feature_max_freshness_s * 1000 - grace_ms
        if not reason and closed_ms < oldest_ms:
            reason = "features_too_old"
        return draft.judge("features", reason, detail)

    def _observe(
        self, shown: features.FeatureSet, window: Candles, signals: Signals
    ) -> features.Features:
        """Features of the newest candle; recursive ones go on from the last, or begin from the store."""
        if shown.anchor is None:
            return shown.observe(window, signals)
        if self._stream is None or self._stream.feature_set_id != shown.feature_set_id:
            self._stream = FeatureStream(shown, self._step_ms)
        before = self._stream.reopened
        values = self._stream.observe(window, signals)
        self._pulse.count("series_opened", self._stream.reopened - before)
        return values

    async def _ask_policy(self, draft: Draft, ahead: AskedAhead | None) -> PolicyAnswer | None:
        """One deadline and one answer to every failure; the last action is never used again."""
        run, values = draft.scene.run, draft.observation
        assert values is not None, "observed before the policy is asked"
        try:
            if ahead is not None:
                self._pulse.count("asked_ahead")
                answers = await asyncio.wait_for(ahead.answers, self._parts.policy_deadline_s)
                return answers[SIGNS.index(float(values[-1]))]
            return await asyncio.wait_for(
                self._parts.policy.decide(run.version_id, values.tolist(), run.decision_threshold),
                self._parts.policy_deadline_s,
            )
        except Exception as failed:  # noqa: BLE001 - whatever keeps the policy from answering means hold
            self._pulse.count("policy_unavailable")
            trace_id = draft.closed.trace_id
            log.warning(
                POLICY_UNAVAILABLE, run_id=run.run_id, trace_id=trace_id, error=repr(failed)
            )
            return None

    async def _tell_of_policy(self, draft: Draft) -> None:
        """An alert while the policy is silent, or answers with numbers that are none; gone when it is well."""
        run, answer = draft.scene.run, draft.answer
        code = POLICY_UNAVAILABLE if answer is None else answer.reason
        if code not in POLICY_TROUBLES:
            if self._may_have_alert:
                await self._resolve_policy_alerts(run.run_id)
            return
        self._may_have_alert = True
        cause = Cause(
            code=code,
            about=run.run_id,
            category="ops",
            severity="critical" if answer else "warning",
            detail=f"{run.version_id} on {run.pair}: {code}: decisions hold",
            trace_id=draft.closed.trace_id,
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())

    async def _resolve_policy_alerts(self, run_id: str) -> None:
        now_ms = self._clock.now_ms()
        try:
            for code in POLICY_TROUBLES:
                alert_id = f"{code}:{run_id}"
                await stored(lambda key=alert_id: resolve_alert(self._store, key, at_ms=now_ms))
        except DeskError as away:  # the next answer resolves them
            log.warning("alert_not_resolved", run_id=run_id, error=str(away))
            return
        self._may_have_alert = False

    def _legs(self, draft: Draft, target: float) -> list[OrderIntent]:
        scene = draft.scene
        if scene.limits is None or scene.ledger is None:
            code = "risk_limit_set_missing" if scene.limits is None else "ledger_missing"
            draft.judge("risk", code, scene.run.risk_limit_set_id)
            return []
        closed = draft.closed
        return _intend(scene, target, draft.decision_id, closed.open_ms, closed.trace_id)

    async def _place(self, legs: list[OrderIntent], run: Run, *, after: str = "") -> Placement:
        limits, parts = run.risk_limit_set_id, self._parts
        return await place(legs, limits, parts.approver, parts.executor, after=after)

    async def _note(self, draft: Draft, placement: Placement) -> None:
        draft.latency_ms |= {"risk": placement.risk_ms, "execute": placement.execute_ms}
        draft.began("risk", placement.began_s)
        if placement.execute_began_s is not None:
            draft.began("execute", placement.execute_began_s)
        draft.client_order_ids = tuple(order.client_order_id for order in placement.orders)
        refused, unresolved = placement.refused, placement.unresolved
        if refused is not None:
            gate = "risk" if refused.scope == "run" else "account"
            draft.judge(gate, refused.limit, _detail(refused))
            await self._obey(refused, draft.closed.trace_id)
        elif unresolved is not None:
            draft.judge("execute", EXIT_UNRESOLVED, unresolved.state.value)
        else:
            draft.judge("risk")
        draft.action = Action.TRADE if placement.orders else Action.HOLD

    async def _obey(self, refused: Refused, trace_id: str) -> None:
        """A limit of the run pauses it; a guardrail of the account only holds."""
        if refused.scope == "run":
            await self._pause(refused.limit, "risk", _detail(refused), trace_id)

    async def _complete(self, record: DecisionRecord) -> None:
        await self._book.complete(record)
        await self._runs.decided(record.run_id, record.open_ms)
        self._pulse.count("decided")
        self._pulse.count(record.action.value)
        log.info(
            "decision_made",
            trace_id=record.trace_id,
            run_id=record.run_id,
            pair=record.pair,
            action=record.action.value,
            hold_reason=record.hold_reason,
            client_order_ids=list(record.client_order_ids),
            latency_ms=dict(record.latency_ms),
        )

    async def _pause(self, code: str, category: str, detail: str, trace_id: str) -> None:
        await self._runs.pause(
            self._parts.run_id, code, category=category, detail=detail, trace_id=trace_id
        )

    # --- after a crash --------------------------------------------------------------------------

    async def _finish_claim(self, run: Run) -> int | None:
        """End the newest decision if a crash, or an actor that was away, kept it from its end.

        Returns the open time of the candle it was about.
        """
        if not self._may_have_claim:
            return None
        newest = await self._book.newest()
        if newest is None or newest.value.open_ms <= run.last_decided_open_ms:
            self._may_have_claim = False
            return None
        is_done = is_complete(newest)
        await self._complete(newest.value if is_done else await self._carry_on(run, newest.value))
        self._may_have_claim = False
        return newest.value.open_ms

    async def _carry_on(self, run: Run, claim: DecisionRecord) -> DecisionRecord:
        """See to the orders of a claim under their own ids: nothing is decided, nothing doubled."""
        self._pulse.count("claims_carried_on")
        if not claim.client_order_ids:
            return claim
        legs = await self._legs_left(run, claim)
        placement = await self._place(legs, run) if legs else None
        if placement is not None and placement.refused is not None:
            await self._obey(placement.refused, claim.trace_id)
        stored_orders = [
            order
            for cid in claim.client_order_ids
            if (order := await stored(lambda cid=cid: self._store.order(cid))) is not None
        ]
        reason = claim.hold_reason
        if len(stored_orders) < len(claim.client_order_ids):
            refused = placement.refused if placement else None
            reason = refused.limit if refused else NOT_PLACED
        return with_outcome(
            claim,
            action=Action.TRADE if stored_orders else Action.HOLD,
            hold_reason=reason,
            client_order_ids=tuple(order.client_order_id for order in stored_orders),
        )

    async def _legs_left(self, run: Run, claim: DecisionRecord) -> list[OrderIntent]:
        """The legs of a claim that still lead from the position to its target.

        None once the run does not decide any more, or a newer candle has closed: the position is
        then the next decision's to move.
        """
        now_ms, speed = self._clock.now_ms(), self._clock.anchor.speed
        if run.status is not RunStatus.RUNNING:
            return []
        scene = await stored(
            lambda: read_scene(
                self._store, run, now_ms=now_ms, speed=speed, enforce_provenance=False
            )
        )
        if not ends_at(scene.window, claim.open_ms) or not scene.limits or not scene.ledger:
            return []
        if now_ms - claim.open_ms > 2 * interval_ms(run.interval):
            return []
        legs = _intend(scene, claim.target, claim.decision_id, claim.open_ms, claim.trace_id)
        return [leg for leg in legs if leg.client_order_id in claim.client_order_ids]


def _is_due(run: Run, closed: CandleClosed) -> bool:
    """Whether the run decides, and has not decided on this candle or a later one."""
    return run.status is RunStatus.RUNNING and closed.open_ms > run.last_decided_open_ms


def _detail(refused: Refused) -> str:
    return f"{refused.scope}: asked {refused.asked}, allowed {refused.allowed}"


def _intend(
    scene: Scene, target: float, decision_id: str, open_ms: int, trace_id: str
) -> list[OrderIntent]:
    size_quote = scene.size_quote
    assert size_quote is not None, "checked by the caller"
    assert scene.ledger is not None, "checked by the caller"
    return intents.intend(
        target,
        held_quantity=books.held_quantity(scene.ledger, scene.run.pair),
        size_quote=size_quote,
        reference_price=reference_price(scene.window),
        instrument=scene.instrument,
        account=scene.run.account,
        run_id=scene.run.run_id,
        decision_id=decision_id,
        decided_open_ms=open_ms,
        trace_id=trace_id,
        protection=Protection(
            stop_loss_fraction=scene.run.stop_loss_fraction,
            take_profit_fraction=scene.run.take_profit_fraction,
        ),
    )


def _closed(run: Run, open_ms: int) -> CandleClosed:
    return CandleClosed(
        pair=run.pair,
        interval=run.interval,
        open_ms=open_ms,
        trace_id=ids.trace_id("candle", run.pair, run.interval, open_ms),
    )


DecisionLoopActor = ray.remote(DecisionLoop)

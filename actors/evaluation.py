"""Evaluating a stored version over a period: its policy makes the plan, Nautilus says what came of it.

Nautilus and the compiled rules are imported where they run, not with this module.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib.metadata import version as release
from pathlib import Path

from actors.events import ops_event
from actors.evidence import Scene, WeighAsk, contenders, trained_rows, trials_of
from actors.promotion import begin_evaluating
from actors.study_period import Period, Rates, text_or_none
from actors.version_registry import keep_dataset, policy_of, version_of
from desk.clock import Clock
from desk.evaluation.assess import Assessment, assess
from desk.evaluation.evidence import Evidence
from desk.evaluation.gates import judge_evidence
from desk.evaluation.plan import Plan, replay
from desk.evaluation.report import EvaluationReport
from desk.evaluation.tearsheet import tearsheet
from desk.learning.policy import MlpPolicy
from desk.learning.study import Dataset, Window
from desk.learning.training_window import MOST_MISSING_FRACTION
from desk.learning.versions import AgentVersion
from desk.market.candles import Candles, Floats
from desk.runs import Agent
from desk.store import kinds
from desk.store.durable import publish
from desk.store.evaluation_files import EvaluationFiles, tables_of
from desk.store.feature_sets import feature_set_of
from desk.store.places import Home, shared_folder
from desk.store.port import DocStore, Event
from desk.trading.intents import NO_PROTECTION, Protection
from desk.trading.tape import Market

FEATURE_LIMIT = 6.0
"""Features beyond it are out of distribution and not decided on, live as here."""

IN_SAMPLE = "evaluated_on_training_candles"
"""Reason of a fail: such a report says how well the version remembers, not how well it decides."""

STAGES = 5
type Progress = Callable[[int, str], None]
"""Told the number of finished stages (of `STAGES`) and what is done next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateAsk:
    """Evaluate a stored version on a period. Money in USDT."""

    period: Period
    version_id: str
    cash: Decimal = Decimal(10_000)
    size_quote: Decimal = Decimal(1_000)
    """Notional of a full position: the run's `max_position_size`."""
    decision_threshold: float | None = None
    """None: the agent's own."""
    feature_limit: float = FEATURE_LIMIT
    protection: Protection = NO_PROTECTION
    """Exits of every position, as a run has them."""
    leverage: int | None = None
    """Isolated margin, whose loss liquidates; None: nothing is liquidated."""
    weighing: WeighAsk = field(default_factory=WeighAsk)
    most_missing_fraction: float = MOST_MISSING_FRACTION
    """Of the period's candles; with more missing it is refused: nobody knows what would have happened."""
    is_comparison: bool = False
    """Kept apart from the evaluations that promotion looks at."""


def evaluate_version(
    home: Home,
    store: DocStore,
    candles: Candles,
    ask: EvaluateAsk,
    *,
    clock: Clock,
    progress: Progress = lambda stage, detail: None,
    rates: Rates = (),
    sheet: Path | None = None,
) -> EvaluationReport:
    """Store and return the report, whatever it says; which version is active is never touched.

    `sheet` is where its page for people goes, if it is wanted.

    Raises `EvaluationFailed` when there is no true result, `NotFound`, `ArtifactRefused`,
    `BadInput` for a period without usable candles, or with more missing than allowed.
    """
    from desk.engines import nautilus  # noqa: PLC0415 - takes seconds and memory to import

    ask.period.check_leverage(ask.leverage)
    ask.period.check_gaps(candles, ask.most_missing_fraction)
    version = version_of(store, ask.version_id)
    agent = _agent(store, version.agent_id)
    threshold = (
        agent.decision_threshold if ask.decision_threshold is None else ask.decision_threshold
    )
    policy = policy_of(home, version, store)
    begin_evaluating(store, version.version_id, clock.now_ms())

    progress(0, "deciding on every candle")
    features = feature_set_of(store, policy.feature_set_id)
    signals = ask.period.heard(store, features, now_ms=clock.now_ms())
    chosen = ask.period.window(candles, features, signals)
    market = ask.period.market(chosen, rates)
    plan = _plan(market, chosen, policy, ask, threshold)
    progress(1, f"replaying {int(plan.decided.sum())} decisions in {nautilus.ENGINE}")
    engine = nautilus.evaluate(market, plan, ask.cash)
    progress(2, "replaying them by the Decimal rules")
    twin = replay(market, plan, ask.cash)
    progress(3, "measuring")
    found = assess(market, engine, twin, ask.cash, agent.promotion_gate)
    progress(4, "weighing it against baselines, dearer costs and luck")
    now_ms = clock.now_ms()
    scene = Scene(
        home=home, store=store, candles=candles, period=ask.period, now_ms=now_ms, seen=chosen
    )
    evidence, curves = _evidence(
        scene, version, policy, ask, plan=plan, found=found, market=market, threshold=threshold
    )

    dataset = keep_dataset(store, chosen.dataset, now_ms)
    against = judge_evidence(evidence, found.metrics.net_pnl_after_fees)
    reasons = (*found.verdict.reasons, *against.reasons)
    if _is_in_sample(store, version, ask.period):
        reasons = (*reasons, IN_SAMPLE)
    report = _report(
        version,
        ask,
        found,
        dataset,
        reasons=reasons,
        threshold=threshold,
        engine=nautilus.ENGINE,
        now_ms=now_ms,
    )
    metrics, close_ms = found.metrics, market.tape.close_ms
    files = files_of(home).write(
        report.evaluation_id,
        tables_of(evidence, close_ms, metrics.equity, metrics.trades, curves),
    )
    report = replace(report, evidence=replace(evidence, files=files))
    kind = kinds.COMPARISONS if ask.is_comparison else kinds.EVALUATIONS
    store.put(kind, report.evaluation_id, report, at_ms=now_ms, event=_event(report))
    if sheet is not None:
        page = tearsheet(report, found.metrics, close_ms)
        publish(sheet, page.encode())
    progress(STAGES, report.verdict)
    return report


def files_of(home: Home) -> EvaluationFiles:
    """The evaluations' files of a desk."""
    return EvaluationFiles(shared_folder(home, "evaluations"))


def _agent(store: DocStore, agent_id: str) -> Agent:
    """The agent with its gate and threshold; the defaults for one that is not configured yet."""
    doc = store.get(kinds.AGENTS, agent_id)
    return doc.value if doc else Agent(agent_id=agent_id, name=agent_id, allowed_instruments=())


def _is_in_sample(store: DocStore, version: AgentVersion, period: Period) -> bool:
    """Whether the version was trained on candles of this very period and pair."""
    trained_on = store.get(kinds.DATASETS, version.dataset_id)
    if trained_on is None or trained_on.value.pair != period.pair:
        return False
    return period.start_ms < version.training_end_ms and version.training_start_ms < period.end_ms


def _plan(
    market: Market, chosen: Window, policy: MlpPolicy, ask: EvaluateAsk, threshold: float
) -> Plan:
    from desk.evaluation.fast import run_policy  # noqa: PLC0415 - numba takes seconds to import
    from desk.learning.arrays import MarketArrays  # noqa: PLC0415
    from desk.learning.policy_lanes import forward_lanes  # noqa: PLC0415

    run = run_policy(
        MarketArrays.from_market(market, chosen.features),
        forward_lanes(policy),
        levels=policy.levels,
        threshold=threshold,
        size_quote=float(ask.size_quote),
        cash=float(ask.cash),
        feature_limit=ask.feature_limit,
        protection=ask.protection,
        leverage=ask.leverage,
    )
    return run.plan


def _evidence(
    scene: Scene,
    version: AgentVersion,
    policy: MlpPolicy,
    ask: EvaluateAsk,
    *,
    plan: Plan,
    found: Assessment,
    market: Market,
    threshold: float,
) -> tuple[Evidence, dict[str, Floats]]:
    from desk.evaluation.rivals import Rival, Terms  # noqa: PLC0415 - as above
    from desk.evaluation.weigh import Judged, weigh  # noqa: PLC0415
    from desk.learning.policy_lanes import forward_lanes  # noqa: PLC0415

    judged = Judged(
        forward=forward_lanes(policy),
        levels=policy.levels,
        features=scene.seen.features,
        threshold=threshold,
        feature_limit=ask.feature_limit,
        plan=plan,
        metrics=found.metrics,
        trained=trained_rows(scene.store, version, scene.period, scene.seen.candles),
    )
    rivals = [
        Rival(
            name=each.name,
            version_id=each.policy.version_id,
            forward=forward_lanes(each.policy),
            levels=each.policy.levels,
            features=each.features,
        )
        for each in contenders(scene, version)
    ]
    terms = Terms(
        size_quote=float(ask.size_quote),
        cash=float(ask.cash),
        protection=ask.protection,
        leverage=ask.leverage,
    )
    weighed = weigh(
        market,
        judged,
        rivals,
        terms,
        folds=ask.weighing.folds,
        trials=ask.weighing.trials or trials_of(version),
        seed=ask.weighing.seed,
    )
    return weighed.evidence, weighed.curves


def _report(
    version: AgentVersion,
    ask: EvaluateAsk,
    found: Assessment,
    dataset: Dataset,
    *,
    reasons: tuple[str, ...],
    threshold: float,
    engine: str,
    now_ms: int,
) -> EvaluationReport:
    metrics, period = found.metrics, ask.period
    identity = f"{version.version_id}|{dataset.dataset_id}|{threshold}|{ask.size_quote}|{now_ms}"
    if ask.protection != NO_PROTECTION or ask.leverage is not None:
        identity += f"|{ask.protection}|{ask.leverage}"
    return EvaluationReport(
        evaluation_id="ev-" + hashlib.sha256(identity.encode()).hexdigest()[:20],
        agent_id=version.agent_id,
        version_id=version.version_id,
        is_baseline=version.is_baseline,
        pair=period.pair,
        interval=period.interval,
        period_start_ms=period.start_ms,
        period_end_ms=period.end_ms,
        decision_threshold=threshold,
        stop_loss_fraction=text_or_none(ask.protection.stop_loss_fraction),
        take_profit_fraction=text_or_none(ask.protection.take_profit_fraction),
        leverage=ask.leverage,
        engine=engine,
        candle_count=dataset.rows,
        trade_count=metrics.trade_count,
        win_rate=metrics.win_rate,
        net_pnl_after_fees=f"{metrics.net_pnl_after_fees:f}",
        fees=f"{metrics.fees:f}",
        funding=f"{metrics.funding:f}",
        starting_balance=f"{ask.cash:f}",
        final_balance=f"{metrics.final_balance:f}",
        max_drawdown=metrics.max_drawdown,
        sharpe=metrics.sharpe,
        exposure=metrics.exposure,
        buy_and_hold_pnl=f"{metrics.buy_and_hold_pnl:f}",
        parity_max_abs_diff=f"{found.parity.max_abs_diff:f}",
        fill_count=found.parity.engine_fills,
        verdict="fail" if reasons else "pass",
        reasons=reasons,
        feature_set_id=version.feature_set_id,
        dataset_id=dataset.dataset_id,
        dataset_sha256=dataset.sha256,
        fill_spec_id=period.fill_spec.spec_id,
        seed=version.seed,
        created_ms=now_ms,
        software={name: release(name) for name in ("nautilus_trader", "numpy", "numba")},
    )


def _event(report: EvaluationReport) -> Event:
    return ops_event(
        "evaluation",
        report.evaluation_id,
        {
            "agent_id": report.agent_id,
            "version_id": report.version_id,
            "pair": report.pair,
            "verdict": report.verdict,
            "reasons": list(report.reasons),
        },
        at_ms=report.created_ms,
    )

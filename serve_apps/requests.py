"""What the operator API accepts in bodies. An unknown field is an error, not ignored."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt

from desk.learning.training_window import MOST_MISSING_FRACTION

type Reason = Annotated[str, Field(max_length=500)]
type Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
type Fraction = Annotated[Decimal, Field(gt=0, lt=1, allow_inf_nan=False, max_digits=18)]
"""Of a price, above 0 and below 1: a decimal string, or a number."""
type StudyFraction = Annotated[
    Decimal, Field(gt=0, lt=1, allow_inf_nan=False, max_digits=9, decimal_places=8)
]
"""The same where compiled rules work with it."""
type Leverage = Annotated[int, Field(ge=1, le=1_000)]
type Coefficient = Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)]
type MissingFraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
type Target = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
type Millis = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Any time up to the year 9999."""


class Body(BaseModel):
    """Frozen base of every body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def example(fields: dict[str, JsonValue]) -> ConfigDict:
    """Config of a body with an example of it for `/openapi.json`."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class StartBody(Body):
    model_config = example(
        {
            "mode": "paper",
            "pair": "BTC-USDT",
            "risk_limit_set_id": "default",
            "decision_threshold": 0.35,
        }
    )

    mode: Literal["paper", "live"]
    pair: Annotated[str, Field(max_length=32)]
    risk_limit_set_id: Name
    version_id: Name | None = None
    decision_threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    learning_enabled: bool | None = None
    """None: as `RL_ONLINE_LEARNING_ENABLED` says."""
    learning_window_minutes: Annotated[int, Field(ge=1, le=527_040)] | None = None
    dataset_id: Name | None = None
    feature_set_id: Name | None = None
    stop_loss_fraction: Fraction | None = None
    """How far from the decided price each entry's protective stop stands; live needs one."""
    take_profit_fraction: Fraction | None = None
    confirm_token: Annotated[str, Field(max_length=100)] = ""
    """Of a preflight of the same start, at most a minute old; live needs one."""
    confirm_name: Annotated[str, Field(max_length=100)] = ""
    """`{agent_id}/{pair}`, spelled out; live needs it."""
    shadow: bool = False
    """Decide and record, never order."""


type Usdt = Annotated[Decimal, Field(allow_inf_nan=False, max_digits=18)]
type OfEquity = Annotated[Decimal, Field(allow_inf_nan=False, max_digits=18)]


class LimitsEditBody(Body):
    """Fields left out stay as they are."""

    model_config = example({"version": 1, "max_daily_loss": "150"})

    version: Annotated[StrictInt, Field(ge=0)] | None = None
    """Which revision the caller saw; a stale one is refused. None: whichever it is."""
    confirm_token: Annotated[str, Field(max_length=200)] = ""
    """Of a preflight of this edit; needed to loosen a set in use."""
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    max_position_size: Usdt | None = None
    leverage_cap: Usdt | None = None
    max_daily_loss: Usdt | None = None
    max_drawdown: OfEquity | None = None
    max_open_positions: StrictInt | None = None


class LimitsBody(Body):
    """A whole set: no limit has a default."""

    model_config = example(
        {
            "set_id": "careful",
            "name": "Careful",
            "max_position_size": "500",
            "leverage_cap": "2",
            "max_daily_loss": "100",
            "max_drawdown": "0.1",
            "max_open_positions": 1,
        }
    )

    set_id: Name
    name: Annotated[str, Field(min_length=1, max_length=64)]
    max_position_size: Usdt
    leverage_cap: Usdt
    max_daily_loss: Usdt
    max_drawdown: OfEquity
    max_open_positions: StrictInt


class ActivateBody(Body):
    model_config = example({"version": 1})

    version: Annotated[StrictInt, Field(ge=0)] | None = None


class PolicyBody(Body):
    """Guardrails of one account; fields left out stay as they are."""

    model_config = example({"account": "paper", "max_daily_loss": "0.02"})

    account: Name
    version: Annotated[StrictInt, Field(ge=0)] | None = None
    confirm_token: Annotated[str, Field(max_length=200)] = ""
    """Of a preflight of this edit; needed to loosen a guardrail."""
    max_total_exposure: OfEquity | None = None
    max_instrument_exposure: OfEquity | None = None
    max_open_positions: StrictInt | None = None
    max_daily_loss: OfEquity | None = None
    max_drawdown: OfEquity | None = None
    max_leverage: OfEquity | None = None
    circuit_breaker_loss: OfEquity | None = None
    cooldown_minutes: StrictInt | None = None
    flatten_on_drawdown: StrictBool | None = None


class LimitsPreflightBody(LimitsEditBody):
    """Ask what an edit of a limit set would need."""

    model_config = example(
        {"action": "risk-limits.edit", "set_id": "default", "max_daily_loss": "300"}
    )

    action: Literal["risk-limits.edit"]
    set_id: Name


class PolicyPreflightBody(PolicyBody):
    """Ask what an edit of an account's guardrails would need."""

    model_config = example(
        {"action": "risk-policy.edit", "account": "paper", "max_daily_loss": "0.04"}
    )

    action: Literal["risk-policy.edit"]


class BreakerResetBody(Body):
    model_config = example(
        {"account": "paper", "reason": "the feed was wrong, the loss was not real"}
    )

    account: Name
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class StartPreflightBody(StartBody):
    """Ask what would become of a start."""

    model_config = example(
        {
            "action": "start",
            "agent_id": "desk",
            "mode": "paper",
            "pair": "BTC-USDT",
            "risk_limit_set_id": "default",
        }
    )

    action: Literal["start"] = "start"
    agent_id: Name = "desk"


class ReasonBody(Body):
    model_config = example({"reason": "maintenance"})

    reason: Reason = ""


class LearningRunBody(Body):
    model_config = example({"agent_id": "desk", "pair": "BTC-USDT"})

    agent_id: Name = "desk"
    pair: Annotated[str, Field(max_length=32)] | None = None
    """None: that of the agent's run, or the only one it may trade."""


class StopBody(ReasonBody):
    model_config = example({"reason": "end of the trial", "flatten": True})

    flatten: bool = False
    """Close the run's position reduce-only."""


class CloseBody(ReasonBody):
    model_config = example({"quantity": "0.001", "reason": "half is enough"})

    quantity: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)] | None = None
    """None: the whole position."""
    client_order_id: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    """The caller's name of this close: asked again under it, the same order is answered. The id of
    one of the trade's entries instead is a check that the right trade is meant."""


class ReconcileBody(Body):
    model_config = example({"account": "paper"})

    account: Name | None = None
    """None: every account."""


class KillBody(ReasonBody):
    model_config = example({"on": True, "reason": "the venue looks wrong", "flatten": False})

    on: bool = True
    flatten: bool = False


class AgentConfigBody(Body):
    """What is left out stays as it is."""

    model_config = example({"allowed_instruments": ["BTC-USDT"], "min_confidence": 0.4})

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    allowed_instruments: (
        Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=200)] | None
    ) = None
    min_confidence: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """0 to 1: no run of the agent acts on less, whatever its own threshold."""
    decision_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """0 to 1: of runs that are started without one."""
    data_pause_lift: Annotated[str, Field(max_length=16)] | None = None
    """`manual`, or `auto`: a run that its data paused goes on by itself when it is whole again."""


class PromotionGateBody(Body):
    """What is left out stays as it is."""

    model_config = example({"min_trades": 30, "min_win_rate": 0.55})

    min_trades: StrictInt | None = None
    min_win_rate: Annotated[float, Field(allow_inf_nan=False)] | None = None
    min_net_pnl: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max_drawdown: Annotated[float, Field(allow_inf_nan=False)] | None = None


class SourcePoliciesBody(Body):
    """By type of source: `as_needed`, `required` or `forbidden`."""

    model_config = example({"policies": {"funding": "required"}})

    policies: Annotated[
        dict[Annotated[str, Field(max_length=32)], Annotated[str, Field(max_length=16)]],
        Field(min_length=1, max_length=32),
    ]


class BackfillBody(Body):
    model_config = example({"pair": "BTC-USDT", "interval": "1m", "max_batches": 2})

    pair: Annotated[str, Field(max_length=32)] | None = None
    """May be left out while exactly one pair is configured."""
    interval: Annotated[str, Field(max_length=4)] | None = None
    """None: the smallest configured interval."""
    start_ms: Millis | None = None
    end_ms: Millis | None = None
    max_batches: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class SourceTurnBody(Body):
    """Which of the exchange's sources are meant; what is left out means every one."""

    model_config = example(
        {"source_type": "bingx_candles", "pair": "BTC-USDT", "interval": "1m", "dry_run": True}
    )

    source_type: Annotated[str, Field(max_length=32)] | None = None
    pair: Annotated[str, Field(max_length=32)] | None = None
    interval: Annotated[str, Field(max_length=4)] | None = None
    """Of candles only."""
    dry_run: bool = False
    """Say what would be turned, and which runs would pause, without turning it."""


class SourceConfigBody(Body):
    """One row, and what to set in it: a source of the exchange by pair (candles by interval too), a
    source of signals by its id."""

    model_config = example(
        {
            "source_type": "bingx_candles",
            "pair": "BTC-USDT",
            "interval": "1m",
            "freshness_threshold_s": 120,
        }
    )

    source_type: Annotated[str, Field(max_length=32)]
    source_id: Annotated[str, Field(max_length=64)] | None = None
    pair: Annotated[str, Field(max_length=32)] | None = None
    interval: Annotated[str, Field(max_length=4)] | None = None
    enabled: bool | None = None
    freshness_threshold_s: Annotated[int, Field(ge=1, le=10_000_000)] | None = None


class IngestionConfigBody(Body):
    """Every setting that is to differ from the environment's, by its name there."""

    model_config = example({"settings": {"DATA_GAP_HEAL_ENABLED": True}})

    settings: Annotated[
        dict[Annotated[str, Field(max_length=64)], StrictBool | StrictInt], Field(max_length=64)
    ]


class TrainingBody(Body):
    """Train a new version. Open bounds mean all stored candles; None the trainer's own default."""

    model_config = example(
        {"pair": "BTC-USDT", "interval": "1m", "timesteps": 20000, "seed": 7, "name": "first try"}
    )

    pair: Annotated[str, Field(max_length=32)]
    interval: Annotated[str, Field(max_length=4)] = "1m"
    start_ms: Millis | None = None
    end_ms: Millis | None = None
    timesteps: Annotated[int, Field(ge=1, le=10_000_000_000)] | None = None
    feature_set_id: Name | None = None
    """None: the built-in one."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    name: Annotated[str, Field(max_length=100)] = ""
    levels: Annotated[tuple[Target, ...], Field(min_length=2, max_length=21)] | None = None
    """Target of each action, rising; None: short, flat and long."""
    stop_loss_fraction: StudyFraction | None = None
    """Exits that every position has, as a run's."""
    take_profit_fraction: StudyFraction | None = None
    leverage: Leverage | None = None
    """Of isolated margin, whose loss ends an episode; None: nothing is liquidated."""
    turnover_coefficient: Coefficient = 0.0
    """Reward lost for trading once the account, beside fees, in log-growth."""
    drawdown_coefficient: Coefficient = 0.0
    """Reward lost for an episode's deepest drawdown, in log-growth for all of the account."""
    algorithm: Annotated[str, Field(max_length=32)] = "ppo"
    """`ppo`, `dqn`, or `bc`, which clones the trend rule."""
    parameters: Annotated[
        dict[
            Annotated[str, Field(max_length=64)],
            StrictBool | StrictInt | float | Annotated[str, Field(max_length=32)] | list[StrictInt],
        ],
        Field(max_length=64),
    ] = {}
    """The algorithm's own numbers, by the names of `desk.learning.training_spec.PARAMETERS`."""
    dataset_id: Name | None = None
    """A stored dataset that is to be trained on; its period where none is given."""
    most_missing_fraction: MissingFraction = MOST_MISSING_FRACTION
    """Of the period's candles; with more missing it is refused."""


class WalkForwardBody(Body):
    """Folds of candles that are there: train before a gap of `purge_bars` and `embargo_bars`, then test."""

    model_config = example(
        {"folds": 5, "purge_bars": 60, "embargo_bars": 60, "min_train_bars": 1000}
    )

    folds: Annotated[int, Field(ge=1, le=100)]
    purge_bars: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    embargo_bars: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    min_train_bars: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class EvaluationBody(Body):
    model_config = example(
        {
            "pair": "BTC-USDT",
            "interval": "1m",
            "period_start_ms": 1764000000000,
            "period_end_ms": 1764086400000,
            "agent_version_id": "baseline-trend-v1",
        }
    )

    pair: Annotated[str, Field(max_length=32)]
    period_start_ms: Millis
    period_end_ms: Millis
    interval: Annotated[str, Field(max_length=4)] = "1m"
    agent_version_id: Name | None = None
    dataset_id: Name | None = None
    feature_set_id: Name | None = None
    decision_threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    stop_loss_fraction: StudyFraction | None = None
    """Exits that every position has, as a run's."""
    take_profit_fraction: StudyFraction | None = None
    leverage: Leverage | None = None
    """Of isolated margin, whose loss fails the evaluation; None: nothing is liquidated."""
    walk_forward: WalkForwardBody | None = None
    """None: five folds without gaps, fewer on few candles."""
    trials: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Policies that were tried before this one was chosen, itself included; None: those its card tells."""
    most_missing_fraction: MissingFraction = MOST_MISSING_FRACTION
    """Of the period's candles; with more missing it is refused."""


class PromoteBody(Body):
    model_config = example({"pair": "BTC-USDT"})

    pair: Annotated[str, Field(max_length=32)] | None = None
    """The pair the version shall trade; may be left out while the agent may trade only one."""
    confirm_token: Annotated[str, Field(max_length=200)] = ""
    """Of a preflight of this promotion, at most a minute old; who is logged in on the pages needs one."""
    confirm_name: Annotated[str, Field(max_length=100)] = ""
    """The version's id, spelled out; goes with the token."""


class PromotePreflightBody(Body):
    """Ask what would become of a promotion."""

    model_config = example(
        {
            "action": "version.promote",
            "agent_id": "desk",
            "version_id": "baseline-trend-v1",
            "pair": "BTC-USDT",
        }
    )

    action: Literal["version.promote"]
    agent_id: Name = "desk"
    version_id: Name
    pair: Annotated[str, Field(max_length=32)] | None = None
    """As of a promotion."""

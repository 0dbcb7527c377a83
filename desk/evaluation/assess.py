"""From an engine's replay of a plan to figures, parity and verdict."""

from dataclasses import dataclass
from decimal import Decimal

from desk.evaluation.gates import GateVerdict, Parity, PromotionGate, judge
from desk.evaluation.metrics import Metrics, measure
from desk.evaluation.plan import Replay, fold
from desk.trading.fills import ZERO
from desk.trading.instruments import Instrument
from desk.trading.tape import Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What an evaluation says, all of it from the engine's own fills."""

    metrics: Metrics
    parity: Parity
    verdict: GateVerdict


def assess(
    market: Market, engine: Replay, twin: Replay, cash: Decimal, gate: PromotionGate
) -> Assessment:
    """Measure the engine's replay, and hold it against the `Decimal` twin's and the gate."""
    metrics = measure(market, engine, cash)
    parity = compare(engine, twin, cash, market.instrument)
    return Assessment(metrics=metrics, parity=parity, verdict=judge(metrics, parity, gate))


def compare(engine: Replay, twin: Replay, cash: Decimal, instrument: Instrument) -> Parity:
    """How far two replays of one plan are apart: balance, its fold from fills, fees, funding."""
    differences = (
        engine.balance - twin.balance,
        fold(engine.fills, engine.funding, cash, instrument) - twin.balance,
        _fees(engine) - _fees(twin),
        _funding(engine) - _funding(twin),
    )
    return Parity(
        max_abs_diff=max(abs(difference) for difference in differences),
        engine_fills=len(engine.fills),
        twin_fills=len(twin.fills),
    )


def _fees(done: Replay) -> Decimal:
    return sum((fill.fee for fill in done.fills), ZERO)


def _funding(done: Replay) -> Decimal:
    return sum((payment.amount for payment in done.funding), ZERO)

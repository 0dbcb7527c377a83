"""What an operator may change of an agent, checked field by field; nothing else of it moves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import isfinite

from desk.errors import BadInput
from desk.ids import Pair, parse_pair
from desk.runs import Agent, PauseLift, PromotionGate, SourcePolicy


def with_config(
    agent: Agent,
    *,
    tradable: Collection[Pair],
    name: str | None = None,
    allowed_instruments: Sequence[str] | None = None,
    min_confidence: float | None = None,
    decision_threshold: float | None = None,
    data_pause_lift: str | None = None,
) -> Agent:
    """The agent with these settings; None leaves one as it is.

    `tradable` are the pairs that are polled. A pair that is taken off pauses the agent's run on it at
    its next candle; exits still pass. Raises `BadInput` with the field.
    """
    after = agent
    if name is not None:
        if not name.strip():
            raise BadInput("name", "was empty, expected a name")
        after = replace(after, name=name.strip())
    if allowed_instruments is not None:
        after = replace(after, allowed_instruments=_pairs(allowed_instruments, tradable))
    if min_confidence is not None:
        after = replace(after, min_confidence=_share("min_confidence", min_confidence))
    if decision_threshold is not None:
        after = replace(after, decision_threshold=_share("decision_threshold", decision_threshold))
    if data_pause_lift is not None:
        after = replace(after, data_pause_lift=_one_of("data_pause_lift", data_pause_lift))
    return after


def with_gate(
    agent: Agent,
    *,
    min_trades: int | None = None,
    min_win_rate: float | None = None,
    min_net_pnl: float | None = None,
    max_drawdown: float | None = None,
) -> Agent:
    """The agent with another promotion gate; None leaves a figure as it is. Raises `BadInput`."""
    before = agent.promotion_gate
    gate = PromotionGate(
        min_trades=before.min_trades if min_trades is None else min_trades,
        min_win_rate=before.min_win_rate
        if min_win_rate is None
        else _share("min_win_rate", min_win_rate),
        min_net_pnl=before.min_net_pnl if min_net_pnl is None else min_net_pnl,
        max_drawdown=before.max_drawdown
        if max_drawdown is None
        else _share("max_drawdown", max_drawdown),
    )
    if gate.min_trades < 1:
        raise BadInput("min_trades", f"was {gate.min_trades}, expected at least 1")
    if not (isfinite(gate.min_net_pnl) and gate.min_net_pnl >= 0.0):
        raise BadInput("min_net_pnl", f"was {gate.min_net_pnl}, expected 0 or more USDT")
    if gate.max_drawdown == 0.0:
        raise BadInput("max_drawdown", "was 0, expected a fraction above 0: no trader has none")
    return replace(agent, promotion_gate=gate)


def with_policies(
    agent: Agent,
    policies: Mapping[str, str],
    *,
    requirable: Collection[str],
    forbiddable: Collection[str],
) -> Agent:
    """The agent with these source policies beside those it has. Raises `BadInput` with the type.

    `requirable` are types whose state can be asked for without features that look at them,
    `forbiddable` those that features can do without.
    """
    after = dict(agent.source_policies)
    for source_type, text in policies.items():
        field = f"policies.{source_type}"
        known = {*requirable, *forbiddable}
        if source_type not in known:
            raise BadInput(field, f"is no source type with a policy: {' '.join(sorted(known))}")
        try:
            policy = SourcePolicy(text)
        except ValueError:
            raise BadInput(field, f"was {text!r}, expected {' '.join(SourcePolicy)}") from None
        if policy is SourcePolicy.REQUIRED and source_type not in requirable:
            problem = "cannot be required by itself: choose a feature set that looks at it"
            raise BadInput(field, problem)
        if policy is SourcePolicy.FORBIDDEN and source_type not in forbiddable:
            raise BadInput(field, "cannot be forbidden: no features look at it")
        after[source_type] = policy
    kept = {name: one for name, one in after.items() if one is not SourcePolicy.AS_NEEDED}
    return replace(agent, source_policies=kept)


def _pairs(texts: Sequence[str], tradable: Collection[Pair]) -> tuple[Pair, ...]:
    pairs = tuple(dict.fromkeys(parse_pair(text) for text in texts))
    if not pairs:
        raise BadInput(
            "allowed_instruments", "was empty, expected a pair: use the kill switch to stop trading"
        )
    if unknown := [pair for pair in pairs if pair not in tradable]:
        raise BadInput(
            "allowed_instruments",
            f"named {' '.join(unknown)}, expected some of those that are polled"
            f" ({' '.join(sorted(tradable))}): add it to BINGX_MARKET_DATA_PAIRS",
        )
    return pairs


def _share(field: str, value: float) -> float:
    if not (isfinite(value) and 0.0 <= value <= 1.0):
        raise BadInput(field, f"was {value}, expected a number from 0 to 1")
    return value


def _one_of(field: str, text: str) -> PauseLift:
    try:
        return PauseLift(text)
    except ValueError:
        raise BadInput(field, f"was {text!r}, expected {' '.join(PauseLift)}") from None

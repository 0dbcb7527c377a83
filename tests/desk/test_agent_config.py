"""What may be changed of an agent, and everything that is refused by its field."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.agent_config import with_config, with_gate, with_policies
from desk.errors import BadInput
from desk.runs import Agent, PauseLift, PromotionGate, SourcePolicy

PAIRS = ("BTC-USDT", "ETH-USDT")
AGENT = Agent(agent_id="desk", name="Desk", allowed_instruments=("BTC-USDT",))
TYPES: dict[str, Any] = {
    "requirable": {"mark_price", "funding"},
    "forbiddable": {"funding", "telegram"},
}


def configured(**changes: Any) -> Agent:
    return with_config(AGENT, tradable=PAIRS, **changes)


def policies(**chosen: str) -> Agent:
    return with_policies(AGENT, chosen, **TYPES)


def test_what_is_not_given_stays() -> None:
    assert configured() == AGENT
    assert with_gate(AGENT) == AGENT
    assert policies() == AGENT


def test_what_is_given_is_changed_and_nothing_else() -> None:
    agent = configured(allowed_instruments=["eth-usdt", "ETH-USDT"], data_pause_lift="auto")

    assert agent.allowed_instruments == ("ETH-USDT",)
    assert agent.data_pause_lift is PauseLift.AUTO
    assert (agent.name, agent.min_confidence) == (AGENT.name, AGENT.min_confidence)
    assert with_gate(AGENT, min_trades=30).promotion_gate == PromotionGate(min_trades=30)


@given(share=st.floats(0, 1))
def test_every_share_from_nothing_to_all_is_taken(share: float) -> None:
    agent = configured(min_confidence=share, decision_threshold=share)

    assert (agent.min_confidence, agent.decision_threshold) == (share, share)
    assert with_gate(AGENT, min_win_rate=share).promotion_gate.min_win_rate == share


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", lambda: configured(name="  ")),
        ("allowed_instruments", lambda: configured(allowed_instruments=[])),
        ("allowed_instruments", lambda: configured(allowed_instruments=["SOL-USDT"])),
        ("pair", lambda: configured(allowed_instruments=["nonsense"])),
        ("min_confidence", lambda: configured(min_confidence=1.01)),
        ("min_confidence", lambda: configured(min_confidence=float("nan"))),
        ("decision_threshold", lambda: configured(decision_threshold=-0.01)),
        ("data_pause_lift", lambda: configured(data_pause_lift="sometimes")),
        ("min_trades", lambda: with_gate(AGENT, min_trades=0)),
        ("min_win_rate", lambda: with_gate(AGENT, min_win_rate=1.5)),
        ("min_net_pnl", lambda: with_gate(AGENT, min_net_pnl=-1.0)),
        ("min_net_pnl", lambda: with_gate(AGENT, min_net_pnl=float("inf"))),
        ("max_drawdown", lambda: with_gate(AGENT, max_drawdown=0.0)),
        ("max_drawdown", lambda: with_gate(AGENT, max_drawdown=-0.1)),
        ("policies.bingx_candles", lambda: policies(bingx_candles="as_needed")),
        ("policies.mark_price", lambda: policies(mark_price="maybe")),
        ("policies.mark_price", lambda: policies(mark_price="forbidden")),
        ("policies.telegram", lambda: policies(telegram="required")),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(
    field: str, change: Callable[[], Agent]
) -> None:
    with pytest.raises(BadInput) as refused:
        change()

    assert refused.value.field == field


def test_a_policy_is_set_beside_the_others_and_taken_back() -> None:
    agent = policies(mark_price="required", funding="forbidden")
    agent = with_policies(agent, {"mark_price": "as_needed"}, **TYPES)

    assert agent.source_policies == {"funding": SourcePolicy.FORBIDDEN}

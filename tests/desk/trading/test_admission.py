"""Rules of pair, mode, side and size, each by its name."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from desk.trading import admission
from desk.trading.admission import Mandate
from desk.trading.orders import Leg, Side
from desk.trading.risk import Refused
from tests.desk.trading.builders import INSTRUMENT, PAIR, an_intent

MANDATE = Mandate(account="paper", pair=PAIR, allowed_pairs=(PAIR, "ETH-USDT"))
EXIT: dict[str, Any] = {"leg": Leg.EXIT, "reduce_only": True, "side": Side.SELL}


def refused(held: str = "0", **changes: Any) -> Refused | None:
    asked: dict[str, Any] = {"instrument": INSTRUMENT, "mandate": MANDATE}
    asked |= {name: changes.pop(name) for name in ("instrument", "mandate") if name in changes}
    intent = replace(an_intent("1"), **changes)
    return admission.check(intent, held_quantity=Decimal(held), **asked)


def test_what_breaks_no_rule_passes() -> None:
    assert refused() is None
    assert refused("1", **EXIT) is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"instrument": None}, "pair_unknown"),
        ({"mandate": None}, "run_unknown"),
        ({"account": "live"}, "mode_not_allowed"),
        ({"pair": "ETH-USDT"}, "pair_not_allowed"),
        ({"mandate": replace(MANDATE, allowed_pairs=("ETH-USDT",))}, "pair_not_allowed"),
        ({"instrument": replace(INSTRUMENT, tradable=False)}, "pair_not_tradable"),
        ({"quantity": Decimal("0.00015")}, "quantity_off_lot"),
        ({"quantity": Decimal(0)}, "quantity_off_lot"),
        (
            {"instrument": replace(INSTRUMENT, min_quantity=Decimal(2))},
            "quantity_below_minimum",
        ),
        ({"quantity": Decimal("0.0199")}, "notional_below_minimum"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_refused_by_its_name(
    changes: dict[str, Any], rule: str
) -> None:
    verdict = refused(**changes)

    assert verdict is not None
    assert verdict.limit == rule
    assert verdict.asked != verdict.allowed


@pytest.mark.parametrize("held", ["0", "-1"])
def test_an_exit_must_reduce_what_is_held(held: str) -> None:
    verdict = refused(held, **EXIT)

    assert verdict is not None
    assert verdict.limit == "side_not_allowed"


def test_an_exit_passes_without_a_mandate_below_the_minimum_and_on_a_closed_pair() -> None:
    halted = replace(INSTRUMENT, tradable=False)

    assert refused("1", mandate=None, instrument=halted, quantity=Decimal("0.0001"), **EXIT) is None

"""One fault at a time, as often as it can come, so that no other one hides what it does."""

from collections import Counter

import pytest

from tests.dst.mix import Mix
from tests.dst.world import Plan, play

SEEDS = 25


def fault(name: str, *rows: str, **changes: object) -> object:
    """A mix of one fault, marked with the rows of the catalogue that it stands for.

    The venue is the slowest within the bounds, and never says by itself that an id is in use.
    """
    mix = Mix(**{"visibility_s": 1.5, "venue_refuses_ids_twice": False, **changes})  # pyright: ignore[reportArgumentType]
    return pytest.param(mix, id=name, marks=[pytest.mark.catalogue(row) for row in rows])


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "mix",
    [
        fault("no fault"),
        fault("answers to orders get lost", "O06", lost_reply=0.8),
        fault("orders get lost", "O07", lost_request=0.6),
        fault("orders arrive after we gave up", "O08", late_request=0.9),
        fault("late orders and lost answers", "O08", late_request=0.7, lost_reply=0.7),
        fault("errors instead of answers", "O29", error_before=0.4, error_after=0.4),
        fault("ids are said to be in use", "O11", lost_reply=0.6, venue_refuses_ids_twice=True),
        fault("fills come twice and late", "O12", duplicate_fill_row=0.9, late_fill_row=0.9),
        fault("partial fills end with a cancel", "O13", cancels=1.0, venue_ends_order=0.5),
        fault("fills after the end", "O14", cancels=0.8, fill_after_end=0.9),
        fault("look-ups miss what is there", "O15", blind_look_up=0.6, lost_reply=0.5),
        fault("somebody trades by hand", "O16", manual_trade_at_s=12.0),
        fault("somebody else's order rests", "O17", foreign_order=True, cancels=1.0),
        fault("refusals for margin", "O20", refusal=0.5),
        fault("refusals without proof", "O19", likely_refusal=0.5),
        fault("two executors live", "O25", split_brain=True, lost_reply=0.3),
        fault("the venue goes dark", "O26", outage_at_s=8.0, lost_reply=0.2),
        fault("the kill switch", "O30", kill_at_s=12.0, lost_reply=0.3, cancels=0.3),
        fault("positions are closed twice at once", "O31", closes=1.0),
        fault("decisions come twice at once", "O09", repeat_decision=1.0, lost_call=0.3),
        fault("the store forgets to answer", "I08", store_before=0.1, store_after=0.1),
        fault("everybody dies often", "I04", crash=0.03),
        fault(
            "clocks disagree", "O24", skew_ms=4_000, is_skewed=True, venue_refuses_ids_twice=True
        ),
    ],
)
def test_one_fault_alone_breaks_no_promise(mix: Mix) -> None:
    outcomes = [play(seed, mix=mix, plan=Plan(decisions=7)) for seed in range(SEEDS)]

    assert {one.seed: one.breaches for one in outcomes if one.breaches} == {}
    assert Counter(one.orders > 0 for one in outcomes)[True] > SEEDS * 0.5

"""The spread of trades by result: every trade in its bin, in few bins that read well."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.evaluation.pnl_histogram import MOST_BINS, pnl_histogram

PNL = st.lists(
    st.decimals(min_value=-50_000, max_value=50_000, places=4, allow_nan=False), max_size=60
)


@given(pnl=PNL, most=st.integers(3, MOST_BINS))
def test_every_trade_lies_in_the_bin_that_holds_its_result(pnl: list[Decimal], most: int) -> None:
    spread = pnl_histogram(pnl, most_bins=most)

    bounds = list(pairwise(spread.edges))
    assert len(bounds) == len(spread.counts) <= most
    found = [sum(low <= value < high for value in pnl) for low, high in bounds]
    assert found == list(spread.counts)
    assert sum(found) == len(pnl)


@given(pnl=PNL.filter(bool))
def test_bins_are_equally_wide_by_a_round_number_and_none_mixes_losses_with_wins(
    pnl: list[Decimal],
) -> None:
    edges = pnl_histogram(pnl).edges

    widths = {high - low for low, high in pairwise(edges)}
    assert len(widths) == 1
    (width,) = widths
    assert width.normalize().as_tuple().digits in {(1,), (2,), (5,)}
    assert all(edge % width == 0 for edge in edges)


@given(pnl=PNL.filter(bool))
def test_no_bin_at_an_end_is_empty_and_the_order_of_trades_does_not_matter(
    pnl: list[Decimal],
) -> None:
    spread = pnl_histogram(pnl)

    assert spread.counts[0]
    assert spread.counts[-1]
    assert pnl_histogram(pnl[::-1]) == spread


def test_no_trades_make_no_bins_and_equal_ones_a_single_bin() -> None:
    assert pnl_histogram(()).counts == ()
    assert pnl_histogram([Decimal("-7")] * 3).counts == (3,)
    assert pnl_histogram([Decimal(0)]).edges == (0, 1)


def test_a_result_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match="pnl"):
        pnl_histogram([Decimal("nan")])

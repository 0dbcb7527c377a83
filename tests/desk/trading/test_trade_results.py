"""Figures over closed trades: they add up, stay within their bounds, and are never undefined."""

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from desk.clock import DAY_MS
from desk.trading.trade_results import Standing, TradeResult, drawdown, standing

STARTING = Decimal(10_000)
nets = st.decimals(-900, 900, places=2)


@st.composite
def histories(draw: st.DrawFn) -> list[TradeResult]:
    found = draw(st.lists(st.tuples(nets, st.integers(0, 40 * DAY_MS)), max_size=12))
    return [
        TradeResult(
            pair="BTC-USDT", net=net, stake=Decimal(400), opened_ms=at_ms, closed_ms=at_ms + 60_000
        )
        for net, at_ms in found
    ]


def figures(results: list[TradeResult]) -> Standing:
    equity = max(STARTING + sum((row.net for row in results), Decimal(0)), Decimal(0))
    return standing(results, starting=STARTING, equity=equity, since_ms=0, to_ms=40 * DAY_MS)


@given(histories())
def test_every_trade_is_won_or_lost_and_no_figure_is_undefined(results: list[TradeResult]) -> None:
    found = figures(results)

    assert found.won + found.lost == len(results)
    assert found.won == sum(row.net >= 0 for row in results)
    assert 0 <= found.win_rate <= 1
    assert (found.profit_factor is None) == (found.lost == 0)
    for value in (found.expectancy, found.sharpe, found.sortino, found.sqn, found.calmar):
        assert math.isfinite(value)
    assert math.isfinite(found.cagr)


@given(histories())
def test_the_deepest_fall_is_the_largest_of_all_falls_from_a_height(
    results: list[TradeResult],
) -> None:
    found = drawdown(results, starting=STARTING)

    sums, total = [0.0], 0.0
    for row in sorted(results, key=lambda row: row.closed_ms):
        total += float(row.net)
        sums.append(total)
    falls = [sums[i] - sums[j] for i in range(len(sums)) for j in range(i, len(sums))]
    assert math.isclose(found.amount, max(falls), abs_tol=1e-6)
    assert math.isclose(found.current_amount, max(sums) - total, abs_tol=1e-6)
    assert found.current_amount <= found.amount + 1e-6
    assert (found.start_ms is None) == (found.amount == 0)


@given(histories(), st.integers(2, 5))
def test_the_same_history_on_more_capital_falls_by_a_smaller_share(
    results: list[TradeResult], times: int
) -> None:
    once = drawdown(results, starting=STARTING)
    more = drawdown(results, starting=STARTING * times)

    assert more.amount == once.amount
    assert more.fraction <= once.fraction


def test_an_account_that_doubled_in_a_year_grew_by_its_whole() -> None:
    row = TradeResult(
        pair="BTC-USDT", net=STARTING, stake=STARTING, opened_ms=0, closed_ms=365 * DAY_MS
    )

    found = standing([row], starting=STARTING, equity=STARTING * 2, since_ms=0, to_ms=365 * DAY_MS)

    assert math.isclose(found.cagr, 1.0)
    assert row.ratio == 1.0

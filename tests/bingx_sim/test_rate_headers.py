"""The headers that say how much an address may still ask, and pairs listed for a crowd of pollers."""

import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

TIME = "/openApi/swap/v2/server/time?timestamp=1"


def ask(sim: Any) -> Any:
    with urllib.request.urlopen(sim.url + TIME, timeout=10) as answer:
        return answer.headers, answer.read().decode()


def test_no_rate_headers_unless_asked_for(simulator: Any) -> None:
    headers, _ = ask(simulator)

    assert "x-ratelimit-requests-remain" not in headers


def test_the_rate_headers_count_down_and_then_the_address_is_refused(
    start_simulator: Callable[..., Any],
) -> None:
    sim = start_simulator(rate_budget=3)

    answers = [ask(sim) for _ in range(4)]

    assert [int(headers["x-ratelimit-requests-remain"]) for headers, _ in answers] == [2, 1, 0, 0]
    ends = {int(headers["x-ratelimit-requests-expire"]) for headers, _ in answers}
    assert max(ends) - min(ends) <= 50  # all speak of one window
    assert ['"code":100410' in body for _, body in answers] == [False, False, False, True]


def test_the_budget_is_a_habit_that_the_control_plane_turns(simulator: Any) -> None:
    simulator.control("POST", "habits", {"rate_budget": 7})

    assert ask(simulator)[0]["x-ratelimit-requests-remain"] == "6"
    assert simulator.control("GET", "habits")["rate_budget"] == 7


def test_a_crowd_of_pairs_is_listed_with_candles_of_its_own(
    start_simulator: Callable[..., Any],
) -> None:
    sim = start_simulator(extra_pairs=47)

    prices = sim.state()["prices"]

    assert len(prices) == 50
    assert float(prices["X047-USDT"]) > float(prices["X001-USDT"]) > 0


@pytest.mark.parametrize("options", [{"extra_pairs": 501}, {"rate_budget": -1}])
def test_a_count_out_of_range_is_refused_at_the_start(
    options: dict[str, int], start_simulator: Callable[..., Any]
) -> None:
    with pytest.raises(RuntimeError, match="must be 0 to"):
        start_simulator(**options)

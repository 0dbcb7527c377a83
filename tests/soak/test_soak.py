"""The soak's own rules: that it kills all in turn, sees growth where there is some, and notices a breach."""

import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.drills.exchange import Simulator
from desk.store.port import Event, Stream
from desk.trading.orders import TRANSITIONS, OrderState
from tests.conftest import SimulatorProcess
from tests.soak.history import History
from tests.soak.journal import OrderJournal
from tests.soak.memory import LEAST_S, MB, WARM_UP_S, Watched, slope_mb_per_hour
from tests.soak.processes import HEAD_PROCESSES, KNOWN, takes_head
from tests.soak.run import RESULT
from tests.soak.schedule import blows, choose, is_mortal, part_at
from tests.soak.told import Found, report

STATES = st.sampled_from(list(OrderState))


@given(st.integers(0, 99), st.floats(60, 86_400), st.integers(2, 500))
def test_every_blow_falls_within_the_time_in_order_and_the_first_takes_the_head(
    seed: int, seconds: float, kills: int
) -> None:
    found = blows(seed, seconds, kills)

    assert found == blows(seed, seconds, kills)
    assert len(found) == kills
    assert [blow.at_s for blow in found] == sorted(blow.at_s for blow in found)
    assert all(0 <= blow.at_s < seconds for blow in found)
    assert [blow.takes_head for blow in found] == [True] + [False] * (kills - 1)


@given(st.text(max_size=12), st.booleans())
def test_each_process_may_be_killed_at_some_time_and_is_left_alone_at_another(
    name: str, only_at_first: bool
) -> None:
    mortal = [is_mortal(name, part, only_at_first=only_at_first) for part in range(3)]

    assert mortal[0]
    assert mortal[1:].count(True) == (0 if only_at_first else 1)


@given(st.floats(60, 86_400))
def test_the_parts_cover_the_whole_time(seconds: float) -> None:
    assert part_at(0.0, seconds) == 0
    assert part_at(0.3 * seconds, seconds) == 1
    assert part_at(seconds, seconds) == 2


@given(st.sets(st.text(max_size=12), max_size=20))
def test_the_choice_is_one_of_those_that_may_die(names: set[str]) -> None:
    chosen = choose(random.Random(1), sorted(names))

    assert chosen in names or (chosen is None and not names)


@pytest.mark.parametrize("name", [*sorted(HEAD_PROCESSES), "Ray's dashboard 2"])
def test_what_ray_itself_runs_takes_the_head_along(name: str) -> None:
    assert takes_head(name)
    assert not takes_head("policy replica 2")
    assert {*KNOWN.values()} >= HEAD_PROCESSES


def test_what_the_market_drives_is_judged_by_its_hours_and_the_rest_by_the_walls() -> None:
    watched = Watched()
    for at_s in range(0, round(WARM_UP_S + LEAST_S) + 20, 10):
        for name in ("store", "risk_ledger:live", "launcher", "Ray's monitor"):
            watched.read(name, 1, at_s, round(at_s / 3_600 * 60 * MB))

    told = report(Found(), watched, 0, 30.0)

    judged = {name: each["judged_mb_per_hour"] for name, each in told["memory"].items()}
    assert judged == pytest.approx(
        {"store": 2, "risk_ledger:live": 2, "launcher": 60, "Ray's monitor": 60}, abs=0.01
    )
    assert sorted(text.split(" grew")[0] for text in told["breaches"]) == [
        "Ray's monitor",
        "launcher",
    ]


def test_what_a_collector_takes_back_is_no_growth() -> None:
    watched = Watched()
    for at_s in range(0, round(WARM_UP_S + LEAST_S) + 20, 10):
        watched.read("launcher", 1, at_s, round((100 + at_s % 90 / 30) * MB))

    assert watched.slopes()["launcher"]["slope_mb_per_hour"] == pytest.approx(0, abs=0.01)


@given(st.floats(-50, 50), st.integers(0, 2**32 - 1), st.integers(3, 400))
def test_the_slope_is_that_of_the_line_whatever_a_spike_adds(
    slope: float, seed: int, count: int
) -> None:
    line = [(10.0 * at, round((200 + slope * at / 360) * MB)) for at in range(count)]
    spiked = list(line)
    at = random.Random(seed).randrange(count)
    spiked[at] = (spiked[at][0], spiked[at][1] + round(90 * MB))

    assert slope_mb_per_hour(line) == pytest.approx(slope, abs=0.01)
    if count > 30:
        assert slope_mb_per_hour(spiked) == pytest.approx(slope, abs=0.01)


def test_what_a_process_fills_at_first_is_no_growth_and_a_short_life_is_not_judged() -> None:
    watched = Watched()
    for at_s in range(0, round(WARM_UP_S + LEAST_S) + 20, 10):
        watched.read("filling", 1, at_s, round(min(at_s, WARM_UP_S) * MB))
        watched.read("leaking", 2, at_s, round(at_s / 3_600 * 7 * MB))
        if at_s < LEAST_S:
            watched.read("killed", 3, at_s, round(at_s * MB))

    slopes = watched.slopes()

    assert set(slopes) == {"filling", "leaking"}
    assert slopes["filling"]["slope_mb_per_hour"] == 0
    assert slopes["leaking"]["slope_mb_per_hour"] == pytest.approx(7, abs=0.01)
    series = watched.series_mb()
    assert set(series) == set(slopes)
    assert set(series["filling"]) == {WARM_UP_S}
    assert series["leaking"] == sorted(set(series["leaking"]))


def test_what_grew_in_the_first_third_of_a_long_life_and_then_no_more_is_no_leak() -> None:
    watched, grown_s = Watched(), 900.0
    for at_s in range(0, 2_800, 10):
        watched.read("filling", 1, at_s, round(min(at_s, grown_s) / 3_600 * 40 * MB))
        watched.read("leaking", 2, at_s, round(at_s / 3_600 * 6 * MB))

    slopes = watched.slopes()

    assert slopes["filling"]["slope_mb_per_hour"] == pytest.approx(0, abs=0.01)
    assert slopes["leaking"]["slope_mb_per_hour"] == pytest.approx(6, abs=0.01)


def moved(state: OrderState, filled: str = "0", cid: str = "rd1") -> Event:
    data = {"client_order_id": cid, "state": state.value, "filled_quantity": filled}
    return Event(
        topic="order", key=cid, data=data | {"quantity": "2"}, at_ms=1, stream=Stream.ORDERS
    )


@given(st.lists(STATES, min_size=1, max_size=8))
def test_a_move_that_the_table_does_not_have_is_a_breach_and_no_other(
    states: list[OrderState],
) -> None:
    history = History()
    history.hear(moved(state) for state in [OrderState.INTENT, *states])

    pairs = zip([OrderState.INTENT, *states], states, strict=False)
    wrong = [(was, now) for was, now in pairs if now is not was and now not in TRANSITIONS[was]]
    assert len(history.breaches) == len(wrong)


def test_an_order_from_nowhere_an_overfill_and_a_fill_told_twice_are_breaches() -> None:
    history = History()
    fill = {"client_order_id": "rd1", "order_state": "filled", "fill_id": "f1"}
    told = Event(topic="fill", key="t1", data=fill, at_ms=1, stream=Stream.ORDERS)

    history.hear([moved(OrderState.OPEN), moved(OrderState.PARTIAL, "1.5")])
    history.hear([moved(OrderState.PARTIAL, "1"), moved(OrderState.FILLED, "2.5"), told, told])

    assert [text.split(":")[0] for text in history.breaches] == ["S6", "S1", "S1", "S2"]
    assert history.filled["rd1"] == Decimal("2.5")


@pytest.mark.nightly
@pytest.mark.cluster
@pytest.mark.timeout(1_500)
def test_a_desk_that_is_killed_all_the_time_for_ten_minutes_keeps_its_books(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.run", "--minutes", "10"],
        capture_output=True, text=True, timeout=1_400, check=False,
    )  # fmt: skip

    told = json.loads(RESULT.read_text())
    with capsys.disabled():
        print("", told, sep="\n")
    assert done.returncode == 0, done.stderr[-4_000:]
    assert told["killed"] == 20
    assert told["looks"] > 10


def test_an_order_read_while_it_is_under_way_is_read_again_with_its_end(
    simulator: SimulatorProcess,
) -> None:
    simulator.fault({"kind": "delay", "ms": 1_000}, path="trade/order")
    with closing(Simulator(simulator.control_url)) as control, ThreadPoolExecutor() as threads:
        journal = OrderJournal(control)
        order = threads.submit(
            httpx2.post, f"{simulator.url}/openApi/swap/v2/trade/order", timeout=10.0
        )
        until_s = time.monotonic() + 10.0
        while not (seen := journal.after(0)) and time.monotonic() < until_s:
            time.sleep(0.01)
        assert [entry["answer_ms"] for entry in seen] == [0], "under way"
        order.result()

        [entry] = journal.after(0)

        assert (entry["answer_ms"] > 0, entry["status"]) == (True, 200)
        assert journal.after(entry["sequence"]) == []

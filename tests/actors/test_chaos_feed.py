"""Three pairs on a feed that does everything wrong: what is stored ends exactly as on a clean one.

The real simulator over real HTTP, the real store, the real poller and gap monitor, without Ray: a kill
drops the poller in the middle of its turn and builds a new one, as Ray would.
"""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.candle_messages import CandleClosed, Fetched, FetchRange, StartBackfill
from actors.candle_poller import CandlePoller, PollerParts
from actors.commands import BackfillAsk
from actors.decision_scene import read_scene
from actors.gap_monitor import GapMonitor, GapParts, Scan
from actors.names import ActorAway
from desk.clock import DAY_MS, MINUTE_MS
from desk.learning.study import Dataset
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.market.gaps import GapStatus
from desk.market.integrity import STALE_AFTER_INTERVALS
from desk.runs import Agent, Mode, Run, RunStatus
from desk.store import kinds
from desk.store.candles import CandleArchive
from desk.store.datasets import DatasetAsk, Datasets
from desk.store.history import History
from desk.store.memory import MemoryStore
from desk.store.valkey import ValkeyStore
from desk.venues import pager
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig
from tests.actors.stage import MarketTime

PAIRS = ("BTC-USDT", "ETH-USDT", "PAXG-USDT")
BEGIN_MS = 1_750_000_000_000 // DAY_MS * DAY_MS + 12 * 60 * MINUTE_MS
FREEZE, THAW, CALM, END = 20, 80, 121, 168
"""Minutes: the feed freezes for an hour, the chaos ends, and three cycles of the monitor later all does."""
MINUTES = [*range(1, 31), *range(35, 76, 5), *range(77, 125), *range(135, 166, 15), END]
"""What is lived through; in the frozen hour and when it is calm the minutes between are all alike."""
CYCLE = 15
KILLS = {
    8: ("BTC-USDT", "answered"),
    50: ("ETH-USDT", "written"),
    100: ("PAXG-USDT", "unwritten"),
}
"""In which minute which poller is killed, and where it stands then."""
ABSENT = range(-700, -697)
"""Minutes that the exchange has no candle of, and never will."""
LOST = range(90, 96)
"""Minutes whose candles the exchange does not tell before it is calm."""
NEEDED = FEATURES_V1.lookback


class Killed(BaseException):
    """The process ends here."""


class Fuse:
    """Ends the process at one place, once; everything else passes through."""

    def __init__(self) -> None:
        self.armed = ""

    def burn(self, place: str) -> None:
        if self.armed == place:
            self.armed = ""
            raise Killed(place)


class Venue:
    """The exchange as a poller sees it that may be killed when an answer has come."""

    def __init__(self, venue: BingxVenue, fuse: Fuse) -> None:
        self._venue, self._fuse = venue, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def candles(self, *asked: Any) -> Candles:
        answer = await self._venue.candles(*asked)
        self._fuse.burn("answered")
        return answer


class Store:
    """The store as a poller sees it that may be killed just before or just after a write."""

    def __init__(self, store: ValkeyStore, fuse: Fuse) -> None:
        self._store, self._fuse = store, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write_candles(self, pair: str, interval: str, candles: Candles) -> int:
        self._fuse.burn("unwritten")
        added = self._store.write_candles(pair, interval, candles)
        self._fuse.burn("written")
        return added


class Audience:
    """Who hears of closed candles."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    async def settle(self, pair: str, upto_open_ms: int) -> None: ...

    async def mark(self, prices: Mapping[str, Decimal], trace_id: str = "") -> None: ...

    async def tell(self, closed: CandleClosed) -> None:
        self.told.append((closed.pair, closed.open_ms))


class Desk:
    """The data plane of three pairs; one loop, and no actor turns unless it is told to."""

    def __init__(self, sim: Any, store: ValkeyStore, folder: Path) -> None:
        self.sim, self.store, self.clock = sim, store, MarketTime(BEGIN_MS)
        self.runner, self.audience, self.fuses = (
            asyncio.Runner(),
            Audience(),
            {pair: Fuse() for pair in PAIRS},
        )
        self.venue = BingxVenue(BingxConfig(base_url=sim.url, market_share=1e6))
        self.archive = CandleArchive(store, History(folder / "history"))
        self.datasets = Datasets(folder / "datasets", store, self.archive)
        self.pollers = {pair: self.new_poller(pair) for pair in PAIRS}
        self.monitor = GapMonitor(
            lambda: GapParts(
                store=store,
                clock=self.clock,
                fetcher=self,
                pairs=PAIRS,
                intervals=("1m",),
                every_min=CYCLE,
                max_attempts=3,
            )
        )
        self.restarts = 0
        self.judged: dict[tuple[str, int], tuple[bool, bool]] = {}
        """By pair and minute: was a run held back, and had it to be."""
        agent = Agent(agent_id="desk", name="Desk", allowed_instruments=PAIRS)
        store.put(kinds.AGENTS, "desk", agent, at_ms=BEGIN_MS)

    def new_poller(self, pair: str) -> CandlePoller:
        store: Any = Store(self.store, self.fuses[pair])
        venue: Any = Venue(self.venue, self.fuses[pair])
        parts = PollerParts(
            pair=pair,
            intervals=("1m",),
            store=store,
            venue=venue,
            clock=self.clock,
            listeners=self.audience,
        )
        return CandlePoller(lambda: parts)

    async def fetch(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Fetched:
        """The gap monitor's way to the pair's poller."""
        if pair not in self.pollers:
            raise ActorAway("candle_poller", pair)
        ask = FetchRange(pair=pair, interval=interval, start_ms=start_ms, end_ms=end_ms)
        return await self.pollers[pair].fetch(ask)

    async def start_backfill(self, job_id: str, ask: BackfillAsk) -> None:
        """The retry queue's way there."""
        await self.pollers[ask.pair].backfill(StartBackfill(job_id=job_id, ask=ask))

    def wait_for[R](self, work: Coroutine[Any, Any, R]) -> R:
        return self.runner.run(work)

    def close(self) -> None:
        self.wait_for(self.venue.close())
        self.runner.close()

    # --- the market goes on ---------------------------------------------------------------------

    def advance(self, by_ms: int) -> None:
        self.clock.set(int(self.sim.clock(advance_ms=by_ms)["market_ms"]))

    def minute(self, number: int) -> None:
        """A minute closes: polled, polled again where it was late, scanned in its turn, judged."""
        self.advance(BEGIN_MS + number * MINUTE_MS + 600 - self.clock.now_ms())
        if number in KILLS:
            pair, place = KILLS[number]
            self.fuses[pair].armed = place
        for _ in range(2):
            for pair in PAIRS:
                self.turn(pair)
            self.advance(400)
        if number % CYCLE == 0:
            self.wait_for(self.monitor.scan(Scan()))
        for pair in PAIRS:
            bounds = self.store.candle_bounds(pair, "1m")
            assert bounds is not None
            assert bounds[1] + MINUTE_MS <= self.clock.now_ms(), "a candle that may still change"
            self.judged[pair, number] = self.is_held(pair), self.is_doubtful(pair)

    def turn(self, pair: str) -> None:
        try:
            self.wait_for(self.pollers[pair].turn())
        except Killed:
            self.restarts += 1
            self.pollers[pair] = self.new_poller(pair)

    # --- what is known --------------------------------------------------------------------------

    def is_held(self, pair: str) -> bool:
        """Whether a run on the pair would be held back now, for the sake of its data."""
        run = Run(
            run_id="run1",
            agent_id="desk",
            account="paper",
            mode=Mode.PAPER,
            pair=pair,
            interval="1m",
            version_id="v1",
            risk_limit_set_id="default",
            decision_threshold=0.35,
            status=RunStatus.RUNNING,
            started_ms=BEGIN_MS,
        )
        scene = read_scene(
            self.store, run, now_ms=self.clock.now_ms(), speed=1.0, enforce_provenance=False
        )
        codes = {gate.code for gate in scene.admission.gates}
        return bool(codes & {"data_source_unavailable", "data_integrity_block"})

    def is_doubtful(self, pair: str) -> bool:
        """Whether it has to be, by the stored open times alone: too few, too old, or with a hole
        that is not the exchange's own as far as the ledger knows."""
        opens = self.store.last_candles(pair, "1m", NEEDED).open_ms
        age_ms = self.clock.now_ms() - int(opens[-1])
        grid = set(range(int(opens[0]), int(opens[-1]) + 1, MINUTE_MS))
        proven = {
            open_ms
            for gap in self.gaps(pair, GapStatus.ABSENT_AT_VENUE)
            for open_ms in range(gap.start_ms, gap.end_ms + 1, MINUTE_MS)
        }
        is_stale = age_ms > STALE_AFTER_INTERVALS * MINUTE_MS
        return len(opens) < NEEDED or is_stale or bool(grid - set(opens.tolist()) - proven)

    def gaps(self, pair: str, *statuses: GapStatus) -> list[Any]:
        rows = [doc.value for doc in self.store.list(kinds.GAPS, limit=10_000)]
        return [gap for gap in rows if gap.pair == pair and gap.status in statuses]

    def dataset(self, pair: str) -> Dataset:
        self.archive.flush(pair, "1m")
        return self.datasets.build(ask_for(pair), now_ms=self.clock.now_ms())


def ask_for(pair: str) -> DatasetAsk:
    """All of the first read and of the chaos but the first ten minutes."""
    return DatasetAsk(
        pair=pair,
        interval="1m",
        start_ms=BEGIN_MS + (-1_420 + NEEDED) * MINUTE_MS,
        end_ms=BEGIN_MS + (END - 3) * MINUTE_MS,
        features=FEATURES_V1,
    )


def spoil(sim: Any) -> None:
    """Everything at once, until it is calm. Later rules work on what earlier ones left."""

    def rule(name: str, action: dict[str, Any], first: int, last: int, **match: Any) -> None:
        during = {"from_ms": BEGIN_MS + first * MINUTE_MS, "to_ms": BEGIN_MS + last * MINUTE_MS}
        row = {"id": name, "match": {"path": "klines", **match, **during}, "action": action}
        sim.control("POST", "faults", row)

    for pair in PAIRS:
        for minute in (5, 12, 17, 84, 101, 110, 118):
            # As it is told first; two minutes later the exchange tells what it keeps.
            edit = {"open_ms": BEGIN_MS + minute * MINUTE_MS, "set": {"volume": "7.5"}}
            action = {"kind": "candles_edited", **edit}
            rule(f"edit {pair} {minute}", action, minute + 1, minute + 3, symbol=pair)
        lost = {"from_ms": BEGIN_MS + LOST.start * MINUTE_MS, "count": len(LOST)}
        rule(f"lost {pair}", {"kind": "candles_missing", **lost}, LOST.stop, CALM, symbol=pair)
        flip = {"kind": "candles_flip_flop", "count": 2}
        rule(f"flip-flop {pair}", flip, 0, CALM, symbol=pair)
    frozen = {"kind": "candles_frozen", "at_ms": BEGIN_MS + FREEZE * MINUTE_MS}
    rule("frozen", frozen, FREEZE, THAW)
    rule("holed", {"kind": "candles_holed", "fraction": 0.05}, -2, CALM)
    rule("duplicated", {"kind": "candles_duplicated", "count": 40}, -2, CALM)
    rule("unsorted", {"kind": "candles_unsorted"}, -2, CALM)


@pytest.fixture
def sim(shared_simulator: Any) -> Iterator[Any]:
    """The market stands still and moves when it is told to."""
    shared_simulator.clock(freeze=True)
    shared_simulator.reset(market_ms=BEGIN_MS)
    yield shared_simulator
    shared_simulator.clear_faults()
    shared_simulator.clock(freeze=False)
    shared_simulator.reset()


@pytest.fixture
def desk(sim: Any, store: ValkeyStore, tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(sim, store, tmp_path)
    yield opened
    opened.close()


def reference(desk: Desk, folder: Path) -> Callable[[str], Dataset]:
    """The same datasets of what the exchange keeps, read when all is calm."""
    history = History(folder / "clean")

    def build(pair: str) -> Dataset:
        async def read() -> None:
            ask = ask_for(pair)
            async for page in pager.page(desk.venue, pair, "1m", ask.first_ms, ask.end_ms):
                history.append(pair, "1m", page, "clean")

        desk.wait_for(read())
        store = MemoryStore()
        place = Datasets(folder / "reference", store, CandleArchive(store, history))
        return place.build(ask_for(pair), now_ms=1)

    return build


@pytest.mark.catalogue("D01")
@pytest.mark.catalogue("D02")
@pytest.mark.catalogue("D03")
@pytest.mark.catalogue("D06")
@pytest.mark.catalogue("D07")
@pytest.mark.catalogue("D10")
@pytest.mark.catalogue("D12")
@pytest.mark.timeout(300)
def test_a_feed_that_does_everything_wrong_leaves_what_a_clean_one_leaves(
    desk: Desk, sim: Any, tmp_path: Path
) -> None:
    for minute in ABSENT:
        gone = {"open_ms": BEGIN_MS + minute * MINUTE_MS, "missing": True}
        for pair in PAIRS:
            sim.control("POST", "market", {"pair": pair, "candle": gone})
    spoil(sim)

    for number in MINUTES:
        desk.minute(number)

    assert desk.restarts == len(KILLS)
    clean = reference(desk, tmp_path)
    for pair in PAIRS:
        assert desk.gaps(pair, GapStatus.OPEN, GapStatus.HEALING) == [], pair
        proven = desk.gaps(pair, GapStatus.ABSENT_AT_VENUE)
        assert [(gap.start_ms, gap.missing_points) for gap in proven] == [
            (BEGIN_MS + ABSENT.start * MINUTE_MS, len(ABSENT))
        ]
        assert len(desk.gaps(pair, GapStatus.RESOLVED)) > 10
        ours, theirs = desk.dataset(pair), clean(pair)
        assert (ours.sha256, ours.dataset_id) == (theirs.sha256, theirs.dataset_id), pair
        assert ours.missing == len(ABSENT)
        assert len(desk.store.list(kinds.revisions(pair, "1m"))) >= 1
        told = [open_ms for name, open_ms in desk.audience.told if name == pair]
        assert all(np.diff(told) >= 0)
    held = {place: was_held for place, (was_held, _) in desk.judged.items()}
    assert held == {place: had_to_be for place, (_, had_to_be) in desk.judged.items()}
    for pair in PAIRS:
        assert all(held[pair, number] for number in MINUTES if FREEZE + 3 < number < THAW)
        assert any(held[pair, number] for number in MINUTES if number < FREEZE)
        assert not held[pair, END]

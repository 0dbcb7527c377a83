"""The exchange with everything around it: engine, faults, journal, limits; how it is built."""

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from bingx_sim.accounts import Account
from bingx_sim.clock import MarketClock
from bingx_sim.errors import BadOption
from bingx_sim.exchange import Exchange, Habits
from bingx_sim.execution import Execution
from bingx_sim.faults import FaultPlan
from bingx_sim.instruments import CONTRACTS, list_more
from bingx_sim.journal import Journal
from bingx_sim.limits import Limits
from bingx_sim.market import PairMarket
from bingx_sim.matching import Engine
from bingx_sim.sources import GeneratedSource
from bingx_sim.state import load, restore, save
from bingx_sim.tape import TapeSource
from bingx_sim.trading import Trading

type Markets = dict[str, PairMarket]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a simulator is started with."""

    seed: int
    speed: float
    edge: float = 0.0
    start_ms: int | None = None
    tapes: tuple[tuple[str, Path], ...] = ()
    """Pairs replayed from a Parquet file."""
    tape_volume: str = "auto"
    accounts: tuple[tuple[str, str, Decimal], ...] = (("sim-key", "sim-secret", Decimal(10_000)),)
    limits: bool = True
    rate_budget: int = 0
    extra_pairs: int = 0
    habits: Habits
    state: Path | None = None


class Simulator:
    """One venue in one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        list_more(plan.extra_pairs)
        saved = None if plan.state is None else load(plan.state)
        if saved is not None and saved.seed != plan.seed:
            text = f"the state file {plan.state} was made with seed {saved.seed}, not {plan.seed}"
            raise BadOption(f"{text}; start with that seed or move the file away")
        market_ms = plan.start_ms if saved is None else saved.market_ms
        speed = plan.speed if saved is None else saved.speed
        clock = MarketClock(speed=speed, market_ms=market_ms)
        origin_ms = clock.market_ms() if saved is None else saved.origin_ms
        self.exchange = self._exchange(clock, plan.seed, origin_ms)
        self.execution = Execution(self.exchange)
        self.engine = Engine(self.exchange, self.execution)
        self.trading = Trading(self.exchange, self.execution)
        self.faults = FaultPlan(seed=plan.seed)
        self.journal = Journal()
        self.limits = Limits(enabled=plan.limits)
        self.limits.budget = plan.rate_budget
        if saved is not None:
            restore(self.exchange, saved)

    def _exchange(self, clock: MarketClock, seed: int, origin_ms: int) -> Exchange:
        markets = _markets(self._plan, seed, origin_ms)
        exchange = Exchange(clock=clock, seed=seed, markets=markets, origin_ms=origin_ms)
        exchange.habits = replace(self._plan.habits)
        for key, secret, cash in self._plan.accounts:
            exchange.add_account(key, secret, cash)
        return exchange

    def reset(self, *, seed: int | None, market_ms: int | None) -> None:
        """Start again in place: fresh market and accounts, no orders, no rules, empty journal."""
        clock = self.exchange.clock
        clock.pin_server(None)
        clock.drift(0.0)
        clock.server_offset_ms = 0
        if market_ms is not None:
            clock.jump(market_ms)
        chosen = self.exchange.seed if seed is None else seed
        fresh = self._exchange(clock, chosen, clock.market_ms())
        self.exchange.become(fresh)
        self.faults.restart(chosen)
        self.journal.clear()
        self.limits.lift()

    def catch_up(self) -> int:
        """Carry the market forward to now, fire due dead-man timers, and return market time."""
        now_ms = max(self.exchange.clock.market_ms(), self.exchange.settled_ms)
        self.engine.advance(now_ms)
        server_ms = self.exchange.clock.server_ms()
        for account in self.exchange.accounts.values():
            if account.cancel_after_ms is not None and server_ms >= account.cancel_after_ms:
                account.cancel_after_ms = None
                self.trading.cancel_all(account, None, "", now_ms)
        return now_ms

    def save(self) -> None:
        """Write the state file, if there is one."""
        if self._plan.state is not None:
            save(self.exchange, self._plan.state)

    def account(self, key: str | None) -> Account:
        """The account of a key, or the first one."""
        accounts = self.exchange.accounts
        if key is None:
            return next(iter(accounts.values()))
        if key not in accounts:
            raise BadOption(f"there is no account with the key {key}")
        return accounts[key]


def _markets(plan: Plan, seed: int, origin_ms: int) -> Markets:
    tapes = dict(plan.tapes)
    unknown = sorted(set(tapes) - set(CONTRACTS))
    if unknown:
        listed = ", ".join(CONTRACTS)
        raise BadOption(f"the tape's pair {unknown[0]} is not listed; listed are {listed}")
    markets: Markets = {}
    for pair, contract in CONTRACTS.items():
        source = GeneratedSource(contract, seed=seed, edge=plan.edge, start_ms=origin_ms)
        if pair in tapes:
            replay = TapeSource(
                contract, tapes[pair], start_ms=origin_ms, volume=plan.tape_volume, after=source
            )
            markets[pair] = PairMarket(contract, replay)
        else:
            markets[pair] = PairMarket(contract, source)
    return markets

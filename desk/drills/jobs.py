"""Injections by jobs that an operator asks for while the exchange does not answer them."""

from dataclasses import dataclass

from desk.clock import DAY_MS
from desk.drills.exchange import Faults, Simulator
from desk.drills.hands import Api

HISTORY_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingBackfill:
    """A backfill of a series whose candles the exchange does not answer."""

    api: Api
    simulator: Simulator
    pair: str
    interval: str

    def begin(self) -> None:
        match = {"path": "klines", "symbol": self.pair, "params": {"interval": self.interval}}
        rule = {"match": match, "action": {"kind": "http", "status": 503}}
        Faults(simulator=self.simulator, rules=[rule]).begin()
        now_ms = int(self.api.get("/ops/trading/summary")["market_now_ms"])
        ask = {
            "pair": self.pair,
            "interval": self.interval,
            "start_ms": now_ms - HISTORY_DAYS * DAY_MS,
        }
        self.api.post("/ops/ingestion/bingx/backfill", ask)

    def again(self) -> None:
        return

    def heal(self) -> None:
        self.simulator.remove_rules()

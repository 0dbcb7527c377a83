"""Injections by the simulator's control plane: faults, clocks, trades by hand, shocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any

import httpx2

from desk.drills.hands import DrillRefused

TIMEOUT_S = 10.0
OURS = "drill-"
"""Beginning of the id of every rule that a drill adds: what a killed drill left is known by it."""

type Rule = Mapping[str, object]


class Simulator:
    """The control plane, which the desk itself never calls. Raises `DrillRefused` without an answer."""

    def __init__(self, control_url: str) -> None:
        self._client = httpx2.Client(base_url=control_url, timeout=TIMEOUT_S)

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def state(self) -> dict[str, Any]:
        """Clock, prices, accounts, rules."""
        return self.call("GET", "state")

    def add_rules(self, rules: Sequence[Rule]) -> None:
        """Add fault rules, each named by us."""
        named = [{**rule, "id": f"{OURS}{number}"} for number, rule in enumerate(rules)]
        self.call("POST", "faults", {"rules": named})

    def remove_rules(self) -> None:
        """Take every rule away that a drill added; those of others stay."""
        for rule in self.call("GET", "faults")["rules"]:
            if str(rule["id"]).startswith(OURS):
                self.call("DELETE", "faults", query={"id": str(rule["id"])})

    def set_offset(self, offset_ms: int) -> None:
        """Move the clock that judges signatures from the wall's."""
        self.call("POST", "clock", {"server_offset_ms": offset_ms})

    def shock(self, pair: str, factor: float) -> None:
        """Multiply a price."""
        self.call("POST", "market", {"pair": pair, "shock": factor})

    def trade(self, key: str, pair: str, quantity: Decimal) -> None:
        """Trade as a person would, by a market order; a negative quantity sells."""
        order = {
            "symbol": pair,
            "side": "BUY" if quantity > 0 else "SELL",
            "positionSide": "BOTH",
            "quantity": str(abs(quantity)),
        }
        self.call("POST", "account", {"key": key, "trade": order})

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """One route of the control plane, by its name behind `/_sim/`."""
        try:
            answer = self._client.request(method, f"/_sim/{path}", json=body, params=query)
            told = answer.json()
        except (httpx2.HTTPError, ValueError) as away:
            raise DrillRefused(
                f"the simulator's control plane did not answer {method} /_sim/{path}"
                f" ({type(away).__name__}): is it running?"
            ) from None
        if not answer.is_success:
            raise DrillRefused(f"the simulator refused {method} /_sim/{path}: {told.get('error')}")
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Fault rules on what the desk asks the exchange."""

    simulator: Simulator
    rules: Sequence[Rule]

    def begin(self) -> None:
        self.simulator.add_rules(self.rules)

    def again(self) -> None:
        return

    def heal(self) -> None:
        self.simulator.remove_rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """An exchange that bans its caller for some seconds and says until when."""

    simulator: Simulator
    seconds: float

    def begin(self) -> None:
        until_ms = int(self.simulator.state()["clock"]["server_ms"]) + round(self.seconds * 1000)
        told = {"code": 418, "msg": f"banned for a drill, will be unblocked after {until_ms}"}
        rule = {"match": {}, "action": {"kind": "http", "status": 418, "body": told}}
        self.simulator.add_rules([rule])

    def again(self) -> None:
        return

    def heal(self) -> None:
        self.simulator.remove_rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """A server clock that is off."""

    simulator: Simulator
    offset_ms: int

    def begin(self) -> None:
        self.simulator.set_offset(self.offset_ms)

    def again(self) -> None:
        return

    def heal(self) -> None:
        self.simulator.set_offset(0)


@dataclass(slots=True, kw_only=True)
class Shock:
    """A price that jumps, and back by the same factor."""

    simulator: Simulator
    pair: str
    factor: float
    _is_down: bool = field(default=False, init=False)

    def begin(self) -> None:
        self.simulator.shock(self.pair, self.factor)
        self._is_down = True

    def again(self) -> None:
        return

    def heal(self) -> None:
        if self._is_down:
            self._is_down = False
            self.simulator.shock(self.pair, 1 / self.factor)


@dataclass(slots=True, kw_only=True)
class ManualTrade:
    """A position that somebody opened by hand on the desk's account, and closes again."""

    simulator: Simulator
    pair: str
    lot: Decimal
    equity_fraction: float
    key: str
    """Of the account."""
    _held: Decimal = field(default=Decimal(0), init=False)

    def begin(self) -> None:
        state = self.simulator.state()
        account = next((row for row in state["accounts"] if row["key"] == self.key), None)
        if account is None:
            raise DrillRefused(f"the simulator has no account with the key {self.key}")
        worth = Decimal(str(account["balance"]["equity"])) * Decimal(str(self.equity_fraction))
        lots = (worth / Decimal(state["prices"][self.pair]) / self.lot).to_integral_value(
            rounding=ROUND_DOWN
        )
        quantity = lots * self.lot
        self.simulator.trade(self.key, self.pair, quantity)
        self._held = quantity

    def again(self) -> None:
        return

    def heal(self) -> None:
        if self._held:
            held, self._held = self._held, Decimal(0)
            self.simulator.trade(self.key, self.pair, -held)

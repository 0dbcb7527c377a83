"""The venue as one object: clock, markets, accounts and the ids it hands out."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bingx_sim.accounts import Account, Order
from bingx_sim.clock import MarketClock
from bingx_sim.errors import Refusal, bad_parameter
from bingx_sim.instruments import CONTRACTS
from bingx_sim.market import PairMarket

SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
BIGGEST = Decimal(10) ** 15
LONGEST = 40
INTEGER = re.compile(r"-?[0-9]{1,40}")
FAR_MS = 10**15


@dataclass(slots=True)
class ContractState:
    """What a contract row says about trading; maintenance changes it."""

    status: int = 1
    open_allowed: bool = True
    close_allowed: bool = True
    maintain_ms: int = 0
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    """Filters that differ from the contract's own."""


@dataclass(slots=True, kw_only=True)
class Habits:
    """Venue habits a test may turn."""

    visibility_lag_ms: int = 0
    """Server ms after acceptance before an order can be queried."""
    kline_mode: str = "last"
    """Which rows of a range too long for one page: `last` (newest) or `first`."""
    kline_rows: str = "dict"
    """Candle rows as `dict` or as `array`."""
    minute_horizon_days: int = 0
    """How far back 1m candles reach; 0 is to the listing."""


class Exchange:
    """Everything the venue knows. One thread uses it."""

    def __init__(
        self, *, clock: MarketClock, seed: int, markets: dict[str, PairMarket], origin_ms: int
    ) -> None:
        self.clock = clock
        self.origin_ms = origin_ms
        """Market time of the first start; history and tapes are laid out around it."""
        self.seed = seed
        self.markets = markets
        self.states = {pair: ContractState() for pair in markets}
        self.accounts: dict[str, Account] = {}
        self.habits = Habits()
        self.counter = 0
        self.settled_ms = clock.market_ms()
        """Market time up to which orders were matched and funding was paid."""

    def become(self, other: "Exchange") -> None:
        """Take over all that another exchange is; whoever refers to this one sees the new one."""
        vars(self).update(vars(other))

    def mint(self, at_ms: int) -> int:
        """A snowflake id: creation ms in the high bits, a counter in the low 22."""
        self.counter = (self.counter + 1) % (1 << 21)
        return ((at_ms - SNOWFLAKE_EPOCH_MS) << 22) | (1 << 21) | self.counter

    def add_account(self, key: str, secret: str, cash: Decimal) -> Account:
        user_id = str(1_000_000_000 + 7_919 * (len(self.accounts) + 1))
        account = Account(key=key, secret=secret, user_id=user_id, balance=cash)
        self.accounts[key] = account
        return account

    def market(self, pair: str) -> PairMarket:
        if not pair:
            raise bad_parameter("Invalid parameters, err:symbol is required")
        if pair not in self.markets:
            raise Refusal(
                109425,
                f"{pair} not exist, please verify it in api: /openApi/swap/v2/quote/contracts",
            )
        return self.markets[pair]

    def mark(self, pair: str, at_ms: int) -> Decimal:
        return CONTRACTS[pair].price(self.markets[pair].ticks_at(at_ms))

    def marks(self, at_ms: int, account: Account) -> dict[str, Decimal]:
        """Mark prices of all pairs the account holds."""
        return {pair: self.mark(pair, at_ms) for pair in account.positions}


@dataclass(slots=True, kw_only=True)
class Call:
    """One request that passed the gateway. `now_ms` is the market time it is carried out at."""

    params: dict[str, str]
    now_ms: int
    server_ms: int
    account: Account | None = None
    amendments: list[Callable[[Order], None]] = field(default_factory=list[Callable[[Order], None]])
    """What the fault plan does to a placed order before it is executed."""
    fill_on_cancel: str = ""
    """`before` or `after`: a match races the cancel."""

    @property
    def owner(self) -> Account:
        if self.account is None:
            raise Refusal(100413, "Incorrect apiKey")
        return self.account

    def text(self, name: str, default: str = "") -> str:
        return self.params.get(name, default)

    def whole(self, name: str, default: int) -> int:
        raw = self.params.get(name)
        if raw is None or raw == "":
            return default
        if not INTEGER.fullmatch(raw):
            text = f"Invalid parameters, err:{name} must be an integer, was {raw}"
            raise bad_parameter(text)
        return int(raw)

    def moment(self, name: str, default_ms: int) -> int:
        """A time parameter; one before 1970 or absurdly late is moved to that bound."""
        return min(max(self.whole(name, default_ms), 0), FAR_MS)

    def decimal(self, name: str) -> Decimal | None:
        raw = self.params.get(name)
        if raw is None or raw == "":
            return None
        return parse_decimal(name, raw)


def parse_decimal(name: str, raw: Any) -> Decimal:
    """Read a number of the wire; one that no market could mean is a bad parameter."""
    try:
        value = Decimal(str(raw))
    except ArithmeticError:
        text = f"Invalid parameters, err:{name} must be a number, was {raw}"
        raise bad_parameter(text) from None
    if not value.is_finite() or abs(value) > BIGGEST or len(str(raw)) > LONGEST:
        raise bad_parameter(f"Invalid parameters, err:{name} is out of range")
    return value

"""What must hold after any sequence of requests, in process and without a wire."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bingx_sim.clock import MarketClock
from bingx_sim.errors import HttpRefusal, Refusal
from bingx_sim.exchange import Call, Habits
from bingx_sim.routes import Route, routes_of
from bingx_sim.simulator import Plan, Simulator

START_MS = 1_750_000_000_000
CASH = Decimal(10_000)

type Step = Callable[["Machine"], None]


class Machine:
    """A frozen venue that is driven by calls of its endpoints."""

    def __init__(self) -> None:
        plan = Plan(seed=7, speed=1.0, start_ms=START_MS, habits=Habits())
        self.sim = Simulator(plan)
        self.clock: MarketClock = self.sim.exchange.clock
        self.clock.freeze()
        self.account = self.sim.account(None)
        self.routes: dict[tuple[str, str], Route] = routes_of(self.sim.exchange, self.sim.trading)
        self.refusals: list[int] = []

    def call(self, method: str, path: str, params: dict[str, str]) -> Any:
        now_ms = self.sim.catch_up()
        call = Call(params=params, now_ms=now_ms, server_ms=now_ms, account=self.account)
        try:
            return self.routes[method, path].endpoint(call)
        except HttpRefusal:
            return None
        except Refusal as refusal:
            self.refusals.append(refusal.code)
            return None

    def order(self, params: dict[str, str]) -> None:
        price = self.sim.exchange.mark(params["symbol"], self.sim.catch_up())
        factor = Decimal(params.pop("at", "1"))
        if params["type"] != "MARKET":
            tick = self.sim.exchange.market(params["symbol"]).contract.tick
            params["price"] = str((price * factor).quantize(tick))
        self.call("POST", "/openApi/swap/v2/trade/order", params)


orders = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["BTC-USDT", "ETH-USDT"]),
        "side": st.sampled_from(["BUY", "SELL"]),
        "type": st.sampled_from(["MARKET", "LIMIT"]),
        "quantity": st.sampled_from(["0.01", "0.02", "0.05", "0.5"]),
        "reduceOnly": st.sampled_from(["true", "false", "false"]),
        "timeInForce": st.sampled_from(["GTC", "IOC", "FOK", "PostOnly"]),
        "at": st.sampled_from(["0.99", "0.999", "1", "1.001", "1.01"]),
    }
)
steps: st.SearchStrategy[Step] = st.one_of(
    orders.map(lambda params: lambda machine: machine.order(dict(params))),
    st.integers(1, 6 * 3_600_000).map(lambda ms: lambda machine: machine.clock.advance(ms)),
    st.just(lambda machine: machine.call("DELETE", "/openApi/swap/v2/trade/allOpenOrders", {})),
    st.sampled_from([0.6, 0.95, 1.05, 1.5]).map(
        lambda factor: (
            lambda machine: machine.sim.exchange.markets["BTC-USDT"].shock(
                machine.sim.catch_up(), factor
            )
        )
    ),
)


@settings(max_examples=60)
@given(st.lists(steps, max_size=14))
def test_money_positions_and_orders_always_agree(script: list[Step]) -> None:
    machine = Machine()
    for step in script:
        step(machine)
        machine.sim.catch_up()

        account = machine.account
        assert account.balance == CASH + sum(income.amount for income in account.incomes)
        held: dict[str, Decimal] = {}
        for fill in account.fills:
            sign = 1 if fill.side == "BUY" else -1
            held[fill.pair] = held.get(fill.pair, Decimal(0)) + sign * fill.quantity
        assert {pair: quantity for pair, quantity in held.items() if quantity} == {
            pair: position.quantity for pair, position in account.positions.items()
        }
        for order in account.orders.values():
            done = sum(f.quantity for f in account.fills if f.order_id == order.order_id)
            assert done == order.executed <= order.quantity
            assert order.is_open == (order.order_id in account.open_ids)
            assert (order.executed == order.quantity) == (order.status == "FILLED")
            if order.is_open and order.reduce_only:
                assert order.pair in account.positions
        assert account.used_margin() >= 0
        assert account.frozen_margin() >= 0
        times = [fill.at_ms for fill in account.fills]
        assert times == sorted(times)


words = st.one_of(
    st.sampled_from(["BTC-USDT", "BUY", "MARKET", "LIMIT", "true", "BOTH", "1m", "1M", "ISOLATED"]),
    st.sampled_from(["", "-1", "0", "1e400", "1e-30", "NaN", "9" * 60, "None", "0.01", "²", "{}"]),
    st.integers(-(2**70), 2**70).map(str),
    st.text(max_size=8),
)
names = [
    "symbol",
    "side",
    "type",
    "quantity",
    "price",
    "stopPrice",
    "stopLoss",
    "takeProfit",
    "timeInForce",
    "reduceOnly",
    "interval",
    "limit",
    "startTime",
    "endTime",
    "startTs",
    "endTs",
    "orderId",
    "clientOrderId",
    "leverage",
    "marginType",
    "timeOut",
    "dualSidePosition",
    "tradingUnit",
    "pageIndex",
    "pageSize",
    "lastFillId",
]
ROUTES = sorted(Machine().routes)


@settings(max_examples=500)
@given(
    st.sampled_from(ROUTES),
    st.dictionaries(st.sampled_from(names), words, max_size=8),
    st.booleans(),
)
def test_no_parameter_breaks_an_endpoint(
    route: tuple[str, str], params: dict[str, str], known_pair: bool
) -> None:
    machine = Machine()
    given_params = {**params, "symbol": "BTC-USDT"} if known_pair else params

    machine.call(*route, given_params)

    assert all(code >= 80_000 for code in machine.refusals)

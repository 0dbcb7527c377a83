"""What the control plane can do to an account: money, manual life, the venue's own orders."""

from decimal import Decimal
from typing import Any

from bingx_sim.accounts import Account
from bingx_sim.errors import BadOption
from bingx_sim.exchange import Call
from bingx_sim.simulator import Simulator

type Fields = dict[str, Any]

KNOWN = frozenset(
    {"key", "balance", "deposit", "trade", "order", "cancel", "liquidate", "adl", "hedged"}
    | {"leverage", "funding", "fill"}
)


def change_account(simulator: Simulator, body: Fields) -> Account:
    """Change the account of `key`, or the first one.

    `balance` sets the cash, `deposit` adds to it. `trade` {symbol, side, quantity, ...} and `order`
    {symbol, side, type, price, quantity, ...} place an order as a person would: any parameter of
    the wire, no client id unless given. `cancel` takes an order id. `liquidate` and `adl` take a
    pair and close its position. `fill` {order or client_id, quantity?} fills an order now, also one
    that has ended. `hedged` forces the position mode. `leverage` {symbol, leverage}.
    `funding` {symbol, amount} books a payment.
    """
    unknown = sorted(set(body) - KNOWN)
    if unknown:
        raise BadOption(f"unknown fields {unknown}; known are {sorted(KNOWN)}")
    now_ms = simulator.catch_up()
    account = simulator.account(body.get("key"))
    if "balance" in body:
        account.balance = Decimal(str(body["balance"]))
    if "deposit" in body:
        amount = Decimal(str(body["deposit"]))
        simulator.execution.book(account, "", "TRANSFER", amount, now_ms)
    for name in ("trade", "order"):
        if name in body:
            _place(simulator, account, {"type": "MARKET", **body[name]}, now_ms)
    if "cancel" in body:
        order = account.orders[int(body["cancel"])]
        simulator.execution.end(account, order, "CANCELLED", now_ms)
    if "fill" in body:
        _fill(simulator, account, body["fill"], now_ms)
    for name in ("liquidate", "adl"):
        if name in body:
            _force(simulator, account, str(body[name]), name, now_ms)
    if "hedged" in body:
        account.hedged = bool(body["hedged"])
    if "leverage" in body:
        chosen = body["leverage"]
        account.settings_of(str(chosen["symbol"])).leverage = int(chosen["leverage"])
    if "funding" in body:
        paid = body["funding"]
        amount = Decimal(str(paid["amount"]))
        simulator.execution.book(account, str(paid["symbol"]), "FUNDING_FEE", amount, now_ms)
    return account


def _place(simulator: Simulator, account: Account, params: Fields, now_ms: int) -> None:
    call = Call(
        params={name: str(value) for name, value in params.items()},
        now_ms=now_ms,
        server_ms=simulator.exchange.clock.server_ms(),
        account=account,
    )
    simulator.trading.place(call)


def _fill(simulator: Simulator, account: Account, wanted: Fields, now_ms: int) -> None:
    client_id = str(wanted.get("client_id", "")).lower()
    order = account.orders[int(wanted.get("order") or account.client_ids[client_id])]
    quantity = Decimal(str(wanted.get("quantity", order.remaining)))
    simulator.trading.fill_now(account, order, quantity, now_ms)


def _force(simulator: Simulator, account: Account, pair: str, kind: str, now_ms: int) -> None:
    if pair not in account.positions:
        raise BadOption(f"the account holds no position in {pair}")
    forced = "LIQUIDATION" if kind == "liquidate" else "ADL"
    simulator.execution.force_close(account, pair, now_ms, kind=forced)

"""Read a placed order from its parameters and check what does not depend on the account."""

import json
from decimal import Decimal
from typing import Any, cast

from bingx_sim.accounts import ZERO, Account, Order
from bingx_sim.errors import Refusal, bad_parameter
from bingx_sim.exchange import Call, ContractState, Exchange, parse_decimal
from bingx_sim.instruments import Contract

TRIGGERED = frozenset(
    {"STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TAKE_PROFIT", "TRIGGER_MARKET", "TRIGGER_LIMIT"}
)
PRICED = frozenset({"LIMIT", "STOP", "TAKE_PROFIT", "TRIGGER_LIMIT"})
TIMES_IN_FORCE = frozenset({"GTC", "IOC", "FOK", "PostOnly"})
PRICE_BAND = Decimal("0.3")
PROTECTIONS = {
    "stopLoss": frozenset({"STOP_MARKET", "STOP"}),
    "takeProfit": frozenset({"TAKE_PROFIT_MARKET", "TAKE_PROFIT"}),
}


def read_order(exchange: Exchange, call: Call, account: Account, contract: Contract) -> Order:
    """Build the order a call asks for; a malformed parameter is 109400."""
    side, type_ = call.text("side").upper(), call.text("type").upper()
    if side not in {"BUY", "SELL"}:
        raise bad_parameter("Invalid parameters, err:side: must be BUY or SELL")
    if type_ not in TRIGGERED | {"MARKET", "LIMIT"}:
        raise bad_parameter(f"Invalid parameters, err:type: {type_ or 'missing'} is not supported")
    _check_position_side(call, account)
    force = call.text("timeInForce") or "GTC"
    if force not in TIMES_IN_FORCE:
        raise bad_parameter(f"Invalid parameters, err:timeInForce: {force} is not supported")
    stop_price = _above_zero(call, "stopPrice") if type_ in TRIGGERED else ZERO
    order = Order(
        order_id=exchange.mint(call.now_ms),
        pair=contract.pair,
        side=side,
        type=type_,
        quantity=_above_zero(call, "quantity"),
        price=_above_zero(call, "price") if type_ in PRICED else ZERO,
        stop_price=stop_price,
        time_in_force=force,
        reduce_only=call.text("reduceOnly").lower() == "true",
        client_id=(call.text("clientOrderID") or call.text("clientOrderId")).lower(),
        working_type=call.text("workingType") or "MARK_PRICE",
        leverage=account.settings_of(contract.pair).leverage,
        stop_loss=_protection(call, "stopLoss"),
        take_profit=_protection(call, "takeProfit"),
        visible_from_ms=call.server_ms + exchange.habits.visibility_lag_ms,
        created_ms=call.now_ms,
        updated_ms=call.now_ms,
        status="PENDING" if type_ == "LIMIT" else "NEW",
    )
    if len(order.client_id) > 40 or not order.client_id.isascii():
        raise bad_parameter("Invalid parameters, err:clientOrderID: 1 to 40 characters")
    if stop_price:
        order.trigger_above = stop_price > exchange.mark(contract.pair, call.now_ms)
    return order


def _above_zero(call: Call, name: str) -> Decimal:
    value = call.decimal(name)
    if value is None or value <= 0:
        raise bad_parameter(f"Invalid parameters, err:{name}: must be above 0")
    return value


def _check_position_side(call: Call, account: Account) -> None:
    if account.hedged:
        text = "In the Hedge mode, the 'PositionSide' field can only be set to LONG or SHORT."
        raise bad_parameter(text)
    if (call.text("positionSide") or "BOTH") != "BOTH":
        text = "In the One-way mode, the 'PositionSide' field can only be set to BOTH."
        raise bad_parameter(text)


def _protection(call: Call, name: str) -> dict[str, str] | None:
    """Read an attached stop loss or take profit: a JSON object as a string."""
    raw = call.text(name)
    if not raw:
        return None
    try:
        parsed: Any = json.loads(raw, parse_float=str, parse_int=str)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise bad_parameter(f"Invalid parameters, err:{name}: not a JSON object")
    fields = {str(key): str(value) for key, value in cast("dict[str, Any]", parsed).items()}
    if fields.get("type") not in PROTECTIONS[name]:
        allowed = ", ".join(sorted(PROTECTIONS[name]))
        raise bad_parameter(f"Invalid parameters, err:{name}: type must be one of {allowed}")
    if parse_decimal(name, fields.get("stopPrice", "")) <= 0:
        raise bad_parameter(f"Invalid parameters, err:{name}: stopPrice must be above 0")
    return fields


def check_open_for_trading(order: Order, state: ContractState) -> None:
    """Refuse what the contract's status forbids; status 25 only lets positions be closed."""
    if state.status == 1 and state.open_allowed:
        return
    if order.reduce_only and state.close_allowed and state.status in {1, 25}:
        return
    raise Refusal(109418, f"{order.pair} is offline currently, please try again later")


def check_sizes(order: Order, contract: Contract, state: ContractState, mark: Decimal) -> None:
    """Step, minimum size, minimum notional, tick, price band, sides of the protection."""
    least = state.min_quantity or contract.step
    notional = state.min_notional or contract.min_notional
    if order.quantity < least:
        raise Refusal(101400, f"The minimum order amount is {least} {contract.base}.")
    if order.quantity % contract.step != 0:
        text = f"The order size must be a multiple of {contract.step} {contract.base}."
        raise Refusal(101400, text)
    if order.price % contract.tick != 0 or order.stop_price % contract.tick != 0:
        text = f"Invalid parameters, err:price: must be a multiple of {contract.tick}"
        raise bad_parameter(text)
    reference = order.price or order.stop_price or mark
    if not order.reduce_only and order.quantity * reference < notional:
        text = (
            "Please ensure that the minimum nominal value of the order placed must be greater than"
        )
        raise Refusal(110425, f"{text} {notional}u")
    if order.price and abs(order.price / mark - 1) > PRICE_BAND:
        text = f"The order price deviates too much from the market price {mark}"
        raise Refusal(101211, text)
    _check_protection_sides(order, order.price or mark)


def _check_protection_sides(order: Order, reference: Decimal) -> None:
    for protection, sign, name in (
        (order.stop_loss, -1, "Stop Loss"),
        (order.take_profit, 1, "Take Profit"),
    ):
        if protection is None:
            continue
        if (Decimal(protection["stopPrice"]) - reference) * order.sign * sign <= 0:
            word = "higher" if order.sign * sign > 0 else "lower"
            text = f"{name} price should be {word} than the order price {reference}"
            raise Refusal(101400, text)

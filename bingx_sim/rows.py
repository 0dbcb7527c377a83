"""The rows of contracts, candles, balances, positions, incomes: every field the venue sends."""

from decimal import Decimal
from typing import Any

from bingx_sim.accounts import MAINTENANCE_RATIO, ZERO, Account, Income, Position
from bingx_sim.exchange import ContractState
from bingx_sim.instruments import CONTRACTS, Contract
from bingx_sim.market import Bar
from bingx_sim.order_rows import number

type Row = dict[str, Any]


def contract_row(contract: Contract, state: ContractState, launch_ms: int) -> Row:
    return {
        "contractId": contract.contract_id,
        "symbol": contract.pair,
        "size": "0",
        "quantityPrecision": contract.quantity_precision,
        "pricePrecision": contract.price_precision,
        "feeRate": number(contract.taker_fee),
        "makerFeeRate": number(contract.maker_fee),
        "takerFeeRate": number(contract.taker_fee),
        "tradeMinLimit": 0,
        "tradeMinQuantity": number(state.min_quantity or contract.step),
        "tradeMinUSDT": number(state.min_notional or contract.min_notional),
        "maxLongLeverage": contract.max_leverage,
        "maxShortLeverage": contract.max_leverage,
        "currency": "USDT",
        "asset": contract.base,
        "status": state.status,
        "apiStateOpen": "true" if state.open_allowed else "false",
        "apiStateClose": "true" if state.close_allowed else "false",
        "ensureTrigger": True,
        "triggerFeeRate": "0.00020000",
        "brokerState": "true",
        "launchTime": launch_ms,
        "maintainTime": state.maintain_ms,
        "offTime": 0,
        "displayName": contract.pair,
    }


def bar_row(contract: Contract, bar: Bar) -> Row:
    """A candle; division of whole ticks by a power of ten prints exactly, and far faster."""
    scale, places = 10**contract.price_precision, contract.price_precision
    pieces = 10**contract.quantity_precision
    return {
        "open": f"{bar.open / scale:.{places}f}",
        "close": f"{bar.close / scale:.{places}f}",
        "high": f"{bar.high / scale:.{places}f}",
        "low": f"{bar.low / scale:.{places}f}",
        "volume": f"{bar.volume / pieces:.{contract.quantity_precision}f}",
        "time": bar.open_ms,
    }


def balance_row(account: Account, marks: dict[str, Decimal]) -> Row:
    unrealised = account.unrealised(marks)
    return {
        "userId": account.user_id,
        "asset": "USDT",
        "balance": four(account.balance),
        "equity": four(account.balance + unrealised),
        "unrealizedProfit": four(unrealised),
        "realisedProfit": four(account.realised),
        "availableMargin": four(account.available(marks)),
        "usedMargin": four(account.used_margin()),
        "freezedMargin": four(account.frozen_margin()),
        "shortUid": account.user_id[-8:],
    }


def blank_balance_row(account: Account, asset: str) -> Row:
    """The row of an asset never used: every number is an empty string."""
    names = ("balance", "equity", "unrealizedProfit", "realisedProfit", "availableMargin")
    row = dict.fromkeys((*names, "usedMargin", "freezedMargin"), "")
    return {"userId": account.user_id, "asset": asset, **row, "shortUid": account.user_id[-8:]}


def position_row(account: Account, position: Position, marks: dict[str, Decimal]) -> Row:
    contract = CONTRACTS[position.pair]
    mark = marks[position.pair]
    unrealised = position.unrealised(mark)
    initial = abs(position.quantity) * position.average / position.leverage
    liquidation = account.liquidation_price(position.pair, marks)
    collateral = position.margin if position.isolated else account.balance
    risk = position.value(mark) * MAINTENANCE_RATIO / max(collateral + unrealised, Decimal("0.01"))
    resting = sum(
        (
            o.remaining
            for o in account.open_orders(position.pair)
            if o.reduce_only and o.trigger_above is None
        ),
        ZERO,
    )
    return {
        "positionId": str(position.position_id),
        "symbol": position.pair,
        "currency": "USDT",
        "positionAmt": contract.quantity_text(abs(position.quantity)),
        "availableAmt": contract.quantity_text(max(ZERO, abs(position.quantity) - resting)),
        "positionSide": "LONG" if position.quantity > 0 else "SHORT",
        "isolated": position.isolated,
        "avgPrice": contract.price_text(position.average),
        "initialMargin": four(initial),
        "margin": four(position.margin + unrealised),
        "leverage": position.leverage,
        "unrealizedProfit": four(unrealised),
        "realisedProfit": four(position.realised),
        "liquidationPrice": 0 if liquidation is None else round(float(liquidation), 6),
        "pnlRatio": four(unrealised / initial if initial else ZERO),
        "maxMarginReduction": "0.0000",
        "riskRate": four(risk),
        "markPrice": contract.price_text(mark),
        "positionValue": four(position.value(mark)),
        "onlyOnePosition": True,
        "createTime": position.created_ms,
        "updateTime": position.updated_ms,
    }


def income_row(income: Income) -> Row:
    return {
        "symbol": income.pair,
        "incomeType": income.kind,
        "income": f"{income.amount:.8f}",
        "asset": "USDT",
        "info": income.info,
        "time": income.at_ms,
        "tranId": str(income.transaction_id),
        "tradeId": income.trade_id,
    }


def four(amount: Decimal) -> str:
    return f"{amount:.4f}"

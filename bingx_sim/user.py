"""The private endpoints of the account: balance, positions, incomes, settings."""

from dataclasses import dataclass
from decimal import Decimal

from bingx_sim.accounts import Account
from bingx_sim.clock import DAY_MS
from bingx_sim.errors import HttpRefusal, Refusal, bad_parameter
from bingx_sim.exchange import Call, Exchange
from bingx_sim.instruments import CONTRACTS
from bingx_sim.rows import Row, balance_row, blank_balance_row, four, income_row, position_row

KEPT_INCOME_MS = 92 * DAY_MS
LISTEN_KEY_MS = 3_600_000
NO_DATA = object()
"""Returned by an endpoint whose answer has no `data` at all."""


@dataclass(frozen=True, slots=True)
class Bare:
    """The answer of an endpoint that sends its row without an envelope."""

    row: Row


class User:
    """Money and settings of an account."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def balance(self, call: Call) -> list[Row]:
        account = call.owner
        marks = self._exchange.marks(call.now_ms, account)
        return [balance_row(account, marks), blank_balance_row(account, "USDC")]

    def balance_v2(self, call: Call) -> Row:
        return {"balance": self.balance(call)[0]}

    def positions(self, call: Call) -> list[Row]:
        account = call.owner
        wanted = call.text("symbol")
        if wanted:
            self._exchange.market(wanted)
        marks = self._exchange.marks(call.now_ms, account)
        return [
            position_row(account, position, marks)
            for pair, position in account.positions.items()
            if not wanted or pair == wanted
        ]

    def income(self, call: Call) -> list[Row]:
        account = call.owner
        kind, pair = call.text("incomeType"), call.text("symbol")
        start_ms, end_ms = call.moment("startTime", 0), call.moment("endTime", call.now_ms)
        start_ms = max(start_ms, call.now_ms - KEPT_INCOME_MS)
        rows = [
            income_row(income)
            for income in reversed(account.incomes)
            if (not kind or income.kind == kind)
            and (not pair or income.pair == pair)
            and start_ms <= income.at_ms <= end_ms
        ]
        return rows[: min(max(call.whole("limit", 100), 1), 1_000)]

    def commission_rate(self, call: Call) -> Row:
        del call
        contract = next(iter(CONTRACTS.values()))
        taker, maker = float(contract.taker_fee), float(contract.maker_fee)
        return {"commission": {"takerCommissionRate": taker, "makerCommissionRate": maker}}

    def top_up(self, call: Call) -> Row:
        """The demo venue's gift of money: brings the cash up to 10,000."""
        amount = max(Decimal(0), Decimal(10_000) - call.owner.balance)
        call.owner.balance += amount
        return {"amount": four(amount)}

    def leverage(self, call: Call) -> Row:
        pair = self._exchange.market(call.text("symbol")).contract.pair
        current = call.owner.settings_of(pair).leverage
        highest = CONTRACTS[pair].max_leverage
        return {
            "longLeverage": current,
            "shortLeverage": current,
            "maxLongLeverage": highest,
            "maxShortLeverage": highest,
            **self._room(call, pair, current),
        }

    def set_leverage(self, call: Call) -> Row:
        pair = self._exchange.market(call.text("symbol")).contract.pair
        if call.text("side").upper() != "BOTH":
            text = "In the One-way mode, the 'side' field can only be set to BOTH."
            raise bad_parameter(text)
        wanted = call.whole("leverage", 0)
        if not 1 <= wanted <= CONTRACTS[pair].max_leverage:
            highest = CONTRACTS[pair].max_leverage
            raise bad_parameter(f"Invalid parameters, err:leverage: must be 1 to {highest}")
        account = call.owner
        account.settings_of(pair).leverage = wanted
        position = account.positions.get(pair)
        if position is not None:
            position.margin *= position.leverage
            position.margin /= wanted
            position.leverage = wanted
        return {"leverage": wanted, "symbol": pair, **self._room(call, pair, wanted)}

    def _room(self, call: Call, pair: str, leverage: int) -> Row:
        contract = CONTRACTS[pair]
        value = call.owner.available(self._exchange.marks(call.now_ms, call.owner)) * leverage
        coins = contract.quantity_text(value / self._exchange.mark(pair, call.now_ms))
        text = four(value)
        return {
            "availableLongVol": coins,
            "availableShortVol": coins,
            "availableLongVal": text,
            "availableShortVal": text,
            "maxPositionLongVal": text,
            "maxPositionShortVal": text,
        }

    def margin_type(self, call: Call) -> Row:
        pair = self._exchange.market(call.text("symbol")).contract.pair
        return {"marginType": call.owner.settings_of(pair).margin_type}

    def set_margin_type(self, call: Call) -> object:
        pair = self._exchange.market(call.text("symbol")).contract.pair
        wanted = call.text("marginType")
        if wanted not in {"ISOLATED", "CROSSED"}:
            raise bad_parameter("Invalid parameters, err:marginType: must be ISOLATED or CROSSED")
        account = call.owner
        if _anything_open(account, pair) and wanted != account.settings_of(pair).margin_type:
            text = "Margin mode cannot be changed while there are open orders or positions"
            raise bad_parameter(text)
        account.settings_of(pair).margin_type = wanted
        return NO_DATA

    def position_mode(self, call: Call) -> Row:
        return {"dualSidePosition": "true" if call.owner.hedged else "false"}

    def set_position_mode(self, call: Call) -> Row:
        wanted = call.text("dualSidePosition").lower()
        if wanted not in {"true", "false"}:
            raise bad_parameter("Invalid parameters, err:dualSidePosition: must be true or false")
        account = call.owner
        if _anything_open(account) and (wanted == "true") != account.hedged:
            text = "Position mode cannot be changed while there are open orders or positions"
            raise Refusal(104103, text)
        account.hedged = wanted == "true"
        return {"dualSidePosition": wanted}

    def margin_tiers(self, call: Call) -> list[Row]:
        pair = self._exchange.market(call.text("symbol")).contract.pair
        bounds = (0, 900_000, 3_000_000, 10_000_000)
        ratios = ("0.004000", "0.005000", "0.010000")
        return [
            {
                "tier": f"Tier {index + 1}",
                "symbol": pair,
                "minPositionVal": str(bounds[index]),
                "maxPositionVal": str(bounds[index + 1]),
                "maintMarginRatio": ratio,
                "maintAmount": "0.000000",
            }
            for index, ratio in enumerate(ratios)
        ]

    # ---- listen keys ----

    def open_stream(self, call: Call) -> Bare:
        """Hand out a key of the private stream; it is valid for an hour."""
        key = f"{self._exchange.mint(call.now_ms):064x}"
        call.owner.listen_keys[key] = call.server_ms + LISTEN_KEY_MS
        return Bare({"listenKey": key})

    def keep_stream(self, call: Call) -> object:
        key = self._living_key(call)
        call.owner.listen_keys[key] = call.server_ms + LISTEN_KEY_MS
        return NO_DATA

    def close_stream(self, call: Call) -> object:
        del call.owner.listen_keys[self._living_key(call)]
        return NO_DATA

    def _living_key(self, call: Call) -> str:
        key = call.text("listenKey")
        if call.owner.listen_keys.get(key, 0) <= call.server_ms:
            raise HttpRefusal(404, "")
        return key


def _anything_open(account: Account, pair: str | None = None) -> bool:
    held = any(pair is None or p == pair for p in account.positions)
    return held or any(True for _ in account.open_orders(pair))

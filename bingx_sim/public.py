"""The public endpoints: server time, contracts, prices, candles, funding."""

import zlib
from decimal import Decimal

from bingx_sim.clock import DAY_MS
from bingx_sim.errors import bad_parameter
from bingx_sim.exchange import Call, Exchange
from bingx_sim.instruments import Contract
from bingx_sim.market import PairMarket
from bingx_sim.rows import Row, contract_row
from bingx_sim.sources import FUNDING_MS, funding_rate, next_funding_ms

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)


def server_time(exchange: Exchange, call: Call) -> Row:
    return {
        "serverTime": call.server_ms,
        "marketTime": call.now_ms,
        "marketSpeed": f"{exchange.clock.speed:g}",
    }


def contracts(exchange: Exchange, call: Call) -> list[Row]:
    wanted = call.text("symbol")
    markets = [exchange.market(wanted)] if wanted else list(exchange.markets.values())
    return [contract_row(m.contract, exchange.states[m.contract.pair], m.first_ms) for m in markets]


def ticker(exchange: Exchange, call: Call) -> Row | list[Row]:
    wanted = call.text("symbol")
    if wanted:
        return _ticker_row(exchange.market(wanted), call.now_ms)
    return [_ticker_row(market, call.now_ms) for market in exchange.markets.values()]


def _ticker_row(market: PairMarket, now_ms: int) -> Row:
    contract = market.contract
    hours = market.bars("1h", start_ms=now_ms - DAY_MS, end_ms=now_ms, limit=25, now_ms=now_ms)
    last = market.ticks_at(now_ms)
    opened = hours[-1].open if hours else last
    volume = contract.quantity(sum(bar.volume for bar in hours))
    change = contract.price(last - opened)
    bid, ask = last - contract.half_spread_ticks, last + contract.half_spread_ticks
    size = contract.quantity_text(contract.step * (1 + _draw(contract, now_ms, 3) % 4_000))
    return {
        "symbol": contract.pair,
        "priceChange": contract.price_text(change),
        "priceChangePercent": f"{(last / opened - 1) * 100:.2f}",
        "lastPrice": contract.price_text(contract.price(last)),
        "lastQty": contract.quantity_text(contract.step * (1 + _draw(contract, now_ms, 4) % 900)),
        "highPrice": contract.price_text(
            contract.price(max((b.high for b in hours), default=last))
        ),
        "lowPrice": contract.price_text(contract.price(min((b.low for b in hours), default=last))),
        "volume": contract.quantity_text(volume),
        "quoteVolume": f"{volume * contract.price(last):.2f}",
        "openPrice": contract.price_text(contract.price(opened)),
        "openTime": now_ms - DAY_MS,
        "closeTime": now_ms,
        "askPrice": contract.price_text(contract.price(ask)),
        "askQty": size,
        "bidPrice": contract.price_text(contract.price(bid)),
        "bidQty": size,
    }


def depth(exchange: Exchange, call: Call) -> Row:
    market = exchange.market(call.text("symbol"))
    limit = call.whole("limit", 20)
    if limit not in DEPTH_LIMITS:
        raise bad_parameter(f"Invalid parameters, err:limit: must be one of {list(DEPTH_LIMITS)}")
    asks = _side(market, call.now_ms, limit, sign=1)
    bids = _side(market, call.now_ms, limit, sign=-1)
    return {
        "T": call.now_ms,
        "bids": bids,
        "asks": asks[::-1],
        "bidsCoin": bids,
        "asksCoin": asks[::-1],
    }


def _side(market: PairMarket, now_ms: int, limit: int, *, sign: int) -> list[list[str]]:
    """Levels of one side, best first."""
    contract = market.contract
    best = market.ticks_at(now_ms) + sign * contract.half_spread_ticks
    levels: list[list[str]] = []
    for index in range(limit):
        ticks = max(
            1, best + sign * (index * 2 + _draw(contract, now_ms, 10 + index) % 2 * (index > 0))
        )
        size = contract.step * (1 + _draw(contract, now_ms, 500 + index) % (2_000 * (index + 1)))
        levels.append([contract.price_text(contract.price(ticks)), contract.quantity_text(size)])
    return levels


def trades(exchange: Exchange, call: Call) -> list[Row]:
    """Recent public trades, one every 400 ms of market time, newest first."""
    market = exchange.market(call.text("symbol"))
    contract = market.contract
    limit = min(max(call.whole("limit", 500), 1), 1_000)
    newest = call.now_ms // 400
    rows: list[Row] = []
    for slot in range(newest, newest - limit, -1):
        at_ms = slot * 400
        price = contract.price(market.ticks_at(at_ms))
        size = contract.step * (1 + _draw(contract, at_ms, 5) % 3_000)
        rows.append(
            {
                "id": str(slot),
                "time": at_ms,
                "isBuyerMaker": _draw(contract, at_ms, 6) % 2 == 0,
                "price": contract.price_text(price),
                "qty": contract.quantity_text(size),
                "quoteQty": f"{price * size:.2f}",
                "fillId": str(slot),
            }
        )
    return rows


def premium_index(exchange: Exchange, call: Call) -> Row | list[Row]:
    wanted = call.text("symbol")
    if wanted:
        return _premium_row(exchange, exchange.market(wanted), call.now_ms)
    return [_premium_row(exchange, market, call.now_ms) for market in exchange.markets.values()]


def _premium_row(exchange: Exchange, market: PairMarket, now_ms: int) -> Row:
    contract = market.contract
    settlement = next_funding_ms(now_ms)
    rate = funding_rate(contract.pair, seed=exchange.seed, settlement_ms=settlement)
    mark = contract.price(market.ticks_at(now_ms))
    index = mark / (1 + Decimal(str(rate)))
    return {
        "symbol": contract.pair,
        "markPrice": contract.price_text(mark),
        "indexPrice": contract.price_text(index),
        "lastFundingRate": f"{rate:.8f}",
        "nextFundingTime": settlement,
        "fundingIntervalHours": 8,
        "minFundingRate": "-0.00300000",
        "maxFundingRate": "0.00300000",
        "updateTime": now_ms,
    }


def funding_history(exchange: Exchange, call: Call) -> list[Row]:
    market = exchange.market(call.text("symbol"))
    limit = min(max(call.whole("limit", 100), 1), 1_000)
    start_ms = max(call.moment("startTime", 0), market.first_ms)
    at_ms = min(call.moment("endTime", call.now_ms), call.now_ms) // FUNDING_MS * FUNDING_MS
    rows: list[Row] = []
    while at_ms >= start_ms and len(rows) < limit:
        pair = market.contract.pair
        rate = funding_rate(pair, seed=exchange.seed, settlement_ms=at_ms)
        price = market.contract.price(market.ticks_at(at_ms))
        jitter = _draw(market.contract, at_ms, 9) % 12
        rows.append(
            {
                "symbol": pair,
                "fundingRate": f"{rate:.8f}",
                "fundingTime": at_ms + jitter,
                "markPrice": market.contract.price_text(price),
            }
        )
        at_ms -= FUNDING_MS
    return rows


def open_interest(exchange: Exchange, call: Call) -> Row:
    market = exchange.market(call.text("symbol"))
    contract = market.contract
    hour = call.now_ms // 3_600_000
    coins = Decimal(contract.minute_volume) * (600 + _draw(contract, hour, 8) % 60)
    price = contract.price(market.ticks_at(call.now_ms))
    return {"openInterest": f"{coins * price:.2f}", "symbol": contract.pair, "time": call.now_ms}


def last_price(exchange: Exchange, call: Call) -> Row | list[Row]:
    wanted = call.text("symbol")
    markets = [exchange.market(wanted)] if wanted else list(exchange.markets.values())
    rows: list[Row] = [
        {
            "symbol": market.contract.pair,
            "price": market.contract.price_text(
                market.contract.price(market.ticks_at(call.now_ms))
            ),
            "time": call.now_ms,
        }
        for market in markets
    ]
    return rows[0] if wanted else rows


def book_ticker(exchange: Exchange, call: Call) -> Row:
    market = exchange.market(call.text("symbol"))
    bid = _side(market, call.now_ms, 1, sign=-1)[0]
    ask = _side(market, call.now_ms, 1, sign=1)[0]
    return {
        "book_ticker": {
            "symbol": market.contract.pair,
            "bid_price": float(bid[0]),
            "bid_qty": float(bid[1]),
            "ask_price": float(ask[0]),
            "ask_qty": float(ask[1]),
            "lastUpdateId": call.now_ms,
            "time": call.now_ms,
        }
    }


def nothing_listed(exchange: Exchange, call: Call) -> list[Row]:
    """Another section of the venue, which lists nothing here."""
    del exchange, call
    return []


def no_symbols(exchange: Exchange, call: Call) -> Row:
    del exchange, call
    return {"symbols": []}


def _draw(contract: Contract, at_ms: int, purpose: int) -> int:
    """A number that looks random and is the same whenever it is asked for."""
    return zlib.crc32(f"{contract.pair}:{at_ms}:{purpose}".encode())

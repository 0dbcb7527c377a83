"""Which path is served by which endpoint, who may call it, and how often."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bingx_sim import candles, public
from bingx_sim.exchange import Call, Exchange
from bingx_sim.orders import Orders
from bingx_sim.trading import Trading
from bingx_sim.user import User

type Endpoint = Callable[[Call], object]

PREFIX = "/openApi/"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint; `per_second` is the documented limit, the stricter where documents differ."""

    endpoint: Endpoint
    per_second: int
    signed: bool


def routes_of(exchange: Exchange, trading: Trading) -> dict[tuple[str, str], Route]:
    """All endpoints by (method, path)."""
    user, orders = User(exchange), Orders(exchange, trading)
    table: dict[tuple[str, str], Route] = {}
    for path, function, per_second in (
        ("swap/v2/server/time", public.server_time, 10),
        ("swap/v2/quote/contracts", public.contracts, 1),
        ("swap/v3/quote/klines", candles.klines, 1),
        ("swap/v2/quote/klines", candles.klines, 1),
        ("swap/v2/quote/ticker", public.ticker, 1),
        ("swap/v2/quote/price", public.last_price, 1),
        ("swap/v1/ticker/price", public.last_price, 1),
        ("swap/v2/quote/bookTicker", public.book_ticker, 1),
        ("swap/v2/quote/depth", public.depth, 1),
        ("swap/v2/quote/trades", public.trades, 1),
        ("swap/v2/quote/premiumIndex", public.premium_index, 1),
        ("swap/v2/quote/fundingRate", public.funding_history, 1),
        ("swap/v2/quote/openInterest", public.open_interest, 1),
        ("swap/v1/market/markPriceKlines", candles.mark_klines, 1),
        ("spot/v1/common/symbols", public.no_symbols, 1),
        ("cswap/v1/market/contracts", public.nothing_listed, 1),
        ("wallets/v1/capital/config/getall", public.nothing_listed, 1),
    ):
        table["GET", PREFIX + path] = Route(partial(function, exchange), per_second, signed=False)
    for method, path, function, per_second in (
        ("GET", "swap/v3/user/balance", user.balance, 5),
        ("GET", "swap/v2/user/balance", user.balance_v2, 5),
        ("GET", "swap/v2/user/positions", user.positions, 5),
        ("GET", "swap/v2/user/income", user.income, 5),
        ("GET", "swap/v2/user/commissionRate", user.commission_rate, 5),
        ("POST", "user/auth/userDataStream", user.open_stream, 2),
        ("PUT", "user/auth/userDataStream", user.keep_stream, 2),
        ("DELETE", "user/auth/userDataStream", user.close_stream, 2),
        ("POST", "swap/v1/trade/getVst", user.top_up, 5),
        ("POST", "swap/v2/trade/getVst", user.top_up, 5),
        ("GET", "swap/v2/trade/leverage", user.leverage, 5),
        ("POST", "swap/v2/trade/leverage", user.set_leverage, 5),
        ("GET", "swap/v2/trade/marginType", user.margin_type, 2),
        ("POST", "swap/v2/trade/marginType", user.set_margin_type, 2),
        ("GET", "swap/v1/positionSide/dual", user.position_mode, 2),
        ("POST", "swap/v1/positionSide/dual", user.set_position_mode, 4),
        ("POST", "swap/v2/trade/order", orders.place, 5),
        ("GET", "swap/v2/trade/order", orders.query, 5),
        ("DELETE", "swap/v2/trade/order", orders.cancel, 5),
        ("DELETE", "swap/v2/trade/allOpenOrders", orders.cancel_all, 5),
        ("GET", "swap/v2/trade/openOrders", orders.open_orders, 5),
        ("GET", "swap/v2/trade/allOrders", orders.all_orders, 5),
        ("GET", "swap/v1/trade/fullOrder", orders.full_orders, 5),
        ("GET", "swap/v2/trade/fillHistory", orders.fill_history, 5),
        ("GET", "swap/v2/trade/allFillOrders", orders.all_fills, 5),
        ("GET", "swap/v2/trade/forceOrders", orders.force_orders, 10),
        ("GET", "swap/v1/maintMarginRatio", user.margin_tiers, 5),
        ("POST", "swap/v2/trade/closeAllPositions", orders.close_all, 5),
        ("POST", "swap/v2/trade/cancelAllAfter", orders.cancel_all_after, 1),
    ):
        table[method, PREFIX + path] = Route(function, per_second, signed=True)
    return table

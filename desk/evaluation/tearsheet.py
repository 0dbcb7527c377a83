"""An evaluation as one HTML file for people: nothing in it is fetched, and no number comes from it."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from desk.clock import to_iso
from desk.evaluation.metrics import ClosedTrade, Metrics
from desk.evaluation.report import EvaluationReport
from desk.market.candles import Floats, Ints

MOST_POINTS = 1_200
"""Of a curve; between two of them its lowest and highest values are kept."""
MOST_TRADES = 1_000
"""The newest that are listed."""
WIDTH, HEIGHT = 960, 240

_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}td,th{padding:.15rem .5rem;border-bottom:1px solid #8884}
td{font-variant-numeric:tabular-nums;text-align:right}td:first-child,th:first-child{text-align:left}
th{text-align:right}svg{width:100%;height:auto}polyline{fill:none;stroke-width:1.2}
"""


def tearsheet(report: EvaluationReport, metrics: Metrics, close_ms: Ints) -> str:
    """The page: figures, equity and drawdown by candle, and the newest trades. `close_ms` int64[T]."""
    cash = float(report.starting_balance)
    peak = np.maximum.accumulate(np.maximum(metrics.equity, cash))
    drawdown = (metrics.equity - peak) / peak
    title = escape(f"{report.version_id} on {report.pair} {report.interval}")
    label = "baseline, " if report.is_baseline else ""
    return "\n".join(
        (
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            f"<p>{escape(label)}{to_iso(report.period_start_ms)} … {to_iso(report.period_end_ms)}, "
            f"{escape(report.engine)}, evaluation {escape(report.evaluation_id)}</p>",
            _table(("figure", "value"), _figures(report)),
            "<h2>Equity at each close, USDT</h2>",
            _curve(metrics.equity, close_ms, "#2a6fdb"),
            "<h2>Drawdown from the highest equity so far</h2>",
            _curve(drawdown, close_ms, "#c0392b"),
            f"<h2>Trades: {metrics.trade_count:,}</h2>",
            _table(
                _TRADE_HEAD, (_trade(trade) for trade in metrics.trades[: -MOST_TRADES - 1 : -1])
            ),
            "</body></html>",
        )
    )


def _figures(report: EvaluationReport) -> list[tuple[str, str]]:
    return [
        ("verdict", " ".join([report.verdict, *report.reasons])),
        ("net PnL after fees, USDT", report.net_pnl_after_fees),
        ("fees, USDT", report.fees),
        ("funding, USDT", report.funding),
        ("final balance, USDT", report.final_balance),
        ("buy and hold, USDT", report.buy_and_hold_pnl),
        ("trades", f"{report.trade_count:,}"),
        ("win rate", f"{report.win_rate:.1%}"),
        ("max drawdown", f"{report.max_drawdown:.2%}"),
        ("Sharpe (365 d)", f"{report.sharpe:.2f}"),
        ("exposure", f"{report.exposure:.1%}"),
        ("parity difference, USDT", report.parity_max_abs_diff),
        ("decision threshold", f"{report.decision_threshold:g}"),
        ("candles", f"{report.candle_count:,}"),
        ("dataset", f"{report.dataset_id} sha256 {report.dataset_sha256}"),
        ("features, fill rules", f"{report.feature_set_id} {report.fill_spec_id}"),
    ]


_TRADE_HEAD = (
    "opened",
    "closed",
    "side",
    "quantity",
    "entry",
    "exit",
    "fees",
    "funding",
    "PnL",
    "by",
)


def _trade(trade: ClosedTrade) -> tuple[str, ...]:
    return (
        to_iso(trade.opened_ms),
        to_iso(trade.closed_ms),
        trade.side.value,
        f"{trade.quantity:f}",
        f"{trade.entry_price:.8g}",
        f"{trade.exit_price:.8g}",
        f"{trade.fees:.4f}",
        f"{trade.funding:.4f}",
        f"{trade.pnl:.4f}",
        trade.cause.value,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    lines = "\n".join(f"<tr>{cells}</tr>" for cells in body)
    return f"<table><tr>{top}</tr>\n{lines}</table>"


def _curve(values: Floats, close_ms: Ints, colour: str) -> str:
    """One line in its own scale, its extremes and ends in words."""
    at = extremes(values, MOST_POINTS)
    low, high = float(values.min()), float(values.max())
    reach = (high - low) or 1.0
    across = at / max(len(values) - 1, 1) * WIDTH
    down = (high - values[at]) / reach * HEIGHT
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    words = f"from {low:,.4g} to {high:,.4g}, last {float(values[-1]):,.4g}"
    return (
        f'<svg viewBox="0 -2 {WIDTH} {HEIGHT + 4}" role="img" aria-label="{words}">'
        f'<polyline stroke="{colour}" points="{points}"/></svg>'
        f"<p>{words}; {to_iso(int(close_ms[0]))} … {to_iso(int(close_ms[-1]))}</p>"
    )


def extremes(values: Floats, points: int) -> Ints:
    """Rows to draw, rising: all, or the lowest and highest of each of equally long parts, and the ends."""
    if len(values) <= points:
        return np.arange(len(values))
    parts = np.array_split(np.arange(len(values)), points // 2)
    found = [part[[values[part].argmin(), values[part].argmax()]] for part in parts]
    return np.unique(np.concatenate([[0], *found, [len(values) - 1]]))

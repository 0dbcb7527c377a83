"""The evidence of an evaluation as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from desk.clock import to_iso

type Row = Mapping[str, Any]
_FIGURES = {
    "net_pnl": "net PnL, USDT",
    "hourly_sharpe": "hourly Sharpe",
    "max_drawdown": "max drawdown",
    "win_rate": "win rate",
}


def evidence_tables(evidence: Row | None) -> list[Table]:
    """Folds, what it is compared with, and how sure its figures are; nothing for an older report."""
    if evidence is None:
        return []
    return [_folds(evidence), _compared(evidence), _sureness(evidence)]


def _folds(evidence: Row) -> Table:
    table = _table("folds", "test", "counts", *_OUTCOME)
    for fold in evidence["folds"]:
        period = f"{to_iso(fold['test_start_ms'])[:16]} … {to_iso(fold['test_end_ms'])[:16]}"
        table.add_row(period, "no: trained on" if fold["is_in_sample"] else "yes", *_cells(fold))
    return table


def _compared(evidence: Row) -> Table:
    table = _table("on the same candles", "what", "", *_OUTCOME)
    for one in evidence["stress"]:
        table.add_row("this version", f"costs {one['cost_multiple']} times", *_cells(one))
    for one in evidence["baselines"]:
        table.add_row(one["name"].replace("_", " "), one["version_id"], *_cells(one))
    random = evidence["random"]
    if random:
        spread = f"{_money(random['net_pnl_low'])} … {_money(random['net_pnl_high'])}"
        beaten = f"{random['share_beaten']:.0%} of {random['seeds']} beaten"
        table.add_row("random, as often", beaten, spread, *[""] * (len(_OUTCOME) - 1))
    for one in evidence["threshold_curve"]:
        table.add_row("threshold", f"{one['decision_threshold']:.2f}", *_cells(one))
    return table


def _sureness(evidence: Row) -> Table:
    table = _table("how sure", "figure", ">value", ">95 of 100 histories")
    for name, one in evidence["intervals"].items():
        table.add_row(
            _FIGURES.get(name, name),
            f"{one['estimate']:.4g}",
            f"{one['low']:.4g} … {one['high']:.4g}",
        )
    overfit = evidence["overfitting_probability"]
    for name, value in (
        ("probability that hourly Sharpe > 0", f"{evidence['probabilistic_sharpe']:.3f}"),
        (f"deflated by {evidence['trials']} trials", f"{evidence['deflated_sharpe']:.3f}"),
        (
            "probability of overfitting",
            "nothing to choose from" if overfit is None else f"{overfit:.3f}",
        ),
        ("observations", str(evidence["observations"])),
    ):
        table.add_row(name, value, "")
    return table


_OUTCOME = (">net PnL, USDT", ">Sharpe", ">hourly Sharpe", ">drawdown", ">trades", ">exposure")


def _cells(row: Row) -> tuple[str, ...]:
    outcome = row["outcome"]
    return (
        _money(outcome["net_pnl_after_fees"]),
        f"{outcome['sharpe']:.2f}",
        "-" if outcome["hourly_sharpe"] is None else f"{outcome['hourly_sharpe']:.2f}",
        f"{outcome['max_drawdown']:.2%}",
        str(outcome["trade_count"]),
        f"{outcome['exposure']:.1%}",
    )


def _money(text: str) -> str:
    return f"{float(text):,.2f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left"
        )
    return table

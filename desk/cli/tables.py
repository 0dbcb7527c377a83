"""The API's answers as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from desk.clock import to_iso
from desk.evaluation.by_pair import Together

_SHOWN_FOLDS = 8

type Row = dict[str, Any]


def status(answer: dict[str, Any]) -> list[Table]:
    """Accounts and runs, freshness, actors."""
    summary = answer["summary"]
    return [
        accounts(summary),
        runs(summary["runs"]),
        sources(answer["sources"]["items"]),
        actors(answer["actors"]["items"]),
    ]


def accounts(summary: Row) -> Table:
    """Equity and position of each account."""
    title = f"{summary['venue']} · market time {_time(summary['market_now_ms'])} · {summary['mode'].upper()}"
    table = _table(title, "account", ">equity", ">day PnL", ">fees", ">drawdown", "positions")
    for row in summary["accounts"]:
        held = (
            ", ".join(f"{place['quantity']} {place['pair']}" for place in row["positions"])
            or "flat"
        )
        table.add_row(
            row["account"],
            _money(row["equity"]),
            _money(row["day_pnl"]),
            _money(row["fees"]),
            f"{row['drawdown']:.2%}",
            held,
        )
    return table


def runs(rows: Sequence[Row]) -> Table:
    """Runs that are not stopped."""
    table = _table("runs", "run", "mode", "pair", "status", "policy", "last decided candle")
    for row in rows:
        policy = f"{row['version_id']}{' (baseline)' if row['baseline'] else ''}"
        state = row["status"] + (f": {row['pause_reason']}" if row["pause_reason"] else "")
        table.add_row(
            row["run_id"],
            row["mode"] + (" shadow" if row["shadow"] else ""),
            row["pair"],
            state,
            policy,
            _time(row["last_decided_open_ms"]),
        )
    return table


def sources(rows: Sequence[Row]) -> Table:
    """Freshness of each data source."""
    table = _table(
        "data sources", "source", "pair", "interval", "status", ">age s", ">threshold s", "detail"
    )
    for row in rows:
        age = "" if row["age_ms"] is None else f"{row['age_ms'] / 1000:.0f}"
        threshold = str(row["freshness_threshold_seconds"])
        table.add_row(
            row["source_type"],
            row["pair"],
            row["interval"],
            row["status"],
            age,
            threshold,
            row["detail"],
        )
    return table


def actors(rows: Sequence[Row]) -> Table:
    """Actor processes with their resident memory."""
    table = _table(
        "actors", "actor", "status", ">pid", ">epoch", ">restarts", ">RSS MB", ">heartbeat s ago"
    )
    for row in rows:
        table.add_row(
            row["name"],
            row["status"],
            str(row["pid"]),
            str(row["epoch"]),
            str(row["restarts"]),
            f"{row['rss_bytes'] / 1e6:.0f}",
            f"{row['heartbeat_age_ms'] / 1000:.1f}",
        )
    return table


def trades(rows: Sequence[Row]) -> Table:
    """Trades, newest first."""
    table = _table(
        "trades",
        "opened",
        "mode",
        "pair",
        "side",
        ">quantity",
        ">price",
        ">exit",
        ">net PnL",
        "status",
        "trade",
        "trace",
    )
    for row in rows:
        table.add_row(
            _time(row["opened_ms"]),
            row["mode"] + (" baseline" if row["baseline"] else ""),
            row["pair"],
            row["side"],
            row["quantity"],
            row["average_fill_price"] or "",
            row["exit_price"] or "",
            _money(row["net_pnl"]),
            row["status"] + (" (open)" if row["is_open"] else ""),
            row["trade_id"],
            row["trace_id"],
        )
    return table


def evaluation(row: Row) -> Table:
    """One evaluation report with its gate verdict."""
    label = "baseline " if row["is_baseline"] else ""
    table = _table(
        f"{label}{row['version_id']} on {row['pair']} · {row['engine']}", "figure", ">value"
    )
    period = f"{_time(row['period_start_ms'])} … {_time(row['period_end_ms'])}"
    for name, value in (
        ("period", period),
        ("stop, take-profit, leverage", _exits(row)),
        ("trades", str(row["trade_count"])),
        ("win rate", f"{row['win_rate']:.1%}"),
        ("net PnL after fees, USDT", _money(row["net_pnl_after_fees"])),
        ("fees, USDT", _money(row["fees"])),
        ("buy and hold, USDT", _money(row["buy_and_hold_pnl"])),
        ("max drawdown", f"{row['max_drawdown']:.2%}"),
        ("Sharpe (365 d)", f"{row['sharpe']:.2f}"),
        ("exposure", f"{row['exposure']:.1%}"),
        ("parity difference, USDT", row["parity_max_abs_diff"]),
        ("verdict", " ".join([row["verdict"], *row["reasons"]])),
    ):
        table.add_row(name, value)
    return table


def by_pair(version_id: str, pairs: Mapping[str, Together], total: Together) -> Table:
    """A version's newest evaluation on every pair, and all of them together."""
    table = _table(
        f"{version_id} by pair, newest evaluation of each",
        *("pair", ">passed", ">trades", ">win rate", ">net PnL, USDT", ">fees, USDT"),
        *(">deepest drawdown", ">exposure"),
    )
    for name, one in (*pairs.items(), ("all", total)):
        table.add_row(
            name,
            f"{one.passed} of {one.evaluations}",
            f"{one.trade_count:,}",
            f"{one.win_rate:.1%}",
            _money(f"{one.net_pnl_after_fees:f}"),
            _money(f"{one.fees:f}"),
            f"{one.deepest_drawdown:.2%}",
            f"{one.exposure:.1%}",
        )
    return table


def parity(answer: Row) -> Table:
    """Each execution of the fill rules beside the decimal ledger."""
    table = _table(
        answer["title"],
        "engine",
        ">cases",
        ">candles",
        ">fills",
        ">mismatching",
        ">funding amounts",
        ">mismatching",
        ">balance difference, USDT",
        ">of its own fills",
        "holds",
    )
    for row in answer["engines"]:
        table.add_row(
            row["engine"],
            f"{row['cases']:,}",
            f"{row['candles']:,}",
            f"{row['fills']:,}",
            f"{row['mismatching_fills']:,}",
            f"{row['funding_amounts']:,}",
            f"{row['mismatching_funding']:,}",
            f"{row['balance_difference']} (≤ {row['balance_bound']})",
            f"{row['fold_difference']} (≤ {row['fold_bound']})",
            "yes" if row["holds"] else f"no: {row['first_mismatch']}",
        )
    return table


def _exits(row: Row) -> str:
    names = ("stop_loss_fraction", "take_profit_fraction", "leverage")
    return " · ".join("none" if row[name] is None else str(row[name]) for name in names)


def versions(rows: Sequence[Row], active: str) -> Table:
    """Registered versions; the active one is marked."""
    table = _table("versions", "version", "name", "algorithm", "status", "trained to", "created")
    for row in rows:
        mark = " (active)" if row["version_id"] == active else ""
        algorithm = row["algorithm"] + (" (a rule, not trained)" if row["is_baseline"] else "")
        table.add_row(
            row["version_id"] + mark,
            row["name"],
            algorithm,
            row["status"],
            _time(row["training_end_ms"]),
            _time(row["created_ms"]),
        )
    return table


def datasets(rows: Sequence[Row]) -> Table:
    """Datasets, newest first."""
    table = _table(
        "datasets", "dataset", "pair", "interval", "from", "to", ">rows", ">missing", "features"
    )
    for row in rows:
        table.add_row(
            row["dataset_id"],
            row["pair"],
            row["interval"],
            _time(row["start_ms"]),
            _time(row["end_ms"]),
            f"{row['rows']:,}",
            f"{row['missing']:,}",
            row["feature_set_id"],
        )
    return table


def feature_sets(rows: Sequence[Row]) -> Table:
    """Feature sets, the built-in ones first."""
    table = _table("feature sets", "feature set", ">columns", ">lookback", "sources", "made by")
    for row in rows:
        table.add_row(
            row["feature_set_id"],
            str(len(row["columns"])),
            str(row["lookback"]),
            " ".join(row["sources"]),
            row["created_by"] or "built in",
        )
    return table


def columns(row: Row) -> list[Table]:
    """One feature set, column by column."""
    table = _table(row["feature_set_id"], "column", "rule", "windows")
    if (anchor := row["anchor"]) is not None:
        table.caption = (
            f"series begin {anchor['warm_up']} candles before every {anchor['every']}th of the grid;"
            f" holes of up to {anchor['most_filled']} are filled"
        )
    for one in row["features"]:
        windows = " ".join(str(size) for size in one["windows"])
        table.add_row(one["name"], one["rule"], windows + f" of {one['bars']}" * (one["bars"] != 1))
    for one in row["signals"]:
        half_life = f"half-life {one['half_life_min']} min"
        table.add_row(f"signal_side:{one['source_id']}", "signal_side", half_life)
        table.add_row(f"signal_age:{one['source_id']}", "signal_age", half_life)
    funding = row["funding"]
    for one in funding["columns"] if funding else ():
        windows = [str(size) for size in one["windows"]]
        table.add_row("_".join([one["rule"], *windows]), one["rule"], " ".join(windows))
    return [feature_sets([row]), table]


def lineage(row: Row) -> list[Table]:
    """One dataset, where it came from and what rests on it."""
    story = _table("lineage", "what", "id", "detail")
    for parent in row["ancestors"]:
        story.add_row("ancestor", parent["dataset_id"], f"sha256 {parent['sha256']}")
    for run in row["source_runs"]:
        story.add_row("fetched by", run["run_id"], f"{run['kind']}, {run['status']}")
    for kind in ("version", "evaluation"):
        for key in row[f"{kind}_ids"]:
            story.add_row(f"used by {kind}", key, "")
    one = row["dataset"]
    facts = _table(one["dataset_id"], "figure", "value")
    for name in ("sha256", "lookback", "stride"):
        facts.add_row(name, str(one[name]))
    facts.add_row("created", _time(one["created_ms"]))
    return [datasets([one]), facts, story]


def checked(rows: Sequence[Row]) -> Table:
    """What hashing again found."""
    table = _table("datasets", "dataset", ">rows", "hashed", "verdict")
    for row in rows:
        table.add_row(
            row["dataset_id"], f"{row['rows']:,}", row["source"], row["problem"] or "as recorded"
        )
    return table


def sweep_trials(rows: Sequence[Row], metric: str, sweep_id: str, overfitting: Row | None) -> Table:
    """Trials of a sweep, best first."""
    varied = sorted({name for row in rows for name in row["point"]})
    table = _table(
        sweep_id, ">rank", ">trial", "status", ">steps", f">{metric}", ">by fold", *varied, "draft"
    )
    table.caption = _overfitting(overfitting)
    for row in rows:
        folds = [score for scores in row["fold_scores"] for score in scores]
        table.add_row(
            str(row["rank"]),
            str(row["number"]),
            row["status"],
            f"{row['steps']:,}",
            "none" if row["score"] is None else f"{row['score']:.4f}",
            " ".join(f"{score:.3f}" for score in folds[:_SHOWN_FOLDS]),
            *(_short(row["point"].get(name)) for name in varied),
            row["version_id"],
        )
    return table


def sweep_finalists(answer: Row) -> Table:
    """The best trials as NautilusTrader saw them."""
    table = _table(
        "confirmed in Nautilus",
        *("draft", ">seed", ">sharpe", ">net PnL", ">parity difference", "verdict", "reasons"),
    )
    for row in answer["finalists"]:
        table.add_row(
            row["version_id"],
            str(row["seed"]),
            f"{row['sharpe']:.2f}",
            _money(row["net_pnl_after_fees"]),
            row["parity_max_abs_diff"],
            row["verdict"],
            " ".join(row["reasons"]),
        )
    return table


def sweep_results(answer: Row) -> Table:
    """Evaluations of a sweep: a row for each version, threshold and period."""
    table = _table(
        answer["sweep_id"],
        *("version", ">threshold", "from", "to", ">trades", ">sharpe", ">net PnL"),
        *(">drawdown", ">parity difference", "verdict"),
    )
    table.caption = _overfitting(answer["overfitting"])
    for row in answer["results"]:
        table.add_row(
            row["version_id"],
            f"{row['decision_threshold']:g}",
            _time(row["start_ms"]),
            _time(row["end_ms"]),
            f"{row['trade_count']:,}",
            f"{row['sharpe']:.2f}",
            _money(row["net_pnl_after_fees"]),
            f"{row['max_drawdown']:.2%}",
            row["parity_max_abs_diff"],
            row["verdict"],
        )
    return table


def _overfitting(found: Row | None) -> str | None:
    if found is None:
        return None
    probability = found["probability"]
    shown = f"none: {found['reason']}" if probability is None else f"{probability:.3f}"
    among = f"{found['candidates']} candidates, {found['periods']} periods"
    return f"probability of overfitting, by choosing the best ({among}): {shown}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(
            name.lstrip(">"),
            no_wrap=name in {"trade", "trace"},
            justify="right" if name.startswith(">") else "left",
        )
    return table


def _money(text: str) -> str:
    return f"{float(text):,.2f}"


def _time(at_ms: int) -> str:
    return to_iso(at_ms)[:19].replace("T", " ") if at_ms else "never"

"""What a soak saw, as a record and as tables."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.soak.memory import Watched

MOST_GROWTH_MB_PER_HOUR = 5.0
WALL = ("Ray's ", "Serve ", "launcher")
"""What begins so does the same at any speed of the market, and is judged by the wall's hours. The work of
all others comes with the candles: what they grow by in an hour of an accelerated market, a desk at the
speed of the wall takes that many hours for."""


def is_judged_by_the_wall(name: str) -> bool:
    """Whether a process grows by the hours of the wall."""
    return name.startswith(WALL)


@dataclass(slots=True, kw_only=True)
class Found:
    """What a soak saw."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    back_s: dict[str, list[float]] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    looks: int = 0
    missed_looks: int = 0
    orders: dict[str, Counter[str]] = field(default_factory=dict)


def report(found: Found, memory: Watched, moves: int, speed: float) -> dict[str, Any]:
    """Everything that was seen at a speed of the market, with what is a breach."""
    slopes = memory.slopes()
    for name, each in slopes.items():
        by_market = each["slope_mb_per_hour"] / speed
        each["judged_mb_per_hour"] = (
            each["slope_mb_per_hour"] if is_judged_by_the_wall(name) else by_market
        )
    grown = [
        f"{name} grew by {each['judged_mb_per_hour']:.1f} MB an hour"
        for name, each in slopes.items()
        if each["judged_mb_per_hour"] >= MOST_GROWTH_MB_PER_HOUR
    ]
    return {
        "kills": dict(found.kills),
        "killed": found.kills.total(),
        "faults": dict(found.faults),
        "back_s": {
            name: {"n": len(each), "median": sorted(each)[len(each) // 2], "most": max(each)}
            for name, each in found.back_s.items()
        },
        "orders": {account: dict(states) for account, states in found.orders.items()},
        "order_moves": moves,
        "looks": found.looks,
        "missed_looks": found.missed_looks,
        "memory": slopes,
        "memory_every_two_minutes_mb": memory.series_mb(),
        "breaches": list(dict.fromkeys([*found.breaches, *grown])),
    }


def show(told: dict[str, Any], console: Console) -> None:
    """The report as tables."""
    table = Table(title="killed", title_justify="left")
    for column in ("process", "times", "trading again after, median s", "most s"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for name, times in sorted(told["kills"].items()):
        back = told["back_s"].get(name, {})
        seconds = [f"{back[key]:.1f}" if back else "-" for key in ("median", "most")]
        table.add_row(name, str(times), *seconds)
    console.print(table)
    table = Table(
        title="memory of its own, while left alone",
        title_justify="left",
    )
    columns = ("process", "minutes", "first MB", "last MB", "MB an hour", "by its own hours")
    for column in columns:
        table.add_column(column, justify="left" if column == "process" else "right")
    for name, each in sorted(told["memory"].items()):
        table.add_row(
            name,
            f"{each['watched_s'] / 60:.0f}",
            f"{each['first_mb']:.1f}",
            f"{each['last_mb']:.1f}",
            f"{each['slope_mb_per_hour']:+.2f}",
            f"{each['judged_mb_per_hour']:+.2f}",
        )
    console.print(table)
    console.print(
        f"{told['killed']} kills, {sum(told['faults'].values())} faults of the exchange,"
        f" {told['order_moves']} moves of orders followed, {told['looks']} looks at the books"
        f" ({told['missed_looks']} met no quiet moment), orders {told['orders']}"
    )
    for breach in told["breaches"]:
        console.print(f"[red]breach[/] {breach}")

"""What every command shares: its common options, and printing as JSON or for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from desk.clock import from_iso
from desk.errors import BadInput

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Pair = Annotated[str, typer.Argument(help="For example BTC-USDT.")]
Agent = Annotated[str, typer.Option(help="Agent id.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit.")]

console = Console(width=None if sys.stdout.isatty() else 160)
"""A pipe or a file has no width of its own: nothing is cut there."""


def show(answer: Any, text: str | Table | Sequence[Table | str], *, as_json: bool) -> None:
    """Print the answer as JSON, or its text or tables."""
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=1) + "\n")
        return
    for part in [text] if isinstance(text, str | Table) else text:
        console.print(part)


def rows_of(title: str, names: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of these fields of each row."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(str(row[name]) for name in names))
    return table


def moment(option: str, text: str | None) -> int | None:
    """Ms UTC of an ISO date or time; None stays None. Raises `BadInput` naming the option."""
    if text is None:
        return None
    try:
        return from_iso(text)
    except ValueError:
        raise BadInput(option, f"was {text!r}, expected an ISO date like 2026-01-31") from None

"""What every command shares: its common options, and printing as JSON or for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from desk.clock import from_iso, to_iso
from desk.errors import BadInput

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Pair = Annotated[str, typer.Argument(help="For example BTC-USDT.")]
Agent = Annotated[str, typer.Option(help="Agent id.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Rows at most.")]

EARLIEST_MOMENT_MS = 100_000_000_000
"""1973: what is smaller is a span of time, not a moment."""
_FIELDS_IN_A_CELL = 6

console = Console(width=None if sys.stdout.isatty() else 200)
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
        table.add_row(*(_text(row[name]) for name in names))
    return table


def any_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of every field that is plain in each of the rows; times as ISO."""
    plain = [
        name
        for name in (rows[0] if rows else ())
        if not any(isinstance(row[name], dict | list) for row in rows)
    ]
    return rows_of(title, tuple(name.removesuffix("_ms") for name in plain), times(rows))


def facts_of(title: str, row: Mapping[str, Any]) -> Table:
    """Every field of one answer, a line each; lists of records are told by their length."""
    table = Table(title=title, title_justify="left", show_edge=False, show_header=False)
    known = times([row])[0]
    for name, value in known.items():
        if not (name.endswith("_ms") and name.removesuffix("_ms") in known):
            table.add_row(name.replace("_", " "), _text(value))
    return table


def times(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with each `*_ms` also under its name without the ending: a moment as ISO, else seconds."""
    return [
        {
            **row,
            **{
                name.removesuffix("_ms"): _moment_or_span(value)
                for name, value in row.items()
                if name.endswith("_ms") and not isinstance(value, dict | list)
            },
        }
        for row in rows
    ]


def _moment_or_span(value: int | float | None) -> str:
    if not value:
        return ""
    return to_iso(int(value))[:19] if value >= EARLIEST_MOMENT_MS else f"{value / 1_000:g} s"


def assigned(text: str, example: str) -> tuple[str, object]:
    """A `NAME=VALUE` as name and number, true or false, or text. Raises `BadInput`."""
    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise BadInput("NAME=VALUE", f"was {text!r}, expected for example {example}")
    if value in ("true", "false"):
        return name, value == "true"
    if value.lstrip("-").isdecimal():
        return name, int(value)
    return name, value


def _text(value: Any) -> str:
    """A cell: nothing for null, a record as its fields, many records as their number."""
    match value:
        case None:
            return ""
        case float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:.2f}"
        case dict():
            record = cast("dict[str, Any]", value)
            if len(record) > _FIELDS_IN_A_CELL:
                told = [*[name for name in record if name.endswith("_id")][:1], "status"]
                record = {name: record[name] for name in told if name in record} or record
            told_parts = ((key, _text(part)) for key, part in record.items() if part is not None)
            return ", ".join(f"{key} {part}" for key, part in told_parts)
        case list():
            parts = cast("list[Any]", value)
            if any(isinstance(part, dict | list) for part in parts):
                return f"{len(parts)} rows"
            return ", ".join(_text(part) for part in parts)
        case _:
            return str(value)


def moment(option: str, text: str | None) -> int | None:
    """Ms UTC of an ISO date or time; None stays None. Raises `BadInput` naming the option."""
    if text is None:
        return None
    try:
        return from_iso(text)
    except ValueError:
        raise BadInput(option, f"was {text!r}, expected an ISO date like 2026-01-31") from None

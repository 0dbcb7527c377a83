"""Bulk reads as Arrow IPC, for those who ask by `Accept`: columns as they are, without text between."""

import io
from importlib import import_module
from typing import Annotated, Any

from fastapi import Header, Response

ARROW = "application/vnd.apache.arrow.stream"
Accept = Annotated[str, Header(max_length=1_000)]
ALSO_ARROW: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"JSON, or Arrow IPC by `Accept: {ARROW}`.",
        "content": {ARROW: {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""For the `responses` of a route."""


def is_asked(accept: str) -> bool:
    """Whether a client wants Arrow."""
    return ARROW in accept


def table_of(columns: dict[str, Any]) -> Any:
    """A pyarrow table of numpy columns."""
    pa: Any = import_module("pyarrow")  # on use: 60 MB that most replicas never need; untyped
    return pa.table(columns)


def arrow_answer(table: Any) -> Response:
    """One stream of record batches."""
    pa: Any = import_module("pyarrow")
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue(), media_type=ARROW)

"""Log lines: JSON that a machine reads, with what was bound, and no secret however it came in."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from desk.logs import HIDDEN, configure_logs

SECRET = "hunter2-canary-0123456789"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    before, stream = structlog.get_config(), io.StringIO()
    configure_logs(stream=stream)
    yield stream
    structlog.configure(**before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_with_its_fields(written: io.StringIO) -> None:
    log = structlog.stdlib.get_logger()

    with structlog.contextvars.bound_contextvars(trace_id="tr1"):
        log.info("fill_booked", pair="BTC-USDT", ms=1.5)
    log.debug("not asked for")

    [line] = lines(written)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "fill_booked",
        "level": "info",
        "trace_id": "tr1",
        "pair": "BTC-USDT",
        "ms": 1.5,
    }


def test_no_secret_comes_through_by_name_by_text_or_by_an_error(written: io.StringIO) -> None:
    log = structlog.stdlib.get_logger()

    log.info("a", api_token=SECRET, headers={"Authorization": f"Bearer {SECRET}", "host": "h"})
    log.warning("b", error=f"GET /x?signature={SECRET}&symbol=BTC", rows=[{"secret": SECRET}])
    try:
        raise ValueError(f"refused: Authorization: Bearer {SECRET}")
    except ValueError:
        log.exception("c", cookies=f"token={SECRET}; other=1")

    text = written.getvalue()
    assert SECRET not in text
    first, second, third = lines(written)
    assert first["headers"] == {"Authorization": HIDDEN, "host": "h"}
    assert second["error"] == f"GET /x?signature={HIDDEN}&symbol=BTC"
    assert "ValueError" in third["exception"]


def test_what_an_operator_looks_for_stays_readable(written: io.StringIO) -> None:
    log = structlog.stdlib.get_logger()

    log.info("x", trace_id="tr1", client_order_id="t1abc", detail="3 tokens left of 10", none=None)

    [line] = lines(written)
    assert (line["trace_id"], line["client_order_id"]) == ("tr1", "t1abc")
    assert line["detail"] == "3 tokens left of 10"
    assert line["none"] is None


def test_a_terminal_is_written_for_people() -> None:
    before, stream = structlog.get_config(), io.StringIO()
    try:
        configure_logs(stream=stream, as_json=False)
        structlog.stdlib.get_logger().warning("store_away", password=SECRET)
    finally:
        structlog.configure(**before)

    assert "store_away" in stream.getvalue()
    assert SECRET not in stream.getvalue()
    assert not stream.getvalue().startswith("{")

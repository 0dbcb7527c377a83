"""Decisions on their way to a collector of traces: the real protocol, and collectors that misbehave."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
import gzip
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, override

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from actors import trace_export
from actors.events import decision_event
from actors.trace_export import TraceExport
from desk.clock import MINUTE_MS
from desk.counting import counted
from desk.errors import SettingsError
from desk.runs import DecisionRecord
from desk.settings import load_settings
from desk.sources.span_collector import SpanCollector
from desk.spans import STAGES, Span, spans_of
from tests.actors.stage import Stage


class Receiver:
    """A collector over real HTTP: decodes what it is sent, or holds every request until it is closed."""

    def __init__(self, *, hangs: bool = False, status: int = 200) -> None:
        self.taken: list[Any] = []
        self.paths: list[str] = []
        self.let_go = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.paths.append(self.path)
                body = self.rfile.read(int(self.headers["content-length"]))
                if hangs:
                    receiver.let_go.wait(30)
                    return
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                asked = ExportTraceServiceRequest.FromString(body)
                receiver.taken += [
                    span
                    for resource in asked.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            @override
            def log_message(self, format: str, *args: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def receiving(*, hangs: bool = False, status: int = 200) -> Iterator[Receiver]:
    receiver = Receiver(hangs=hangs, status=status)
    thread = threading.Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    receiver.let_go.set()
    receiver.server.shutdown()
    receiver.server.server_close()
    thread.join()


def export_of(stage: Stage, collector: trace_export.Collector, **changes: Any) -> TraceExport:
    return TraceExport(stage.store, stage.clock, collector, **{"settle_s": 0.0, **changes})


def told(stage: Stage, decision: DecisionRecord) -> Any:
    return decision_event(decision, at_ms=stage.clock.now_ms())


def spans_counted() -> dict[str, float]:
    return {
        labels[0]: values[0]
        for labels, values in counted().get("desk_trace_spans_total", {}).items()
    }


def test_a_trade_arrives_at_a_collector_as_one_trace_from_candle_to_fill() -> None:
    stage = Stage()
    decision = stage.decide(1.0)
    stage.next_candle()  # fills what was decided
    with receiving() as receiver:
        export = export_of(stage, SpanCollector(receiver.url))
        export.hear(told(stage, decision))

        sent = asyncio.run(export.turn())

    spans = {span.name: span for span in receiver.taken}
    assert sent == len(receiver.taken) == len(spans)
    assert set(receiver.paths) == {"/v1/traces"}
    wanted = {"decision", "ingestion", *STAGES, "order entry", "acknowledgement", "fill"}
    assert set(spans) == wanted
    assert len({span.trace_id for span in receiver.taken}) == 1
    root = spans["decision"]
    ids = {span.span_id for span in receiver.taken}
    assert len(ids) == len(receiver.taken)
    assert root.parent_span_id == b""
    assert {span.parent_span_id for span in receiver.taken} - {b""} <= ids
    assert spans["fill"].parent_span_id == spans["order entry"].span_id
    for span in receiver.taken:
        said = {one.key: one.value.string_value for one in span.attributes}
        assert said["raydesk.trace_id"] == decision.trace_id
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
    starts = [spans[name].start_time_unix_nano for name in ("ingestion", *STAGES)]
    assert starts == sorted(starts)
    policy = spans["policy"]
    spent_ms = (policy.end_time_unix_nano - policy.start_time_unix_nano) / 1e6
    assert spent_ms == pytest.approx(decision.latency_ms["policy"], abs=0.01)


def test_the_same_trace_is_the_same_spans_and_another_candle_is_another_trace() -> None:
    stage = Stage()
    first, second = stage.decide(0.0), stage.decide(0.0)

    def ids_of(decision: DecisionRecord) -> list[tuple[int, int]]:
        found = spans_of(decision, [], {}, float)
        return [(span.trace_id, span.span_id) for span in found]

    assert ids_of(first) == ids_of(first)
    assert not set(ids_of(first)) & set(ids_of(second))
    assert all(0 < trace < 1 << 128 and 0 < span < 1 << 64 for trace, span in ids_of(first))


def test_a_decision_whose_order_is_under_way_waits_for_its_end() -> None:
    stage = Stage()
    heard: list[Span] = []
    decision = stage.decide(1.0)
    export = export_of(stage, Taking(heard))
    export.hear(told(stage, decision))

    before = asyncio.run(export.turn())
    stage.next_candle()
    after = asyncio.run(export.turn())

    assert before == 0
    assert after == len(heard)
    assert "fill" in {span.name for span in heard}


class Taking:
    """A collector in this process."""

    def __init__(self, heard: list[Span], *, fails: Exception | None = None) -> None:
        self.heard, self.fails = heard, fails

    def send(self, spans: Sequence[Span]) -> bool:
        if self.fails is not None:
            raise self.fails
        self.heard += spans
        return True


def test_a_collector_that_hangs_keeps_nobody_and_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trace_export, "MOST_WAITING", 3)
    stage = Stage()
    before = spans_counted()
    with receiving(hangs=True) as receiver:
        export = export_of(stage, SpanCollector(receiver.url), patience_s=0.2)

        async def play() -> float:
            export.hear(told(stage, stage_decision))
            began_s = asyncio.get_running_loop().time()
            assert await export.turn() == 0
            for _ in range(10):
                export.hear(told(stage, stage_decision))
                assert await export.turn() == 0  # its thread is taken: nothing more is begun
            spent_s = asyncio.get_running_loop().time() - began_s
            receiver.let_go.set()
            return spent_s

        stage_decision = stage.decide(0.0)
        spent_s = asyncio.run(play())
        decided = stage.decide(0.0)

    after = spans_counted()
    assert spent_s < 2.0
    assert decided.open_ms > stage_decision.open_ms
    assert after["dropped"] - before.get("dropped", 0) == 7
    assert after["refused"] > before.get("refused", 0)


@pytest.mark.parametrize("kind", ["away", "refusing", "broken"])
def test_a_collector_that_does_not_take_spans_is_counted_and_asked_again(kind: str) -> None:
    stage = Stage()
    decision, before, heard = stage.decide(0.0), spans_counted(), list[Span]()
    with receiving(status=400) as receiver:
        urls = {"away": "http://127.0.0.1:9", "refusing": receiver.url}
        collector = (
            SpanCollector(urls[kind], timeout_s=0.5)
            if kind in urls
            else Taking(heard, fails=RuntimeError("a bug in a library"))
        )
        export = export_of(stage, collector)
        export.hear(told(stage, decision))
        assert asyncio.run(export.turn()) == 0
        refused = spans_counted()
        export._collector = Taking(heard)
        export.hear(told(stage, decision))
        asyncio.run(export.turn())

    assert refused["refused"] > before.get("refused", 0)
    assert heard[0].name == "decision"


def test_what_is_told_again_after_a_restart_is_not_exported_anew() -> None:
    stage = Stage()
    heard: list[Span] = []
    event = told(stage, stage.decide(0.0))
    stage.clock.advance(11 * MINUTE_MS)
    export = export_of(stage, Taking(heard))

    export.hear(event)

    assert asyncio.run(export.turn()) == 0
    assert heard == []


@pytest.mark.parametrize(
    "address", ["collector:4318", "ftp://collector", "http://", "http://me:hunter2@here:4318"]
)
def test_an_address_that_is_none_is_refused_by_name_without_repeating_it(address: str) -> None:
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT") as refused:
        load_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": address})

    assert "hunter2" not in str(refused.value)


def test_without_an_address_nothing_is_exported() -> None:
    assert load_settings({}).otlp_endpoint is None

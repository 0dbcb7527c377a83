"""Files of past alerts, read line by line: CSV as TradingView exports it, or JSON lines."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from desk.errors import BadInput
from desk.market.past_alerts import MESSAGES, TIMES, past_body, past_receipt
from desk.market.signals import SignalReceipt, read_object

MAX_LINE_BYTES = 64 * 1024
"""A longer line is set aside: no alert is that long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One row of a file, read or not."""

    line: int
    """Where it ends in the file, from 1."""
    raw: str
    """As it stands in the file, a CSV row as JSON; of a line that is too long its beginning."""
    receipt: SignalReceipt | None = None
    problem: str = ""
    """Why there is no receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What every row is read with."""

    source_id: str
    now_ms: int
    secret: str | None = None

    def rows(self, path: Path, read_bytes: Callable[[int], object]) -> Iterator[FileRow]:
        """Every row of a file, one after another; a row that cannot be read says why and the next
        one follows. `read_bytes` is told how far the file was read.

        Raises `BadInput` for a file that cannot be opened, or a CSV without the columns.
        """
        if path.suffix.lower() not in {".csv", ".jsonl", ".ndjson"}:
            raise BadInput("FILE", f"was {path.name}, expected .csv, .jsonl or .ndjson")
        try:
            opened = path.open("rb")
        except OSError as refused:
            raise BadInput("FILE", f"{path} cannot be read ({refused.strerror})") from None
        with opened as file:
            if path.suffix.lower() == ".csv":
                yield from self._csv(file, read_bytes)
            else:
                yield from self._lines(file, read_bytes)

    def _lines(self, file: BinaryIO, read_bytes: Callable[[int], object]) -> Iterator[FileRow]:
        for line, text, is_whole in _bounded(file):
            read_bytes(file.tell())
            if not is_whole:
                yield FileRow(line=line, raw=text, problem=f"is longer than {MAX_LINE_BYTES} bytes")
            elif text.strip():
                yield self._row(line, text.rstrip("\r\n"), self._of_line)

    def _of_line(self, text: str) -> SignalReceipt:
        text = text.removeprefix("\ufeff")
        said = read_object(text)
        if "timenow" in said:
            return past_body(self.source_id, text, now_ms=self.now_ms, secret=self.secret)
        if not said:
            raise BadInput("line", "is no JSON object")
        return past_receipt(self.source_id, said, now_ms=self.now_ms, secret=self.secret)

    def _csv(self, file: BinaryIO, read_bytes: Callable[[int], object]) -> Iterator[FileRow]:
        # Bytes that are no UTF-8 survive as surrogates, so that their row alone is set aside.
        with io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
            lines = _Lines(text)
            rows = csv.reader(lines, strict=True)
            try:
                header = [name.strip().lower() for name in next(rows, list[str]())]
            except csv.Error as broken:
                raise BadInput("FILE", f"its first line is no CSV ({broken})") from None
            for names in (MESSAGES, TIMES):
                if not set(names) & set(header):
                    raise BadInput("FILE", f"its first line has no column {' or '.join(names)}")
            while True:
                lines.taken.clear()
                try:
                    cells = next(rows)
                except StopIteration:
                    return
                except csv.Error as broken:
                    raw, problem = "".join(lines.taken), f"is no CSV ({broken})"
                    yield FileRow(line=lines.number, raw=raw, problem=problem)
                    continue
                read_bytes(file.tell())
                if cells:
                    yield self._of_cells(lines.number, header, cells)

    def _of_cells(self, line: int, header: list[str], cells: list[str]) -> FileRow:
        if len(cells) != len(header):
            problem = f"has {len(cells)} cells, the first line has {len(header)}"
            return FileRow(line=line, raw=json.dumps(cells), problem=problem)
        row: dict[str, object] = dict(zip(header, cells, strict=True))

        def read(_: str) -> SignalReceipt:
            return past_receipt(self.source_id, row, now_ms=self.now_ms, secret=self.secret)

        return self._row(line, json.dumps(row), read)

    def _row(self, line: int, raw: str, read: Callable[[str], SignalReceipt]) -> FileRow:
        try:
            return FileRow(line=line, raw=raw, receipt=read(raw))
        except BadInput as refused:
            return FileRow(line=line, raw=raw, problem=str(refused))


class _Lines:
    """Lines of a CSV, counted; `taken` holds those of the row that is being read.

    No generator: it goes on after a line that is too long, for which it raises `csv.Error`.
    """

    def __init__(self, text: TextIO) -> None:
        self._text, self.number = text, 0
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        if len(line) <= MAX_LINE_BYTES:
            return line
        while line and not line.endswith("\n"):
            line = self._text.readline(MAX_LINE_BYTES + 1)
        raise csv.Error(f"a line is longer than {MAX_LINE_BYTES} characters")


def _bounded(file: BinaryIO) -> Iterator[tuple[int, str, bool]]:
    """Number, text and wholeness of every line; of one that is too long only its beginning."""
    line = 0
    while chunk := file.readline(MAX_LINE_BYTES + 1):
        line += 1
        begin = chunk[:MAX_LINE_BYTES].decode("utf-8", "surrogateescape")
        is_whole = len(chunk) <= MAX_LINE_BYTES
        while len(chunk) > MAX_LINE_BYTES and not chunk.endswith(b"\n"):
            chunk = file.readline(MAX_LINE_BYTES + 1)
        yield line, begin, is_whole

"""Log lines: one JSON object each, secrets blacked out, to a stream as long as it takes them.

A full disk takes lines, never trades.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, TextIO, cast

import structlog

from desk import meters

HIDDEN = "***"
_SECRET_NAME = re.compile(
    r"authorization|cookie|secret|signature|password|passphrase|api_?key|token|session$", re.I
)
_SECRET_TEXT = re.compile(
    r"(?i)(bearer\s+|(?:signature|api_?key|secret|token|password)\s*[=:]\s*[\"']?)[^\s\"'&,;)}]+"
)


def configure_logs(
    level: int = logging.INFO, stream: TextIO | None = None, *, as_json: bool | None = None
) -> None:
    """Let this process log lines of `level` and above to `stream` (default: standard output).

    As JSON, unless `as_json` says otherwise or, where it says nothing, a person reads along.
    """
    out = sys.stdout if stream is None else stream
    is_json = not out.isatty() if as_json is None else as_json
    logger = LossyLogger(out, is_json=is_json)
    renderers: list[structlog.typing.Processor] = (
        [
            structlog.processors.format_exc_info,
            redacted,
            structlog.processors.JSONRenderer(default=str),
        ]
        if is_json
        # By itself it would print the local values of every frame, keys and tokens among them.
        else [
            redacted,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: logger,
    )


def redacted(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Black out what is named like a secret, and what stands behind such a name in a text.

    The last net: nothing that logs may hand a secret over to begin with.
    """
    return {name: _safe(name, value) for name, value in event.items()}


def _safe(name: str, value: object) -> object:
    if _SECRET_NAME.search(name) and value:
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\1{HIDDEN}", value)
    if isinstance(value, Mapping):
        rows = cast("Mapping[object, object]", value)
        return {str(key): _safe(str(key), each) for key, each in rows.items()}
    if isinstance(value, list | tuple):
        return [_safe("", each) for each in cast("Sequence[object]", value)]
    return value


class LossyLogger(structlog.PrintLogger):
    """Prints a line; one that the stream does not take is counted instead of raised.

    A line is written in the middle of an order's life and while a process leaves: an error there
    would keep the order, or the process, from its next step. How many were lost is said in front of
    the next line that is taken.
    """

    def __init__(self, stream: TextIO, *, is_json: bool = False) -> None:
        super().__init__(stream)
        self._lost = 0
        self._is_json = is_json

    def msg(self, message: str) -> None:
        """Print a line, or count it as lost."""
        try:
            if self._lost:
                super().msg(self._loss())
                self._lost = 0
            super().msg(message)
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._lost += 1
            meters.LOG_LINES_LOST.count()

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg

    def _loss(self) -> str:
        if self._is_json:
            return f'{{"event": "log_lines_lost", "count": {self._lost}, "level": "warning"}}'
        return f"log_lines_lost count={self._lost}"


def in_own_process[R](build: Callable[[], R]) -> R:
    """Build an actor's parts in its process, which logs like every other."""
    configure_logs()
    return build()

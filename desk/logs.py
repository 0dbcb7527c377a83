"""Where log lines go: to a stream, as long as it takes them. A full disk takes lines, never trades."""

import logging
import sys
from collections.abc import Callable
from typing import TextIO

import structlog


def configure_logs(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Let this process log lines of `level` and above to `stream` (default: standard output)."""
    logger = LossyLogger(sys.stdout if stream is None else stream)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            # By itself it would print the local values of every frame, keys and tokens among them.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: logger,
    )


class LossyLogger(structlog.PrintLogger):
    """Prints a line; one that the stream does not take is counted instead of raised.

    A line is written in the middle of an order's life and while a process leaves: an error there
    would keep the order, or the process, from its next step. How many were lost is said in front of
    the next line that is taken.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lost = 0

    def msg(self, message: str) -> None:
        """Print a line, or count it as lost."""
        try:
            if self._lost:
                super().msg(f"log_lines_lost count={self._lost}")
                self._lost = 0
            super().msg(message)
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._lost += 1

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def in_own_process[R](build: Callable[[], R]) -> R:
    """Build an actor's parts in its process, which logs like every other."""
    configure_logs()
    return build()

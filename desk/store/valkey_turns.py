"""Turns at the venue, in the Redis-protocol store."""

from desk.store.answers import accepted
from desk.store.connection import Argument, Connection

_NOTHING_TO_REPEAT: list[Argument] = ["", 0, "", "", "", "", "", "", 0, ""]
"""No request id and no event: a turn is worth less than the rows that would remember it."""


class ValkeyTurns:
    """One queue per lane; the server's clock says whose turn it is."""

    _connection: Connection

    def ask_turn(
        self,
        address: str,
        lane: str,
        taker: str,
        *,
        priority: int,
        spacing_ms: float,
        now_ms: float | None = None,
    ) -> float:
        told = self._connection.change(
            "turn_ask",
            *_NOTHING_TO_REPEAT,
            *(address, lane, taker, int(priority), f"{spacing_ms:.3f}", _time(now_ms)),
        )
        return float((accepted(told) or [b"0"])[0])

    def leave_turns(self, lane: str, taker: str) -> None:
        accepted(self._connection.change("turn_leave", *_NOTHING_TO_REPEAT, lane, taker))

    def hinder_turns(
        self,
        address: str,
        *,
        slow_ms: float = 0.0,
        hold_ms: float = 0.0,
        now_ms: float | None = None,
    ) -> None:
        spans = (f"{slow_ms:.3f}", f"{hold_ms:.3f}")
        accepted(
            self._connection.change(
                "turn_hinder", *_NOTHING_TO_REPEAT, address, *spans, _time(now_ms)
            )
        )


def _time(now_ms: float | None) -> str:
    return "" if now_ms is None else f"{now_ms:.3f}"

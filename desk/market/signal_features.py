"""What sources of signals said of a pair, as features: the side of the last word, and its age.

A word is known from its receipt on, whatever its own clock says, and of a message only what its
newest revision then said. Memory is finite, so that a live reading of the last messages and one of
all history give the same bytes: a message older than `HORIZON_HALF_LIVES` half-lives of the source,
or with `MOST_MESSAGES` newer ones of its source, is forgotten.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desk.clock import MINUTE_MS
from desk.ids import Pair
from desk.market.candles import Floats, Ints
from desk.market.channel_messages import read_signal
from desk.market.signals import ParseStatus, SignalReceipt

HORIZON_HALF_LIVES = 16
"""After which 1/65,536 is left of a side; from then on there was none."""
MOST_MESSAGES = 500
"""Of one source, of any pair and with their revisions: what a live decision reads at most."""
MAX_HALF_LIFE_MIN = 1_440
"""Longest half-life: its horizon of 16 days lies within the 31 that receipts are kept."""

_STEPS = 1_024
_DECAY: Floats = np.array([2.0 ** (-step / _STEPS) for step in range(_STEPS * HORIZON_HALF_LIVES)])
"""In steps of a half-life; a table, as the bytes of `exp2` depend on the length of its input."""
_SIDES = {"buy": 1, "sell": -1}
_NEVER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalColumns:
    """The two columns of one source, `signal_side:{source_id}` and `signal_age:{source_id}`.

    The side is +1 (buy), -1 (sell) or 0, halved every half-life; the age is age / (age + half-life),
    from 0 (now) to 1 (never).
    """

    source_id: str
    half_life_min: int
    """Market minutes, from 1 to 1,440."""

    @property
    def names(self) -> tuple[str, str]:
        """The columns' names, in order."""
        return f"signal_side:{self.source_id}", f"signal_age:{self.source_id}"

    @property
    def horizon_ms(self) -> int:
        """Market time after which a message is forgotten."""
        return HORIZON_HALF_LIVES * self.half_life_min * MINUTE_MS

    def compute(self, marks: "SignalMarks", close_ms: Ints) -> Floats:
        """Return float64[T, 2] for the closes of candles, in any order; always finite, within ±1."""
        row = np.searchsorted(marks.at_ms, close_ms, side="right") - 1
        side = np.zeros(len(close_ms), dtype=np.int64)
        age_ms = np.full(len(close_ms), self.horizon_ms, dtype=np.int64)
        heard = np.flatnonzero(row >= 0)
        side[heard] = marks.side[row[heard]]
        age_ms[heard] = close_ms[heard] - marks.said_ms[row[heard]]
        half_life_ms = self.half_life_min * MINUTE_MS
        known = (side != 0) & (age_ms < self.horizon_ms)
        age_ms = np.where(known, age_ms, 0)
        columns = np.empty((len(close_ms), 2))
        columns[:, 0] = np.where(known, side * _DECAY[age_ms * _STEPS // half_life_ms], 0.0)
        columns[:, 1] = np.where(known, age_ms / (age_ms + half_life_ms), 1.0)
        return columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One revision of a message, as far as features look at it."""

    at_ms: int
    """Market time of its receipt."""
    external_id: str
    rev: int
    side: int
    """+1 or -1 where it is a sound word on the pair, else 0: it takes back what its message said."""
    raw_ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalMarks:
    """The last word of one source on one pair, after each of its receipts; ms are market time."""

    at_ms: Ints
    """int64[N], rising: from when on the row holds."""
    side: NDArray[np.int8]
    """int8[N]: +1, -1, or 0 where there is none."""
    said_ms: Ints
    """int64[N]: when the last word was received."""
    sha256: str
    """Of everything heard."""


type Signals = Mapping[str, SignalMarks]
"""By source id."""
NO_SIGNALS: Signals = {}


def hear(receipt: SignalReceipt, pair: Pair) -> Heard:
    """Read a receipt for one pair. Only a signal whose status is `ok` has a side."""
    signal = read_signal(receipt)
    is_word = signal.parse_status is ParseStatus.OK and signal.symbol == pair
    return Heard(
        at_ms=receipt.known_ms,
        external_id=receipt.external_id,
        rev=receipt.rev,
        side=_SIDES.get(signal.side or "", 0) if is_word else 0,
        raw_ref=receipt.raw_ref,
    )


def in_order(heard: Iterable[Heard]) -> list[Heard]:
    """As they were received; those of one millisecond by their ids, a longer number being greater."""
    return sorted(
        heard, key=lambda row: (row.at_ms, len(row.external_id), row.external_id, row.rev)
    )


def marks_of(heard: Iterable[Heard]) -> SignalMarks:
    """Fold what was heard of one source, in any order, into its last word after each receipt."""
    rows = in_order(heard)
    newest: dict[str, int] = {}
    standing: list[int] = []
    said = np.full(len(rows), _NEVER, dtype=np.int64)
    for number, row in enumerate(rows):
        newest[row.external_id] = number
        if row.side:
            standing.append(number)
        # A message says what its newest revision says: one that was edited stands no more.
        while standing and newest[rows[standing[-1]].external_id] != standing[-1]:
            standing.pop()
        if standing and number - standing[-1] < MOST_MESSAGES:
            said[number] = standing[-1]
    at_ms = np.array([row.at_ms for row in rows], dtype=np.int64)
    sides = np.array([row.side for row in rows], dtype=np.int8)
    is_said = said != _NEVER
    return SignalMarks(
        at_ms=at_ms,
        side=np.where(is_said, sides[said], np.int8(0)) if rows else sides,
        said_ms=np.where(is_said, at_ms[said], at_ms) if rows else at_ms,
        sha256=_sha256(rows),
    )


def _sha256(rows: Sequence[Heard]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        line = (row.at_ms, row.external_id, row.rev, row.side, row.raw_ref)
        digest.update(repr(line).encode() + b"\n")
    return digest.hexdigest()

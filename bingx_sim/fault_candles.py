"""Faults of the candle feed. They change what the venue answers, not what it recorded."""

from typing import Any, cast, override

from bingx_sim.exchange import Call
from bingx_sim.faults import Action, Fields

type Rows = list[Any]


class Candles(Action):
    """Base of the candle faults: rewrites the rows of an answer that carries candles."""

    @override
    def amend_answer(self, envelope: Fields, call: Call) -> Fields:
        rows: Any = envelope.get("data")
        if not isinstance(rows, list) or "interval" not in call.params:
            return envelope
        return {**envelope, "data": self.rewrite(list(cast("Rows", rows)), call)}

    def rewrite(self, rows: Rows, call: Call) -> Rows:
        del call
        return rows


class Missing(Candles):
    """Leave out `count` candles: from open time `from_ms` on, or after skipping `skip` newest."""

    kind = "candles_missing"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        count = int(self.fields.get("count", 1))
        if "from_ms" in self.fields:
            gone = sorted(r["time"] for r in rows if r["time"] >= self.fields["from_ms"])[:count]
            return [row for row in rows if row["time"] not in gone]
        skip = int(self.fields.get("skip", 2))
        return rows[:skip] + rows[skip + count :]


class Holed(Candles):
    """Leave out each candle with the chance `fraction`, anew for every answer."""

    kind = "candles_holed"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        fraction = float(self.fields.get("fraction", 0.05))
        return [row for row in rows if self.rng.random() >= fraction]


class Duplicated(Candles):
    """Send every candle, or the `count` newest, twice."""

    kind = "candles_duplicated"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        count = int(self.fields.get("count", len(rows)))
        return [copy for i, row in enumerate(rows) for copy in [row] * (2 if i < count else 1)]


class Unsorted(Candles):
    """Shuffle the page."""

    kind = "candles_unsorted"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        self.rng.shuffle(rows)
        return rows


class Misaligned(Candles):
    """Move the open time of the candles by `ms`; `count` limits it to the newest ones."""

    kind = "candles_misaligned"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        by, count = int(self.fields.get("ms", 1_000)), int(self.fields.get("count", len(rows)))
        return [{**r, "time": r["time"] + by} if i < count else r for i, r in enumerate(rows)]


class Frozen(Candles):
    """Answer as if the feed had stopped: at `at_ms`, or when the rule first fired."""

    kind = "candles_frozen"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        at_ms = int(self.fields.setdefault("at_ms", call.now_ms))
        return [row for row in rows if row["time"] <= at_ms]


class FlipFlop(Candles):
    """A stale replica: every second answer misses the newest `count` candles."""

    kind = "candles_flip_flop"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        self.fields["turn"] = not self.fields.get("turn", False)
        return rows[int(self.fields.get("count", 1)) :] if self.fields["turn"] else rows


class Empty(Candles):
    """An empty page."""

    kind = "candles_empty"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        return []


class Edited(Candles):
    """Overwrite fields (`set`) of the candle that opened at `open_ms`, or of the `index`-th newest.

    Values may be anything: "NaN", "-1", a high below the low.
    """

    kind = "candles_edited"

    @override
    def rewrite(self, rows: Rows, call: Call) -> Rows:
        open_ms, index = self.fields.get("open_ms"), int(self.fields.get("index", 1))
        return [
            {**row, **self.fields["set"]}
            if (row["time"] == open_ms if open_ms is not None else position == index)
            else row
            for position, row in enumerate(rows)
        ]

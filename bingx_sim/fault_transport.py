"""Faults of the way to the venue and back: lost, late, doubled."""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from typing import override

from bingx_sim.faults import Action, Fields, Outcome, Subject

DROPPED = Outcome(0, "", dropped=True)


class Delay(Action):
    """Wait `ms`: `when` "before" processing (the window is then judged late) or "after" it."""

    kind = "delay"

    @override
    async def before(self, subject: Subject) -> Outcome | None:
        if self.fields.get("when", "before") == "before":
            await asyncio.sleep(float(self.fields.get("ms", 1_000)) / 1000)
        return None

    @override
    async def after(self, outcome: Outcome) -> Outcome:
        if self.fields.get("when", "before") == "after":
            await asyncio.sleep(float(self.fields.get("ms", 1_000)) / 1000)
        return outcome


class Hold(Action):
    """Keep the request (`when` before) or its answer (after) until released or the venue stops.

    Without a release it hangs for ever: the caller's own deadline ends the wait.
    """

    kind = "hold"

    @override
    async def before(self, subject: Subject) -> Outcome | None:
        if self.fields.get("when", "after") == "before":
            await self.released.wait()
        return None

    @override
    async def after(self, outcome: Outcome) -> Outcome:
        if self.fields.get("when", "after") == "after":
            await self.released.wait()
        return outcome


class Reorder(Action):
    """Keep the first of two matching requests until the second was answered, at most `ms`."""

    kind = "reorder"

    def __init__(self, fields: Fields, rng: random.Random) -> None:
        super().__init__(fields, rng)
        self._second: asyncio.Event | None = None

    @override
    async def before(self, subject: Subject) -> Outcome | None:
        if self._second is None:
            self._second = asyncio.Event()
            with suppress(TimeoutError):
                wait_s = float(self.fields.get("ms", 5_000)) / 1000
                await asyncio.wait_for(self._second.wait(), wait_s)
        else:
            subject.finished = self._second.set
            self._second = None
        return None


class DropRequest(Action):
    """Lose the request before the venue sees it."""

    kind = "drop_request"

    @override
    async def before(self, subject: Subject) -> Outcome | None:
        return DROPPED


class DropResponse(Action):
    """Carry the request out and lose the answer."""

    kind = "drop_response"

    @override
    async def after(self, outcome: Outcome) -> Outcome:
        return DROPPED


class CutResponse(Action):
    """Carry the request out; the connection breaks after `bytes` of the answer's body."""

    kind = "cut_response"

    @override
    async def after(self, outcome: Outcome) -> Outcome:
        return replace(outcome, cut=int(self.fields.get("bytes", 10)))


class Duplicate(Action):
    """Carry the request out twice; the caller reads the second answer."""

    kind = "duplicate"

    @override
    async def before(self, subject: Subject) -> Outcome | None:
        subject.repeats = 2
        return None

"""What follows from an exchange that turned for the worse is done once, whoever is killed on the way."""

import asyncio
from unittest import mock

import pytest

from actors.venue_watch import VenueWatch
from desk.errors import Banned
from desk.runs import RunStatus, resume
from tests.actors.stage import Stage


class Killed(Exception):
    pass


def banned(watch: VenueWatch) -> None:
    async def compare() -> None:
        async with watch.comparing():
            raise Banned("positions", "banned by the venue")

    with pytest.raises(Banned):
        asyncio.run(compare())


@pytest.mark.catalogue("O22")
def test_O22_a_ban_pauses_the_runs_though_whoever_met_it_died_before() -> None:
    stage = Stage()
    dying = VenueWatch("paper", stage.store, stage.clock)
    with (
        mock.patch("actors.venue_watch.raise_alert", side_effect=Killed),
        pytest.raises(Killed),
    ):
        banned(dying)
    assert stage.run.status is RunStatus.RUNNING

    banned(VenueWatch("paper", stage.store, stage.clock))

    assert (stage.run.status, stage.run.pause_reason) == (RunStatus.PAUSED, "exchange_ban")


def test_a_run_that_was_resumed_meanwhile_is_not_paused_for_the_same_ban() -> None:
    stage = Stage()
    banned(VenueWatch("paper", stage.store, stage.clock))
    stage.change_run(resume)

    banned(VenueWatch("paper", stage.store, stage.clock))

    assert stage.run.status is RunStatus.RUNNING

"""What several tests of sweeps start from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.sweep_data import SweepPlace
from desk.learning.study import Dataset
from desk.market.candles import Candles
from desk.store.valkey import ValkeyStore
from tests.sweeps.homes import furnish, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnished:
    """A home on the session's store, with a dataset."""

    place: SweepPlace
    dataset: Dataset


@pytest.fixture
def furnished(store: ValkeyStore, walk: Callable[..., Candles], tmp_path: Path) -> Furnished:
    dataset = furnish(tmp_path, store, walk(2_000, seed=5))
    return Furnished(place=place_of(tmp_path, store), dataset=dataset)

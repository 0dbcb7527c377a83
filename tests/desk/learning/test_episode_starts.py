"""Where an episode may begin."""

from typing import Any, cast

import numpy as np
import pytest

from desk.learning.episode import EpisodeSpec, stretches


class Rows:
    """As much of a market as decides where an episode may begin."""

    def __init__(self, ready: list[bool]) -> None:
        self.ready = np.array(ready)

    def __len__(self) -> int:
        return len(self.ready)


@pytest.mark.parametrize("stride", [1, 3, 7])
def test_episodes_begin_a_stride_apart(stride: int) -> None:
    market: Any = cast("Any", Rows([False] * 5 + [True] * 40))

    every, ends = stretches(market, EpisodeSpec(length=8))
    strided, same_ends = stretches(market, EpisodeSpec(length=8, start_stride=stride))

    assert len(every) == 38
    assert strided.tolist() == every.tolist()[::stride]
    assert ends.tolist() == same_ends.tolist()

"""What whole lanes of an environment did, step by step, and the episodes that this makes.

Plain arrays and no RLlib: `desk.engines.fragment_runner` fills a `Fragment` and wraps what it is cut
into. An environment with `NEXT_STEP` autoreset spends one step on every reset; that step is part of
no episode and is not counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[Any]
type Flags = NDArray[np.bool_]
type Whole = NDArray[np.int64]
type Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive steps of one episode in one lane: rows [first, end) of the lane's columns."""

    lane: int
    first: int
    end: int
    continues: bool
    """Its episode began before the fragment's first step."""
    terminated: bool
    truncated: bool
    reward: float
    """Sum of its rewards."""

    @property
    def is_done(self) -> bool:
        return self.terminated or self.truncated

    def __len__(self) -> int:
        """Steps."""
        return self.end - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """A fragment turned once: lane first, then step. Pieces are views of these arrays."""

    observations: Array
    """[N, T + 1, …]"""
    actions: Array
    """[N, T]"""
    rewards: Array
    """[N, T]"""
    outputs: dict[str, Array]
    """[N, T, …] of what else the policy gave."""
    pieces: tuple[Piece, ...]
    """Finished ones by step and lane, then the unfinished by lane: RLlib's own order."""
    just_reset: tuple[int, ...]
    """Lanes whose last step was a reset: their next piece begins an episode."""


@dataclass(slots=True)
class Fragment:
    """Steps of all lanes as they come, one array of N per step and kind."""

    first: Array
    """[N, …]: the observation before the first step."""
    was_done: Flags
    """[N]: lanes whose next step is a reset."""
    steps: int = field(default=0, init=False)
    """Counted over all lanes, without resets."""
    at_s: list[float] = field(default_factory=list[float], init=False)
    """[T]: when each step was taken, on a clock of the caller's."""
    _observations: list[Array] = field(default_factory=list[Array], init=False)
    _actions: list[Array] = field(default_factory=list[Array], init=False)
    _rewards: list[Array] = field(default_factory=list[Array], init=False)
    _terminated: list[Flags] = field(default_factory=list[Flags], init=False)
    _truncated: list[Flags] = field(default_factory=list[Flags], init=False)
    _live: list[Flags] = field(default_factory=list[Flags], init=False)
    _outputs: dict[str, list[Array]] = field(default_factory=dict[str, list[Array]], init=False)

    @property
    def last(self) -> Array:
        """[N, …]: the newest observation."""
        return self._observations[-1] if self._observations else self.first

    @property
    def length(self) -> int:
        """Calls of the environment's `step`."""
        return len(self._actions)

    def add(
        self,
        *,
        actions: Array,
        outputs: Mapping[str, Array],
        observations: Array,
        rewards: Array,
        terminated: Flags,
        truncated: Flags,
        at_s: float,
    ) -> None:
        """Take one step of all lanes. Copied: an environment may reuse what it hands out."""
        live = ~self.was_done
        self._live.append(live)
        self.at_s.append(at_s)
        self._actions.append(actions)
        self._observations.append(observations.copy())
        self._rewards.append(rewards.copy())
        self._terminated.append(live & terminated)
        self._truncated.append(live & truncated)
        for name, values in outputs.items():
            self._outputs.setdefault(name, []).append(values)
        self.steps += int(np.count_nonzero(live))
        self.was_done = self._terminated[-1] | self._truncated[-1]

    def lanes(self) -> Lanes:
        """Turn everything lane-major, in one copy, and find the pieces."""
        rewards = np.stack(self._rewards, axis=1)
        terminated, truncated = (
            np.stack(flags, axis=1) for flags in (self._terminated, self._truncated)
        )
        return Lanes(
            observations=np.stack([self.first, *self._observations], axis=1),
            actions=np.stack(self._actions, axis=1),
            rewards=rewards,
            outputs={name: np.stack(values, axis=1) for name, values in self._outputs.items()},
            just_reset=tuple(np.flatnonzero(~self._live[-1]).tolist()),
            pieces=tuple(_pieces(np.stack(self._live, axis=1), terminated, truncated, rewards)),
        )


def _pieces(live: Flags, terminated: Flags, truncated: Flags, rewards: Array) -> Iterator[Piece]:
    """Runs of counted steps in each lane; after every end comes a reset, so runs never touch."""
    steps = live.shape[1]
    edges = np.diff(live.astype(np.int8), axis=1, prepend=0, append=0)
    lane, first = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    last = end - 1
    is_terminated, is_truncated = terminated[lane, last], truncated[lane, last]
    bounds = np.stack((lane * steps + first, lane * steps + end), axis=1).ravel()
    # One zero behind the last reward: `reduceat` takes no index equal to the length.
    padded = np.append(rewards.ravel(), 0.0)
    reward = np.add.reduceat(padded, bounds)[::2] if len(bounds) else np.zeros(0)
    is_done = is_terminated | is_truncated
    order = np.lexsort((lane, np.where(is_done, end, steps), ~is_done))
    columns = (lane, first, end, first == 0, is_terminated, is_truncated, reward)
    for values in zip(*(column[order].tolist() for column in columns), strict=True):
        yield Piece(*values)

"""Many independent calls on Ray at once: each told as it ends, a lost one repeated, all of them cancellable."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from desk.engines.learning_process import become_learner
from desk.errors import DeskError

POLL_S = 0.5
RETRIES = 2
"""Times that a call is repeated whose process died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A call that raised, or whose process died too often."""

    error: str


class TaskTooLarge(DeskError):
    """A call was refused memory; the trading actors of its machine were not."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self.most_bytes = most_bytes

    def __str__(self) -> str:
        return (
            f"the task needed more than its {self.most_bytes / 2**30:.1f} GiB of memory: take a shorter"
            " range, or fewer at once"
        )


def run_tasks[Item, Result](
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    concurrent: int,
    told: Callable[[int, Result | Failed], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Call a function on every item, `concurrent` at a time, one CPU each; False where it was stopped.

    `told` hears of each item by its number, in the order in which they end; an error of one does not
    keep the others from going on. Calls under way are ended when `should_stop` says so. The function
    must bear being repeated. A call that wants more than its share of the memory budget fails with
    `TaskTooLarge`.
    """
    import ray  # noqa: PLC0415 - Ray reads its settings when it is imported

    untyped: Any = ray
    remote: Any = untyped.remote(num_cpus=1, max_retries=RETRIES)(_bounded(function, concurrent))
    waiting, running = deque(enumerate(items)), dict[Any, int]()
    while waiting or running:
        if should_stop():
            for reference in running:
                untyped.cancel(reference, force=True)
            return False
        while waiting and len(running) < concurrent:
            number, item = waiting.popleft()
            running[remote.remote(item)] = number
        ready, _ = untyped.wait(list(running), num_returns=1, timeout=POLL_S)
        for reference in ready:
            told(running.pop(reference), _outcome(reference))
    return True


def _bounded[Item, Result](
    function: Callable[[Item], Result], shares: int
) -> Callable[[Item], Result]:
    def call(item: Item) -> Result:
        most_bytes = become_learner(shares)
        try:
            return function(item)
        except MemoryError:
            raise TaskTooLarge(most_bytes) from None

    return call


def _outcome(reference: Any) -> Any:
    import ray  # noqa: PLC0415

    untyped: Any = ray
    try:
        return untyped.get(reference)
    except DeskError as refused:  # Ray raises a child class of it that prints a whole traceback
        return Failed(error=str(getattr(refused, "cause", refused)))
    except Exception as broken:  # noqa: BLE001 - a call may raise anything; it is told
        return Failed(error=repr(broken).splitlines()[0])

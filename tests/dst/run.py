"""`python -m tests.dst.run --first 0 --count 100`: play seeds, print the breaches, end with a JSON line.

`--tell` prints the whole story of each seed. Exit status 1 when a seed failed.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from tests.dst.world import Plan, play


@dataclass(slots=True)
class Tally:
    """What a range of seeds came to."""

    first: int
    seeds: int = 0
    events: int = 0
    orders: int = 0
    crashes: int = 0
    failures: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    hashes: list[str] = field(default_factory=list[str])

    def as_row(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "seeds": self.seeds,
            "events": self.events,
            "orders": self.orders,
            "crashes": self.crashes,
            "failures": self.failures,
            "digest": sha256("".join(self.hashes).encode()).hexdigest(),
            "hashes": self.hashes,
        }


def run(
    first: int,
    count: int,
    *,
    reconciles: bool = True,
    stop_at_failure: bool = False,
    until_s: float | None = None,
    tell: bool = False,
) -> Tally:
    """Play `count` seeds from `first`; stops early at `until_s` of the monotonic clock."""
    tally = Tally(first=first)
    hear = sys.stdout.write if tell else None
    for seed in range(first, first + count):
        if until_s is not None and time.monotonic() > until_s:
            break
        outcome = play(seed, plan=Plan(reconciles=reconciles), tell=hear)
        tally.seeds += 1
        tally.events += outcome.events
        tally.orders += outcome.orders
        tally.crashes += outcome.crashes
        tally.hashes.append(outcome.trace_hash[:16])
        if outcome.breaches:
            tally.failures[seed] = list(outcome.breaches[:5])
            if stop_at_failure:
                break
    return tally


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.dst.run", description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--without-reconciler", action="store_true")
    parser.add_argument("--stop-at-failure", action="store_true")
    parser.add_argument("--tell", action="store_true")
    given = parser.parse_args(words)
    tally = run(
        given.first,
        given.count,
        reconciles=not given.without_reconciler,
        stop_at_failure=given.stop_at_failure,
        tell=given.tell,
    )
    for seed, breaches in tally.failures.items():
        sys.stdout.write(f"seed {seed}: {'; '.join(breaches)}\n")
    sys.stdout.write(json.dumps(tally.as_row()) + "\n")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())

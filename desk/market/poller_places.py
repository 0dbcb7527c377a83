"""Which poller reads which pairs: one for each pair, or some pairs for each where there are many."""

from collections.abc import Sequence

from desk.ids import Pair


def places(pairs: Sequence[Pair], most: int) -> dict[str, tuple[Pair, ...]]:
    """Pairs by the key of their poller, every pair exactly once.

    Up to `most` pairs (at least 1) each has a poller of its own, under its own name. More are dealt to
    `most` pollers in turn, so that none has two pairs more than another.
    """
    if len(pairs) <= most:
        return {pair: (pair,) for pair in pairs}
    return {f"group-{number + 1}": tuple(pairs[number::most]) for number in range(most)}


def place_of(pair: Pair, pairs: Sequence[Pair], most: int) -> str:
    """Key of the poller of a pair; a pair that is not polled has the key it would have alone."""
    if len(pairs) <= most or pair not in pairs:
        return pair
    return f"group-{pairs.index(pair) % most + 1}"

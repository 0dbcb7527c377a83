"""Errors cross process borders whole."""

import pickle

import pytest

from desk import errors
from desk.errors import DeskError

EXAMPLES: dict[type[DeskError], tuple[object, ...]] = {
    errors.FieldError: ("pair", "was 'x', expected a form like BTC-USDT"),
    errors.NotFound: ("run", "r1"),
    errors.FeedThrottled: ("telegram", 90),
    errors.Fenced: ("executor:paper", 3, 4),
    errors.VersionConflict: ("led:paper", 3, 4),
    errors.LimitReached: ("kill_switch",),
    errors.IllegalTransition: ("open", "SendRefused"),
    errors.VenueUnavailable: ("GET order", "timeout"),
    errors.VenueRejected: ("POST order", "101204", "margin", "Insufficient margin"),
}
"""Arguments of every error with an `__init__` of its own."""


def all_errors() -> list[type[DeskError]]:
    def below(kind: type[DeskError]) -> set[type[DeskError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    ours = [kind for kind in below(DeskError) if kind.__module__.startswith("desk.")]
    return sorted(ours, key=lambda kind: kind.__qualname__)


def example(kind: type[DeskError]) -> DeskError:
    for ancestor in kind.__mro__:
        if "__init__" in vars(ancestor):
            arguments = EXAMPLES.get(ancestor, ("a sentence with its remedy",))
            assert ancestor in EXAMPLES or ancestor is BaseException or ancestor is Exception
            return kind(*arguments)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_whole(kind: type[DeskError]) -> None:
    error = example(kind)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_the_printed_tree_names_every_error_of_the_module(kind: type[DeskError]) -> None:
    assert kind.__module__ != "desk.errors" or kind.__name__ in str(errors.__doc__)


def test_messages_say_what_was_and_what_was_expected() -> None:
    assert str(example(errors.BadInput)) == "pair: was 'x', expected a form like BTC-USDT"
    assert str(example(errors.VersionConflict)) == (
        "led:paper was at version 4, expected 3: read it again"
    )
    assert str(example(errors.Fenced)) == "executor:paper was fenced: epoch 3 is older than 4"


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        (errors.OutcomeUnknown, errors.VenueUnavailable),
        (errors.DuplicateClientId, errors.OutcomeUnknown),
        (errors.LikelyRefused, errors.OutcomeUnknown),
        (errors.WriteThrottled, errors.OutcomeUnknown),
        (errors.WriteBanned, errors.OutcomeUnknown),
        (errors.ProtocolError, errors.VenueUnavailable),
    ],
)
def test_an_unclear_write_is_never_a_rejection(
    kind: type[DeskError], meaning: type[DeskError]
) -> None:
    assert issubclass(kind, meaning)
    assert not issubclass(kind, errors.VenueRejected)

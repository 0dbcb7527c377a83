"""Every documented answer of BingX against what may be concluded from it, row by row.

The expectations are written out here a second time on purpose: a change of the table must be made
twice, by someone who has evidence from the venue.
"""

import pickle

import pytest

from desk import errors
from desk.venues.bingx_errors import (
    RULES,
    Meaning,
    Placed,
    Refusal,
    cancel_error,
    read_error,
    write_error,
)

# codes, message, meaning, placed, class of a refused read, class of a refused write
ROWS = [
    ((100001, 100412, 100413, 100004, 100419, 100414), "no", "auth", "no", "VenueUnavailable", "VenueRejected"),
    ((100410, 429), "slow down", "throttled", "unknown", "Throttled", "WriteThrottled"),
    ((418,), "banned", "banned", "unknown", "Banned", "WriteBanned"),
    ((100421,), "Null timestamp or timestamp mismatch", "clock_skew", "unknown", "VenueUnavailable", "OutcomeUnknown"),
    ((109400, 110400, 110426, 100400, 100404), "timestamp is invalid", "clock_skew", "unknown", "VenueUnavailable", "OutcomeUnknown"),
    ((109400, 110400, 110426, 100400, 100404), "recvWindow must be less than 5000", "clock_skew", "unknown", "VenueUnavailable", "OutcomeUnknown"),
    ((109400,), "cannot change while there are open orders or positions", "setting_locked", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((109400, 110400, 110426, 100400, 100404), "In the One-way mode, the 'PositionSide' field can only be set to BOTH.", "bad_parameters", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((100500, 109500, 110500, 109701, 101219, 101412), "busy", "venue_busy", "unknown", "VenueUnavailable", "OutcomeUnknown"),
    ((101204, 80012, 100202, 101206, 101212, 101253, 110424), "Insufficient margin", "margin", "no", "VenueUnavailable", "VenueRejected"),
    ((101400,), "The minimum order amount is 0.0001 BTC.", "size", "no", "VenueUnavailable", "VenueRejected"),
    ((101400,), "stop loss price should be lower than the order price", "size", "no", "VenueUnavailable", "VenueRejected"),
    ((101400,), "clientOrderID already exists", "duplicate_client_order_id", "yes", "VenueUnavailable", "DuplicateClientId"),
    ((101400,), "clientOrderID unique check failed", "duplicate_client_order_id", "yes", "VenueUnavailable", "DuplicateClientId"),
    ((101400,), "something else", "size", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((110425,), "below the minimum", "size", "no", "VenueUnavailable", "VenueRejected"),
    ((101202, 110422), "bad size", "size", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((101211, 110402, 101460, 101461, 110411, 110412, 110413, 110414), "price", "price", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((101215,), "would take", "post_only", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((101209, 101222, 101414, 101429, 110287, 112414, 101419, 110206), "limit", "venue_limit", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((101481, 109201), "used", "duplicate_client_order_id", "yes", "VenueUnavailable", "DuplicateClientId"),
    ((109421, 80016, 80017), "order not exist", "order_not_seen", "unknown", "VenueUnavailable", "OutcomeUnknown"),
    ((80018, 109422), "filled", "order_already_final", "yes", "VenueUnavailable", "OutcomeUnknown"),
    ((101205, 101290, 109420, 110203, 101485), "No position to close", "nothing_to_reduce", "no", "VenueUnavailable", "VenueRejected"),
    ((101214,), "settling", "funding_settlement", "unknown", "VenueUnavailable", "OutcomeUnknown"),
    ((101413, 104424, 101415, 110280, 109417, 109418, 100490), "offline", "pair_closed", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((109425,), "no such pair", "symbol_unknown", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((109403, 109429), "risk", "venue_risk_control", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((104103, 104108, 109430), "locked", "setting_locked", "likely_no", "VenueUnavailable", "LikelyRefused"),
    ((102201,), "cancelled", "cancelled_by_venue", "unknown", "VenueUnavailable", "OutcomeUnknown"),
    ((999999, 1, -1), "never heard of", "unknown_code", "unknown", "ProtocolError", "OutcomeUnknown"),
]  # fmt: skip

HTTP_ROWS = [
    (418, "banned", "Banned", "WriteBanned"),
    (429, "throttled", "Throttled", "WriteThrottled"),
    (403, "unreachable", "VenueUnavailable", "OutcomeUnknown"),
    (404, "unreachable", "VenueUnavailable", "OutcomeUnknown"),
    (500, "unreachable", "VenueUnavailable", "OutcomeUnknown"),
    (502, "unreachable", "VenueUnavailable", "OutcomeUnknown"),
    (503, "unreachable", "VenueUnavailable", "OutcomeUnknown"),
    (504, "unreachable", "VenueUnavailable", "OutcomeUnknown"),
    (522, "unreachable", "VenueUnavailable", "OutcomeUnknown"),
    (302, "unknown_code", "ProtocolError", "OutcomeUnknown"),
]


def _refusal(code: int | None, message: str = "", http_status: int = 200) -> Refusal:
    return Refusal(call="a call", http_status=http_status, code=code, message=message)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [(code, message, tuple(rest)) for codes, message, *rest in ROWS for code in codes],
)
def test_answer_code_means_what_its_row_says(
    code: int, message: str, expected: tuple[str, str, str, str]
) -> None:
    refusal = _refusal(code, message)

    classes = [type(make(refusal)).__name__ for make in (read_error, write_error)]
    assert (refusal.meaning.value, refusal.rule.placed.value, *classes) == expected


@pytest.mark.parametrize(("status", "meaning", "read", "write"), HTTP_ROWS)
def test_http_status_without_a_code_means_what_its_row_says(
    status: int, meaning: str, read: str, write: str
) -> None:
    refusal = _refusal(None, "<html>", http_status=status)

    assert refusal.meaning == meaning
    assert type(read_error(refusal)).__name__ == read
    assert type(write_error(refusal)).__name__ == write


def test_every_code_of_the_table_has_a_row_here() -> None:
    written = {code for codes, *_ in ROWS for code in codes}

    assert {code for rule in RULES for code in rule.codes} <= written


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_refusal_code_behind_a_gateway_error_proves_nothing(status: int) -> None:
    refusal = _refusal(101204, "Insufficient margin", http_status=status)

    assert type(write_error(refusal)) is errors.OutcomeUnknown


def test_refusal_code_with_a_client_error_status_counts() -> None:
    refusal = _refusal(101204, "Insufficient margin", http_status=400)

    error = write_error(refusal)

    assert isinstance(error, errors.VenueRejected)
    assert (error.code, error.reason) == ("101204", "margin")


def test_only_the_allow_list_rejects_an_order() -> None:
    rejecting = {
        refusal.meaning
        for rule in RULES
        for code in rule.codes or {None}
        for refusal in (_refusal(code, "size"),)
        if isinstance(write_error(refusal), errors.VenueRejected)
    }

    assert rejecting == {Meaning.AUTH, Meaning.MARGIN, Meaning.SIZE, Meaning.NOTHING_TO_REDUCE}


@pytest.mark.parametrize("rule", RULES)
def test_refused_cancel_never_settles_an_order(rule: object) -> None:
    assert isinstance(rule, type(RULES[0]))
    for code in rule.codes:
        assert isinstance(cancel_error(_refusal(code)), errors.OutcomeUnknown)


@pytest.mark.catalogue("O11")
@pytest.mark.parametrize("code", [109201, 101481, 101400])
def test_duplicate_client_id_is_evidence_and_no_rejection(code: int) -> None:
    error = write_error(_refusal(code, "duplicate clientOrderID"))

    assert isinstance(error, errors.DuplicateClientId)
    assert _refusal(code, "duplicate clientOrderID").rule.placed is Placed.YES


def test_write_refusals_survive_pickling_with_both_of_their_classes() -> None:
    error = pickle.loads(pickle.dumps(write_error(_refusal(100410, "slow down"))))

    assert isinstance(error, errors.Throttled)
    assert isinstance(error, errors.OutcomeUnknown)
    assert "100410" in error.reason

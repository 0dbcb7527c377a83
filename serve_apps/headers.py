"""Headers that every answer carries, whoever gives it."""

from collections.abc import Mapping

DENY_ALL = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
"""The policy of an answer that is no page of ours."""


def security_headers(content_security_policy: str = DENY_ALL) -> Mapping[str, str]:
    """What every answer tells a browser: run nothing foreign, guess no type, name us to nobody."""
    return {
        "content-security-policy": content_security_policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
    }

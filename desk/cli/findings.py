"""What an examination found: a check with its verdict, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

type Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. `warn`: the desk runs, and an operator should know; `fail`: it will not, or not well."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""
    """Empty where there is nothing to do."""


def ok(check: str, found: str) -> Finding:
    """A check that is as it should be."""
    return Finding(check=check, verdict="ok", found=found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """A check that an operator should know about."""
    return Finding(check=check, verdict="warn", found=found, remedy=remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """A check without which the desk does not run, or not well."""
    return Finding(check=check, verdict="fail", found=found, remedy=remedy)

"""How far the executions of the fill rules are apart: the `Decimal` ledger is what they are held to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from desk.evaluation.plan import Replay, fold
from desk.trading.fills import ZERO, FundingPayment, LotFill
from desk.trading.instruments import Instrument

LEDGER, KERNEL, NAUTILUS, PAPER = "decimal ledger", "kernel", "nautilus", "paper venue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """By how much an execution may differ from the ledger, USDT. Counts must be equal everywhere."""

    amount: Decimal = ZERO
    """Of one fee or funding amount."""
    fold: Decimal = ZERO
    """Of its own fills and funding added up in `Decimal`, beyond what `amount` explains."""
    balance: Decimal = ZERO
    """Of the balance it keeps itself."""


BOUNDS: Mapping[str, Bound] = {
    # Fees and funding of floats are not rounded to 8 decimals: half a step, and the float's own error.
    KERNEL: Bound(amount=Decimal("0.6e-8"), fold=Decimal("0.005"), balance=Decimal("0.005")),
    # Its average price is a float; its fills are not.
    NAUTILUS: Bound(balance=Decimal("1e-6")),
    PAPER: Bound(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What came of comparing one execution with the ledger, over one case or many."""

    engine: str
    cases: int = 0
    candles: int = 0
    fills: int = 0
    """The ledger's."""
    mismatching_fills: int = 0
    """In time, signed lots, price, fee or cause; a missing or an additional one counts as well."""
    funding_amounts: int = 0
    mismatching_funding: int = 0
    fold_diff: Decimal = ZERO
    """Largest of any case, USDT: own fills and funding added up in `Decimal`, less the ledger's."""
    balance_diff: Decimal = ZERO
    """Largest of any case, USDT: the balance it keeps itself, less the ledger's."""
    first_mismatch: str = ""

    @property
    def holds(self) -> bool:
        """Whether no bound is broken."""
        bound = BOUNDS[self.engine]
        return (
            self.mismatching_fills == 0
            and self.mismatching_funding == 0
            and self.fold_diff <= bound.fold
            and self.balance_diff <= bound.balance
        )

    def plus(self, other: "Agreement") -> "Agreement":
        """Both together."""
        return Agreement(
            engine=self.engine,
            cases=self.cases + other.cases,
            candles=self.candles + other.candles,
            fills=self.fills + other.fills,
            mismatching_fills=self.mismatching_fills + other.mismatching_fills,
            funding_amounts=self.funding_amounts + other.funding_amounts,
            mismatching_funding=self.mismatching_funding + other.mismatching_funding,
            fold_diff=max(self.fold_diff, other.fold_diff),
            balance_diff=max(self.balance_diff, other.balance_diff),
            first_mismatch=self.first_mismatch or other.first_mismatch,
        )


def hold_against(
    engine: str,
    done: Replay,
    ledger: Replay,
    *,
    cash: Decimal,
    instrument: Instrument,
    candles: int = 0,
    name: str = "",
) -> Agreement:
    """Compare an execution's replay of a plan with the ledger's, fill by fill, in their order.

    `name` is the case's, for the first mismatch.
    """
    amount = BOUNDS[engine].amount
    fills = [
        at
        for at, (ours, theirs) in enumerate(_pairs(ledger.fills, done.fills))
        if ours is None or theirs is None or not _same_fill(ours, theirs, amount)
    ]
    funding = [
        at
        for at, (ours, theirs) in enumerate(_pairs(ledger.funding, done.funding))
        if ours is None or theirs is None or not _same_payment(ours, theirs, amount)
    ]
    folded = fold(done.fills, done.funding, cash, instrument)
    told = _told("fill", fills, ledger.fills, done.fills) or _told(
        "funding", funding, ledger.funding, done.funding
    )
    return Agreement(
        engine=engine,
        cases=1,
        candles=candles,
        fills=len(ledger.fills),
        mismatching_fills=len(fills),
        funding_amounts=len(ledger.funding),
        mismatching_funding=len(funding),
        fold_diff=abs(folded - ledger.balance),
        balance_diff=abs(done.balance - ledger.balance),
        first_mismatch=f"{name}: {told}" if told else "",
    )


def _pairs[T](ours: Sequence[T], theirs: Sequence[T]) -> list[tuple[T | None, T | None]]:
    most = max(len(ours), len(theirs))
    padded = [[*side, *[None] * (most - len(side))] for side in (ours, theirs)]
    return list(zip(*padded, strict=True))


def _same_fill(ours: LotFill, theirs: LotFill, amount: Decimal) -> bool:
    return (
        ours.filled_ms == theirs.filled_ms
        and ours.lots == theirs.lots
        and ours.price_ticks == theirs.price_ticks
        and ours.cause is theirs.cause
        and abs(ours.fee - theirs.fee) <= amount
    )


def _same_payment(ours: FundingPayment, theirs: FundingPayment, amount: Decimal) -> bool:
    return (
        ours.due_ms == theirs.due_ms
        and ours.lots == theirs.lots
        and ours.mark_ticks == theirs.mark_ticks
        and abs(ours.amount - theirs.amount) <= amount
    )


def _told(what: str, wrong: Sequence[int], ours: Sequence[object], theirs: Sequence[object]) -> str:
    if not wrong:
        return ""
    at = wrong[0]
    was = theirs[at] if at < len(theirs) else "missing"
    expected = ours[at] if at < len(ours) else "none"
    return f"{what} {at} was {was}, expected {expected}"

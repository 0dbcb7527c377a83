"""What a seed makes of a run: how likely each fault is, drawn once, so that every seed is another storm."""

from dataclasses import dataclass
from random import Random

RATES = (0.0, 0.0, 0.05, 0.2, 0.5)
CRASH_RATES = (0.0, 0.0, 0.01, 0.03)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Probabilities per event unless said otherwise; times in s. A fault that is off is 0."""

    lost_request: float = 0.0
    lost_reply: float = 0.0
    late_request: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0
    read_error: float = 0.0
    blind_look_up: float = 0.0
    """A look-up by client id finds nothing although the order is visible."""
    refusal: float = 0.0
    likely_refusal: float = 0.0
    duplicate_fill_row: float = 0.0
    late_fill_row: float = 0.0
    venue_ends_order: float = 0.0
    fill_after_end: float = 0.0
    lost_call: float = 0.0
    """Between two actors."""
    store_before: float = 0.0
    store_after: float = 0.0
    crash: float = 0.0
    """Per crash point."""
    repeat_decision: float = 0.0
    visibility_s: float = 0.0
    """Longest time until a new order can be queried."""
    skew_ms: int = 0
    """Venue clock minus ours, unknown to us."""
    is_skewed: bool = False
    """Beyond the bound that the rules assume."""
    venue_refuses_ids_twice: bool = True
    """Whether the venue itself deduplicates client ids."""
    split_brain: bool = False
    heeds_venue: bool = False
    """Whether entries wait for a venue that answers: then a storm has fewer of them."""
    cancels: float = 0.0
    closes: float = 0.0
    kill_at_s: float | None = None
    manual_trade_at_s: float | None = None
    foreign_order: bool = False
    outage_at_s: float | None = None
    """The venue answers nothing for some seconds from here."""
    edits_limits: bool = False
    """Whether an operator edits limit set and guardrails while decisions are under way."""

    @classmethod
    def drawn(cls, rng: Random) -> "Mix":
        """The storm of a seed."""

        def rate() -> float:
            return rng.choice(RATES)

        is_skewed = rng.random() < 1 / 3
        return cls(
            lost_request=rate(),
            lost_reply=rate(),
            late_request=rate(),
            error_before=rate() / 2,
            error_after=rate() / 2,
            read_error=rate() / 2,
            blind_look_up=rate() / 2,
            refusal=rate() / 4,
            likely_refusal=rate() / 4,
            duplicate_fill_row=rate(),
            late_fill_row=rate(),
            venue_ends_order=rate() / 2,
            fill_after_end=rate() / 2,
            lost_call=rate() / 2,
            store_before=rate() / 10,
            store_after=rate() / 10,
            crash=rng.choice(CRASH_RATES),
            repeat_decision=rate(),
            visibility_s=rng.choice((0.0, 0.3, 1.5)),
            skew_ms=rng.choice((-30_000, -8_000, 8_000, 30_000))
            if is_skewed
            else rng.randint(-900, 900),
            is_skewed=is_skewed,
            venue_refuses_ids_twice=is_skewed or rng.random() < 0.5,
            split_brain=rng.random() < 0.3,
            heeds_venue=rng.random() < 1 / 3,
            cancels=0.25,
            closes=rng.choice((0.0, 0.0, 0.3)),
            kill_at_s=rng.uniform(3.0, 25.0) if rng.random() < 0.15 else None,
            manual_trade_at_s=rng.uniform(3.0, 28.0) if rng.random() < 0.15 else None,
            foreign_order=rng.random() < 0.2,
            outage_at_s=rng.uniform(1.0, 20.0) if rng.random() < 0.2 else None,
            edits_limits=rng.random() < 0.5,
        )


CALM = Mix()

"""What an order must be before any limit is looked at: its pair, mode, side and size, rule by rule."""

from dataclasses import dataclass
from decimal import Decimal

from desk.ids import Pair
from desk.trading.instruments import Instrument
from desk.trading.intents import OrderIntent
from desk.trading.risk import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """What the intent's run may do: on which account, on which pair, and what its agent may trade."""

    account: str
    pair: Pair
    allowed_pairs: tuple[Pair, ...]
    kill_reason: str | None = None
    """Why the agent's own kill switch is on; None: it is off."""


def check(
    intent: OrderIntent,
    *,
    instrument: Instrument | None,
    mandate: Mandate | None,
    held_quantity: Decimal,
) -> Refused | None:
    """Name the first rule that the intent breaks, or None.

    `held_quantity` is the signed position in our books. Entries must be covered by a mandate; exits
    need none, as they must pass when a pair was taken off the list, and may be smaller than the
    venue's minimum where they close all that is held.
    """
    if instrument is None:
        return _refused("pair_unknown", intent.pair, "a pair that the venue lists")
    if intent.reduce_only:
        return _of_exit(intent, instrument, held_quantity)
    return _of_mandate(intent, mandate) or _of_size(intent, instrument)


def _of_exit(intent: OrderIntent, instrument: Instrument, held: Decimal) -> Refused | None:
    if held * intent.side.sign >= 0:
        return _refused("side_not_allowed", f"{intent.side} of {held:f}", "a side that reduces")
    return _of_lots(intent, instrument)


def _of_mandate(intent: OrderIntent, mandate: Mandate | None) -> Refused | None:
    if mandate is None:
        return _refused("run_unknown", intent.run_id, "a run that was started")
    if mandate.kill_reason is not None:
        return _refused("kill_switch", mandate.kill_reason, "exits only")
    if intent.account != mandate.account:
        return _refused("mode_not_allowed", intent.account, mandate.account)
    if intent.pair != mandate.pair or intent.pair not in mandate.allowed_pairs:
        allowed = " ".join(pair for pair in mandate.allowed_pairs if pair == mandate.pair)
        return _refused("pair_not_allowed", intent.pair, allowed or "no pair")
    return None


def _of_size(intent: OrderIntent, instrument: Instrument) -> Refused | None:
    if not instrument.tradable:
        return _refused("pair_not_tradable", intent.pair, "exits only")
    if (refused := _of_lots(intent, instrument)) is not None:
        return refused
    if intent.quantity < instrument.min_quantity:
        asked, least = f"{intent.quantity:f}", f"at least {instrument.min_quantity:f}"
        return _refused("quantity_below_minimum", asked, least)
    if intent.notional < instrument.min_notional:
        least = f"at least {instrument.min_notional:f} USDT"
        return _refused("notional_below_minimum", f"{intent.notional:f} USDT", least)
    return None


def _of_lots(intent: OrderIntent, instrument: Instrument) -> Refused | None:
    if intent.quantity > 0 and intent.quantity % instrument.lot == 0:
        return None
    return _refused("quantity_off_lot", f"{intent.quantity:f}", f"lots of {instrument.lot:f}")


def _refused(rule: str, asked: str, allowed: str) -> Refused:
    return Refused(limit=rule, asked=asked, allowed=allowed, scope="account")

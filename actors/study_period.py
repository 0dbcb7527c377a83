"""The market a training or an evaluation happens on: which candles, filled by which rules."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from desk.errors import BadInput
from desk.ids import Pair
from desk.learning.study import Window, window
from desk.learning.training_window import check_gaps
from desk.market.candles import Candles
from desk.market.features import FeatureSet
from desk.market.funding_features import FUNDING_SOURCE, settled
from desk.market.interval import Interval, interval_ms
from desk.market.signal_features import NO_SIGNALS, Signals
from desk.store.funding_history import settlements_between
from desk.store.port import DocStore
from desk.store.signal_history import heard_between, marks_by_source
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument
from desk.trading.tape import Market, check_on_tick

type Rates = Sequence[tuple[int, Decimal]]
"""Funding settlements `(due_ms, rate)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Candles of a pair with `start_ms <= open_ms < end_ms`, and how orders fill on them."""

    pair: Pair
    interval: Interval
    start_ms: int
    end_ms: int
    instrument: Instrument
    fills: FillSpec = field(default_factory=FillSpec)

    @property
    def fill_spec(self) -> FillSpec:
        """The fill rules on candles of this interval."""
        return replace(self.fills, interval=self.interval)

    def window(
        self, candles: Candles, features: FeatureSet, signals: Signals = NO_SIGNALS
    ) -> Window:
        """Cut the period out of sorted candles; nothing after its end is looked at."""
        return window(
            self.pair,
            self.interval,
            candles,
            features,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            signals=signals,
        )

    def check_gaps(self, candles: Candles, most_missing_fraction: float) -> None:
        """Raise `BadInput` where more of its candles are missing than allowed. `candles` are sorted;
        those outside the period are not looked at."""
        check_gaps(
            candles.between(self.start_ms, self.end_ms).open_ms,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            step_ms=interval_ms(self.interval),
            most_missing_fraction=most_missing_fraction,
        )

    def check_leverage(self, leverage: int | None) -> None:
        """Raise `BadInput` for a leverage that the pair does not have."""
        most = self.instrument.max_leverage
        if leverage is not None and not 1 <= leverage <= most:
            raise BadInput("leverage", f"was {leverage}, expected 1 to {most} for {self.pair}")

    def heard(self, store: DocStore, features: FeatureSet, *, now_ms: int) -> Signals:
        """What the features' sources said up to the period's end, and its settlements. Raises
        `BadInput` where signals may be dropped already, or no funding is known."""
        step_ms = interval_ms(self.interval)
        first_ms = self.start_ms + step_ms
        heard = heard_between(
            store, features, self.pair, start_ms=first_ms, end_ms=self.end_ms, now_ms=now_ms
        )
        settlements = settlements_between(
            store, features, self.pair, start_ms=first_ms, end_ms=self.end_ms, step_ms=step_ms
        )
        if features.funding is None:
            return marks_by_source(heard)
        return {**marks_by_source(heard), FUNDING_SOURCE: settled(settlements)}

    def market(self, chosen: Window, rates: Rates) -> Market:
        """The window's candles in ticks, with the settlements among them. Raises `BadInput` for
        prices off the tick."""
        check_on_tick(chosen.candles, self.instrument)
        return Market.of(chosen.candles, self.instrument, self.fill_spec, rates)


def text_or_none(number: Decimal | None) -> str | None:
    """A decimal as it is stored."""
    return None if number is None else f"{number:f}"

"""Faults of the order desk: partial fills, orders that end otherwise, statuses that lag."""

from decimal import Decimal
from typing import Any, override

from bingx_sim.accounts import Order, Step
from bingx_sim.exchange import Call
from bingx_sim.faults import Action
from bingx_sim.instruments import CONTRACTS


class PartialFill(Action):
    """Fill a placed order by `schedule`: pairs of [market ms after acceptance, fraction].

    What the schedule leaves over stays open and the market does not touch it.
    """

    kind = "partial_fill"

    @override
    def amend_call(self, call: Call) -> None:
        call.amendments.append(self._plan)

    def _plan(self, order: Order) -> None:
        schedule: list[Any] = self.fields.get("schedule") or [[0, 0.5]]
        step = CONTRACTS[order.pair].step
        for delay_ms, fraction in schedule:
            quantity = (order.quantity * Decimal(str(fraction)) / step).to_integral_value() * step
            if quantity > 0:
                at_ms = order.created_ms + int(delay_ms)
                order.plan.append(Step(at_ms=at_ms, quantity=quantity))
        order.held = True


class OrderEnds(Action):
    """Accept an order, then end it unfilled: `status` EXPIRED, FAILED or CANCELLED, `after_ms`."""

    kind = "order_ends"

    @override
    def amend_call(self, call: Call) -> None:
        call.amendments.append(self._plan)

    def _plan(self, order: Order) -> None:
        at_ms = order.created_ms + int(self.fields.get("after_ms", 0))
        order.plan.append(Step(at_ms=at_ms, status=str(self.fields.get("status", "EXPIRED"))))
        order.held = True


class StatusLag(Action):
    """Queries show a placed order as just accepted for `ms` of server time."""

    kind = "status_lag"

    @override
    def amend_call(self, call: Call) -> None:
        until_ms = call.server_ms + int(self.fields.get("ms", 2_000))

        def lag(order: Order) -> None:
            order.stale_until_ms = until_ms

        call.amendments.append(lag)


class Invisible(Action):
    """No query finds a placed order for `ms` of server time."""

    kind = "invisible"

    @override
    def amend_call(self, call: Call) -> None:
        until_ms = call.server_ms + int(self.fields.get("ms", 2_000))

        def hide(order: Order) -> None:
            order.visible_from_ms = until_ms

        call.amendments.append(hide)


class ClientIdBlind(Action):
    """No look-up by client id finds a placed order for `ms` of server time; lists show it."""

    kind = "client_id_blind"

    @override
    def amend_call(self, call: Call) -> None:
        until_ms = call.server_ms + int(self.fields.get("ms", 2_000))

        def blind(order: Order) -> None:
            order.blind_until_ms = until_ms

        call.amendments.append(blind)


class FillOnCancel(Action):
    """A match races a cancel: `when` before (the cancel is refused) or after it was answered."""

    kind = "fill_on_cancel"

    @override
    def amend_call(self, call: Call) -> None:
        call.fill_on_cancel = str(self.fields.get("when", "after"))

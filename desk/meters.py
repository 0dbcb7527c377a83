"""Every counter and histogram of the desk, declared once; `docs/metrics.md` has a row for each.

No label is ever the id of a run, an order, a trade or a request.
"""

from desk.counting import Meter

LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0, 10.0)
"""With the promises in it: decisions within 1.5 s by setting, within 3 s for 95 % of candles."""
WAIT_S = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 180.0)
LAG_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
REQUEST_S = (0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
SLIPPAGE_BPS = (-50.0, -20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0, 50.0, 100.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

# --- decisions ----------------------------------------------------------------------------------

DECISIONS = Meter(
    "desk_decisions_total", "Decisions by what came of them.", ("action", "hold_reason")
)
DECISION_STAGE = Meter(
    "desk_decision_stage_seconds", "Wall time of a decision by stage.", ("stage",), LATENCY_S
)
RISK_CHECKS = Meter(
    "desk_risk_checks_total", "Intents checked: approved, or the limit.", ("account", "outcome")
)

# --- orders and money ---------------------------------------------------------------------------

ORDER_MOVES = Meter(
    "desk_order_transitions_total", "Orders by the state they came into.", ("account", "state")
)
ACKNOWLEDGEMENT = Meter(
    "desk_order_acknowledgement_seconds",
    "Wall time from sending an order to the venue's answer.",
    ("account", "outcome"),
    LATENCY_S,
)
FILLS = Meter("desk_fills_total", "Executions booked.", ("account",))
TRADED = Meter("desk_traded_usdt_total", "Notional of executions.", ("account",))
SLIPPAGE = Meter(
    "desk_fill_slippage_bps",
    "Fill price against the close decided on; above 0 is worse.",
    ("account",),
    SLIPPAGE_BPS,
)
RECONCILE_PASSES = Meter(
    "desk_reconcile_passes_total", "Comparisons with the venue.", ("account", "scope")
)
RECONCILE = Meter("desk_reconcile_seconds", "Wall time of a comparison.", ("account",), LATENCY_S)
CORRECTIONS = Meter(
    "desk_reconcile_corrections_total", "What a comparison put right.", ("account",)
)
RECONCILE_ERRORS = Meter(
    "desk_reconcile_errors_total", "Corrections that could not be made.", ("account",)
)

# --- the venue ----------------------------------------------------------------------------------

VENUE_CALLS = Meter(
    "desk_venue_calls_total",
    "Calls of the exchange by endpoint and how they ended.",
    ("endpoint", "outcome"),
)
VENUE_CALL = Meter(
    "desk_venue_call_seconds", "Wall time of a call of the exchange.", ("access",), LATENCY_S
)
TURN_WAIT = Meter(
    "desk_venue_turn_wait_seconds",
    "Wall time that a read waited for its turn under the rate limit.",
    ("urgency",),
    WAIT_S,
)

# --- market data --------------------------------------------------------------------------------

CANDLES_STORED = Meter("desk_candles_stored_total", "New candles stored.", ("interval",))
CANDLES_REJECTED = Meter(
    "desk_candles_rejected_total", "Rows that never became candles.", ("interval",)
)
CANDLES_REVISED = Meter(
    "desk_candles_revised_total", "Closed candles that came otherwise.", ("interval",)
)
INGESTION_LAG = Meter(
    "desk_ingestion_lag_seconds",
    "Market time from a candle's close until it is passed on.",
    ("interval",),
    LAG_S,
)
POLLS = Meter("desk_candle_polls_total", "Reads of newest candles.", ("interval", "outcome"))
GAPS = Meter("desk_gap_events_total", "Gaps by the state they came into.", ("status",))
SIGNALS = Meter("desk_signals_total", "Messages of signal sources.", ("source", "outcome"))
RETRIES = Meter(
    "desk_retry_attempts_total", "Attempts at failed ingestion jobs.", ("job_type", "outcome")
)

# --- the policy ---------------------------------------------------------------------------------

POLICY_ROWS = Meter(
    "desk_policy_batch_rows", "Observations answered by one forward pass.", (), ROWS
)
POLICY_PASS = Meter("desk_policy_pass_seconds", "Wall time of a forward pass.", (), LATENCY_S)
POLICY_LOADS = Meter("desk_policy_loads_total", "Versions loaded, or refused.", ("outcome",))

# --- the desk itself ----------------------------------------------------------------------------

ALERTS_RAISED = Meter(
    "desk_alerts_raised_total", "Alerts opened or raised again.", ("code", "severity")
)
ALERT_DELIVERIES = Meter(
    "desk_alert_deliveries_total", "Notices to receivers.", ("channel", "outcome")
)
TURNS_FAILED = Meter(
    "desk_actor_turns_failed_total", "Turns of a work loop that failed.", ("role", "why")
)
STORE_CALL = Meter("desk_store_call_seconds", "Wall time of a store call.", (), LATENCY_S)
STORE_REPEATS = Meter("desk_store_repeats_total", "Store calls repeated while it was away.")
SAMPLES_LOST = Meter("desk_samples_lost_total", "Samples that the store did not take in time.")
LOG_LINES_LOST = Meter("desk_log_lines_lost_total", "Log lines that their stream did not take.")
SPANS = Meter("desk_trace_spans_total", "Spans for the collector of traces.", ("outcome",))

# --- the operator API ---------------------------------------------------------------------------

REQUESTS = Meter(
    "desk_http_requests_total", "Requests answered.", ("method", "route", "status_class")
)
REQUEST = Meter(
    "desk_http_request_seconds", "Wall time until an answer begins.", ("route",), REQUEST_S
)
STREAM_MESSAGES = Meter("desk_stream_messages_total", "Messages to event streams.", ("topic",))
STREAM_RESYNCS = Meter(
    "desk_stream_resyncs_total", "Streams told to read everything again.", ("reason",)
)

METERS: dict[str, Meter] = {
    value.name: value for value in list(globals().values()) if isinstance(value, Meter)
}

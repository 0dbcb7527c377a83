"""Every control of the pages, and the browser test that sees what it does in the system.

A line `test module::test` is followed by the controls that it presses: `page | where | names`, the names
separated by semicolons. What changes from row to row is in capitals; `inventory.py` reads the pages.
"""

TABLE = """
test_operations_page::test_every_tab_of_the_frame_leads_to_its_page
every page | frame | Operations; Agent; Evaluations; Sources; Ingestion; Insights; alerts
test_operations_page::test_kill_takes_a_held_press_never_a_slip
every page | frame | KILL
test_operations_page::test_kill_by_keyboard_sets_the_flag_and_release_asks_for_a_reason
every page | frame | KILLED · release …
every page | dialog Release the kill switch? | Reason; Release
test_operations_page::test_the_theme_is_kept
every page | frame | Switch to dark theme
test_login_page::test_signing_out_ends_the_session_and_the_pages_ask_again
every page | frame | Sign out
/login | page | API token; Log in
test_login_page::test_a_link_from_elsewhere_goes_on_where_it_was_meant_to
/login | page | Continue
test_frame::test_a_question_mark_lists_the_keys_and_gives_the_focus_back
every page | frame | Keys …
every page | dialog Keys | Close
test_frame::test_the_skip_link_goes_to_the_content
every page | page | Skip to content
test_frame::test_a_column_sorts_by_its_figures_up_down_and_as_it_was
every page | a list | sort
test_frame::test_what_changed_meanwhile_is_shown_and_the_edit_goes_on_from_there
every page | a dialog | Reload
test_frame::test_a_dialog_that_is_left_sends_nothing
every page | a dialog | Cancel
test_operations_page::test_a_trace_tells_the_way_from_candle_to_ledger
every page | a list | TRACE of a row
every page | drawer Trace | Close
test_operations_page::test_a_trace_is_read_again_and_copied
every page | drawer Trace | Reload; Copy JSON

test_dialog_fields::test_a_paper_run_starts_with_all_that_was_chosen
/rl-agent | Runs | New paper run …
every page | dialog Start a paper run | Pair; Policy version; Risk limit set; Decision threshold, 0 to; Stop loss, fraction of the entry price; Start paper run
test_dialog_fields::test_the_gates_of_a_live_run_are_asked_for_all_that_was_chosen
/rl-agent | Runs | Go live …
every page | dialog Start a live run | Pair; Policy version; Risk limit set; Decision threshold, 0 to; Stop loss, fraction of the entry price; Check the gates
test_agent_page::test_a_live_run_starts_after_every_gate_and_with_its_name_typed
every page | dialog Start a live run | Type PAIR to confirm; Start live run
test_operations_page::test_pause_and_resume_reach_the_run_with_their_reason
/rl-ops | Trading | Pause … of a row; Resume … of a row
every page | dialog Pause run | Reason, kept in the audit; Pause run
every page | dialog Resume run | Reason, kept in the audit; Resume run
test_operations_page::test_stop_can_close_the_position_reduce_only
/rl-ops | Trading | Stop … of a row
every page | dialog Stop run | Reason, kept in the audit; Position; Stop run
test_agent_page::test_a_run_is_paused_resumed_and_stopped_from_the_agents_page
/rl-agent | Runs | Pause … of a row; Resume … of a row; Stop … of a row
test_operations_page::test_a_run_is_started_with_what_the_dialog_says
/rl-ops | Trading | Start …
test_operations_page::test_reconcile_reports_what_it_found
/rl-ops | Trading | Reconcile now

test_dialog_fields::test_a_backfill_fetches_what_was_chosen
/ingestion | Coverage | Backfill …
every page | dialog Backfill candles | Pair; Interval; Start, UTC (2026-01-31 12:00); End, UTC; Batches; Start backfill
test_operations_page::test_a_backfill_shows_its_progress_and_a_wrong_date_is_named
/rl-ops | Ingestion | Backfill …
test_lists::test_a_backfill_is_cancelled_wherever_it_shows
/ingestion | Coverage | Pause; Resume; Cancel
/rl-ops | Ingestion | Pause; Resume; Cancel
/rl-data-sources | Sources | Pause; Resume; Cancel
test_operations_page::test_of_many_sources_the_telling_ones_are_shown_and_the_others_on_demand
/rl-ops | Ingestion | Show all; Show fewer
test_lists::test_the_tiles_name_what_is_wrong_and_lead_to_it
/rl-ops | tiles | Circuit breaker; Day PnL, USDT; Decision p95; Drawdown; Equity, USDT; Exposure; Ingestion p95; Mode; Open positions; Reconciler; Retry queue; Runs; Service levels; Worst source
test_lists::test_every_tab_shows_its_list
/rl-ops | tabs | Actors; Alerts; Audit; Limits; Orders; Reconciliation; Retry queue; Run history
test_operations_page::test_an_alert_is_acknowledged
/rl-ops | Alerts | acknowledge of a row
test_lists::test_a_run_tells_how_its_state_moved_and_who_moved_it
/rl-ops | Run history | row
/rl-ops | drawer Run | Close; On the chart
test_lists::test_the_retry_queue_of_the_operations_page_acts
/rl-ops | Retry queue | Retry of a row; Discard of a row
test_lists::test_reconciliation_sets_ours_beside_the_venues
/rl-ops | Reconciliation | Reconcile now
test_lists::test_the_audit_shows_before_and_after_and_that_its_chain_holds
/rl-ops | Audit | Action; Resource; Filter
test_lists::test_more_of_the_audit_is_shown_on_demand
/rl-ops | Audit | Show older
test_lists::test_a_pair_in_a_list_leads_to_its_trade_on_the_chart
/rl-ops | Trades | PAIR of a row
/rl-agent | Open trades | PAIR of a row

test_agent_page::test_the_agents_own_kill_switch_stops_and_is_lifted_with_a_reason
/rl-agent | Kill switch and settings | Stop this agent …; Lift …
every page | dialog Stop this agent? | Reason, kept in the audit; Positions; Stop the agent
every page | dialog Lift the agent's kill switch? | Reason, kept in the audit; Lift
test_dialog_fields::test_every_setting_of_the_agent_is_edited
/rl-agent | Kill switch and settings | Settings …
every page | dialog Agent settings | Name; Pairs allowed, separated by commas known; Decision threshold, 0 to; Least confidence, 0 to; After a pause for data; Save
test_dialog_fields::test_every_limit_of_a_set_is_edited
/rl-agent | Risk limits | Edit … of a row
every page | dialog Edit limits SET | Largest position, USDT; Leverage, at most; Loss of a day, USDT; Drawdown, fraction of the highest equity; Open positions; Show the change; Apply
test_dialog_fields::test_a_new_set_holds_every_limit
/rl-agent | Risk limits | New set …
every page | dialog New set of limits | Id (letters, digits, dashes); Name; Largest position, USDT; Leverage, at most; Loss of a day, USDT; Drawdown, fraction of the highest equity; Open positions; Store
test_agent_page::test_a_set_is_made_and_activated
/rl-agent | Risk limits | Activate of a row
test_dialog_fields::test_every_guardrail_of_an_account_is_edited
/rl-agent | Account guardrails | Edit …
every page | dialog Guardrails of account paper | Exposure in total, fraction of equity; Exposure in one instrument, fraction of equity; Open positions; Loss of a day, fraction of equity; Drawdown, fraction of the highest equity; Leverage, at most; Loss that trips the breaker, fraction of equity; Cool-down, minutes; Show the change; Apply
test_lists::test_a_breaker_is_reset_with_a_reason
/rl-agent | Account guardrails | Reset …
every page | dialog End the cool-down of paper? | Reason, kept in the audit; End the cool-down
test_dialog_fields::test_a_position_is_closed_in_part
/rl-agent | Open trades | Close … of a row
every page | dialog Close PAIR? | Quantity; Reason, kept in the audit; Close
test_lists::test_entries_of_a_trade_that_did_not_fill_are_cancelled
/rl-agent | Open trades | Cancel … of a row
every page | dialog End the open entries of PAIR? | Reason, kept in the audit; End entries
test_dialog_fields::test_a_training_learns_as_was_chosen
/rl-agent | Versions | Train …
every page | dialog Train a version | Pair; Algorithm; Start, UTC (2026-01-31 12:00); End, UTC; Steps; Seed; Name; Train
test_agent_page::test_a_training_shows_its_progress_is_paused_resumed_and_cancelled
/rl-agent | Learning | Pause; Resume; Cancel
test_agent_page::test_a_promotion_that_the_gate_refuses_says_why
/rl-agent | Versions | Promote … of a row
test_agent_page::test_a_version_that_was_promoted_before_is_rolled_back_to
/rl-agent | Versions | Roll back … of a row
every page | dialog Roll back to VERSION? | Roll back
test_lists::test_a_learning_cycle_is_asked_for_by_the_pages_own_dialog
/rl-agent | Learning | Run a cycle …
every page | dialog Run a learning cycle now? | Pair; Run it
test_dialog_fields::test_every_figure_of_the_promotion_gate_is_edited
/rl-agent | Promotion gate | Edit …
every page | dialog Promotion gate | Trades, at least; Win rate, at least; Net PnL, more than, USDT; Drawdown, at most; Save
test_dialog_fields::test_the_policy_of_every_source_is_edited
/rl-agent | Source policies | Edit …
every page | dialog Sources of the agent | funding; index_price; mark_price; open_interest; orderbook; telegram; ticker; trades; tradingview; Save

test_evaluations_page::test_an_older_report_shows_its_figures_alone
/rl-evaluations | Reports | row
test_evaluations_page::test_equity_and_drawdown_share_a_cursor_and_their_curves_are_switched
/rl-evaluations | Equity | CURVE; Log scale
test_evaluations_page::test_trades_are_ticked_below_the_equity_where_they_ended
/rl-evaluations | Equity | Trades ▲▽
test_evaluations_page::test_trades_and_curves_are_saved_whole_for_other_tools
/rl-evaluations | Equity | Save as Arrow
/rl-evaluations | Trades of the report | Save as Arrow
test_evaluations_page::test_a_report_is_saved_as_the_route_answers_it
/rl-evaluations | Report | Save as JSON
test_promoting_page::test_a_version_is_promoted_from_its_report_after_every_gate
/rl-evaluations | Report | Promote …
every page | dialog Promote VERSION? | Pair; Check the gates; Type ppo-1 to confirm; Promote
test_evaluations_page::test_ticked_reports_are_compared_with_the_first_and_the_address_keeps_them
/rl-evaluations | Reports | Compare VERSION of a row
/rl-evaluations | Compared | Clear
test_sweep_panel::test_a_sweep_is_ended_from_the_page_and_keeps_what_it_found
/rl-agent | Sweeps | Cancel
test_sweep_panel::test_an_older_sweep_can_be_looked_at_and_a_failed_one_says_why
/rl-agent | Sweeps | Sweep
test_dialog_fields::test_an_evaluation_judges_what_was_chosen
/rl-evaluations | Reports | Evaluate …
every page | dialog Evaluate a version | Version; Pair; Interval; Period; Start, UTC (2026-01-31 12:00); End, UTC; Decision threshold, 0 to; Candles missing, at most, %; Folds; Bars that the first fold trains on; Purge, bars; Embargo, bars; Stop loss, fraction of the entry price; Take profit, fraction of the entry price; Leverage, whose loss liquidates; Policies tried, this one included; Check the candles; Evaluate
test_dialog_fields::test_an_evaluation_shows_its_progress_and_is_cancelled
/rl-evaluations | Reports | Cancel
test_dialog_fields::test_a_period_whose_candles_are_not_there_is_refused_with_the_way_to_them
every page | dialog Evaluate a version | Fetch them

test_sources_page::test_every_source_is_listed_with_its_age_and_the_filters_are_in_the_address
/rl-data-sources | Sources | Kind; Pair; Show
test_lists::test_a_backfill_begins_from_the_sources_too
/rl-data-sources | Sources | Backfill …
/rl-data-sources | drawer Source | Backfill …
test_sources_page::test_switching_a_source_off_names_the_runs_that_will_pause
/rl-data-sources | Sources | SOURCE on of a row
every page | dialog Switch SOURCE off? | Switch off
test_sources_page::test_a_row_opens_its_checks_and_is_polled_by_itself
/rl-data-sources | Sources | row
/rl-data-sources | drawer Source | Poll now; Test
test_sources_page::test_a_threshold_is_set_and_zero_is_refused_before_it_is_sent
/rl-data-sources | drawer Source | Threshold …
every page | dialog Freshness of SOURCE | At most, seconds of market time; Set threshold
test_lists::test_a_source_is_switched_on_again_from_its_drawer
/rl-data-sources | drawer Source | Switch on …; Switch off …; Close
every page | dialog Switch SOURCE on? | Switch on
test_sources_page::test_a_kind_is_paused_as_a_whole
/rl-data-sources | Telegram | Poll now; Pause all; Resume all
/rl-data-sources | BingX | Poll now; Pause all; Resume all
/rl-data-sources | TradingView | Poll now; Pause all; Resume all
test_lists::test_a_scheduler_that_does_not_run_is_told_above_all
/rl-data-sources | page | Ingestion, Pollers
test_lists::test_a_feed_is_added_by_what_the_dialog_says_and_its_token_shows_once
/rl-data-sources | Adding a source | Add a source …
every page | dialog Add a source | Kind; Name of the feed, or of the channel; Show what to set; Done

test_lists::test_the_times_of_the_lag_and_of_the_map_are_asked_for
/ingestion | Coverage | 24 h; 7 d; 30 d; 1 y; all
/ingestion | Lag | 1 h; 24 h; 7 d
test_lists::test_a_cell_with_a_hole_is_filled_from_the_map
/ingestion | Coverage | cell with a hole
test_ingestion_page::test_a_gap_is_healed_with_its_times_filled_in
/ingestion | Gaps | Heal … of a row
test_ingestion_page::test_pollers_stored_series_and_empty_lists_say_what_is
/ingestion | Pollers | Poll now
test_ingestion_page::test_a_failed_job_is_tried_again_or_taken_out
/ingestion | Retry queue | Retry of a row; Discard of a row
test_lists::test_a_setting_is_set_and_those_set_before_stay_as_they_are
/ingestion | Settings in force | Set … of a row
every page | dialog SETTING | Value; Set
test_lists::test_signals_are_found_by_words_and_hostile_text_is_text
/ingestion | Signals | Source; From, UTC; to; with the words; Search

test_evaluations_page::test_a_trade_of_a_report_is_looked_at_on_the_chart
/rl-evaluations | Trades of the report | row; Show all N
test_evaluations_page::test_the_trades_of_a_report_are_saved_as_a_file
/rl-evaluations | Trades of the report | Save as CSV
test_insights_layers::test_layers_are_switched_painted_and_kept_in_the_address
/insights | Chart | Paper; Live; Blocked; Signals; Gaps; Levels
test_insights_layers::test_indicators_are_switched_drawn_and_kept_in_the_address
/insights | Chart | VOL; MACD; RSI; MA; BOLL
test_insights_layers::test_the_chart_is_saved_as_a_picture
/insights | Chart | Save picture
test_insights_layers::test_the_trades_of_a_chosen_evaluation_lie_on_the_chart
/insights | Chart | Evaluation
test_insights_layers::test_a_gap_and_the_first_trade_of_an_evaluation_are_gone_to
/insights | Chart | Show; Show the first
test_insights_layers::test_a_gap_is_shaded_named_and_healed_from_the_chart
/insights | Chart | Heal …
test_insights_layers::test_a_typed_time_is_loaded_and_a_wrong_one_is_refused_before_sending
/insights | Chart | Time to go to, UTC; Go; Go to now
test_insights_page::test_a_longer_interval_is_made_from_the_stored_one
/insights | Chart | 1m; 3m; 5m; 15m; 1h; 4h; 1d
test_insights_page::test_a_pair_without_candles_says_where_to_fetch_them
/insights | Chart | Pair
test_insights_page::test_a_trade_picked_in_the_list_shows_its_costs_and_its_trace
/insights | Trades | row
test_lists::test_a_decision_in_the_tape_opens_its_trace
/insights | Decisions | row
"""


def pressed_by() -> dict[str, str]:
    """Control → the test that presses it, as `module::test`."""
    found: dict[str, str] = {}
    test = ""
    for line in filter(None, TABLE.splitlines()):
        if "::" in line:
            test = line
            continue
        page, area, names = line.split(" | ")
        for name in names.split("; "):
            control = f"{page} | {area} | {name}"
            assert control not in found, f"{control} stands here twice"
            found[control] = test
    return found

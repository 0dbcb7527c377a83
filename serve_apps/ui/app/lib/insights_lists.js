// Beside the tape: what its layers show, as lists that the keyboard reaches, and the key of their marks.

import { money, percent, tone, trimmed } from './format.js';
import { decisions, evaluationRows, layers, openTrades, pair, selected, signalRows, signals, trades, evaluationTrades } from './insights_state.js';
import { TraceLink, traceId } from './trace.js';
import { Baseline, Glyph, html, ModePill, Panel, Pill, Table, When } from './ui.js';

const Side = ({ side }) => html`<span class=${side === 'buy' ? 'up' : 'down'}>${side === 'buy' ? '▲' : '▼'} ${side}</span>`;

export function Lists({ goTo }) {
  return html`<${TradeList} goTo=${goTo} />
    ${layers.value.has('evaluation') && html`<${EvaluationList} goTo=${goTo} />`}
    ${layers.value.has('signals') && html`<${SignalList} goTo=${goTo} />`}
    <${Drift} /><${Tape} />`;
}

const picker = (goTo, idOf, msOf) => (row) => {
  selected.value = idOf(row);
  goTo(msOf(row));
};

function TradeList({ goTo }) {
  const chosen = (trades.held.value.data ?? []).find((trade) => trade.trade_id === selected.value);
  return html`<${Panel} title="Trades" span="12" resource=${trades.held} retry=${trades.load} isEmpty=${(rows) => !rows.length} empty="No trade on this pair yet.">
    ${(rows) => html`<${Table} label="Trades on the chart" rows=${rows} rowKey=${(row) => row.trade_id} selected=${selected.value} onPick=${picker(goTo, (row) => row.trade_id, (row) => row.opened_ms)} columns=${[
      { name: 'opened', cell: (row) => html`<${When} ms=${row.opened_ms} />` },
      { name: 'mode', cell: (row) => html`<span class=${row.mode === 'live' ? 'live-text' : 'paper-text'}><${Glyph} name=${row.mode} /> ${row.mode}</span>` },
      { name: 'side', cell: (row) => html`<${Side} side=${row.side} />` },
      { name: 'net', num: true, title: 'USDT, after fees', cell: (row) => html`<span class=${tone(row.net_pnl)}>${money(row.net_pnl)}</span>` },
    ]} />
    ${chosen && html`<div class="pad"><${Card} trade=${chosen} /></div>`}`}
  <//>`;
}

// Against the price that was decided on: positive is to the trade's cost.
const slippageBps = (trade) => (Number(trade.average_fill_price) / Number(trade.reference_price) - 1) * 10_000 * (trade.side === 'buy' ? 1 : -1);
const mean = (values) => (values.length ? values.reduce((all, each) => all + each, 0) / values.length : null);

function drift(rows) {
  const closed = rows.filter((trade) => trade.pair === pair.value && trade.closed_at_ms && trade.average_fill_price);
  const of = Object.fromEntries(['live', 'paper'].map((mode) => [mode, closed.filter((trade) => trade.mode === mode)]));
  if (!of.live.length || !of.paper.length) return null;
  // What both have traded in: before the later one's first trade there is nothing to compare.
  const since = Math.max(...Object.values(of).map((trades) => Math.min(...trades.map((trade) => trade.opened_ms))));
  return { since, rows: Object.entries(of).map(([mode, trades]) => {
    const same = trades.filter((trade) => trade.opened_ms >= since);
    return { mode, count: same.length, wins: mean(same.map((trade) => Number(!trade.net_pnl.startsWith('-')))), slippage: mean(same.map(slippageBps)), net: mean(same.map((trade) => Number(trade.net_pnl))) };
  }) };
}

function Drift() {
  const found = drift(trades.held.value.data ?? []);
  return html`<${Panel} title="Live and paper" span="12" resource=${trades.held} retry=${trades.load} isEmpty=${() => !found} empty="Nothing to compare: closed trades of both, live and paper, are needed.">
    ${() => html`<${Table} label="Live and paper compared" rows=${found.rows} rowKey=${(row) => row.mode} columns=${[
      { name: 'mode', cell: (row) => html`<span class=${row.mode === 'live' ? 'live-text' : 'paper-text'}><${Glyph} name=${row.mode} /> ${row.mode}</span>` },
      { name: 'trades', num: true, cell: (row) => row.count },
      { name: 'won', num: true, cell: (row) => (row.wins === null ? '–' : percent(row.wins, 0)) },
      { name: 'slip', num: true, title: 'mean slippage of entries in basis points against the price decided on', cell: (row) => (row.slippage === null ? '–' : money(row.slippage.toFixed(1), 1)) },
      { name: 'net', num: true, title: 'mean of a trade, USDT after fees', cell: (row) => (row.net === null ? '–' : money(row.net.toFixed(2))) },
    ]} /><p class="pad muted">Closed trades since <${When} ms=${found.since} />, of the newest 200.</p>`}
  <//>`;
}

function Card({ trade }) {
  const entry = (openTrades.held.value.data ?? []).find((each) => each.trade_id === trade.trade_id)?.executions.find((order) => order.kind === 'entry');
  return html`<h3>${trade.side} ${trimmed(trade.quantity)} ${trade.pair} <${ModePill} mode=${trade.mode} /> <${Baseline} on=${trade.baseline} /></h3>
  <dl class="facts">
    <dt>entry</dt><dd>${money(trade.average_fill_price)} · <${When} ms=${trade.opened_ms} /></dd>
    <dt>exit</dt><dd>${trade.exit_price ? html`${money(trade.exit_price)} · <${When} ms=${trade.closed_at_ms} />` : trade.is_open ? 'open' : '–'}</dd>
    ${entry && html`<dt>stop, target</dt><dd>${money(entry.stop_loss_price)}, ${money(entry.take_profit_price)}</dd>`}
    <dt>realised</dt><dd>${money(trade.realized_pnl, 4)} USDT</dd>
    <dt>fees</dt><dd>${money(trade.fees, 4)} USDT</dd>
    <dt>funding</dt><dd>${money(trade.funding, 4)} USDT</dd>
    <dt>net</dt><dd class=${tone(trade.net_pnl)}>${money(trade.net_pnl, 4)} USDT</dd>
    <dt>trace</dt><dd><${TraceLink} id=${trade.trace_id} /></dd>
  </dl>`;
}

const SHOWN = 200;

function EvaluationList({ goTo }) {
  return html`<${Panel} title="Trades of the evaluation" span="12" resource=${evaluationTrades.held} retry=${evaluationTrades.load} isEmpty=${() => !evaluationRows.value.length} empty="No trade of an evaluation to show.">
    ${() => html`<${Table} label="Trades of the evaluation" rows=${evaluationRows.value.slice(0, SHOWN)} rowKey=${(row) => row.id} selected=${selected.value} onPick=${picker(goTo, (row) => row.id, (row) => row.opened_ms)} columns=${[
      { name: 'opened', cell: (row) => html`<${When} ms=${row.opened_ms} />` },
      { name: 'side', cell: (row) => html`<${Side} side=${row.side} />` },
      { name: 'ended by', cell: (row) => row.cause.replaceAll('_', ' ') },
      { name: 'PnL', num: true, title: 'USDT', cell: (row) => html`<span class=${tone(row.pnl)}>${money(row.pnl)}</span>` },
    ]} />${evaluationRows.value.length > SHOWN && html`<p class="pad muted">The first ${SHOWN} of ${evaluationRows.value.length}.</p>`}`}
  <//>`;
}

function SignalList({ goTo }) {
  return html`<${Panel} title="Signals" span="12" resource=${signals.held} retry=${signals.load} isEmpty=${() => !signalRows.value.length} empty="No signal for this pair.">
    ${() => html`<${Table} label="Signals on the chart" rows=${signalRows.value.slice(0, 60)} rowKey=${(row) => row.id} selected=${selected.value} onPick=${picker(goTo, (row) => row.id, (row) => row.ms)} columns=${[
      { name: 'time', cell: (row) => html`<${When} ms=${row.ms} />` },
      { name: 'side', cell: (row) => (row.side ? html`<${Side} side=${row.side} />` : html`<span class="muted">none</span>`) },
      { name: 'text', cell: (row) => html`<span class="clip short" title=${row.text}>${row.text}</span>` },
    ]} />`}
  <//>`;
}

function Tape() {
  return html`<${Panel} title="Decisions" span="12" resource=${decisions.held} retry=${decisions.load} isEmpty=${(rows) => !rows.length} empty="No decision on this pair yet.">
    ${(rows) => html`<${Table} label="Decisions of this pair" rows=${rows.slice(0, 60)} rowKey=${(row) => row.decision_id} onPick=${(row) => { traceId.value = row.trace_id; }} columns=${[
      { name: 'candle', cell: (row) => html`<${When} ms=${row.open_ms} />` },
      { name: 'action', cell: (row) => html`<${Pill} tone=${row.action === 'trade' ? 'ok' : row.action === 'hold' ? 'warn' : 'muted'} title=${row.hold_reason}>${row.action}<//>` },
      { name: 'target', num: true, cell: (row) => row.target },
      { name: 'conf.', num: true, cell: (row) => row.confidence?.toFixed(2) ?? '–' },
    ]} />`}
  <//>`;
}

// Insights: the tape of one pair with live and paper trades, blocked decisions, and their list twin.

import { computed, effect, signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { get } from './lib/api.js';
import { money, tone, trimmed } from './lib/format.js';
import { start, themeChanged } from './lib/frame.js';
import { list, resource, throttled } from './lib/store.js';
import { on, onResync, streamState } from './lib/stream.js';
import { TraceLink, traceId } from './lib/trace.js';
import { Baseline, Failed, html, ModePill, Panel, Pill, Table, When } from './lib/ui.js';
import { createTape } from './chart/kline.js';

const AGENT = 'desk';
const url = new URLSearchParams(location.search);
const pairs = list('/market-data/pairs');
const pair = signal(url.get('pair'));
const interval = signal(url.get('interval') ?? '1m');
const selected = signal(url.get('trade'));
const layers = signal({ paper: true, live: true, holds: false });
const jump = signal(Number(url.get('at')) || null);
const chartState = signal('loading');
const chartProblem = signal(null);

const trades = resource(async () => (pair.value ? (await get('/trades', { pair: pair.value, limit: 200 })).items : []));
const decisions = resource(async () => {
  const runs = (await get(`/agents/${AGENT}/runs`, { limit: 20 })).items.filter((run) => run.pair === pair.value).slice(0, 3);
  const pages = await Promise.all(runs.map((run) => get(`/agents/${AGENT}/runs/${run.run_id}/decisions`, { limit: 200 })));
  return pages.flatMap((page) => page.items).sort((a, b) => b.open_ms - a.open_ms);
});
const instrument = computed(() => (pairs.held.value.data ?? []).find((each) => each.pair === pair.value));
const shownTrades = computed(() => (trades.held.value.data ?? []).filter((trade) => trade.average_fill_price && layers.value[trade.mode]));

effect(() => {
  const offered = pairs.held.value.data;
  if (!pair.value && offered?.length) pair.value = offered[0].pair;
});
effect(() => {
  const next = new URL(location.href);
  const state = { pair: pair.value, interval: interval.value, trade: selected.value, at: jump.value };
  for (const [name, value] of Object.entries(state)) {
    if (value) next.searchParams.set(name, value);
    else next.searchParams.delete(name);
  }
  history.replaceState(null, '', next);
});
effect(() => {
  if (pair.value) {
    trades.load();
    decisions.load();
  }
});

const refreshTrades = throttled(trades.load, 700);
const refreshDecisions = throttled(decisions.load, 1500);
for (const topic of ['order', 'fill', 'position']) on(topic, refreshTrades);
on('decision', refreshDecisions);
onResync(() => {
  pairs.load();
  trades.load();
  decisions.load();
});
pairs.load();

function Page() {
  return html`<h1 class="sr">Insights</h1><div class="tape">
    <section class="panel" aria-label="Chart"><${Toolbar} /><${ChartBox} /></section>
    <div class="side grid"><${TradeList} /><${Tape} /></div>
  </div>`;
}

function Toolbar() {
  const offered = pairs.held.value.data ?? [];
  const known = ['1m', '3m', '5m', '15m', '1h', '4h', '1d'];
  return html`<header>
    <select aria-label="Pair" value=${pair.value} onChange=${(event) => { selected.value = null; jump.value = null; pair.value = event.target.value; }}>${offered.map((each) => html`<option value=${each.pair} selected=${each.pair === pair.value}>${each.pair}</option>`)}</select>
    <div class="buttons" role="group" aria-label="Interval">${known.map((each) => {
      const there = instrument.value?.intervals.includes(each);
      return html`<button aria-pressed=${each === interval.value} disabled=${!there} title=${there ? '' : 'neither stored nor made from a smaller stored interval'} onClick=${() => { interval.value = each; }}>${each}</button>`;
    })}</div>
    <span class="grow"></span>
    <div class="buttons" role="group" aria-label="Layers">${[['paper', 'Paper'], ['live', 'Live'], ['holds', 'Held decisions']].map(([name, label]) => html`<button aria-pressed=${layers.value[name]} onClick=${() => { layers.value = { ...layers.value, [name]: !layers.value[name] }; }}>${label}</button>`)}</div>
    ${jump.value && html`<button onClick=${() => { jump.value = null; selected.value = null; }}>Go to now</button>`}
  </header>`;
}

function ChartBox() {
  const element = useRef(null);
  useEffect(() => {
    const tape = createTape(element.current, { state: chartState, problem: chartProblem, onPick: (id) => { selected.value = id; } });
    globalThis.deskTape = tape;
    const undo = [
      effect(() => {
        if (!instrument.value) return;
        const { price_precision: pricePrecision, quantity_precision: quantityPrecision } = instrument.value;
        tape.show({ pair: pair.value, interval: interval.value, pricePrecision, quantityPrecision, at: jump.value });
      }),
      effect(() => chartState.value === 'ready' && tape.drawTrades(shownTrades.value, selected.value)),
      effect(() => chartState.value === 'ready' && tape.drawHolds(layers.value.holds ? (decisions.held.value.data ?? []).filter((each) => each.action === 'hold' && each.reference_price) : [])),
      effect(() => themeChanged.value && tape.restyle()),
      effect(() => chartState.value === 'ready' && jump.value && tape.jumpTo(jump.value)),
    ];
    return () => {
      undo.forEach((stop) => stop());
      tape.dispose();
    };
  }, []);
  return html`<div class="pad chart-box">
    ${streamState.value !== 'live' && streamState.value !== 'connecting' && html`<p class="warn" role="status">Stream lost: the chart stands still until it is back.</p>`}
    <div class="chart" ref=${element} data-state=${chartState.value}></div>
    ${chartState.value === 'loading' && html`<p class="chart-state" role="status">Loading candles …</p>`}
    ${chartState.value === 'empty' && html`<p class="chart-state">No candles for this range. <a href="/rl-ops">Backfill on the operations page</a>.</p>`}
    ${chartState.value === 'failed' && html`<div class="chart-state"><${Failed} problem=${chartProblem.value} retry=${() => globalThis.deskTape.reload()} /></div>`}
  </div>`;
}

function pick(trade) {
  selected.value = trade.trade_id;
  if (!globalThis.deskTape.jumpTo(trade.opened_ms)) jump.value = trade.opened_ms;
}

function TradeList() {
  const chosen = (trades.held.value.data ?? []).find((trade) => trade.trade_id === selected.value);
  return html`<${Panel} title="Trades" span="12" resource=${trades.held} retry=${trades.load} isEmpty=${(rows) => !rows.length} empty="No trade on this pair yet.">
    ${(rows) => html`<${Table} label="Trades on the chart" rows=${rows} rowKey=${(row) => row.trade_id} selected=${selected.value} onPick=${pick} columns=${[
      { name: 'opened', cell: (row) => html`<${When} ms=${row.opened_ms} />` },
      { name: 'mode', cell: (row) => html`<span class=${row.mode === 'live' ? 'down' : ''}>${row.mode}</span>` },
      { name: 'side', cell: (row) => html`<span class=${row.side === 'buy' ? 'up' : 'down'}>${row.side === 'buy' ? '▲' : '▼'}</span>` },
      { name: 'net', num: true, cell: (row) => html`<span class=${tone(row.net_pnl)}>${money(row.net_pnl)}</span>` },
    ]} />
    ${chosen && html`<div class="pad"><${Card} trade=${chosen} /></div>`}`}
  <//>`;
}

const Card = ({ trade }) => html`<h3>${trade.side} ${trimmed(trade.quantity)} ${trade.pair} <${ModePill} mode=${trade.mode} /> <${Baseline} on=${trade.baseline} /></h3>
  <dl class="facts">
    <dt>entry</dt><dd>${money(trade.average_fill_price)} · <${When} ms=${trade.opened_ms} /></dd>
    <dt>exit</dt><dd>${trade.exit_price ? html`${money(trade.exit_price)} · <${When} ms=${trade.closed_at_ms} />` : trade.is_open ? 'open' : '–'}</dd>
    <dt>realised</dt><dd>${money(trade.realized_pnl, 4)} USDT</dd>
    <dt>fees</dt><dd>${money(trade.fees, 4)} USDT</dd>
    <dt>funding</dt><dd>${money(trade.funding, 4)} USDT</dd>
    <dt>net</dt><dd class=${tone(trade.net_pnl)}>${money(trade.net_pnl, 4)} USDT</dd>
    <dt>trace</dt><dd><${TraceLink} id=${trade.trace_id} /></dd>
  </dl>`;

function Tape() {
  return html`<${Panel} title="Decisions" span="12" resource=${decisions.held} retry=${decisions.load} isEmpty=${(rows) => !rows.length} empty="No decision on this pair yet.">
    ${(rows) => html`<${Table} label="Decisions of this pair" rows=${rows.slice(0, 60)} rowKey=${(row) => row.decision_id} onPick=${(row) => { traceId.value = row.trace_id; }} columns=${[
      { name: 'candle', cell: (row) => html`<${When} ms=${row.open_ms} />` },
      { name: 'action', cell: (row) => html`<${Pill} tone=${row.action === 'trade' ? 'ok' : row.action === 'hold' ? 'warn' : 'muted'} title=${row.hold_reason}>${row.action}<//>` },
      { name: 'target', num: true, cell: (row) => row.target },
      { name: 'conf.', num: true, cell: (row) => row.confidence.toFixed(2) },
    ]} />`}
  <//>`;
}

start(Page);

// Operations: what runs, how fresh the data is, what was decided, and every control in one place.

import { signal } from '@preact/signals';
import { get, safely } from './lib/api.js';
import { age, megabytes, minutesOf, money, tone, trimmed } from './lib/format.js';
import { marketNow, start, summary } from './lib/frame.js';
import { JobLine, jobsOf } from './lib/jobs.js';
import { backfill, sources } from './lib/ingestion_controls.js';
import { amount } from './lib/limit_controls.js';
import { retries, RetryQueue } from './lib/retry_queue.js';
import { AGENT, agent, limitSets, onRunChange, pauseRun, resumeRun, startPaper, stopRun, versions } from './lib/run_controls.js';
import { list, resource, throttled } from './lib/store.js';
import { TraceLink } from './lib/trace.js';
import { on, onResync } from './lib/stream.js';
import { Baseline, Fresh, html, ModePill, Panel, Pill, RunState, Table, toast, When } from './lib/ui.js';
import { keepFresh } from './lib/watch.js';
import { Alerts, Audit, audit, loadSides, Orders, orders, Reconciliation } from './ops/lists.js';
import { LISTED, RunDrawer, RunHistory } from './ops/runs.js';
import { makeTabs } from './ops/tabs.js';
import { figures, Tiles } from './ops/tiles.js';

const trades = list('/trades', { limit: LISTED });
const actors = list('/ops/actors');
const alerts = list('/ops/alerts', { limit: 50 });
const runs = list(`/agents/${AGENT}/runs`, { limit: 50 });
const risk = resource(async () => (await get('/ops/trading/risk')).accounts);
const capsOf = (accounts) => accounts.flatMap((account) => [
  ...account.caps.map((cap) => ({ ...cap, of: account.account, key: `${account.account}:${cap.name}` })),
  ...account.runs.flatMap((run) => run.caps.map((cap) => ({ ...cap, of: `${run.pair} by ${run.set_id}`, key: `${run.run_id}:${cap.name}` }))),
]);
const decisions = resource(async () => {
  const recent = (await get(`/agents/${AGENT}/runs`, { limit: 3 })).items;
  const pages = await Promise.all(recent.map((run) => get(`/agents/${AGENT}/runs/${run.run_id}/decisions`, { limit: 30 })));
  return pages.flatMap((page) => page.items).sort((a, b) => b.open_ms - a.open_ms).slice(0, 30);
});

const WATCHED = [
  [sources, ['freshness', 'source', 'candle'], 2000],
  [trades, ['order', 'fill', 'position'], 700],
  [decisions, ['decision'], 700],
  [runs, ['run', 'mode'], 300],
  [alerts, ['alert'], 700],
  [risk, ['risk', 'run', 'order', 'fill'], 2000],
  [retries, ['retry'], 1000],
  [figures, [], 10000],
];
keepFresh(WATCHED, { others: [actors, agent, versions, limitSets] });
onRunChange(runs.load);
setInterval(actors.load, 3000);

const lists = makeTabs([
  { id: 'alerts', title: 'Alerts', count: () => (alerts.held.value.data ?? []).filter((row) => row.status === 'open').length, body: () => html`<${Alerts} alerts=${alerts} />` },
  { id: 'runs', title: 'Run history', body: () => html`<${RunHistory} runs=${runs} trades=${trades} />` },
  { id: 'retries', title: 'Retry queue', count: () => (retries.held.value.data ?? []).length, body: () => html`<${RetryQueue} span="12" />` },
  { id: 'orders', title: 'Orders', load: orders.load, body: Orders },
  { id: 'reconciliation', title: 'Reconciliation', load: loadSides, body: () => html`<${Reconciliation} trades=${trades} reconcile=${reconcile} />` },
  { id: 'audit', title: 'Audit', load: audit.load, body: Audit },
  { id: 'limits', title: 'Limits', count: () => capsOf(risk.held.value.data ?? []).filter((cap) => cap.breached).length, body: Limits },
  { id: 'actors', title: 'Actors', count: () => (actors.held.value.data ?? []).filter((row) => row.status !== 'up').length, body: Actors },
]);
const refreshList = throttled(lists.load, 3000);
for (const topic of ['order', 'fill', 'run', 'alert', 'risk', 'mode']) on(topic, refreshList);
onResync(refreshList);
setInterval(refreshList, 10000);
refreshList();

// --- controls ---------------------------------------------------------------------------------

async function reconcile() {
  try {
    const report = await safely('/ops/trading/reconcile', {});
    toast(`Reconciled: ${report.checked} checked, ${report.updated} updated, ${report.errors} errors`, { bad: report.errors > 0 });
  } catch (problem) {
    toast(`Reconcile failed: ${problem.message}`, { bad: true, traceId: problem.traceId });
  }
  summary.load();
  lists.load();
}

// --- the page ---------------------------------------------------------------------------------

function Page() {
  return html`<h1 class="sr">Operations</h1>
    <${Tiles} risk=${risk.held.value.data} retries=${retries.held.value.data} />
    <div class="grid">
      <${Ingestion} /><${Trading} />
      <${Positions} /><${Decisions} />
      <${lists.Tabs} />
      <${Trades} />
    </div><${RunDrawer} />`;
}

const showsAll = signal(false);

// What an operator must see: each pair's shortest candles, and whatever is stale, silent or switched off.
function telling(rows) {
  const shortest = new Map();
  for (const row of rows.filter((each) => each.interval)) {
    const found = shortest.get(row.pair);
    if (!found || row.freshness_threshold_seconds < found.freshness_threshold_seconds) shortest.set(row.pair, row);
  }
  return rows.filter((row) => !['ok', 'late'].includes(row.badge) || shortest.get(row.pair) === row);
}

function OtherSources({ count }) {
  if (!count) return null;
  const toggle = () => (showsAll.value = !showsAll.value);
  return html`<p class="pad muted">${showsAll.value ? 'All sources are shown.' : `${count} more sources deliver.`} <button class="plain" aria-expanded=${showsAll.value} onClick=${toggle}>${showsAll.value ? 'Show fewer' : 'Show all'}</button></p>`;
}

function Ingestion() {
  const running = jobsOf('backfill').slice(-4);
  return html`<${Panel} title="Ingestion" span="5" resource=${sources.held} retry=${sources.load} isEmpty=${(rows) => !rows.length}
    empty=${html`No source has reported yet. The pollers start with the desk; their state is under Actors.`}
    actions=${html`<button onClick=${() => backfill()}>Backfill …</button>`}>
    ${(rows) => html`<${Table} label="Data sources" rows=${showsAll.value ? rows : telling(rows)} rowKey=${(row) => `${row.source_type}:${row.pair}:${row.interval}`} columns=${[
      { name: 'source', cell: (row) => row.source_type }, { name: 'pair', cell: (row) => row.pair }, { name: 'interval', by: (row) => minutesOf(row.interval), cell: (row) => row.interval },
      { name: 'freshness', cell: (row) => html`<${Fresh} status=${row.badge} title=${row.detail} />` },
      { name: 'age', num: true, title: 'market time since the last closed candle', cell: (row) => (row.last_event_ms ? age(marketNow.value - row.last_event_ms) : 'never') },
      { name: 'threshold', num: true, cell: (row) => `${row.freshness_threshold_seconds} s` },
    ]} />
    <${OtherSources} count=${rows.length - telling(rows).length} />
    ${running.length > 0 && html`<div class="pad">${running.map((job) => html`<${JobLine} key=${job.job_id} job=${job} />`)}</div>`}`}
  <//>`;
}

function Trading() {
  const data = summary.held.value.data;
  const active = data?.runs ?? [];
  return html`<${Panel} title="Trading" span="7" resource=${summary.held} retry=${summary.load} isEmpty=${() => !active.length}
    empty=${html`<span>No run is at work.</span><button class="primary" onClick=${startPaper}>Start a paper run …</button>`}
    actions=${html`<button onClick=${reconcile}>Reconcile now</button><button onClick=${startPaper}>Start …</button>`}>
    ${() => html`<${Table} label="Runs" rows=${active} rowKey=${(run) => run.run_id} columns=${[
      { name: 'pair', cell: (run) => html`<strong>${run.pair}</strong>` }, { name: 'mode', cell: (run) => html`<${ModePill} mode=${run.mode} />${run.shadow ? ' shadow' : ''}` },
      { name: 'state', cell: (run) => html`<${RunState} run=${run} />` },
      { name: 'policy', cell: (run) => html`${run.version_id} <${Baseline} on=${run.baseline} />` },
      { name: 'last decided', cell: (run) => html`<${When} ms=${run.last_decided_open_ms} />` },
      { name: '', cell: (run) => html`<span class="buttons">${run.status === 'paused' ? html`<button onClick=${() => resumeRun(run)}>Resume …</button>` : html`<button onClick=${() => pauseRun()}>Pause …</button>`}<button onClick=${() => stopRun()}>Stop …</button></span>` },
    ]} />`}
  <//>`;
}

function Positions() {
  const rows = (summary.held.value.data?.accounts ?? []).flatMap((account) => account.positions);
  const orders = summary.held.value.data?.open_orders ?? [];
  return html`<${Panel} title="Positions and open orders" span="5" resource=${summary.held} retry=${summary.load} isEmpty=${() => !rows.length && !orders.length} empty="Flat, and nothing is resting.">
    ${() => html`${rows.length > 0 && html`<${Table} label="Positions" rows=${rows} rowKey=${(row) => `${row.account}:${row.pair}`} columns=${[
      { name: 'pair', cell: (row) => html`<span title="account ${row.account}, ${row.baseline ? 'baseline rule' : row.run_id}">${row.pair}</span>` },
      { name: 'quantity', num: true, cell: (row) => html`<span class=${tone(row.quantity)}>${trimmed(row.quantity)}</span>` },
      { name: 'entry', num: true, cell: (row) => money(row.average_price) }, { name: 'mark', num: true, cell: (row) => money(row.mark_price) },
      { name: 'notional', num: true, cell: (row) => money(row.notional, 0) },
      { name: 'unrealised', num: true, cell: (row) => html`<span class=${tone(row.unrealized_pnl)}>${money(row.unrealized_pnl)}</span>` },
    ]} />`}
    ${orders.length > 0 && html`<${Table} label="Open orders" rows=${orders} rowKey=${(row) => row.client_order_id} columns=${[
      { name: 'order', cell: (row) => html`${row.side} ${trimmed(row.quantity)} ${row.pair}` }, { name: 'leg', cell: (row) => row.leg },
      { name: 'state', cell: (row) => html`<${Pill} tone=${row.state === 'unknown' ? 'warn' : 'muted'}>${row.state}<//>` },
      { name: 'since', cell: (row) => html`<${When} ms=${row.created_ms} />` }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
    ]} />`}`}
  <//>`;
}

function Decisions() {
  return html`<${Panel} title="Last decisions" span="7" resource=${decisions.held} retry=${decisions.load} isEmpty=${(rows) => !rows.length} empty="No decision yet: a run decides when a candle closes.">
    ${(rows) => html`<${Table} label="Last decisions" rows=${rows} rowKey=${(row) => row.decision_id} columns=${[
      { name: 'candle', cell: (row) => html`<${When} ms=${row.open_ms} />` }, { name: 'pair', cell: (row) => row.pair },
      { name: 'action', cell: (row) => html`<${Pill} tone=${row.action === 'trade' ? 'ok' : row.action === 'hold' ? 'warn' : 'muted'}>${row.action}<//>` },
      { name: 'target', num: true, cell: (row) => row.target }, { name: 'confidence', num: true, cell: (row) => row.confidence.toFixed(2) },
      { name: 'why held', cell: (row) => row.hold_reason || html`<span class="muted">–</span>` },
      { name: 'latency', num: true, cell: (row) => (row.latency_ms.total === undefined ? '–' : `${row.latency_ms.total.toFixed(0)} ms`) },
      { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
    ]} />`}
  <//>`;
}

function Trades() {
  return html`<${Panel} title="Trades" span="12" resource=${trades.held} retry=${trades.load} isEmpty=${(rows) => !rows.length} empty="No trade yet.">
    ${(rows) => html`<${Table} label="Trades" rows=${rows} rowKey=${(row) => row.trade_id} columns=${[
      { name: 'opened', cell: (row) => html`<${When} ms=${row.opened_ms} />` },
      { name: 'mode', cell: (row) => html`<${ModePill} mode=${row.mode} /> <${Baseline} on=${row.baseline} />` },
      { name: 'pair', cell: (row) => html`<a href="/insights?pair=${row.pair}&at=${row.opened_ms}&trade=${row.trade_id}">${row.pair}</a>` },
      { name: 'side', cell: (row) => html`<span class=${row.side === 'buy' ? 'up' : 'down'}>${row.side === 'buy' ? '▲ buy' : '▼ sell'}</span>` },
      { name: 'quantity', num: true, cell: (row) => trimmed(row.quantity) }, { name: 'entry', num: true, cell: (row) => money(row.average_fill_price) },
      { name: 'exit', num: true, cell: (row) => money(row.exit_price) }, { name: 'fees', num: true, cell: (row) => money(row.fees) },
      { name: 'net PnL', num: true, cell: (row) => html`<span class=${tone(row.net_pnl)}>${money(row.net_pnl)}</span>` },
      { name: 'status', cell: (row) => html`${row.status}${row.is_open ? ' · open' : ''}` }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
    ]} />`}
  <//>`;
}

function Limits() {
  return html`<${Panel} title="Limits" span="12" resource=${risk.held} retry=${risk.load} isEmpty=${(rows) => !rows.length} empty="No account has opened its books yet.">
    ${(accounts) => html`<${Table} label="Limits" rows=${capsOf(accounts)} rowKey=${(row) => row.key} columns=${[
      { name: 'account or run', cell: (row) => row.of }, { name: 'limit', cell: (row) => row.name },
      { name: 'at most', num: true, cell: (row) => amount(row, row.cap) }, { name: 'used', num: true, cell: (row) => amount(row, row.used) },
      { name: 'headroom', num: true, cell: (row) => html`<span class=${tone(row.headroom)}>${amount(row, row.headroom)}</span>` },
      { name: 'state', cell: (row) => html`<${Pill} tone=${row.breached ? 'bad' : 'ok'}>${row.breached ? 'reached' : 'within'}<//>` },
    ]} />`}
  <//>`;
}

function Actors() {
  return html`<${Panel} title="Actors" span="12" resource=${actors.held} retry=${actors.load} isEmpty=${(rows) => !rows.length} empty="The supervisor has not reported yet.">
    ${(rows) => html`<${Table} label="Actors" rows=${rows} rowKey=${(row) => row.name} columns=${[
      { name: 'actor', cell: (row) => row.name }, { name: 'status', cell: (row) => html`<${Pill} tone=${row.status === 'up' ? 'ok' : row.status === 'quarantined' ? 'bad' : 'warn'} icon="●" title=${row.detail}>${row.status}<//>` },
      { name: 'pid', num: true, cell: (row) => row.pid }, { name: 'epoch', num: true, cell: (row) => row.epoch }, { name: 'restarts', num: true, cell: (row) => row.restarts },
      { name: 'memory', num: true, cell: (row) => megabytes(row.rss_bytes) }, { name: 'heartbeat', num: true, cell: (row) => `${age(row.heartbeat_age_ms)} ago` },
    ]} />`}
  <//>`;
}

start(Page);

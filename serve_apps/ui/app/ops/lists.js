// Alerts, orders, reconciliation and the audit: the lists of the operations page.

import { signal } from '@preact/signals';
import { get, send } from '../lib/api.js';
import { age, money, trimmed } from '../lib/format.js';
import { marketNow, summary } from '../lib/frame.js';
import { list, resource } from '../lib/store.js';
import { TraceLink } from '../lib/trace.js';
import { Failed, html, Panel, Pill, Table, toast, When } from '../lib/ui.js';

const SEVERITY = { critical: 3, warning: 2, info: 1 };

export function Alerts({ alerts }) {
  const acknowledge = async (row) => {
    try {
      await send('POST', `/ops/alerts/${row.alert_id}/ack`, {}, { version: row.row_version });
    } catch (problem) {
      toast(problem.message, { bad: true, traceId: problem.traceId });
    }
    alerts.load();
    summary.load();
  };
  return html`<${Panel} title="Alerts" span="12" resource=${alerts.held} retry=${alerts.load} isEmpty=${(rows) => !rows.length} empty="Nothing to tell.">
    ${(rows) => html`<${Table} label="Alerts" rows=${rows} rowKey=${(row) => row.alert_id} columns=${[
      { name: 'severity', by: (row) => SEVERITY[row.severity], cell: (row) => html`<${Pill} tone=${row.severity === 'critical' ? 'bad' : row.severity === 'warning' ? 'warn' : 'muted'} icon=${row.severity === 'info' ? '' : '▲'}>${row.severity}<//>` },
      { name: 'category', cell: (row) => row.category }, { name: 'code', cell: (row) => html`${row.code}${row.count > 1 ? ` ×${row.count}` : ''}` },
      { name: 'age', num: true, title: 'market time', by: (row) => -row.created_ms, cell: (row) => html`<span title=${new Date(row.created_ms).toISOString()}>${age(Math.max(0, marketNow.value - row.created_ms))}</span>` },
      { name: 'what', cell: (row) => html`<span class="clip" title=${row.detail}>${row.detail}</span>` },
      { name: 'value', num: true, cell: (row) => (row.metric ? html`<span title=${row.metric}>${row.value} of ${row.threshold}</span>` : '–') },
      { name: 'follows from', cell: (row) => row.explained_by || html`<span class="muted">–</span>` }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
      { name: 'status', cell: (row) => html`<span class=${row.status === 'open' ? '' : 'muted'}>${row.status}</span>` },
      { name: '', cell: (row) => row.status === 'open' && html`<button class="plain" onClick=${() => acknowledge(row)}>acknowledge</button>` },
    ]} />`}
  <//>`;
}

// --- orders -----------------------------------------------------------------------------------

const NEWEST = 8;
export const orders = resource(async () => {
  const { items } = await get('/trades', { limit: NEWEST });
  const trades = await Promise.all(items.map((trade) => get(`/trades/${trade.trade_id}`)));
  return trades.flatMap((trade) => trade.executions).sort((a, b) => b.created_ms - a.created_ms);
});
const MATCH = { ok: 'ok', pending: 'muted', mismatch: 'bad', error: 'bad' };

export const Orders = () => html`<${Panel} title="Orders" span="12" resource=${orders.held} retry=${orders.load} isEmpty=${(rows) => !rows.length} empty="No order was sent yet."
  actions=${html`<span class="muted">requests of the newest ${NEWEST} trades</span>`}>
  ${(rows) => html`<${Table} label="Orders" rows=${rows} rowKey=${(row) => row.idempotency_key} columns=${[
    { name: 'written', cell: (row) => html`<${When} ms=${row.created_ms} />` }, { name: 'account', cell: (row) => row.account }, { name: 'kind', cell: (row) => html`${row.kind}${row.reduce_only ? ', reduce-only' : ''}` },
    { name: 'order', cell: (row) => html`<span class=${row.side === 'buy' ? 'up' : 'down'}>${row.side === 'buy' ? '▲' : '▼'} ${row.side}</span> ${row.pair}` },
    { name: 'quantity', num: true, cell: (row) => trimmed(row.quantity) }, { name: 'filled', num: true, cell: (row) => trimmed(row.filled_quantity) }, { name: 'price', num: true, cell: (row) => (row.average_price ? money(row.average_price) : '–') },
    { name: 'slippage', num: true, title: 'bps against the decided price; more is worse', cell: (row) => (row.slippage_bps === null ? '–' : row.slippage_bps.toFixed(1)) }, { name: 'fees', num: true, cell: (row) => money(row.fees, 4) },
    { name: 'state', cell: (row) => html`<${Pill} tone=${row.state === 'filled' ? 'ok' : row.state === 'unknown' ? 'warn' : row.state === 'rejected' ? 'bad' : 'muted'} title=${row.reason}>${row.state}<//>` },
    { name: 'tries', num: true, cell: (row) => row.attempts }, { name: 'venue', cell: (row) => html`<${Pill} tone=${MATCH[row.reconciliation_status]}>${row.reconciliation_status}<//>` }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
  ]} />`}<//>`;

// --- reconciliation ---------------------------------------------------------------------------

const reports = resource(async () => (await get('/ops/audit', { action: 'trading.reconcile', limit: 50 })).items);

// Both sides as the last comparison saw them: read again with every report of one, and every so often.
const sides = list('/ops/trading/reconcile');

export function loadSides() {
  reports.load();
  sides.load();
}

const DIFFERS = { by: (row) => !row.differs, cell: (row) => (row.differs ? html`<${Pill} tone="bad" icon="▲">differs<//>` : html`<${Pill} tone="ok" icon="✓">agrees<//>`) };

function Beside({ of }) {
  return html`<p class="pad"><strong>${of.account}</strong>, compared <${When} ms=${of.compared_ms} />: ${of.positions.length + of.orders.length ? '' : html`<span class="muted">neither side has a position or an open order.</span>`}${of.left_off > 0 ? ` ${of.left_off} rows more.` : ''}</p>
    ${of.positions.length > 0 && html`<${Table} label="Positions of ${of.account}" rows=${of.positions} rowKey=${(row) => row.pair} columns=${[
      { name: 'position', cell: (row) => row.pair }, { name: 'ours', num: true, cell: (row) => trimmed(row.ours) }, { name: 'venue', num: true, cell: (row) => trimmed(row.theirs) },
      { name: 'our entry', num: true, cell: (row) => money(row.our_price) }, { name: "venue's entry", num: true, cell: (row) => money(row.their_price) }, { name: 'both', ...DIFFERS },
    ]} />`}
    ${of.orders.length > 0 && html`<${Table} label="Open orders of ${of.account}" rows=${of.orders} rowKey=${(row) => row.client_order_id || row.venue_order_id} columns=${[
      { name: 'open order', cell: (row) => html`<span title="${row.client_order_id} ${row.venue_order_id}"><span class=${row.side === 'buy' ? 'up' : 'down'}>${row.side === 'buy' ? '▲' : '▼'} ${row.side}</span> ${trimmed(row.quantity)} ${row.pair}</span>` }, { name: 'kind', cell: (row) => row.kind.replace('_', ' ') },
      { name: 'ours', cell: (row) => row.ours || html`<span class="muted">unknown to us</span>` }, { name: 'venue', cell: (row) => row.theirs || html`<span class="muted">not listed</span>` },
      { name: 'filled, ours', num: true, cell: (row) => trimmed(row.our_filled) }, { name: 'filled, venue', num: true, cell: (row) => trimmed(row.their_filled) }, { name: 'both', ...DIFFERS },
    ]} />`}`;
}

export function Reconciliation({ trades, reconcile }) {
  const desk = summary.held.value.data;
  const apart = (trades.held.value.data ?? []).filter((trade) => ['mismatch', 'error'].includes(trade.reconciliation_status));
  const rows = (desk?.reconciler ?? []).map((row) => ({ ...row, books: desk.accounts.find((each) => each.account === row.account) }));
  return html`<${Panel} title="Reconciliation" span="12" resource=${summary.held} retry=${summary.load} isEmpty=${() => !rows.length} empty="No account has opened its books yet."
    actions=${html`<button onClick=${reconcile}>Reconcile now</button>`}>
    ${() => html`<${Table} label="Ours and the venue's" rows=${rows} rowKey=${(row) => row.account} columns=${[
      { name: 'account', cell: (row) => html`<strong>${row.account}</strong>` }, { name: 'agreed', cell: (row) => html`<${When} ms=${row.last_ok_ms} />` },
      { name: 'ours: positions', num: true, cell: (row) => row.books?.positions.length ?? '–' }, { name: 'ours: open orders', num: true, cell: (row) => row.books?.open_orders ?? '–' }, { name: 'not answered clearly', num: true, cell: (row) => row.books?.unresolved_orders ?? '–' },
      { name: 'compared with the venue', num: true, cell: (row) => row.checked }, { name: 'put right', num: true, cell: (row) => row.updated }, { name: 'differ still', num: true, cell: (row) => html`<span class=${row.errors ? 'down' : ''}>${row.errors ? '▲ ' : ''}${row.errors}</span>` },
    ]} />
    ${sides.held.value.problem ? html`<${Failed} problem=${sides.held.value.problem} retry=${sides.load} />` : (sides.held.value.data ?? []).map((of) => html`<${Beside} key=${of.account} of=${of} />`)}
    ${apart.length > 0 ? html`<${Table} label="Trades that differ" rows=${apart} rowKey=${(row) => row.trade_id} columns=${[
      { name: 'trade that differs', cell: (row) => html`${row.side} ${trimmed(row.quantity)} ${row.pair}` }, { name: 'ours', cell: (row) => row.status }, { name: 'venue', cell: (row) => html`<${Pill} tone="bad" icon="▲">${row.reconciliation_status}<//>` }, { name: 'why', cell: (row) => row.reason }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
    ]} />` : html`<p class="pad muted">No trade shown differs from the venue's.</p>`}
    ${(reports.held.value.data ?? []).length > 0 && html`<${Table} label="Reports asked for" rows=${reports.held.value.data} rowKey=${(row) => row.audit_id} columns=${[
      { name: 'asked for', cell: (row) => html`<${When} ms=${row.at_ms} />` }, { name: 'by', cell: (row) => row.actor }, { name: 'of', cell: (row) => row.resource }, { name: 'put right', num: true, cell: (row) => row.after.updated ?? '–' }, { name: 'errors', num: true, cell: (row) => row.after.errors ?? '–' },
    ]} />`}`}
  <//>`;
}

// --- audit ------------------------------------------------------------------------------------

const asked = signal({ action: '', resource: '' });
const count = signal(50);
export const audit = resource(() => get('/ops/audit', { ...asked.value, limit: count.value }));

// Every row names the hash of the one before it: a row that was changed or taken out breaks that.
function chainOf(rows) {
  const ordered = [...rows].sort((a, b) => a.seq - b.seq);
  const broken = ordered.find((row, at) => at > 0 && row.seq === ordered[at - 1].seq + 1 && row.previous_sha256 !== ordered[at - 1].sha256);
  return broken ? { tone: 'bad', icon: '▲', text: `chain broken at ${broken.seq}` } : { tone: 'ok', icon: '✓', text: `chain holds, ${ordered[0].seq} to ${ordered.at(-1).seq}` };
}

const told = (value) => (value === undefined ? '–' : typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value));

function Change({ row }) {
  const names = [...new Set([...Object.keys(row.before), ...Object.keys(row.after)])].filter((name) => told(row.before[name]) !== told(row.after[name]));
  const text = names.map((name) => (name in row.before ? `${name}: ${told(row.before[name])} → ${told(row.after[name])}` : `${name}: ${told(row.after[name])}`)).join('; ');
  return html`<span class="clip wide" title=${text}>${text || html`<span class="muted">–</span>`}</span>`;
}

export function Audit() {
  const data = audit.held.value.data;
  const chain = data?.items.length ? chainOf(data.items) : null;
  const narrow = (event) => {
    event.preventDefault();
    asked.value = Object.fromEntries(new FormData(event.target));
    count.value = 50;
    audit.load();
  };
  const more = () => {
    count.value = 200;
    audit.load();
  };
  return html`<${Panel} title="Audit" span="12" resource=${audit.held} retry=${audit.load} isEmpty=${() => false}
    actions=${html`${chain && html`<${Pill} tone=${chain.tone} icon=${chain.icon} title="hashes of the rows shown; desk audit verify looks through all of them">${chain.text}<//>`}
      <form class="buttons" onSubmit=${narrow}><label class="inline">Action <input name="action" placeholder="run." size="12" /></label><label class="inline">Resource <input name="resource" placeholder="run/" size="14" /></label><button>Filter</button></form>`}>
    ${({ items, next_cursor: next }) => html`${items.length ? html`<${Table} label="Audit" rows=${items} rowKey=${(row) => row.audit_id} columns=${[
      { name: 'no.', num: true, cell: (row) => row.seq }, { name: 'when', cell: (row) => html`<${When} ms=${row.at_ms} />` }, { name: 'who', cell: (row) => row.actor }, { name: 'action', cell: (row) => row.action }, { name: 'resource', cell: (row) => html`<span class="clip" title=${row.resource}>${row.resource}</span>` },
      { name: 'before → after', cell: (row) => html`<${Change} row=${row} />` }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
    ]} />` : html`<p class="pad muted">Nothing in the audit begins so.</p>`}${next && count.value < 200 && html`<p class="pad"><button onClick=${more}>Show older</button></p>`}`}
  <//>`;
}

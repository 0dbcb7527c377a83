// The trace drawer: one decision's way from candle to ledger. `?trace=` opens it on any page.

import { effect, signal } from '@preact/signals';
import { get } from './api.js';
import { money, trimmed } from './format.js';
import { resource } from './store.js';
import { Drawer, Facts, Failed, html, Pill, toast, When } from './ui.js';

export const traceId = signal(new URLSearchParams(location.search).get('trace'));
const trace = resource(() => get(`/traces/${encodeURIComponent(traceId.value)}`));

export const TraceLink = ({ id }) => (id ? html`<button class="plain mono" title="Trace ${id}" onClick=${(event) => { event.stopPropagation(); traceId.value = id; }}>${id.slice(0, 8)}</button>` : html`<span class="muted">–</span>`);

effect(() => {
  const id = traceId.value;
  const url = new URL(location.href);
  if (id) url.searchParams.set('trace', id);
  else url.searchParams.delete('trace');
  history.replaceState(null, '', url);
  if (id) {
    trace.held.value = { state: 'loading', data: null, problem: null, at: 0 };
    trace.load();
  }
});
export function TraceDrawer() {
  if (!traceId.value) return null;
  const held = trace.held.value;
  const close = () => { traceId.value = null; };
  const actions = html`<button onClick=${() => copy(held.data)} disabled=${!held.data}>Copy JSON</button><button onClick=${() => trace.load()}>Reload</button>`;
  return html`<${Drawer} label="Trace" title=${html`Trace <code>${traceId.value}</code>`} actions=${actions} onClose=${close}>
    ${held.data ? html`<${Story} data=${held.data} />` : held.state === 'failed' ? html`<${Failed} problem=${held.problem} retry=${trace.load} />` : html`<div class="skeleton" role="status"><span class="sr">Loading the trace</span></div>`}
  <//>`;
}

async function copy(data) {
  try {
    await navigator.clipboard.writeText(JSON.stringify(data, null, 1));
    toast('The trace is copied as JSON');
  } catch {
    toast('The browser did not let it be copied', { bad: true });
  }
}

const Story = ({ data }) => html`<ol class="timeline">${data.hops.map((hop) => html`<li key=${hop.name} class=${hop.present ? '' : 'missing'} data-hop=${hop.name}>
  <h3>${hop.name} ${hop.at_ms ? html`<small class="muted"><${When} ms=${hop.at_ms} full /></small>` : ''}</h3>
  ${hop.note && html`<p class="muted">${hop.note}</p>`}
  ${hop.present && FACTS[hop.name]?.(data)}
</li>`)}</ol>`;

const FACTS = {
  candle: ({ candle }) => candle && html`<${Facts} rows=${[['pair', `${candle.pair} ${candle.interval}`], ['open time', html`<${When} ms=${candle.open_ms} full />`], ['O H L C', `${candle.open} ${candle.high} ${candle.low} ${candle.close}`], ['volume', candle.volume]]} />`,
  decision: ({ decisions }) => decisions.map((decision) => html`<${Facts} rows=${[
    ['action', html`<strong>${decision.action}</strong> ${decision.hold_reason}`],
    ['target', decision.target], ['confidence', decision.confidence.toFixed(3)], ['version', decision.version_id],
    ['reference price', decision.reference_price], ['feature set', html`<code>${decision.feature_set_id}</code>`],
    ['observation', html`<code>${decision.observation_sha256.slice(0, 16)}</code>`], ['candles', html`<code>${decision.candles_sha256.slice(0, 16)}</code>`],
    ['latency', Object.entries(decision.latency_ms).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`).join(' · ')],
    ['warnings', decision.warnings.join(', ')],
  ]} />`),
  gates: ({ decisions }) => decisions.map((decision) => html`<p class="buttons">${decision.gates.map((gate) => html`<${Pill} tone=${gate.passed ? 'ok' : 'bad'} icon=${gate.passed ? '✓' : '✕'} title=${gate.detail}>${gate.gate}${gate.code ? `: ${gate.code}` : ''}<//>`)}</p>`),
  orders: ({ orders }) => orders.map((order) => html`<${Facts} rows=${[
    [order.leg, html`<strong>${order.side} ${trimmed(order.quantity)}</strong> ${order.pair} ${order.reduce_only ? '(reduce-only)' : ''}`],
    ['state', `${order.state}${order.reason ? `: ${order.reason}` : ''}`], ['client order id', html`<code>${order.client_order_id}</code>`],
    ['venue order id', order.venue_order_id && html`<code>${order.venue_order_id}</code>`], ['attempts', order.attempts],
  ]} />`),
  fills: ({ fills, orders }) => fills.map((fill) => {
    const order = orders.find((each) => each.client_order_id === fill.client_order_id);
    return html`<${Facts} rows=${[[fill.side, html`<strong>${trimmed(fill.quantity)} at ${trimmed(fill.price)}</strong>`], ['fee', `${money(fill.fee, 4)} USDT${fill.is_maker ? ' (maker)' : ' (taker)'}`], ['slippage', order?.slippage_bps === null || order?.slippage_bps === undefined ? '' : `${order.slippage_bps.toFixed(2)} bps`], ['time', html`<${When} ms=${fill.filled_ms} full />`]]} />`;
  }),
  ledger: ({ ledger }) => ledger.map((effect) => html`<${Facts} rows=${[['account', effect.account], ['position', trimmed(effect.position_delta)], ['realised', `${money(effect.realized_pnl, 4)} USDT`], ['fees', `${money(effect.fees, 4)} USDT`], ['cash', `${money(effect.cash_delta, 4)} USDT`]]} />`),
};


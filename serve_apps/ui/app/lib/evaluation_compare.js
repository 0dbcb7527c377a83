// Evaluations side by side: their curves, their figures with the difference from the first, what sets them apart.

import { computed, signal } from '@preact/signals';
import { Curves, LOOKS } from '../chart/curves.js';
import { get } from './api.js';
import { money, percent, tone, utc } from './format.js';
import { resource } from './store.js';
import { html, Panel, Pill, Table } from './ui.js';

const EVALUATIONS = '/agents/desk/evaluations';
const MOST = 6;
const url = new URLSearchParams(location.search);
export const compared = signal((url.get('compare') ?? '').split(',').filter(Boolean).slice(0, MOST));

const POINTS = 600;
export const equityOf = (id) => get(`${EVALUATIONS}/${encodeURIComponent(id)}/equity`, { points: POINTS });

// A report of an older release has figures and no curve.
const curveOf = (id) => equityOf(id).catch((problem) => {
  if (problem.status === 404) return null;
  throw problem;
});

export const comparison = resource(async () => {
  const ids = compared.value;
  if (ids.length < 2) return { items: null };
  const [figures, ...curves] = await Promise.all([get(`${EVALUATIONS}/compare`, { ids: ids.join(',') }), ...ids.map(curveOf)]);
  return { ...figures, curves };
});

export function toggle(id) {
  const held = compared.value;
  compared.value = held.includes(id) ? held.filter((each) => each !== id) : [...held, id].slice(0, MOST);
  const next = new URL(location.href);
  if (compared.value.length) next.searchParams.set('compare', compared.value.join(','));
  else next.searchParams.delete('compare');
  history.replaceState(null, '', next);
  comparison.load();
}

export const Choice = ({ id }) => html`<input type="checkbox" aria-label="Compare ${id}" checked=${compared.value.includes(id)} disabled=${!compared.value.includes(id) && compared.value.length >= MOST}
  onClick=${(event) => event.stopPropagation()} onChange=${() => toggle(id)} onKeyDown=${(event) => event.stopPropagation()} />`;

// --- curves -----------------------------------------------------------------------------------

const REPORT = [['equity', 'this version', LOOKS.candidate], ['previous_version', 'previous version', LOOKS.rivals[0]], ['hold', 'hold', LOOKS.baseline], ['trend_rule', 'trend rule', LOOKS.rule], ['cost_2x', 'costs × 2', LOOKS.rivals[2]], ['cost_3x', 'costs × 3', LOOKS.rivals[3]]];

export const curvesOfReport = (data) => ({
  seconds: data.close_ms.map((ms) => ms / 1000),
  curves: REPORT.filter(([name]) => data.curves[name]).map(([name, label, look]) => ({ name: label, look, values: data.curves[name] })),
});

// Each was thinned by itself, so their times are joined; a curve has holes at the times of the others.
function joined(items, curves) {
  const named = items.map((row, at) => ({ name: `${at + 1} ${row.version_id}`, look: at === 0 ? LOOKS.candidate : LOOKS.rivals[at - 1], data: curves[at] })).filter(({ data }) => data);
  if (!named.length) return null;
  const tables = named.map(({ data }) => [data.close_ms.map((ms) => ms / 1000), data.curves.equity]);
  const hold = curves[0]?.curves.hold;
  if (hold) tables.push([curves[0].close_ms.map((ms) => ms / 1000), hold]);
  const [seconds, ...values] = tables.length > 1 ? globalThis.uPlot.join(tables) : tables[0];
  const all = named.map(({ name, look }, at) => ({ name, look, values: values[at] }));
  if (hold) all.push({ name: 'hold', look: LOOKS.baseline, values: values.at(-1) });
  return { seconds, curves: all };
}

const drawn = computed(() => {
  const data = comparison.held.value.data;
  return data?.items ? joined(data.items, data.curves) : null;
});

// --- figures ----------------------------------------------------------------------------------

// [name, of a row, of a delta, which sign is good, how it reads]
const FIGURES = [
  ['net PnL, USDT', 'net_pnl_after_fees', 1, (value) => money(value)], ['fees, USDT', 'fees', -1, (value) => money(value)],
  ['Sharpe', 'sharpe', 1, (value) => value.toFixed(2).replace('-', '−')], ['max drawdown', 'max_drawdown', -1, (value) => percent(value)],
  ['win rate', 'win_rate', 1, (value) => percent(value)], ['trades', 'trade_count', 0, (value) => value], ['exposure', 'exposure', 0, (value) => percent(value)],
];

function Delta({ value, good, shown }) {
  const sign = Math.sign(Number(value));
  if (!sign) return html`<span class="muted">=</span>`;
  const colour = good === 0 ? 'muted' : sign === good ? 'up' : 'down';
  return html`<span class=${colour}>${sign > 0 ? '▲ +' : '▼ '}${String(shown(value)).replace('-', '−')}</span>`;
}

const CONFIG = ['version_id', 'pair', 'interval', 'decision_threshold', 'stop_loss_fraction', 'take_profit_fraction', 'leverage', 'engine', 'feature_set_id', 'dataset_id', 'fill_spec_id', 'seed'];
const period = (row) => `${utc(row.period_start_ms).slice(0, 16)} to ${utc(row.period_end_ms).slice(0, 16)}`;

function rowsOf({ items, deltas }) {
  const figures = FIGURES.map(([name, field, good, shown]) => ({
    name, cells: items.map((row, at) => html`<span class=${field === 'net_pnl_after_fees' ? tone(row[field]) : ''}>${shown(row[field])}</span>${at > 0 && html` <${Delta} value=${deltas[at - 1][field]} good=${good} shown=${shown} />`}`),
  }));
  const told = [['verdict', (row) => row.verdict], ['period', period], ...CONFIG.map((field) => [field.replaceAll('_', ' '), (row) => row[field]])];
  const differing = told.filter(([, of]) => new Set(items.map((row) => String(of(row)))).size > 1);
  return [...figures, ...differing.map(([name, of]) => ({ name, cells: items.map((row) => String(of(row) ?? '–')) }))];
}

export function Comparison() {
  const held = compared.value;
  if (!held.length) return null;
  const empty = html`<span>Tick one more report to compare it with ${held[0]}.</span>`;
  return html`<${Panel} title="Comparison" span="12" resource=${comparison.held} retry=${comparison.load} isEmpty=${(data) => held.length < 2 || !data.items} empty=${empty}
    actions=${html`<button onClick=${() => [...compared.value].forEach(toggle)}>Clear</button>`}>
    ${(data) => html`${!data.same_candles && html`<p class="pad"><${Pill} tone="warn" icon="▲">not comparable<//> They did not see the same candles, or were filled by other rules: the differences say little about the versions.</p>`}
      ${drawn.value ? html`<${Curves} label="Equity and drawdown of ${data.items.length} evaluations" ...${drawn.value} />` : html`<p class="pad muted">None of them has a stored curve.</p>`}
      <${Table} label="Comparison" rows=${rowsOf(data)} rowKey=${(row) => row.name} columns=${[
        { name: 'figure', cell: (row) => row.name },
        ...data.items.map((row, at) => ({ name: `${at + 1} ${row.version_id}`, num: true, title: row.evaluation_id, cell: (each) => each.cells[at] })),
      ]} />
      <p class="pad muted">Differences are from the first; of what was set only what differs is listed.</p>`}
  <//>`;
}

if (compared.value.length > 1) comparison.load();

// Evaluations: reports, and what speaks for and against one: folds, baselines, dearer costs, luck.

import { computed, effect, signal } from '@preact/signals';
import { Curves } from './chart/curves.js';
import { Histogram, Over } from './chart/figures.js';
import { get } from './lib/api.js';
import { Choice, Comparison, curvesOfReport, equityOf } from './lib/evaluation_compare.js';
import { evaluate } from './lib/evaluation_form.js';
import { EvaluationTrades, tradesOf } from './lib/evaluation_trades.js';
import { ARROW, saveAnswer } from './lib/files.js';
import { money, percent, tone } from './lib/format.js';
import { start } from './lib/frame.js';
import { JobLine, jobsOf } from './lib/jobs.js';
import { agent, versions } from './lib/run_controls.js';
import { list, resource, throttled } from './lib/store.js';
import { on, onResync } from './lib/stream.js';
import { Baseline, html, Panel, Pill, Table, When } from './lib/ui.js';
import { promote } from './lib/version_controls.js';
import { keepFresh } from './lib/watch.js';

const EVALUATIONS = '/agents/desk/evaluations';
const reports = list(EVALUATIONS, { limit: 50 });
const pairs = list('/market-data/pairs');
const chosen = signal(new URLSearchParams(location.search).get('id') ?? '');
const detail = resource(async () => (chosen.value ? get(`${EVALUATIONS}/${encodeURIComponent(chosen.value)}`) : null));
const equity = resource(async () => {
  if (!detail.held.value.data?.evidence) return null;
  return equityOf(chosen.value);
});
const drawn = computed(() => (equity.held.value.data ? curvesOfReport(equity.held.value.data) : null));

const made = resource(async () => (detail.held.value.data?.evidence ? tradesOf(chosen.value) : null));

const ticks = computed(() => (made.held.value.data?.items ?? []).map((trade) => ({ seconds: trade.closed_ms / 1000, hasWon: tone(trade.pnl) === 'up' })));

/** What the version of the report shown came to on each pair: its newest evaluation there. */
const byPair = resource(async () => {
  const version = detail.held.value.data?.version_id;
  if (!version) return null;
  const newest = new Map();
  for (const row of (await get(EVALUATIONS, { agent_version_id: version, limit: 200 })).items) if (!newest.has(row.pair)) newest.set(row.pair, row.evaluation_id);
  if (newest.size < 2) return null;
  return { version, ...await get(`${EVALUATIONS}/compare`, { ids: [...newest.values()].slice(0, 20).join(',') }) };
});

async function show(id) {
  chosen.value = id;
  const next = new URL(location.href);
  next.searchParams.set('id', id);
  history.replaceState(null, '', next);
  await detail.load();
  equity.load();
  byPair.load();
  made.load();
}

effect(() => {
  const newest = reports.held.value.data?.[0];
  if (newest && !chosen.peek()) show(newest.evaluation_id);
});
for (const topic of ['evaluation', 'job']) on(topic, throttled(reports.load, 1000));
onResync(reports.load);
[reports, pairs].forEach((held) => held.load());
keepFresh([], { others: [agent, versions] });
for (const topic of ['version', 'run']) on(topic, throttled(() => { agent.load(); versions.load(); }, 1000));
if (chosen.value) show(chosen.value);

// --- the page ---------------------------------------------------------------------------------

function Page() {
  const report = detail.held.value.data;
  return html`<h1 class="sr">Evaluations</h1>
    <div class="grid"><${Reports} /><${Report} />${report?.gates && html`<${Gate} report=${report} /><${Spread} report=${report} />`}<${Comparison} />${byPair.held.value.data && html`<${Pairs} of=${byPair.held.value.data} />`}${report?.evidence && html`<${Equity} report=${report} /><${EvaluationTrades} report=${report} held=${made.held} retry=${made.load} /><${Folds} evidence=${report.evidence} /><${Compared} evidence=${report.evidence} /><${Sureness} evidence=${report.evidence} /><${Thresholds} report=${report} />`}</div>`;
}

const Verdict = ({ report }) => html`<${Pill} tone=${report.verdict === 'pass' ? 'ok' : 'bad'} icon=${report.verdict === 'pass' ? '✓' : '✕'}>${report.verdict}<//>`;
const Pnl = ({ of }) => html`<span class=${tone(of)}>${money(of)}</span>`;

// Evaluations at work, or just over, as their events tell.
function Working() {
  const jobs = jobsOf('evaluation').slice(-3);
  return jobs.length ? html`<div class="pad stack">${jobs.map((job) => html`<${JobLine} key=${job.job_id} job=${job} />`)}</div>` : null;
}

function Reports() {
  return html`<${Panel} title="Reports" span="7" resource=${reports.held} retry=${reports.load} isEmpty=${(rows) => !rows.length}
    empty=${html`<${Working} /><span>No evaluation yet.</span>`} actions=${html`<button onClick=${() => evaluate(pairs)}>Evaluate …</button>`}>
    ${(rows) => html`<${Working} /><${Table} label="Reports" rows=${rows} rowKey=${(row) => row.evaluation_id} onPick=${(row) => show(row.evaluation_id)} selected=${chosen.value} columns=${[
      { name: '', title: 'compare', cell: (row) => html`<${Choice} id=${row.evaluation_id} />` }, { name: 'made', cell: (row) => html`<${When} ms=${row.created_ms} />` },
      { name: 'version', cell: (row) => html`${row.version_id} <${Baseline} on=${row.baseline} />` }, { name: 'pair', cell: (row) => row.pair },
      { name: 'net PnL', num: true, cell: (row) => html`<${Pnl} of=${row.net_pnl_after_fees} />` },
      { name: 'deflated', num: true, title: 'probability that the Sharpe ratio is not luck', cell: (row) => (row.deflated_sharpe === null ? '–' : row.deflated_sharpe.toFixed(3)) },
      { name: 'verdict', cell: (row) => html`<${Verdict} report=${row} />` },
    ]} />`}
  <//>`;
}

const routeOf = (report) => `${EVALUATIONS}/${encodeURIComponent(report.evaluation_id)}`;

// The version of the report, while it could become the active one.
const promotable = (report) => (versions.held.value.data ?? []).find((each) => each.version_id === report.version_id && !each.active && !each.baseline);

function Actions({ report }) {
  const version = promotable(report);
  return html`<button title="all of it, as the route answers" onClick=${() => saveAnswer(routeOf(report), 'application/json', `${report.evaluation_id}.json`)}>Save as JSON</button>
    ${version && html`<button class="danger" onClick=${() => promote(version, report.pair)}>Promote …</button>`}`;
}

function Report() {
  const shown = detail.held.value.data;
  return html`<${Panel} title="Report" span="5" resource=${detail.held} retry=${detail.load} isEmpty=${(row) => !row} empty="Choose a report."
    actions=${shown && html`<${Actions} report=${shown} />`}>
    ${(row) => html`<p class="pad"><${Verdict} report=${row} /> ${row.reasons.map((reason) => html`<code key=${reason}>${reason}</code> `)}</p>
      ${row.trade_count === 0 && html`<p class="pad">It never traded: the decision threshold may be too high.</p>`}
      <${Table} label="Figures" rows=${figures(row)} rowKey=${(each) => each[0]} columns=${[{ name: 'figure', cell: (each) => each[0] }, { name: 'value', num: true, cell: (each) => each[1] }]} />`}
  <//>`;
}

const figures = (row) => [
  ['version', row.version_id], ['pair, interval', `${row.pair} ${row.interval}`],
  ['period', html`<${When} full ms=${row.period_start_ms} /> to <${When} full ms=${row.period_end_ms} />`],
  ['net PnL after fees, USDT', money(row.net_pnl_after_fees)], ['fees, USDT', money(row.fees)], ['funding, USDT', money(row.funding)],
  ['trades', row.trade_count], ['win rate', percent(row.win_rate)], ['max drawdown', percent(row.max_drawdown)],
  ['Sharpe (daily, 365 days)', row.sharpe.toFixed(2)], ['exposure', percent(row.exposure)], ['decision threshold', row.decision_threshold],
  ['engine', row.engine], ['dataset', row.dataset_id],
];

const Gate = ({ report }) => html`<${Panel} title="Promotion gate" span="7" actions=${html`<span class="muted">this report, by the gate as it stands now</span>`}>
  <${Table} label="Promotion gate" rows=${report.gates} rowKey=${(row) => row.gate} columns=${[
    { name: 'part', cell: (row) => row.gate.replaceAll('_', ' ') }, { name: 'value', num: true, cell: (row) => html`<span class="clip short" title=${row.value}>${row.value.replace(/^-/, '−')}</span>` }, { name: 'asks for', num: true, cell: (row) => row.threshold },
    { name: 'margin', num: true, title: 'distance to what is asked for; above zero there is room', cell: (row) => (row.margin ? html`<span class=${tone(row.margin.replace('+', ''))}>${row.margin.replace('-', '−')}</span>` : html`<span class="muted">–</span>`) },
    { name: 'passed', cell: (row) => html`<${Pill} tone=${row.passed ? 'ok' : 'bad'} icon=${row.passed ? '✓' : '✕'} title=${row.problem}>${row.passed ? 'yes' : 'no'}<//>` },
  ]} /><//>`;

const Spread = ({ report }) => html`<${Panel} title="Results of the trades" span="5">
  ${report.pnl_histogram?.counts.length ? html`<${Histogram} label="Trades by their result" ...${report.pnl_histogram} />` : html`<div class="empty">${report.pnl_histogram ? 'It made no trade.' : 'Its trades are not kept: evaluate it again.'}</div>`}<//>`;

const Equity = ({ report }) => html`<${Panel} title="Equity" span="12" resource=${equity.held} retry=${equity.load} isEmpty=${(data) => !data || !drawn.value} empty="No curves."
  actions=${html`<button title="every close, for pyarrow or polars" onClick=${() => saveAnswer(`${routeOf(report)}/equity`, ARROW, `${report.evaluation_id}-equity.arrows`)}>Save as Arrow</button>`}>
  ${() => html`<${Curves} label="Equity from ${money(report.starting_balance)} to ${money(report.final_balance)} USDT, max drawdown ${percent(report.max_drawdown)}" hiddenFirst=${['costs × 3']} ticks=${ticks.value} ...${drawn.value} />`}<//>`;

function Pairs({ of }) {
  const rows = [...Object.entries(of.by_pair), ['all', of.total]].map(([pair, one]) => ({ pair, ...one }));
  return html`<${Panel} title="By pair" span="12">
    <${Table} label="By pair" rows=${rows} rowKey=${(row) => row.pair} columns=${[
      { name: 'pair', cell: (row) => row.pair }, { name: 'passed', num: true, cell: (row) => `${row.passed} of ${row.evaluations}` },
      { name: 'trades', num: true, cell: (row) => row.trade_count }, { name: 'win rate', num: true, cell: (row) => percent(row.win_rate) },
      { name: 'net PnL', num: true, cell: (row) => html`<${Pnl} of=${row.net_pnl_after_fees} />` }, { name: 'fees', num: true, cell: (row) => money(row.fees) },
      { name: 'deepest drawdown', num: true, cell: (row) => percent(row.deepest_drawdown) }, { name: 'exposure', num: true, cell: (row) => percent(row.exposure, 0) },
    ]} />
    <p class="pad">The newest evaluation of ${of.version} on each pair, every one with an account of its own.</p><//>`;
}

const OUTCOME = [
  { name: 'net PnL', num: true, cell: (row) => html`<${Pnl} of=${row.outcome.net_pnl_after_fees} />` },
  { name: 'Sharpe', num: true, title: 'of daily returns, 365 days', cell: (row) => row.outcome.sharpe.toFixed(2) },
  { name: 'hourly Sharpe', num: true, title: 'of hourly changes of equity, 365 days', cell: (row) => row.outcome.hourly_sharpe?.toFixed(2) ?? '–' },
  { name: 'drawdown', num: true, cell: (row) => percent(row.outcome.max_drawdown) },
  { name: 'trades', num: true, cell: (row) => row.outcome.trade_count },
  { name: 'exposure', num: true, cell: (row) => percent(row.outcome.exposure, 0) },
];

const Folds = ({ evidence }) => html`<${Panel} title="Folds" span="12">
  <${Table} label="Folds" rows=${evidence.folds} rowKey=${(row) => row.number} columns=${[
    { name: 'test from', cell: (row) => html`<${When} ms=${row.test_start_ms} />` }, { name: 'to', cell: (row) => html`<${When} ms=${row.test_end_ms} />` },
    { name: 'counts', cell: (row) => (row.is_in_sample ? 'no: trained on' : 'yes') }, ...OUTCOME,
  ]} /><//>`;

function Compared({ evidence }) {
  const rows = [
    ...evidence.stress.map((each) => ({ ...each, name: `this version, costs × ${each.cost_multiple}` })),
    ...evidence.baselines.map((each) => ({ ...each, name: each.name.replace('_', ' ') })),
  ];
  const random = evidence.random;
  return html`<${Panel} title="On the same candles" span="6">
    <${Table} label="On the same candles" rows=${rows} rowKey=${(row) => row.name} columns=${[{ name: 'what', cell: (row) => row.name }, ...OUTCOME]} />
    ${random && html`<p class="pad">${random.seeds} random ones that trade as often: ${money(random.net_pnl_low)} to ${money(random.net_pnl_high)} USDT (5 to 95 of 100), ${percent(random.share_beaten, 0)} earned less.</p>`}<//>`;
}

function Sureness({ evidence }) {
  const shown = (name, value) => (['max_drawdown', 'win_rate'].includes(name) ? percent(value) : value.toFixed(2));
  const rows = Object.entries(evidence.intervals);
  return html`<${Panel} title="How sure" span="6">
    <${Table} label="How sure" rows=${rows} rowKey=${([name]) => name} columns=${[
      { name: 'figure', cell: ([name]) => name.replace('_', ' ') }, { name: 'value', num: true, cell: ([name, one]) => shown(name, one.estimate) },
      { name: '95 of 100 histories', num: true, cell: ([name, one]) => `${shown(name, one.low)} … ${shown(name, one.high)}` },
    ]} />
    <p class="pad">Hourly Sharpe above 0 with probability ${evidence.probabilistic_sharpe.toFixed(3)}; deflated by ${evidence.trials} trial(s) ${evidence.deflated_sharpe.toFixed(3)}; probability of overfitting ${evidence.overfitting_probability === null ? 'not measurable' : evidence.overfitting_probability.toFixed(3)}; ${evidence.observations} observations.</p><//>`;
}

const Thresholds = ({ report: { decision_threshold: own, evidence } }) => html`<${Panel} title="Other thresholds" span="12">
  ${evidence.threshold_curve.length > 1 && html`<${Over} label="Net PnL by decision threshold" unit="USDT" at=${own} points=${evidence.threshold_curve.map((row) => [row.decision_threshold, Number(row.outcome.net_pnl_after_fees)])} />`}
  <${Table} label="Other thresholds" rows=${evidence.threshold_curve} rowKey=${(row) => row.decision_threshold} columns=${[{ name: 'threshold', num: true, cell: (row) => row.decision_threshold.toFixed(2) }, ...OUTCOME]} /><//>`;

start(Page);

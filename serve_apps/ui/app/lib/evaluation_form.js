// Asking for an evaluation: of what, on which candles, by which rules; whether the candles are there is looked up first.

import { get, post } from './api.js';
import { minutesOf, percent, utc } from './format.js';
import { marketNow } from './frame.js';
import { keep } from './jobs.js';
import { agent, versions } from './run_controls.js';
import { moment } from './times.js';
import { askOf, html, Pill, toast } from './ui.js';

const EVALUATIONS = '/agents/desk/evaluations';
const DAY_MS = 86_400_000;
const MISSING = 0.01; // what the server lets pass when nothing is said
const TYPED = 'typed';
const PERIODS = [[TYPED, 'as typed below'], ['unseen', 'since the version was trained'], ['1', 'the last day'], ['7', 'the last 7 days'], ['30', 'the last 30 days']];

const whole = (text) => (text === '' ? undefined : Number(text));
const given = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== ''));

// Where the period begins and ends, on whole candles.
function periodOf({ period, start, end, agent_version_id: id }, stepMs) {
  if (period === TYPED) {
    if (!start || !end) throw new Error('start, end: type both, or choose another period');
    return [moment('start', start), moment('end', end)];
  }
  if (start || end) throw new Error('period: choose “as typed below”, or leave start and end empty');
  const last = Math.floor(marketNow.peek() / stepMs) * stepMs;
  if (period !== 'unseen') return [last - Number(period) * DAY_MS, last];
  const trained = (versions.held.value.data ?? []).find((each) => each.version_id === id)?.training_end_ms;
  if (!trained) throw new Error('period: this version was not trained, choose another period');
  return [Math.ceil(trained / stepMs) * stepMs, last];
}

function bodyOf(values) {
  const { agent_version_id: id, pair, interval, decision_threshold: threshold, stop_loss_fraction: stop, take_profit_fraction: take } = values;
  const [from, to] = periodOf(values, minutesOf(interval) * 60_000);
  const folds = given({ folds: whole(values.folds), purge_bars: whole(values.purge_bars), embargo_bars: whole(values.embargo_bars), min_train_bars: whole(values.min_train_bars) });
  if (Object.keys(folds).length && folds.folds === undefined) throw new Error('folds: say how many, where a gap or bars to train on are given');
  return given({
    agent_version_id: id, pair, interval, period_start_ms: from, period_end_ms: to, decision_threshold: whole(threshold), stop_loss_fraction: stop, take_profit_fraction: take,
    leverage: whole(values.leverage), trials: whole(values.trials), most_missing_fraction: whole(values.missing_percent) === undefined ? undefined : Number(values.missing_percent) / 100,
    walk_forward: folds.folds === undefined ? undefined : folds,
  });
}

// How many of the period's candles are stored.
async function covered(body) {
  const wanted = Math.floor((body.period_end_ms - body.period_start_ms) / (minutesOf(body.interval) * 60_000));
  if (wanted < 1) throw new Error('end: expected a candle or more after the start');
  const { items } = await get('/data-quality/status', { pair: body.pair, interval: body.interval, start_ms: body.period_start_ms, end_ms: body.period_end_ms, buckets: 1 });
  const present = Math.min((items[0]?.spans ?? []).reduce((all, span) => all + span.present, 0), wanted);
  const missing = 1 - present / wanted;
  return { body, wanted, present, missing, fits: missing <= (body.most_missing_fraction ?? MISSING) };
}

function Covered({ body, wanted, present, missing, fits }) {
  const tone = fits ? (present === wanted ? 'ok' : 'warn') : 'bad';
  const all = fits ? (present === wanted ? 'all there' : 'some missing') : 'too many missing';
  return html`<p>${utc(body.period_start_ms).slice(0, 16)} to ${utc(body.period_end_ms).slice(0, 16)}: ${present} of ${wanted} candles stored <${Pill} tone=${tone} icon=${fits ? '✓' : '✕'}>${all}<//></p>
    ${present < wanted && html`<p class=${fits ? 'muted' : 'refusal'}>${percent(missing)} of them missing. <a href="/ingestion">Fetch them</a>${fits ? ', or go on without.' : ', choose another period, or let more be missing.'}</p>`}`;
}

const option = (value) => ({ value, label: value });

// `pairs`: the resource of the pairs with what is stored of each.
export const evaluate = (pairs) => askOf([versions, pairs, agent], 'Evaluate a version', form);

function form(offered, pairs, { decision_threshold: own }) {
  const intervals = [...new Set(pairs.flatMap((row) => row.stored.map((each) => each.interval)))].sort((a, b) => minutesOf(a) - minutesOf(b));
  const number = (name, label, hint, more = {}) => ({ name, label, hint, type: 'number', min: 0, step: 1, ...more });
  return {
    verb: 'Evaluate', checkVerb: 'Check the candles', wide: true, columns: true,
    text: 'A backtest in NautilusTrader on stored candles. Every report also has the costs doubled and tripled, other thresholds, the baselines flat, hold, trend rule and previous version, and random policies.',
    fields: [
      { name: 'agent_version_id', label: 'Version', value: offered.find((version) => version.active)?.version_id, options: offered.map((version) => ({ value: version.version_id, label: version.name })) },
      { name: 'pair', label: 'Pair', options: pairs.map((row) => option(row.pair)) },
      { name: 'interval', label: 'Interval', value: '1m', options: (intervals.length ? intervals : ['1m']).map(option) },
      { name: 'period', label: 'Period', value: TYPED, options: PERIODS.map(([value, label]) => ({ value, label })) },
      { name: 'start', label: 'Start, UTC (2026-01-31 12:00)' }, { name: 'end', label: 'End, UTC' },
      number('decision_threshold', 'Decision threshold, 0 to 1', `the agent's own, ${own}`, { max: 1, step: 0.01 }),
      number('missing_percent', 'Candles missing, at most, %', '1', { max: 100, step: 'any' }),
      number('folds', 'Folds', 'five', { min: 1 }), number('min_train_bars', 'Bars that the first fold trains on', 'none'),
      number('purge_bars', 'Purge, bars', 'none'), number('embargo_bars', 'Embargo, bars', 'none'),
      number('stop_loss_fraction', 'Stop loss, fraction of the entry price', 'none', { max: 0.9999, step: 'any' }), number('take_profit_fraction', 'Take profit, fraction of the entry price', 'none', { max: 0.9999, step: 'any' }),
      number('leverage', 'Leverage, whose loss liquidates', 'nothing is liquidated', { min: 1 }), number('trials', 'Policies tried, this one included', 'as its card tells', { min: 1 }),
    ],
    check: (values) => covered(bodyOf(values)),
    mayGo: (checked) => checked.fits,
    shown: (checked) => html`<${Covered} ...${checked} />`,
    send: (_, key, checked) => post(EVALUATIONS, checked.body, key),
    done: (job) => {
      keep(job);
      toast(`Evaluation of ${job.arguments.version_id ?? job.arguments.pair} started`);
    },
  };
}

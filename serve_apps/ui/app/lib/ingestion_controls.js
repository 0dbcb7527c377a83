// What an operator does to sources: fetch history, poll now, pause, resume, switch, set thresholds.

import { post, send } from './api.js';
import { age, minutesOf, money } from './format.js';
import { marketNow, summary } from './frame.js';
import { keep } from './jobs.js';
import { list } from './store.js';
import { moment } from './times.js';
import { ask, askOf, html, toast } from './ui.js';

export const sources = list('/data-sources/status');

const option = (value) => ({ value, label: value });
const distinct = (values) => [...new Set(values.filter(Boolean))];

export const knownPairs = () => distinct((sources.held.value.data ?? []).map((source) => source.pair));
const knownIntervals = () => distinct((sources.held.value.data ?? []).map((source) => source.interval));

// `given`: what is filled in already, as `{pair, interval, start, end}`.
export function backfill(given = {}) {
  askOf([sources], 'Backfill candles', () => ({
    verb: 'Start backfill',
    text: 'Without a start it runs to the earliest candle the exchange has; with a number of batches it stops after that many pages. What is stored already is read again and stays as it is.',
    fields: [
      { name: 'pair', label: 'Pair', value: given.pair, options: knownPairs().map(option) },
      { name: 'interval', label: 'Interval', value: given.interval ?? '1m', options: knownIntervals().map(option) },
      { name: 'start', label: 'Start, UTC (2026-01-31 12:00)', value: given.start, hint: 'earliest' },
      { name: 'end', label: 'End, UTC', value: given.end, hint: 'now' },
      { name: 'max_batches', label: 'Batches', type: 'number', min: 1, hint: 'no limit' },
    ],
    estimate: extent,
    send: (values, key) => post('/ops/ingestion/bingx/backfill', backfillBody(values), key),
    done: (job) => {
      keep(job);
      toast(`Backfill of ${job.arguments.pair} started`);
    },
  }));
}

function backfillBody({ pair, interval, start, end, max_batches: batches }) {
  const body = { pair, interval };
  if (start) body.start_ms = moment('start', start);
  if (end) body.end_ms = moment('end', end);
  if (batches) body.max_batches = Number(batches);
  return body;
}

// What a backfill fetches with one request, and stores in a second at most.
const CANDLES_PER_CALL = 1_440;
const MAX_ROWS_PER_S = 2_000;

// How much a backfill is, as far as it can be told before the exchange is asked.
function extent(values) {
  let body;
  try {
    body = backfillBody(values);
  } catch {
    return ''; // half typed
  }
  const { start_ms: start, end_ms: end = marketNow.peek(), max_batches: batches = Infinity } = body;
  const inRange = start === undefined ? Infinity : Math.max(Math.floor((end - start) / (minutesOf(body.interval) * 60_000)), 0);
  const candles = Math.min(inRange, batches * CANDLES_PER_CALL);
  if (candles === Infinity) return 'How many candles the exchange has is found out first; its progress shows them.';
  if (!candles) return 'There is no candle from this start to this end.';
  const requests = Math.ceil(candles / CANDLES_PER_CALL);
  return `At most ${money(candles, 0)} candles in ${requests === 1 ? 'one request' : `${money(requests, 0)} requests`}; it takes ${age((1000 * candles) / MAX_ROWS_PER_S)} or longer.`;
}

// Run, pause or resume all feeds of a kind, or those that `scope` names.
export async function turn(kind, wish, scope = {}) {
  try {
    const answer = await post(`/ops/ingestion/${kind}/${wish}`, scope);
    toast(`${kind}: ${wish} told to ${answer.sources} feed${answer.sources === 1 ? '' : 's'}`);
  } catch (problem) {
    toast(`${kind}: ${wish} was refused: ${problem.message}`, { bad: true, traceId: problem.traceId });
  }
  sources.load();
}

// Which row a command is about.
export const scopeOf = (row) => (row.source_id ? { source_type: row.source_type, source_id: row.source_id } : { source_type: row.source_type, pair: row.pair, ...(row.interval ? { interval: row.interval } : {}) });

export const nameOf = (row) => [row.source_type, row.source_id || row.pair, row.interval].filter(Boolean).join(' ');

// Runs that decide on these candles.
export const usedBy = (row) => (summary.held.value.data?.runs ?? []).filter((run) => row.source_type === 'bingx_candles' && run.pair === row.pair && run.interval === row.interval);

// Which runs would pause without a source: the server knows what their features look at.
async function dependents(row) {
  if (row.source_id) return [];
  return (await post('/ops/ingestion/bingx/pause', { ...scopeOf(row), dry_run: true })).runs;
}

const nameRun = (id) => {
  const run = (summary.held.value.data?.runs ?? []).find((each) => each.run_id === id);
  return run ? `${id} on ${run.pair}` : id;
};

export async function toggle(row) {
  let hit = [];
  try {
    if (row.enabled) hit = await dependents(row);
  } catch (problem) {
    toast(`${nameOf(row)}: ${problem.message}`, { bad: true, traceId: problem.traceId });
    return;
  }
  ask({
    title: row.enabled ? `Switch ${nameOf(row)} off?` : `Switch ${nameOf(row)} on?`, verb: row.enabled ? 'Switch off' : 'Switch on', danger: row.enabled,
    text: html`<span>enabled: <strong>${String(row.enabled)}</strong> → <strong>${String(!row.enabled)}</strong>. ${row.enabled
      ? hit.length ? html`<strong class="warn">These runs will pause: ${hit.map(nameRun).join(', ')}.</strong>` : 'No run at work looks at it.'
      : 'It is polled again, and what was missed is fetched; its progress shows above the table.'}</span>`,
    send: (_, key) => send('PATCH', '/data-sources/config', { ...scopeOf(row), enabled: !row.enabled }, { key }),
    done: () => sources.load(),
  });
}

export function setThreshold(row) {
  ask({
    title: `Freshness of ${nameOf(row)}`, verb: 'Set threshold',
    text: `A row older than this is stale, and a run that needs it pauses. Now: ${row.freshness_threshold_seconds} s.`,
    fields: [{ name: 'seconds', label: 'At most, seconds of market time', type: 'number', min: 1, step: 1, required: true, value: row.freshness_threshold_seconds }],
    send: ({ seconds }, key) => send('PATCH', '/data-sources/config', { ...scopeOf(row), freshness_threshold_s: Number(seconds) }, { key }),
    done: (after) => {
      toast(`${nameOf(row)}: ${row.freshness_threshold_seconds} s → ${after.freshness_threshold_seconds} s`);
      sources.load();
    },
  });
}

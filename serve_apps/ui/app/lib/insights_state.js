// What the insights page shows, all of it in the address, and what is read for each layer that is on.

import { computed, effect, signal, untracked } from '@preact/signals';
import { INDICATOR_NAMES, stepMs } from '../chart/kline.js';
import { get } from './api.js';
import { money } from './format.js';
import { summary } from './frame.js';
import { behind, list, resource, throttled } from './store.js';
import { on, onResync } from './stream.js';

const AGENT = 'desk';
const MINUTE = 60_000;
const SIGNAL_DAYS_MS = 31 * 24 * 60 * MINUTE; // the widest window a search takes

export const LAYERS = [
  { name: 'paper', label: 'Paper', what: 'paper trades: hollow triangles, dashed link' },
  { name: 'live', label: 'Live', what: 'live trades: filled triangles, solid link' },
  { name: 'evaluation', label: 'Evaluation', what: 'trades of one evaluation: hollow circles, dotted link' },
  { name: 'blocked', label: 'Blocked', what: 'decisions that a gate held back: small crosses' },
  { name: 'signals', label: 'Signals', what: 'signals of TradingView and Telegram for this pair: diamonds, hollow without a side' },
  { name: 'gaps', label: 'Gaps', what: 'candles that are missing: shaded bands' },
  { name: 'levels', label: 'Levels', what: 'entry, stop and target of open trades: solid, dashed and dotted line' },
];
const KNOWN = LAYERS.map((layer) => layer.name);
const FIRST = ['paper', 'live', 'gaps', 'levels'];

const url = new URLSearchParams(location.search);
export const pair = signal(url.get('pair'));
export const interval = signal(url.get('interval') ?? '1m');
export const selected = signal(url.get('trade'));
export const jump = signal(Number(url.get('at')) || null);
// How many candles the first chart has: more are fetched as one scrolls back.
export const firstBars = Math.min(Math.max(Number(url.get('bars')) || 1500, 100), 5000);
export const evaluation = signal(url.get('evaluation'));
export const layers = signal(new Set((url.has('layers') ? url.get('layers').split(',') : FIRST).filter((name) => KNOWN.includes(name))));

const FIRST_INDICATORS = ['VOL'];
export const indicators = signal(new Set((url.has('indicators') ? url.get('indicators').split(',') : FIRST_INDICATORS).filter((name) => INDICATOR_NAMES.includes(name))));

function turned(set, name) {
  const next = new Set(set);
  if (!next.delete(name)) next.add(name);
  return next;
}

export function turnLayer(name) {
  layers.value = turned(layers.value, name);
}

export function turnIndicator(name) {
  indicators.value = turned(indicators.value, name);
}

// In the address: nothing for what is there at first, `none` for nothing at all.
function namesOf(set, known, first) {
  const shown = known.filter((name) => set.has(name)).join(',');
  return shown === first.join(',') ? null : shown || 'none';
}

effect(() => {
  const next = new URL(location.href);
  const state = {
    pair: pair.value, interval: interval.value, trade: selected.value, at: jump.value, evaluation: evaluation.value,
    layers: namesOf(layers.value, KNOWN, FIRST), indicators: namesOf(indicators.value, INDICATOR_NAMES, FIRST_INDICATORS),
  };
  for (const [name, value] of Object.entries(state)) {
    if (value) next.searchParams.set(name, value);
    else next.searchParams.delete(name);
  }
  history.replaceState(null, '', next);
});

// --- what is read -----------------------------------------------------------------------------

export const pairs = list('/market-data/pairs');
export const instrument = computed(() => (pairs.held.value.data ?? []).find((each) => each.pair === pair.value));

// Up to the newest, or up to what lies right of the time that is looked at.
const until = () => (jump.value ? { end_ms: jump.value + 1500 * stepMs(interval.value) } : {});

export const trades = resource(async () => (pair.value ? (await get('/trades', { pair: pair.value, limit: 200, ...until() })).items : []));

export const decisions = resource(async () => {
  const query = { limit: layers.value.has('blocked') ? 500 : 60, ...until() };
  const shown = pair.value;
  const runs = (await get(`/agents/${AGENT}/runs`, { limit: 20 })).items.filter((run) => run.pair === shown).slice(0, 3);
  const pages = await Promise.all(runs.map((run) => get(`/agents/${AGENT}/runs/${run.run_id}/decisions`, query)));
  return pages.flatMap((page) => page.items).sort((a, b) => b.open_ms - a.open_ms);
});

export const gaps = resource(async () => (await get('/ops/gaps/health', { pair: pair.value, source_type: 'bingx_candles', limit: 200 })).items);

export const evaluations = resource(async () => (await get(`/agents/${AGENT}/evaluations`, { pair: pair.value, limit: 50 })).items);

export const evaluationTrades = resource(async () => {
  const id = evaluation.value;
  return id ? (await import('./evaluation_trades.js')).tradesOf(id) : { id: null, items: [], more: false };
});

// Signals come in by the wall clock; a simulator's market may run faster.
function marketOf(wallMs) {
  const clock = summary.held.peek().data;
  return clock ? clock.market_now_ms + (wallMs - clock.wall_now_ms) * clock.speed : wallMs;
}

export const signals = resource(async () => {
  const clock = summary.held.peek().data;
  const now = clock?.wall_now_ms ?? Date.now();
  const end = jump.value && clock?.speed === 1 ? Math.min(now, jump.value + SIGNAL_DAYS_MS / 2) : now;
  const feeds = (await get('/data-sources/status')).items.filter((row) => row.source_id);
  const pages = await Promise.all(feeds.map((feed) => get('/signals/search', { source: feed.source_id, start_ms: Math.max(0, end + MINUTE - SIGNAL_DAYS_MS), end_ms: end + MINUTE, limit: 200 })));
  return { feeds: feeds.length, items: pages.flatMap((page) => page.items).sort((a, b) => b.ts_received_ms - a.ts_received_ms) };
});

// The open trades of the pair with the triggers that went to the venue with their entries.
export const openTrades = resource(async () => {
  const open = (trades.held.peek().data ?? []).filter((trade) => trade.is_open).slice(0, 5);
  return Promise.all(open.map((trade) => get(`/trades/${trade.trade_id}`)));
});

// What each layer rests on, and what it reads again for.
const NEEDS = {
  paper: [trades], live: [trades], levels: [trades, openTrades], blocked: [decisions], gaps: [gaps], signals: [signals], evaluation: [evaluations, evaluationTrades],
};
export const heldOf = (name) => NEEDS[name].map((each) => each.held);
export const retryLayer = (name) => NEEDS[name].forEach((each) => each.load());

// What is not on the first chart is read when that stands there.
export const isChartThere = signal(false);
export const chartIsThere = new Promise((resolve) => {
  effect(() => isChartThere.value && resolve());
});

const isOn = (name) => computed(() => layers.value.has(name));
const whenOn = (name, held, ...also) => {
  const on = isOn(name);
  effect(() => {
    also.forEach((each) => each.value);
    if (pair.value && on.value && isChartThere.value) untracked(held.load);
  });
};

const wide = isOn('blocked');
effect(() => {
  const offered = pairs.held.value.data;
  if (!pair.value && offered?.length) pair.value = offered[0].pair;
});
effect(() => {
  jump.value;
  if (pair.value) untracked(trades.load);
});
effect(() => {
  jump.value;
  wide.value;
  if (pair.value && isChartThere.value) untracked(decisions.load);
});
whenOn('gaps', gaps);
whenOn('signals', signals, jump);
whenOn('evaluation', evaluations);
whenOn('evaluation', evaluationTrades, evaluation);
whenOn('levels', openTrades, computed(() => (trades.held.value.data ?? []).filter((trade) => trade.is_open).map((trade) => trade.trade_id + trade.position_size).join()));
// An evaluation is chosen with the layer, the newest one first.
effect(() => {
  const offered = evaluations.held.value.data;
  if (layers.value.has('evaluation') && offered?.length && !offered.some((each) => each.evaluation_id === evaluation.value)) evaluation.value = offered[0].evaluation_id;
});

const refresh = (topic, held, ms, name = null) => on(topic, throttled(() => (!name || layers.peek().has(name)) && held.load(), ms));
for (const topic of ['order', 'fill', 'position']) refresh(topic, trades, 700);
refresh('decision', decisions, 1500);
refresh('gap', gaps, 1000, 'gaps');
refresh('job', evaluations, 2000, 'evaluation');
// No event tells of a signal.
setInterval(() => layers.peek().has('signals') && signals.load(), 30_000);
onResync(() => {
  [pairs, trades, decisions].forEach((held) => held.load());
  for (const name of layers.peek()) retryLayer(name);
});
pairs.load();
export const controls = behind(() => import('./ingestion_controls.js'), chartIsThere);

// --- what is drawn ----------------------------------------------------------------------------

const mine = (rows) => (rows ?? []).filter((row) => row.pair === pair.value);
const when = (name, marks) => computed(() => (layers.value.has(name) ? marks() : []));

const journey = (trade) => ({
  id: trade.trade_id, isBuy: trade.side === 'buy', isSelected: trade.trade_id === selected.value,
  entry: [trade.opened_ms, Number(trade.average_fill_price)],
  exit: trade.exit_price && trade.closed_at_ms ? [trade.closed_at_ms, Number(trade.exit_price)] : null,
  hasWon: !trade.net_pnl.startsWith('-'),
});
const journeysOf = (mode) => () => mine(trades.held.value.data).filter((trade) => trade.average_fill_price && trade.mode === mode).map(journey);

export const evaluationRows = computed(() => {
  const data = evaluationTrades.held.value.data;
  return layers.value.has('evaluation') && data?.id === evaluation.value ? data.items.map((row, at) => ({ ...row, id: `${data.id}/${at}` })) : [];
});

export const blocked = computed(() => mine(decisions.held.value.data).filter((each) => each.action === 'hold'));
export const signalRows = computed(() => (layers.value.has('signals') ? (signals.held.value.data?.items ?? []) : []).filter((row) => row.symbol === pair.value).map((row) => ({ ...row, id: `${row.source_id}:${row.external_id}:${row.rev}`, ms: row.bar_open_ms ?? marketOf(row.ts_received_ms) })));

// Gaps of the candles shown, or of those they are made of.
export const missing = computed(() => {
  const stored = (instrument.value?.stored ?? []).map((series) => series.interval);
  const fits = (name) => (stored.includes(interval.value) ? name === interval.value : stepMs(interval.value) % stepMs(name) === 0);
  return mine(gaps.held.value.data).filter((gap) => gap.status !== 'resolved' && fits(gap.interval));
});

const LABELS = [['entry', (order) => order.average_price], ['stop', (order) => order.stop_loss_price], ['target', (order) => order.take_profit_price]];
const levelsOf = (trade) => {
  const entry = trade.executions.find((order) => order.kind === 'entry');
  return entry ? LABELS.flatMap(([kind, of]) => (of(entry) ? [{ kind, ms: trade.opened_ms, price: Number(of(entry)), label: `${trade.mode} ${kind} ${money(of(entry), instrument.value?.price_precision)}` }] : [])) : [];
};

export const marks = {
  paper: when('paper', journeysOf('paper')),
  live: when('live', journeysOf('live')),
  evaluation: computed(() => evaluationRows.value.map((row) => ({ id: row.id, isBuy: row.side === 'buy', entry: [row.opened_ms, Number(row.entry_price)], exit: [row.closed_ms, Number(row.exit_price)], hasWon: !row.pnl.startsWith('-'), isSelected: row.id === selected.value }))),
  blocked: when('blocked', () => blocked.value.filter((each) => each.reference_price).map((each) => ({ ms: each.open_ms, price: Number(each.reference_price) }))),
  signals: computed(() => signalRows.value.map(({ id, ms, price, side }) => ({ id, ms, price, side }))),
  gaps: when('gaps', () => missing.value.map((gap) => ({ before_ms: gap.start_ms - stepMs(gap.interval), after_ms: gap.end_ms + stepMs(gap.interval), missing: gap.missing_points }))),
  levels: when('levels', () => mine(openTrades.held.value.data).filter((trade) => trade.is_open).flatMap(levelsOf)),
};

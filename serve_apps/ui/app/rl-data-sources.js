// Data sources: which are on, how fresh each is, what its checks say, and the switches.

import { signal } from '@preact/signals';
import { get } from './lib/api.js';
import { age, minutesOf, percent } from './lib/format.js';
import { marketNow, start } from './lib/frame.js';
import { addSource } from './lib/adding.js';
import { backfill, nameOf, scopeOf, setThreshold, sources, toggle, turn, usedBy } from './lib/ingestion_controls.js';
import { JobLine, jobsOf } from './lib/jobs.js';
import { Spark } from './lib/spark.js';
import { list, resource } from './lib/store.js';
import { Drawer, Facts, Fresh, html, Panel, Pill, Table, When } from './lib/ui.js';
import { keepFresh } from './lib/watch.js';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const parameters = new URLSearchParams(location.search);
const filter = signal({ kind: parameters.get('kind') ?? '', pair: parameters.get('pair') ?? '', only: parameters.get('only') ?? '' });
const chosen = signal(parameters.get('source') ?? '');
const quality = list('/data-quality/status');
const kinds = list('/ops/ingestion/status');
const alertFeeds = list('/ingestion/tradingview/sync');
const polls = list('/data-sources/runs', { limit: 500 }); // one of each source and wall hour
const lags = resource(async () => (await get('/ops/trading/metrics', { name: 'ingestion_lag_seconds', by: 'series', step_ms: HOUR_MS })).items);
const recent = resource(async () => {
  const row = picked();
  if (!row) return [];
  const found = await get('/data-sources/runs', { source: row.source_id || row.source_type, pair: row.pair, interval: row.interval, limit: 15 });
  return found.items;
});

keepFresh([
  [sources, ['freshness', 'source'], 1000],
  [quality, ['freshness', 'gap'], 5000],
  [kinds, ['job', 'source'], 2000],
], { others: [alertFeeds, polls, lags] });

const KIND = { bingx: 'BingX', tradingview: 'TradingView', telegram: 'Telegram' };
const kindOf = (row) => (row.source_type === 'tradingview' || row.source_type === 'telegram' ? row.source_type : 'bingx');
const keyOf = (row) => [row.source_type, row.source_id, row.pair, row.interval].join(':');
const picked = () => (sources.held.value.data ?? []).find((row) => keyOf(row) === chosen.value);
const qualityOf = (row) => (quality.held.value.data ?? []).find((each) => each.source_type === row.source_type && each.pair === row.pair && each.interval === row.interval);

// The polls of this hour, newest first as they are listed.
const pollsAll = (row) => (polls.held.value.data ?? []).filter((run) => ['poll', 'sync'].includes(run.kind) && run.source_type === row.source_type && run.source_id === row.source_id
  && (!run.pair || run.pair === row.pair) && (!run.interval || run.interval === row.interval));
const pollsOf = (row) => pollsAll(row)[0];

function Errors({ row }) {
  const run = pollsOf(row);
  if (!run) return html`<span class="muted">–</span>`;
  return html`<span class=${run.errors ? 'warn' : ''} title=${`of ${run.answers + run.errors} requests since ${new Date(run.started_ms).toISOString()}${run.error ? `; the last: ${run.error}` : ''}`}>${run.errors ? '▲ ' : ''}${run.errors}</span>`;
}

// New rows of each of the last 60 wall minutes, from the sessions of this hour and the one before.
function perMinute(row) {
  const sessions = pollsAll(row).filter((run) => run.hour_wall_ms !== null).slice(0, 2);
  if (!sessions.length) return null;
  const newest = Math.floor(Date.now() / MINUTE_MS);
  return Array.from({ length: 60 }, (_, at) => {
    const minute = (newest - 59 + at) * MINUTE_MS;
    const run = sessions.find((each) => minute >= each.hour_wall_ms && minute < each.hour_wall_ms + HOUR_MS);
    return run?.new_by_minute[(minute - run.hour_wall_ms) / MINUTE_MS] ?? 0;
  });
}

const total = (counts) => counts.reduce((all, each) => all + each, 0);

function Events({ row }) {
  const counts = perMinute(row);
  if (!counts) return html`<span class="muted">–</span>`;
  const told = `${total(counts)} new rows in the last hour, at most ${Math.max(...counts)} in a minute`;
  return html`<span title=${told}><${Spark} values=${counts} title=${told} /> ${(total(counts) / 60).toFixed(1)}</span>`;
}

// Measured for candles: from a candle's close until it is stored and passed on.
const lagOf = (row) => (lags.held.value.data ?? []).find((one) => row.source_type === 'bingx_candles' && one.tags.pair === row.pair && one.tags.interval === row.interval);

function Lag({ row }) {
  const one = lagOf(row);
  return one?.count ? html`<span title="${one.count} candles of the last market hour">${one.p50.toFixed(1)} / ${one.p95.toFixed(1)} s</span>` : html`<span class="muted">–</span>`;
}

function remember() {
  const query = new URLSearchParams(Object.entries({ ...filter.value, source: chosen.value }).filter(([, value]) => value));
  history.replaceState(null, '', query.size ? `?${query}` : location.pathname);
}

function narrow(change) {
  filter.value = { ...filter.value, ...change };
  remember();
}

function pick(key) {
  chosen.value = key;
  remember();
  if (key) recent.load();
}

const matches = (row) => (!filter.value.kind || kindOf(row) === filter.value.kind) && (!filter.value.pair || row.pair === filter.value.pair)
  && (!filter.value.only || (filter.value.only === 'off' ? !row.enabled : row.enabled && row.badge !== 'ok'));

// --- the page ---------------------------------------------------------------------------------

function Page() {
  return html`<h1 class="sr">Data sources</h1>
    <${Idle} /><${Kinds} />
    <div class="grid"><${Sources} /><${Alerts} /><${Adding} /></div><${SourceDrawer} />`;
}

function Kinds() {
  const rows = kinds.held.value.data;
  if (!rows) return html`<div class="skeleton" role="status"><span class="sr">Loading</span></div>`;
  return html`<div class="tiles">${rows.map((row) => html`<section class="tile" key=${row.source} aria-label=${KIND[row.source]}>
    <h2>${KIND[row.source]} ${row.enabled > 0 && !row.workers_alive && html`<${Pill} tone="bad" icon="✕">not running<//>`}</h2>
    <p>${row.enabled} on, ${row.paused} paused · <span class=${row.stale + row.unavailable ? 'warn' : ''}>${row.ok} ok, ${row.stale} stale, ${row.unavailable} unavailable</span></p>
    <p class="muted">${row.workers_alive} of ${row.workers} workers · ${row.rows_per_min.toFixed(0)} rows/min · ${row.retries_waiting} retries waiting${row.next_sync_ms ? html` · next sync <${When} ms=${row.next_sync_ms} />` : ''}</p>
    <p class="buttons"><button onClick=${() => turn(row.source, 'run')}>Poll now</button><button onClick=${() => turn(row.source, 'pause')}>Pause all</button><button onClick=${() => turn(row.source, 'resume')}>Resume all</button></p>
  </section>`)}</div>`;
}

// Sources that nobody asks, because their scheduler is not at work.
function Idle() {
  const idle = (kinds.held.value.data ?? []).filter((row) => row.enabled > 0 && !row.workers_alive);
  if (!idle.length) return null;
  return html`<p class="banner warn" role="alert">▲ The scheduler is not running for ${idle.map((row) => KIND[row.source]).join(' and ')}: nothing is polled or synced. The supervisor starts it again; see <a href="/ingestion">Ingestion, Pollers</a>.</p>`;
}

function Filters({ rows }) {
  const select = (name, label, options) => html`<label class="inline">${label} <select value=${filter.value[name]} onChange=${(event) => narrow({ [name]: event.target.value })}><option value="">all</option>${options.map(([value, text]) => html`<option value=${value}>${text}</option>`)}</select></label>`;
  return html`<span class="buttons">${select('kind', 'Kind', Object.entries(KIND))}${select('pair', 'Pair', [...new Set(rows.map((row) => row.pair).filter(Boolean))].map((pair) => [pair, pair]))}${select('only', 'Show', [['not_ok', 'not ok'], ['off', 'switched off']])}</span>`;
}

function Sources() {
  return html`<${Panel} title="Sources" span="12" resource=${sources.held} retry=${sources.load} isEmpty=${(rows) => !rows.length} empty="No source has reported yet. The pollers start with the desk; their state is under Operations, Actors."
    actions=${html`<${Filters} rows=${sources.held.value.data ?? []} /><button onClick=${() => backfill()}>Backfill …</button>`}>
    ${(rows) => html`<${Fetching} />${rows.filter(matches).length ? html`<${Table} label="Sources" rows=${rows.filter(matches)} rowKey=${keyOf} onPick=${(row) => pick(keyOf(row))} selected=${chosen.value} columns=${[
      { name: 'source', cell: (row) => html`<strong>${row.source_type}</strong>` }, { name: 'of', cell: (row) => row.source_id || row.pair }, { name: 'interval', by: (row) => minutesOf(row.interval), cell: (row) => row.interval },
      { name: 'on', cell: (row) => html`<button role="switch" aria-checked=${row.enabled} aria-label="${nameOf(row)} on" class="switch" onClick=${(event) => { event.stopPropagation(); toggle(row); }}>${row.enabled ? 'on' : 'off'}</button>` },
      { name: 'freshness', cell: (row) => html`<${Fresh} status=${row.badge} title=${row.detail} />` }, { name: 'last event', cell: (row) => html`<${When} ms=${row.last_event_ms} />` },
      { name: 'age', num: true, title: 'since the newest event, market time', cell: (row) => (row.age_ms === null ? 'never' : age(row.source_id ? row.age_ms : marketNow.value - row.last_event_ms)) },
      { name: 'threshold', num: true, cell: (row) => `${row.freshness_threshold_seconds} s` },
      { name: 'coverage', num: true, title: 'of the expected candles', cell: (row) => (qualityOf(row) ? percent(qualityOf(row).coverage) : '–') },
      { name: 'lag', num: true, title: 'of candles: half, and 95 of 100, of the last market hour were stored within this time of their close', by: (row) => lagOf(row)?.p95 ?? null, cell: (row) => html`<${Lag} row=${row} />` },
      { name: 'rows/min', num: true, title: 'new rows a minute over the last hour, wall time', by: (row) => { const counts = perMinute(row); return counts && total(counts); }, cell: (row) => html`<${Events} row=${row} />` },
      { name: 'new', num: true, title: 'rows that the polls of this hour brought, wall time', cell: (row) => pollsOf(row)?.new ?? html`<span class="muted">–</span>` },
      { name: 'errors', num: true, title: 'requests of this hour without an answer, and refused rows', by: (row) => pollsOf(row)?.errors ?? -1, cell: (row) => html`<${Errors} row=${row} />` },
      { name: 'used by', cell: (row) => usedBy(row).map((run) => run.run_id).join(', ') || html`<span class="muted">–</span>` },
      { name: 'said', cell: (row) => html`<span class="muted">${row.detail.slice(0, 60)}</span>` },
    ]} />` : html`<div class="empty">No source fits these filters. <button onClick=${() => narrow({ kind: '', pair: '', only: '' })}>Show all</button></div>`}`}
  <//>`;
}

// What is fetched now: a source that was switched on fetches what it missed.
function Fetching() {
  const jobs = jobsOf('backfill', 'heal').slice(-4);
  return jobs.length ? html`<div class="pad">${jobs.map((job) => html`<${JobLine} key=${job.job_id} job=${job} />`)}</div>` : null;
}

const CHECKS = [['rejected', 'rows refused'], ['missing_fields', 'rows with missing fields'], ['without_volume', 'candles without volume'], ['cross_interval_mismatches', 'disagreements between intervals'], ['absent_at_venue', 'candles the exchange does not have'], ['total_revised', 'candles revised later']];

function SourceDrawer() {
  const row = picked();
  if (!row) return null;
  const checks = qualityOf(row);
  const close = () => pick('');
  return html`<${Drawer} label="Source" title=${nameOf(row)} onClose=${close}>
    <div class="pad stack">
      <p><${Fresh} status=${row.badge} title=${row.detail} /> ${row.detail}</p>
      <${Facts} rows=${[['enabled', String(row.enabled)], ['gate', row.status], ['last event', html`<${When} full ms=${row.last_event_ms} />`], ['last answer', html`<${When} full ms=${row.last_success_ms} />`], ['threshold', `${row.freshness_threshold_seconds} s`], ['used by', usedBy(row).map((run) => run.run_id).join(', ')]]} />
      <p class="buttons"><button onClick=${() => toggle(row)}>${row.enabled ? 'Switch off …' : 'Switch on …'}</button><button onClick=${() => setThreshold(row)}>Threshold …</button>
        <button onClick=${() => turn(kindOf(row), 'run', scopeOf(row))}>Poll now</button><button onClick=${() => turn(kindOf(row), 'run', { ...scopeOf(row), dry_run: true })}>Test</button>
        ${row.interval && html`<button onClick=${() => backfill({ pair: row.pair, interval: row.interval })}>Backfill …</button>`}</p>
      ${checks && html`<h3>Checks</h3><p><${Pill} tone=${{ ok: 'ok', degraded: 'warn' }[checks.status] ?? 'bad'}>${checks.status}<//> ${percent(checks.coverage, 3)} of ${checks.expected} candles</p>
        <${Facts} rows=${[...Object.entries(checks.reasons), ...CHECKS.map(([name, label]) => [label, checks[name]])]} />`}
      <h3>Last fetches</h3>
      ${recent.held.value.problem ? html`<p class="refusal" role="alert">${recent.held.value.problem.message}</p>` : (recent.held.value.data ?? []).length ? html`<${Table} label="Last fetches" rows=${recent.held.value.data} rowKey=${(run) => run.run_id} columns=${[
        { name: 'begun', cell: (run) => html`<${When} ms=${run.started_ms} />` }, { name: 'kind', cell: (run) => run.kind }, { name: 'status', cell: (run) => html`<${Pill} tone=${run.status === 'failed' ? 'bad' : 'muted'} title=${run.error}>${run.status}<//>` },
        { name: 'new', num: true, cell: (run) => run.new }, { name: 'errors', num: true, cell: (run) => run.errors },
      ]} />` : html`<p class="muted">Nothing was fetched yet.</p>`}
    </div>
  <//>`;
}

// --- signals ----------------------------------------------------------------------------------

const Alerts = () => html`<${Panel} title="TradingView feeds" span="6" resource=${alertFeeds.held} retry=${alertFeeds.load} isEmpty=${(rows) => !rows.length} empty=${html`<span>No feed is configured: set <code>TRADINGVIEW_FEED_TOKENS</code>, then restart the desk.</span>`}>
  ${(rows) => html`<${Table} label="TradingView feeds" rows=${rows} rowKey=${(row) => row.source_id} columns=${[
    { name: 'feed', cell: (row) => row.source_id }, { name: 'on', cell: (row) => String(row.enabled) }, { name: 'synced', cell: (row) => html`<${When} ms=${row.synced_ms} />` },
    { name: 'ok', num: true, cell: (row) => row.since.ok }, { name: 'partial', num: true, cell: (row) => row.since.partial }, { name: 'unparsed', num: true, cell: (row) => row.since.unparsed }, { name: 'stale', num: true, cell: (row) => row.since.stale },
  ]} />`}<//>`;

const Adding = () => html`<${Panel} title="Adding a source" span="6" actions=${html`<button onClick=${addSource}>Add a source …</button>`}><div class="pad stack">
  <p>Sources are named by settings, read when the desk starts; secrets are never shown here.</p>
  <${Facts} rows=${[['BingX', html`<code>BINGX_MARKET_DATA_PAIRS</code> and <code>BINGX_MARKET_DATA_INTERVALS</code>`], ['TradingView', html`<code>TRADINGVIEW_FEED_TOKENS</code>: a name and a token a feed; its alerts go to <code>POST /webhooks/tradingview/TOKEN</code>`], ['Telegram', html`<code>TELEGRAM_API_ID</code>, <code>TELEGRAM_API_HASH</code>, then <code>desk telegram login</code> and <code>TELEGRAM_CHAT_IDS</code>`]]} />
</div><//>`;

start(Page);

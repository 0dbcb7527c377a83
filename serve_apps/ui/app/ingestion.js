// Ingestion: what is stored of each series, what is missing, who fetches it and how it goes.

import { signal } from '@preact/signals';
import { Lines } from './chart/lines.js';
import { get, send } from './lib/api.js';
import { age, brief, megabytes, percent, utc } from './lib/format.js';
import { marketNow, start } from './lib/frame.js';
import { backfill, sources, turn } from './lib/ingestion_controls.js';
import { JobLine, jobsOf, onJobEnd } from './lib/jobs.js';
import { retries, RetryQueue } from './lib/retry_queue.js';
import { list, resource } from './lib/store.js';
import { onResync } from './lib/stream.js';
import { moment } from './lib/times.js';
import { ask, html, Panel, Pill, Table, toast, When } from './lib/ui.js';
import { keepFresh } from './lib/watch.js';

const HOUR = 3_600_000;
const SPANS = { '24 h': 24 * HOUR, '7 d': 168 * HOUR, '30 d': 720 * HOUR, '1 y': 8760 * HOUR, all: null };
const TIMES = { '1 h': [HOUR, 60_000], '24 h': [24 * HOUR, 15 * 60_000], '7 d': [168 * HOUR, 2 * HOUR] };
const CELLS = 120;

const shownSpan = signal('30 d');
const shownTime = signal('1 h');
const status = resource(() => get('/market-data/status'));
const gaps = resource(() => get('/ops/gaps/health', { limit: 100 }));
const actors = list('/ops/actors');
const runs = list('/ops/ingestion/runs', { limit: 30 });
const config = resource(() => get('/ops/ingestion/config'));
const lag = resource(async () => {
  const [length, step] = TIMES[shownTime.value];
  const end = Math.round(marketNow.value || Date.now());
  return (await get('/ops/trading/metrics', { name: 'ingestion_lag_seconds', start_ms: end - length, end_ms: end, step_ms: step })).items[0] ?? null;
});
const coverage = resource(readCoverage);

keepFresh([
  [status, ['candle', 'gap'], 5000],
  [gaps, ['gap'], 2000],
  [runs, ['job', 'source'], 2000],
  [retries, ['retry'], 1000],
], { others: [sources, config] });
onResync(coverage.load);
coverage.load();
setInterval(coverage.load, 5 * 60_000);
onJobEnd((job) => {
  if (job.kind === 'backfill') coverage.load();
});
actors.load();
setInterval(actors.load, 3000);
setInterval(lag.load, 10000);
setTimeout(lag.load, 500);

// One series after another: a map of them all at once would hold up what others ask.
async function readCoverage() {
  const { items, market_now_ms: now } = await get('/market-data/status');
  const length = SPANS[shownSpan.value];
  const rows = [];
  for (const series of items) {
    const bounds = length === null ? {} : { start_ms: now - length };
    const found = await get('/data-quality/status', { pair: series.pair, interval: series.interval, buckets: CELLS, ...bounds });
    rows.push({ ...series, spans: found.items[0]?.spans ?? [], quality: found.items[0]?.status });
    const held = coverage.held.peek();
    if (held.state === 'loading') coverage.held.value = { ...held, data: [...rows] }; // the first ones need not wait for the last
  }
  return rows;
}

// --- the page ---------------------------------------------------------------------------------

function Page() {
  return html`<h1 class="sr">Ingestion</h1>
    <div class="grid">
      <${Coverage} /><${Gaps} />
      <${Lag} />
      <${Pollers} /><${RetryQueue} />
      <${Runs} />
      <${Settings} /><${Storage} />
      <${Signals} />
    </div>`;
}

const Choice = ({ label, options, held, done }) => html`<span class="buttons" role="group" aria-label=${label}>${options.map((option) => html`<button key=${option} aria-pressed=${held.value === option} onClick=${() => { held.value = option; done(); }}>${option}</button>`)}</span>`;

// --- coverage and gaps ------------------------------------------------------------------------

const STATE = (span) => (span.expected === 0 ? 'before' : span.present >= span.expected ? 'whole' : span.present === 0 ? 'missing' : 'part');
const KEY = [['whole', 'complete'], ['part', 'partly there'], ['missing', 'missing'], ['before', 'before the first candle']];

function Coverage() {
  const jobs = jobsOf('backfill', 'heal').slice(-4);
  return html`<${Panel} title="Coverage" span="12" resource=${coverage.held} retry=${coverage.load} isEmpty=${(rows) => !rows.length} empty=${html`<span>Nothing is stored yet.</span><button class="primary" onClick=${() => backfill()}>Backfill …</button>`}
    actions=${html`<${Choice} label="Time shown" options=${Object.keys(SPANS)} held=${shownSpan} done=${coverage.load} /><button onClick=${() => backfill()}>Backfill …</button>`}>
    ${(rows) => html`<div class="coverage" role="list" aria-label="Coverage">${rows.map((row) => html`<${Series} key=${row.pair + row.interval} row=${row} />`)}</div>
      <p class="pad buttons">${KEY.map(([name, text]) => html`<span key=${name}><svg width="14" height="12" aria-hidden="true"><rect class=${name} width="14" height="12" /></svg> ${text}</span>`)}</p>
      ${jobs.length > 0 && html`<div class="pad">${jobs.map((job) => html`<${JobLine} key=${job.job_id} job=${job} />`)}</div>`}`}
  <//>`;
}

function Series({ row }) {
  const total = row.spans.reduce((sum, span) => [sum[0] + span.present, sum[1] + span.expected], [0, 0]);
  const share = total[1] ? total[0] / total[1] : null;
  const open = (span) => span.expected > span.present && backfill({ pair: row.pair, interval: row.interval, start: utc(span.start_ms).slice(0, 16), end: utc(span.end_ms).slice(0, 16) });
  return html`<div class="series" role="listitem">
    <span><strong>${row.pair}</strong> ${row.interval}</span>
    <svg viewBox="0 0 ${Math.max(row.spans.length, 1)} 10" preserveAspectRatio="none" role="img" aria-label="${row.pair} ${row.interval}: ${share === null ? 'nothing' : percent(share)} of the candles">
      ${row.spans.map((span, at) => html`<rect key=${span.start_ms} class=${STATE(span)} x=${at} width="1" height="10" onClick=${() => open(span)}><title>${brief(span.start_ms)} to ${brief(span.end_ms)}: ${span.present} of ${span.expected}</title></rect>`)}
    </svg>
    <span class="num">${share === null ? '–' : percent(share)}</span>
  </div>`;
}

const heal = (gap) => backfill({ pair: gap.pair, interval: gap.interval, start: utc(gap.start_ms).slice(0, 16), end: utc(gap.end_ms + 60_000).slice(0, 16) });

function Gaps() {
  const data = gaps.held.value.data;
  const monitor = (config.held.value.data?.items ?? []).find((item) => item.name === 'DATA_GAP_MONITOR_INTERVAL_MIN');
  const pending = (rows) => rows.filter((gap) => gap.status === 'open' || gap.status === 'healing');
  return html`<${Panel} title="Gaps" span="6" resource=${gaps.held} retry=${gaps.load} isEmpty=${() => false}
    actions=${data && html`<${Pill} tone=${data.open ? 'bad' : data.healing ? 'warn' : 'ok'}>${data.open} open, ${data.healing} healing<//>`}>
    ${(row) => html`<p class="pad">${monitor && Number(monitor.value) === 0 ? html`<strong class="warn">The gap monitor is off (DATA_GAP_MONITOR_INTERVAL_MIN is 0): holes are not looked for.</strong>` : row.last_scan_ms === null ? 'Not scanned yet.' : html`Last scan <${When} ms=${row.last_scan_ms} />; ${row.missing_points} candles missing, ${row.resolved} gaps healed, ${row.absent_at_venue} that the exchange does not have.`}</p>
      ${pending(row.items).length > 0 && html`<${Table} label="Gaps" rows=${pending(row.items)} rowKey=${(gap) => gap.gap_id} columns=${[
        { name: 'series', cell: (gap) => `${gap.pair} ${gap.interval}` }, { name: 'from', cell: (gap) => html`<${When} ms=${gap.start_ms} />` }, { name: 'to', cell: (gap) => html`<${When} ms=${gap.end_ms} />` },
        { name: 'missing', num: true, cell: (gap) => gap.missing_points }, { name: 'status', cell: (gap) => html`<${Pill} tone=${gap.status === 'open' ? 'bad' : 'warn'}>${gap.status}<//>` },
        { name: 'tries', num: true, cell: (gap) => gap.attempts }, { name: '', cell: (gap) => html`<button onClick=${() => heal(gap)}>Heal …</button>` },
      ]} />`}`}
  <//>`;
}

// --- fetching ---------------------------------------------------------------------------------

function Lag() {
  return html`<${Panel} title="Lag" span="6" resource=${lag.held} retry=${lag.load} isEmpty=${(row) => !row || !row.count} empty="No candle has closed in this time."
    actions=${html`<${Choice} label="Time of the lag" options=${Object.keys(TIMES)} held=${shownTime} done=${lag.load} />`}>
    ${(row) => html`<${Lines} label="Ingestion lag" unit="s" series=${[{ name: 'p95', values: row.points.map((point) => [point.t, point.p95]) }, { name: 'p50', dashed: true, values: row.points.map((point) => [point.t, point.p50]) }]} />
      <p class="pad muted">${row.count} closes; market time from a candle's close until it is stored and passed on.</p>`}
  <//>`;
}

const FETCHERS = ['candle_poller', 'feed_poller', 'gap_monitor', 'signal_poller', 'feed_sync'];

function Pollers() {
  const shown = (rows) => rows.filter((row) => FETCHERS.includes(row.role));
  return html`<${Panel} title="Pollers" span="6" resource=${actors.held} retry=${actors.load} isEmpty=${(rows) => !shown(rows).length} empty="No poller has reported yet."
    actions=${html`<button onClick=${() => turn('bingx', 'run')}>Poll now</button>`}>
    ${(rows) => html`<${Table} label="Pollers" rows=${shown(rows)} rowKey=${(row) => row.name} columns=${[
      { name: 'actor', cell: (row) => row.name }, { name: 'status', cell: (row) => html`<${Pill} tone=${row.status === 'up' ? 'ok' : row.status === 'quarantined' ? 'bad' : 'warn'} icon="●" title=${row.detail}>${row.status}<//>` },
      { name: 'restarts', num: true, cell: (row) => row.restarts }, { name: 'memory', num: true, cell: (row) => megabytes(row.rss_bytes) }, { name: 'heartbeat', num: true, cell: (row) => `${age(row.heartbeat_age_ms)} ago` },
    ]} />`}
  <//>`;
}

function Runs() {
  return html`<${Panel} title="Fetches" span="12" resource=${runs.held} retry=${runs.load} isEmpty=${(rows) => !rows.length} empty="Nothing was fetched yet.">
    ${(rows) => html`<${Table} label="Fetches" rows=${rows} rowKey=${(row) => row.run_id} columns=${[
      { name: 'begun', cell: (row) => html`<${When} ms=${row.started_ms} />` }, { name: 'source', cell: (row) => row.source_id || row.source_type }, { name: 'series', cell: (row) => `${row.pair} ${row.interval}` }, { name: 'kind', cell: (row) => row.kind },
      { name: 'status', cell: (row) => html`<${Pill} tone=${row.status === 'failed' ? 'bad' : row.status === 'running' ? 'ok' : 'muted'} title=${row.error}>${row.status}<//>` },
      { name: 'answers', num: true, cell: (row) => row.answers }, { name: 'new', num: true, cell: (row) => row.new }, { name: 'updated', num: true, cell: (row) => row.updated }, { name: 'errors', num: true, cell: (row) => row.errors },
    ]} />`}
  <//>`;
}

// --- settings, storage, signals ---------------------------------------------------------------

// The route puts a whole in place of what was set before: what the operator set of the others goes along.
function editSetting(item, held) {
  const others = Object.fromEntries(held.items.filter((each) => each.origin === 'operator' && each.name !== item.name).map((each) => [each.name, each.value]));
  const valueIn = (row) => ({ [item.name]: row.items.find((each) => each.name === item.name)?.value });
  const isSwitch = typeof item.value === 'boolean';
  ask({
    title: item.name, verb: 'Set', text: `Now ${String(item.value)}, from ${item.origin}. It holds until it is changed again, over restarts too.`,
    fields: [isSwitch ? { name: 'value', label: 'Value', value: String(item.value), options: ['true', 'false'].map((value) => ({ value, label: value })) } : { name: 'value', label: 'Value', type: 'number', value: item.value, required: true, step: 1 }],
    conflict: { seen: valueIn(held), read: async () => valueIn(await get('/ops/ingestion/config')), again: async () => {
      await config.load();
      const fresh = config.held.value.data;
      editSetting(fresh.items.find((each) => each.name === item.name), fresh);
    } },
    send: ({ value }, key) => send('PUT', '/ops/ingestion/config', { settings: { ...others, [item.name]: isSwitch ? value === 'true' : Number(value) } }, { key, version: held.row_version }),
    done: () => {
      toast(`${item.name} is set`);
      config.load();
    },
  });
}

const shownValue = (value) => (value === null ? 'unset' : Array.isArray(value) ? value.join(', ') : String(value));

const Settings = () => html`<${Panel} title="Settings in force" span="7" resource=${config.held} retry=${config.load} isEmpty=${(row) => !row.items.length} empty="The desk told no settings.">
  ${(row) => html`<${Table} label="Settings in force" rows=${row.items} rowKey=${(item) => item.name} columns=${[
    { name: 'setting', cell: (item) => html`<code>${item.name}</code>` }, { name: 'value', cell: (item) => html`<span title=${shownValue(item.value)}>${shownValue(item.value).slice(0, 30)}</span>` },
    { name: 'from', cell: (item) => html`<${Pill} tone=${item.origin === 'operator' ? 'ok' : 'muted'}>${item.origin}<//>` }, { name: '', cell: (item) => item.changeable && html`<button onClick=${() => editSetting(item, row)}>Set …</button>` },
  ]} />`}<//>`;

const Storage = () => html`<${Panel} title="Stored" span="5" resource=${status.held} retry=${status.load} isEmpty=${(row) => !row.items.length} empty="Nothing is stored yet.">
  ${(row) => html`<${Table} label="Stored" rows=${row.items} rowKey=${(series) => series.pair + series.interval} columns=${[
    { name: 'series', cell: (series) => `${series.pair} ${series.interval}` }, { name: 'earliest', cell: (series) => html`<${When} ms=${series.earliest_ms} />` }, { name: 'latest', cell: (series) => html`<${When} ms=${series.latest_ms} />` }, { name: 'candles', num: true, cell: (series) => series.count.toLocaleString('en-US') },
  ]} />`}<//>`;

const found = signal(null);
const LONGEST = 31 * 24 * HOUR;

function Signals() {
  const feeds = (sources.held.value.data ?? []).filter((row) => row.source_id);
  const search = async (event) => {
    event.preventDefault();
    const { source, from, to, q } = Object.fromEntries(new FormData(event.target));
    try {
      const query = { source, start_ms: moment('from', from), end_ms: moment('to', to), q, limit: 100 };
      if (query.end_ms - query.start_ms > LONGEST) throw new Error('to: at most 31 days after from');
      found.value = { page: await get('/signals/search', query) };
    } catch (problem) {
      found.value = { problem };
    }
  };
  const page = found.value?.page;
  return html`<${Panel} title="Signals" span="12"><form class="pad buttons" onSubmit=${search}>
      <label class="inline">Source <select name="source" required>${feeds.map((row) => html`<option value=${row.source_id}>${row.source_id}</option>`)}</select></label>
      <label class="inline">From, UTC <input name="from" required placeholder="2026-01-31 12:00" /></label><label class="inline">to <input name="to" required placeholder="2026-02-01 12:00" /></label>
      <label class="inline">with the words <input name="q" /></label><button disabled=${!feeds.length}>Search</button>
      <span class="muted">${feeds.length ? 'By time of arrival, wall clock; at most 31 days.' : 'No source of signals is configured.'}</span></form>
    ${found.value?.problem && html`<p class="pad refusal" role="alert">${found.value.problem.message}</p>`}
    ${page && (page.items.length ? html`<${Table} label="Signals" rows=${page.items} rowKey=${(row) => `${row.source_id}:${row.external_id}:${row.rev}`} columns=${[
      { name: 'arrived', cell: (row) => html`<${When} ms=${row.ts_received_ms} />` }, { name: 'symbol', cell: (row) => row.symbol ?? '–' }, { name: 'side', cell: (row) => row.side ?? '–' }, { name: 'price', num: true, cell: (row) => row.price ?? '–' },
      { name: 'read as', cell: (row) => html`<${Pill} tone=${row.parse_status === 'ok' ? 'ok' : 'warn'}>${row.parse_status}<//>` }, { name: 'text', cell: (row) => html`<span class="clip" title=${row.text}>${row.text}</span>` },
    ]} />` : html`<p class="pad">No signal of this source in this time${page.truncated ? ', as far as was looked' : ''}.</p>`)}
  <//>`;
}

start(Page);

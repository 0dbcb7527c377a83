// The first row of the operations page: what must be right at a glance, each figure with its page.

import { get } from '../lib/api.js';
import { age, money, percent, tone } from '../lib/format.js';
import { marketNow, summary } from '../lib/frame.js';
import { Spark } from '../lib/spark.js';
import { resource } from '../lib/store.js';
import { Fresh, html, ModePill, Tile } from '../lib/ui.js';

const HOUR_MS = 3_600_000;
const LATENCY = 'decision_latency_ms';
const LAG = 'ingestion_lag_seconds';

export const figures = resource(async () => {
  const end = Math.round(marketNow.peek() || Date.now());
  const read = (name, more) => get('/ops/trading/metrics', { name, start_ms: end - HOUR_MS, end_ms: end + 1, step_ms: 120_000, ...more });
  const [latency, lag] = await Promise.all([read(LATENCY, { stage: 'total' }), read(LAG)]);
  return { [LATENCY]: latency.items[0], [LAG]: lag.items[0], levels: latency.service_levels };
});

// The last hour as a line; the figure beside it says what it means.
const Hour = ({ name }) => html`<${Spark} values=${(figures.held.value.data?.[name]?.points ?? []).map((point) => point.p95)} />`;

function Levels() {
  const levels = figures.held.value.data?.levels ?? [];
  const missed = levels.filter((level) => level.missed);
  const told = (level) => `${level.metric}: ${level.value === null ? 'too few samples' : `${level.value.toFixed(1)} ${level.unit}`} of ${level.threshold} ${level.unit}`;
  return html`<${Tile} name="Service levels" href="/rl-ops?tab=alerts" value=${levels.length ? `${levels.length - missed.length} of ${levels.length} kept` : '–'} tone=${missed.length ? 'down' : ''}
    title=${levels.map(told).join('\n')} note=${missed.length ? `▲ ${missed.map((level) => level.metric.replaceAll('_', ' ')).join(', ')}` : levels.length ? 'decisions, data, slippage' : 'not judged yet'} />`;
}

function breakerOf(accounts) {
  const open = accounts.filter((account) => account.state !== 'ok');
  if (!open.length) return { value: 'closed', note: 'losses within bounds' };
  const until = Math.max(...open.map((account) => account.cooldown_until_ms ?? 0));
  const left = Math.max(0, until - marketNow.value);
  return { value: '▲ open', tone: 'down', note: until ? `${age(left)} left, ${open.map((account) => account.account).join(', ')}` : open[0].trigger_reason };
}

export function Tiles({ risk, retries }) {
  const data = summary.held.value.data;
  if (!data) return html`<div class="skeleton" role="status"><span class="sr">Loading</span></div>`;
  const account = data.accounts.find((each) => each.mode === data.mode) ?? data.accounts[0];
  const open = data.accounts.reduce((sum, each) => sum + each.positions.length, 0);
  const last = data.reconciler[0];
  const breaker = breakerOf(risk ?? []);
  const cap = (risk ?? []).find((each) => each.account === account?.account)?.caps.find((each) => each.name === 'max_total_exposure');
  const waiting = retries ?? [];
  const dead = waiting.filter((item) => item.status === 'dead').length;
  return html`<dl class="tiles sevens">
    <${Tile} name="Runs" href="/rl-agent" value=${data.runs.length} note=${`${data.runs.filter((run) => run.status === 'running').length} running`} />
    <${Tile} name="Mode" href="/rl-agent" value=${html`<${ModePill} mode=${data.mode} />`} note=${data.venue} />
    <${Tile} name="Equity, USDT" href="/rl-agent" value=${account ? money(account.equity) : '–'} note=${account?.account ?? 'no account yet'} />
    <${Tile} name="Day PnL, USDT" href="/insights" value=${account ? money(account.day_pnl) : '–'} tone=${tone(account?.day_pnl)} note=${account?.day ?? ''} />
    <${Tile} name="Open positions" href="/rl-agent" value=${open} note=${account ? `${account.unresolved_orders} unresolved orders` : ''} />
    <${Tile} name="Exposure" href="/rl-agent" value=${cap ? percent(Number(cap.used), 1) : '–'} tone=${cap?.breached ? 'down' : ''} note=${cap ? `of ${percent(Number(cap.cap), 0)} of equity` : ''} />
    <${Tile} name="Drawdown" href="/rl-agent" value=${account ? percent(account.drawdown) : '–'} note=${account ? `peak ${money(account.peak_equity)}` : ''} />
    <${Tile} name="Circuit breaker" href="/rl-agent" ...${breaker} />
    <${Tile} name="Worst source" href="/rl-data-sources?only=not_ok" value=${html`<${Fresh} status=${data.freshness.status} />`} note=${`${data.freshness.source}${data.freshness.age_ms === null ? '' : `, ${age(data.freshness.age_ms)} old`}`} />
    <${Tile} name="Decision p95" href="/rl-agent" value=${data.decision_latency_p95_ms === null ? '–' : `${data.decision_latency_p95_ms.toFixed(0)} ms`} note=${html`<${Hour} name=${LATENCY} /> last market hour`} />
    <${Tile} name="Ingestion p95" href="/ingestion" value=${data.ingestion_lag_p95_s === null ? '–' : `${data.ingestion_lag_p95_s.toFixed(1)} s`} note=${html`<${Hour} name=${LAG} /> lag, market time`} />
    <${Levels} />
    <${Tile} name="Retry queue" href="/rl-ops?tab=retries" value=${waiting.length} tone=${dead ? 'down' : ''} note=${dead ? `▲ ${dead} given up` : 'waiting'} />
    <${Tile} name="Reconciler" href="/rl-ops?tab=reconciliation" value=${last?.last_ok_ms ? `${age(marketNow.value - last.last_ok_ms)} ago` : 'not yet'} tone=${last?.errors ? 'down' : ''} note=${last ? `${last.updated} updated, ${last.errors} errors` : ''} />
  </dl>`;
}

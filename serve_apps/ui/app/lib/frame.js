// The frame around every page: tabs, mode, venue and its speed, freshness, alerts, clock, KILL.

import { Component, render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { csrf, get, post, safely } from './api.js';
import { age, clockText } from './format.js';
import { Help, helpIsOpen, listen } from './keys.js';
import { seen, staleReason, staleSince } from './staleness.js';
import { behind, resource, throttled } from './store.js';
import { on, onResync, open, streamState } from './stream.js';
import { ask, Dialogs, Fresh, html, ModePill, Pill, toast, Toasts } from './ui.js';

const TABS = [
  ['/rl-ops', 'Operations'],
  ['/rl-agent', 'Agent'],
  ['/rl-evaluations', 'Evaluations'],
  ['/rl-data-sources', 'Sources'],
  ['/ingestion', 'Ingestion'],
  ['/insights', 'Insights'],
];

export const summary = resource(() => get('/ops/trading/summary'));
export const marketNow = signal(0);
let anchor = null;

function tick() {
  if (anchor) marketNow.value = anchor.market + (performance.now() - anchor.at) * anchor.speed;
}

summary.held.subscribe((held) => {
  if (held.state !== 'ready') return;
  seen(held.at);
  anchor = { market: held.data.market_now_ms, speed: held.data.speed, at: performance.now() };
  tick();
});

const drawer = signal(null);

// `after`: a promise of the page's first picture, where it is not the first rendering.
export function start(Page, { after = null } = {}) {
  applyTheme(localStorage.getItem('theme'));
  const refresh = throttled(summary.load, 1000);
  for (const topic of ['order', 'fill', 'position', 'risk', 'run', 'alert', 'freshness', 'mode', 'decision']) on(topic, refresh);
  onResync(refresh);
  summary.load();
  setInterval(tick, 250);
  setInterval(refresh, 5000);
  open();
  const root = document.getElementById('app');
  root.replaceChildren();
  render(html`<${Frame} page=${Page} />`, root);
  behind(() => import('./trace.js'), after).then(({ TraceDrawer }) => { drawer.value = TraceDrawer; });
  const controls = behind(() => import('./run_controls.js'), after);
  listen(async () => {
    if (!summary.held.value.data) await summary.load();
    const { data } = summary.held.value; // null: the desk did not answer, and a run may well be at work
    if (data && !data.runs.length) toast('No run is at work.');
    else (await controls).pauseRun();
  });
}

// Between the frame and the page: never drawn again, so that it always stands for the page as it is now. What
// remains of an earlier frame would keep the rows of an earlier page otherwise.
class Still extends Component {
  shouldComponentUpdate() {
    return false;
  }

  render({ page: Page }) {
    return html`<${Page} />`;
  }
}

function Frame({ page }) {
  const held = summary.held.value;
  const data = held.data;
  return html`
    <header class="top ${data?.mode === 'live' ? 'is-live' : ''}">
      <div class="bar">
        <span class="brand">Raydesk</span>
        <nav class="tabs" aria-label="Pages">${TABS.map(([path, title]) => html`<a href=${path} aria-current=${location.pathname === path ? 'page' : undefined}>${title}</a>`)}</nav>
        ${data && html`<${ModePill} mode=${data.mode} /><span class="mono" data-testid="mode-strip">${data.runs.map((run) => `${run.pair} ${run.mode === data.mode ? '' : run.mode}`.trim()).join(', ') || 'no run'}</span>`}
        <span class="grow"></span>
        ${data && html`<${Fresh} status=${data.freshness.status} title="worst source: ${data.freshness.source}, ${age(data.freshness.age_ms)} old" />`}
        ${data && html`<${Alerts} counts=${data.alerts_open} />`}
        <${Stream} />
        <${Clock} data=${data} />
        <button onClick=${() => { helpIsOpen.value = true; }} aria-label="Keys …" title="Keys: press ?">?</button>
        <${Theme} />
        <${Kill} killed=${data?.killed} />
        ${csrf && html`<form method="post" action="/logout"><input type="hidden" name="csrf" value=${csrf} /><button>Sign out</button></form>`}
      </div>
      <div class="notices">
        ${data && data.speed !== 1 && html`<p><strong>Demonstration:</strong> the exchange is a ${data.venue}; its market clock runs ${data.speed} times faster than the wall clock. No real money.</p>`}
        ${data?.baseline && html`<p>A run trades the <strong>baseline</strong> trend rule, not a trained model.</p>`}
        ${data && !data.api_token_set && html`<p>No authentication: <code>API_TOKEN</code> is unset, so the desk listens on this machine only and live mode is refused.</p>`}
        ${held.state === 'failed' && html`<p role="alert"><strong>${held.problem.title}</strong> ${held.problem.message} The figures are old.</p>`}
      </div>
      <${Stale} />
    </header>
    <main id="main" tabindex="-1"><${Still} page=${page} /></main>
    ${drawer.value && html`<${drawer.value} />`}<${Dialogs} /><${Help} /><${Toasts} />`;
}

function Stale() {
  if (!staleReason.value) return null;
  return html`<p class="stale-page" role="alert" data-testid="stale"><strong>▲ This page is stale:</strong> ${staleReason.value}, since ${clockText(staleSince.value)} UTC. What it shows is old, so it only does what takes risk away: KILL, pause, stop, close, cancel.</p>`;
}

function Alerts({ counts }) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const worst = counts.critical ? 'bad' : counts.warning ? 'warn' : 'muted';
  return html`<a href="/rl-ops?tab=alerts"><${Pill} tone=${total ? worst : 'muted'} icon="!">${total} alert${total === 1 ? '' : 's'}<//></a>`;
}

function Stream() {
  const state = streamState.value;
  const tone = { live: 'ok', connecting: 'muted', reconnecting: 'warn', offline: 'bad' }[state];
  return html`<span role="status" data-testid="stream" aria-label="stream ${state}" title="The event stream of this tab"><${Pill} tone=${tone} icon=${state === 'live' ? '●' : '○'}>${state}<//></span>`;
}

function Clock({ data }) {
  return html`<span class="mono" title="Market time, UTC${data ? `, ${data.speed} times the wall clock` : ''}">${clockText(marketNow.value)} UTC</span>`;
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

export const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
};
export const themeChanged = signal(0);

function Theme() {
  const flip = () => {
    const next = isDark() ? 'light' : 'dark';
    localStorage.setItem('theme', next);
    applyTheme(next);
    themeChanged.value += 1;
  };
  themeChanged.value;
  return html`<button onClick=${flip} aria-label="Switch to ${isDark() ? 'light' : 'dark'} theme">${isDark() ? '☀' : '☾'}</button>`;
}

// Less risk must never be hard: hold for a second, or press K twice.
function Kill({ killed }) {
  const [held, setHeld] = useState(null);
  const fire = async () => {
    try {
      const answer = await safely('/ops/trading/kill', { on: true, reason: 'operator pressed KILL' });
      toast(`Kill switch on: ${answer.runs_stopped} run(s) paused, no entry leaves any more`, { traceId: answer.trace_id });
    } catch (problem) {
      toast(`KILL was not confirmed: ${problem.message}. Press again.`, { bad: true, traceId: problem.traceId });
    }
    summary.load();
  };
  const release = () => ask({
    title: 'Release the kill switch?', verb: 'Release', danger: true,
    text: 'Entries become possible again; paused runs go on only when you resume them.',
    fields: [{ name: 'reason', label: 'Reason', required: true }],
    send: (values, key) => post('/ops/trading/kill', { on: false, reason: values.reason }, key),
    done: () => summary.load(),
  });
  useEffect(() => {
    let first = 0;
    const keys = (event) => {
      if (event.key !== 'K' || event.target.closest('input, select, textarea, dialog')) return;
      if (Date.now() - first < 800) fire();
      first = Date.now();
    };
    document.addEventListener('keydown', keys);
    return () => document.removeEventListener('keydown', keys);
  }, []);
  if (killed) return html`<button class="danger solid" onClick=${release}>KILLED · release …</button>`;
  const down = () => setHeld(setTimeout(() => { setHeld(null); fire(); }, 1000));
  const up = () => { clearTimeout(held); setHeld(null); };
  return html`<button class="danger ${held ? 'solid' : ''}" title="Hold for one second, or press Shift+K twice" onPointerDown=${down} onPointerUp=${up} onPointerLeave=${up}
    onKeyDown=${(event) => event.key === 'Enter' && !event.repeat && down()} onKeyUp=${up}>${held ? 'hold …' : 'KILL'}</button>`;
}

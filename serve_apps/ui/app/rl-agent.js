// Agent: its runs, limits, versions, learning and governance, each with the controls that change it.

import { effect } from '@preact/signals';
import { get, post, safely, send } from './lib/api.js';
import { money, percent, tone, trimmed } from './lib/format.js';
import { marketNow, start, summary } from './lib/frame.js';
import { sources } from './lib/ingestion_controls.js';
import { JobLine, jobsOf, keep, onJobEnd } from './lib/jobs.js';
import { activate, amount, editPolicy, editSet, newSet, resetBreaker } from './lib/limit_controls.js';
import { AGENT, agent, limitSets, onRunChange, pauseRun, resumeRun, startLive, startPaper, stopRun, told, versions } from './lib/run_controls.js';
import { list, resource } from './lib/store.js';
import { keepSweeps, Sweeps } from './lib/sweeps.js';
import { TraceLink } from './lib/trace.js';
import { ask, Baseline, html, Meter, ModePill, Panel, Pill, RunState, Table, Tile, toast, When } from './lib/ui.js';
import { promote, rollBack, train } from './lib/version_controls.js';
import { keepFresh } from './lib/watch.js';

const runs = list(`/agents/${AGENT}/runs`, { limit: 20 });
const risk = resource(async () => (await get('/ops/trading/risk')).accounts);
const gates = resource(() => get(`/agents/${AGENT}/promotion-gates`));
const policies = resource(() => get(`/agents/${AGENT}/source-policies`));
const killSwitch = resource(() => get(`/agents/${AGENT}/kill-switch`));
const drift = list(`/agents/${AGENT}/drift-alerts`, { limit: 20 });
const learning = resource(() => get('/ops/learning/status'));
const cycles = list('/ops/learning/history', { limit: 10 });
const openTrades = list('/trades', { limit: 50 });
const latency = resource(async () => (await get('/ops/trading/metrics', { name: 'decision_latency_ms', stage: 'total' })).items[0] ?? null);
const decisions = resource(async () => {
  const newest = (await get(`/agents/${AGENT}/runs`, { limit: 1 })).items[0];
  return newest ? (await get(`/agents/${AGENT}/runs/${newest.run_id}/decisions`, { limit: 50 })).items : [];
});

keepFresh([
  [agent, ['run', 'mode', 'alert'], 1000],
  [runs, ['run', 'mode'], 300],
  [risk, ['risk', 'run', 'order', 'fill'], 1000],
  [decisions, ['decision'], 700],
  [openTrades, ['order', 'fill', 'position'], 700],
  [learning, ['job'], 2000],
  [cycles, ['job'], 2000],
  [drift, ['alert'], 2000],
  [versions, ['job'], 2000],
], { others: [limitSets, gates, policies, killSwitch, latency, sources] });
onRunChange(runs.load);
onJobEnd(() => versions.load());
setInterval(latency.load, 10000);

effect(() => keepSweeps(learning.held.value.data));
const asked = new Set();
// Jobs that had begun before this page was opened.
effect(() => {
  for (const cycle of learning.held.value.data?.cycles ?? []) for (const id of Object.values(cycle.jobs)) if (!asked.has(id)) read(id);
});
function read(id) {
  asked.add(id);
  get(`/jobs/${id}`).then(keep, () => asked.delete(id));
}

// --- the page ---------------------------------------------------------------------------------

function Page() {
  return html`<h1 class="sr">Agent</h1>
    <${Header} />
    <div class="grid">
      <${Runs} /><${Governance} />
      <${Limits} /><${Guardrails} />
      <${Trades} />
      <${Versions} /><${Learning} />
      <${Sweeps} learning=${learning} />
      <${Gate} /><${Policies} /><${Drift} />
      <${Decisions} />
    </div>`;
}

function Header() {
  const held = agent.held.value.data;
  const desk = summary.held.value.data;
  if (!held || !desk) return html`<div class="skeleton" role="status"><span class="sr">Loading</span></div>`;
  const run = held.current_run;
  const account = desk.accounts.find((each) => each.account === run?.account) ?? desk.accounts[0];
  const caps = (risk.held.value.data ?? []).find((each) => each.account === account?.account)?.caps ?? [];
  const cap = (name) => caps.find((each) => each.name === name);
  const measured = latency.held.value.data;
  return html`<dl class="tiles eights">
    <${Tile} name="Run" value=${run ? run.status : 'none'} note=${run ? `${run.pair} ${run.mode}${run.shadow ? ', shadow' : ''}` : 'nothing decides'} />
    <${Tile} name="Policy version" value=${held.active_version?.name ?? held.active_version_id} note=${held.active_version?.promoted_by_evaluation_id ? `by ${held.active_version.promoted_by_evaluation_id}` : held.baseline ? 'baseline rule' : 'not promoted'} />
    <${Tile} name="Promotion gate" value=${held.promotion_gate_status} tone=${held.promotion_gate_status === 'fail' ? 'down' : ''} note=${held.promotion_gate_reasons.join(', ') || 'of the active version'} />
    <${Tile} name="Pairs allowed" value=${held.allowed_instruments.length} note=${held.allowed_instruments.join(', ')} />
    <${Tile} name="Equity, USDT" value=${account ? money(account.equity) : '–'} note=${account ? html`<span class=${tone(account.day_pnl)}>${money(account.day_pnl)} today</span>` : 'no account yet'} />
    <${Tile} name="Drawdown" value=${account ? percent(account.drawdown) : '–'} note=${cap('max_drawdown') ? `of ${amount(cap('max_drawdown'), cap('max_drawdown').cap)}` : ''} />
    <${Tile} name="Exposure, USDT" value=${account ? money(account.exposure, 0) : '–'} note=${cap('max_total_exposure') ? `of ${amount(cap('max_total_exposure'), cap('max_total_exposure').cap)} of equity` : ''} />
    <${Tile} name="Decision, p50 / p95" value=${measured?.p50 ? `${measured.p50.toFixed(0)} / ${measured.p95.toFixed(0)} ms` : '–'} note=${measured?.count ? `${measured.count} in the last market hour` : 'none in the last market hour'} />
  </dl>`;
}

function Runs() {
  const noVersion = versions.held.value.data?.length === 0;
  const empty = noVersion
    ? html`<span>Train or import a policy first.</span><button class="primary" onClick=${train}>Train …</button>`
    : html`<span>No runs yet. Start a paper run.</span><button class="primary" onClick=${startPaper}>Start a paper run …</button>`;
  return html`<${Panel} title="Runs" span="8" resource=${runs.held} retry=${runs.load} isEmpty=${(rows) => !rows.length} empty=${empty}
    actions=${html`<button class="primary" onClick=${startPaper}>New paper run …</button><button class="danger" onClick=${startLive}>Go live …</button>`}>
    ${(rows) => html`<${Table} label="Runs" rows=${rows} rowKey=${(run) => run.run_id} columns=${[
      { name: 'started', cell: (run) => html`<${When} ms=${run.started_ms} />` }, { name: 'pair', cell: (run) => html`<strong>${run.pair}</strong> ${run.interval}` },
      { name: 'mode', cell: (run) => html`<${ModePill} mode=${run.mode} />${run.shadow ? ' shadow' : ''}` }, { name: 'state', cell: (run) => html`<${RunState} run=${run} />` },
      { name: 'policy', cell: (run) => html`<span title="limits ${run.risk_limit_set_id}, threshold ${run.decision_threshold}">${run.version_id}</span> <${Baseline} on=${run.baseline} />` },
      { name: '', cell: (run) => (['running', 'paused', 'starting'].includes(run.status) ? html`<span class="buttons">${run.status === 'paused' ? html`<button onClick=${() => resumeRun(run)}>Resume …</button>` : html`<button onClick=${() => pauseRun()}>Pause …</button>`}<button onClick=${() => stopRun()}>Stop …</button></span>` : html`<${When} ms=${run.stopped_ms} />`) },
    ]} />`}
  <//>`;
}

// --- governance -------------------------------------------------------------------------------

function turnKill(on, row) {
  ask({
    title: on ? 'Stop this agent?' : "Lift the agent's kill switch?", verb: on ? 'Stop the agent' : 'Lift', danger: true,
    text: on ? 'Its runs pause and its entries end; positions stay unless they are closed.' : 'Entries become possible again; paused runs go on only when they are resumed.',
    fields: [
      { name: 'reason', label: 'Reason, kept in the audit', required: true },
      ...(on ? [{ name: 'position', label: 'Positions', options: [{ value: 'keep', label: 'keep them' }, { value: 'flatten', label: 'close them, reduce-only' }] }] : []),
    ],
    safe: on,
    conflict: { seen: row, read: () => get(`/agents/${AGENT}/kill-switch`), again: (fresh) => turnKill(on, fresh) },
    send: ({ reason, position }, key) => send('POST', `/agents/${AGENT}/kill-switch`, { on, reason, flatten: position === 'flatten' }, { key, safe: on, version: on ? null : row.row_version }),
    done: (answer) => {
      told(answer, answer.on ? `The agent is stopped: ${answer.runs_stopped} run(s) paused` : "The agent's kill switch is lifted");
      killSwitch.load();
    },
  });
}

function editConfig(held) {
  const known = [...new Set([...held.allowed_instruments, ...(sources.held.value.data ?? []).map((row) => row.pair).filter(Boolean)])];
  ask({
    title: 'Agent settings', verb: 'Save',
    text: 'A pair that is taken off pauses its run at the next candle; exits pass.',
    fields: [
      { name: 'name', label: 'Name', value: held.name, required: true },
      { name: 'allowed_instruments', label: 'Pairs allowed, separated by commas', value: held.allowed_instruments.join(', '), required: true, note: `known: ${known.join(', ')}` },
      { name: 'decision_threshold', label: 'Decision threshold, 0 to 1', type: 'number', min: 0, max: 1, step: 0.01, value: held.decision_threshold, required: true },
      { name: 'min_confidence', label: 'Least confidence, 0 to 1', type: 'number', min: 0, max: 1, step: 0.01, value: held.min_confidence, required: true },
      { name: 'data_pause_lift', label: 'After a pause for data', value: held.data_pause_lift, options: [{ value: 'manual', label: 'an operator resumes' }, { value: 'auto', label: 'the run goes on by itself' }] },
    ],
    conflict: { seen: held, read: () => get(`/agents/${AGENT}`), again: editConfig },
    send: ({ allowed_instruments: pairs, decision_threshold: threshold, min_confidence: least, ...body }, key) => send('PATCH', `/agents/${AGENT}/config`, {
      ...body, allowed_instruments: pairs.split(',').map((each) => each.trim()).filter(Boolean), decision_threshold: Number(threshold), min_confidence: Number(least),
    }, { key, version: held.row_version }),
    done: (answer) => told(answer, 'Agent settings are saved'),
  });
}

function Governance() {
  return html`<${Panel} title="Kill switch and settings" span="4" resource=${killSwitch.held} retry=${killSwitch.load} isEmpty=${() => false}
    actions=${html`<button onClick=${() => editConfig(agent.held.value.data)} disabled=${!agent.held.value.data}>Settings …</button>`}>
    ${(row) => html`<div class="pad stack">
      <p>Agent: ${row.on ? html`<${Pill} tone="bad" icon="✕">stopped: ${row.reason}<//>` : html`<${Pill} tone="ok" icon="●">may trade<//>`}</p>
      ${Object.entries(row.accounts).map(([name, reason]) => html`<p key=${name}>Account ${name}: ${reason === null ? html`<${Pill} tone="ok" icon="●">may trade<//>` : html`<${Pill} tone="bad" icon="✕">stopped: ${reason}<//>`}</p>`)}
      <p>${row.on ? html`<button class="danger" onClick=${() => turnKill(false, row)}>Lift …</button>` : html`<button class="danger" onClick=${() => turnKill(true, row)}>Stop this agent …</button>`}</p>
    </div>`}
  <//>`;
}

const GATES = [['min_trades', 'Trades, at least'], ['min_win_rate', 'Win rate, at least'], ['min_net_pnl', 'Net PnL, more than, USDT'], ['max_drawdown', 'Drawdown, at most']];

function editGates(row) {
  ask({
    title: 'Promotion gate', verb: 'Save', text: 'Live starts and promotions are judged by it from now on.',
    fields: GATES.map(([name, label]) => ({ name, label, type: 'number', step: 'any', value: row[name], required: true })),
    conflict: { seen: row, read: () => get(`/agents/${AGENT}/promotion-gates`), again: editGates },
    send: (values, key) => send('PATCH', `/agents/${AGENT}/promotion-gates`, Object.fromEntries(GATES.map(([name]) => [name, Number(values[name])])), { key, version: row.row_version }),
    done: () => {
      toast('The promotion gate is changed');
      gates.load();
      agent.load();
    },
  });
}

const Gate = () => html`<${Panel} title="Promotion gate" span="4" resource=${gates.held} retry=${gates.load} isEmpty=${() => false}
  actions=${html`<button disabled=${!gates.held.value.data} onClick=${() => editGates(gates.held.value.data)}>Edit …</button>`}>
  ${(row) => html`<${Table} label="Promotion gate" rows=${GATES} rowKey=${([name]) => name} columns=${[{ name: 'figure', cell: ([, label]) => label }, { name: 'value', num: true, cell: ([name]) => row[name] }]} />`}<//>`;

const POLICY_OPTIONS = ['as_needed', 'required', 'forbidden'].map((value) => ({ value, label: value.replace('_', ' ') }));

function editPolicies(row) {
  const names = Object.keys(row.policies).filter((name) => name !== 'bingx_candles');
  ask({
    title: 'Sources of the agent', verb: 'Save', wide: true,
    text: 'Required: a run pauses while the source is not ok. Forbidden: the features may not look at it. Candles are always required.',
    fields: names.map((name) => ({ name, label: name, value: row.policies[name], options: POLICY_OPTIONS })),
    conflict: { seen: row, read: () => get(`/agents/${AGENT}/source-policies`), again: editPolicies },
    send: (values, key) => {
      const policies = Object.fromEntries(names.filter((name) => values[name] !== row.policies[name]).map((name) => [name, values[name]]));
      if (!Object.keys(policies).length) throw new Error('Nothing was changed: choose another policy first.');
      return send('PATCH', `/agents/${AGENT}/source-policies`, { policies }, { key, version: row.row_version });
    },
    done: () => {
      toast('The source policies are changed');
      policies.load();
    },
  });
}

const Policies = () => html`<${Panel} title="Source policies" span="4" resource=${policies.held} retry=${policies.load} isEmpty=${() => false}
  actions=${html`<button disabled=${!policies.held.value.data} onClick=${() => editPolicies(policies.held.value.data)}>Edit …</button>`}>
  ${(row) => html`<${Table} label="Source policies" rows=${Object.entries(row.policies)} rowKey=${([name]) => name} columns=${[{ name: 'source', cell: ([name]) => name }, { name: 'policy', cell: ([, policy]) => html`<${Pill} tone=${policy === 'required' ? 'ok' : policy === 'forbidden' ? 'bad' : 'muted'}>${policy.replace('_', ' ')}<//>` }]} />`}<//>`;

const Drift = () => html`<${Panel} title="Drift" span="4" resource=${drift.held} retry=${drift.load} isEmpty=${(rows) => !rows.length} empty="No version has left what it was judged on.">
  ${(rows) => html`<${Table} label="Drift" rows=${rows} rowKey=${(row) => row.alert_id} columns=${[{ name: 'since', cell: (row) => html`<${When} ms=${row.created_ms} />` }, { name: 'code', cell: (row) => html`<span title=${row.detail}>${row.code}</span>` }, { name: 'status', cell: (row) => row.status }]} />`}<//>`;

// --- limits -----------------------------------------------------------------------------------

// A cap is a most, but for the buffer to liquidation, of which there must be at least so much.
const Used = ({ of, cap }) => (cap.unit === 'bps'
  ? html`<p class="meter ${cap.breached ? 'down' : ''}">${of}, ${cap.name}: ${trimmed(cap.used)} bps, at least ${trimmed(cap.cap)}</p>`
  : html`<${Meter} label="${of}: ${cap.name}" used=${Number(cap.used)} cap=${Number(cap.cap)} over=${cap.breached} text="${of}, ${cap.name}: ${amount(cap, cap.used)} of ${amount(cap, cap.cap)}" />`);

function Limits() {
  const used = (risk.held.value.data ?? []).flatMap((account) => account.runs);
  const meters = (set) => used.filter((run) => run.set_id === set.set_id).flatMap((run) => run.caps.map((cap) => html`<${Used} key=${run.run_id + cap.name} of=${run.pair} cap=${cap} />`));
  return html`<${Panel} title="Risk limits" span="7" resource=${limitSets.held} retry=${limitSets.load} isEmpty=${(rows) => !rows.length} empty=${html`<span>No limits yet: a run cannot start without a set.</span><button class="primary" onClick=${newSet}>New set …</button>`}
    actions=${html`<button onClick=${newSet}>New set …</button>`}>
    ${(rows) => html`<${Table} label="Risk limits" rows=${rows} rowKey=${(set) => set.set_id} columns=${[
      { name: 'set', cell: (set) => html`<strong>${set.name}</strong> <span class="muted">revision ${set.row_version}</span>` },
      { name: 'position', num: true, title: 'USDT', cell: (set) => money(set.max_position_size, 0) }, { name: 'leverage', num: true, cell: (set) => `${trimmed(set.leverage_cap)} ×` },
      { name: 'daily loss', num: true, title: 'USDT', cell: (set) => money(set.max_daily_loss, 0) }, { name: 'drawdown', num: true, cell: (set) => percent(Number(set.max_drawdown)) },
      { name: 'open', num: true, title: 'open positions', cell: (set) => set.max_open_positions }, { name: 'state', cell: (set) => html`<${Pill} tone=${set.active ? 'ok' : 'muted'}>${set.active ? 'active' : 'stored'}<//>` },
      { name: '', cell: (set) => html`<span class="buttons"><button onClick=${() => editSet(set, risk.load)}>Edit …</button>${!set.active && html`<button onClick=${() => activate(set)}>Activate</button>`}</span>` },
    ]} />
    <div class="pad stack">${rows.map(meters)}</div>`}
  <//>`;
}

function Guardrails() {
  return html`<${Panel} title="Account guardrails" span="5" resource=${risk.held} retry=${risk.load} isEmpty=${(rows) => !rows.length} empty="No account has opened its books yet.">
    ${(rows) => rows.map((account) => html`<div class="pad stack" key=${account.account}>
      <p class="buttons"><strong>${account.account}</strong> <${Pill} tone=${account.state === 'ok' ? 'ok' : 'bad'} icon=${account.state === 'ok' ? '●' : '▲'}>breaker ${account.state === 'ok' ? 'closed' : 'open'}<//>${account.cooldown_until_ms && html`<span class="muted">until <${When} ms=${account.cooldown_until_ms} />, ${Math.max(0, Math.ceil((account.cooldown_until_ms - marketNow.value) / 60000))} min left</span>`}
        <button onClick=${() => editPolicy(account, risk.load)}>Edit …</button>${account.state !== 'ok' && html`<button class="danger" onClick=${() => resetBreaker(account, risk.load)}>Reset …</button>`}</p>
      ${account.caps.map((cap) => html`<${Used} key=${cap.name} of=${account.account} cap=${cap} />`)}
    </div>`)}
  <//>`;
}

// --- trades -----------------------------------------------------------------------------------

function closeTrade(trade) {
  ask({
    title: `Close ${trade.pair}?`, verb: 'Close', safe: true, text: `A reduce-only market order ends ${trade.side === 'buy' ? 'long' : 'short'} ${trimmed(trade.position_size)} ${trade.pair}.`,
    fields: [{ name: 'quantity', label: 'Quantity', type: 'number', min: 0, step: 'any', hint: 'all of it' }, { name: 'reason', label: 'Reason, kept in the audit', required: true }],
    send: ({ quantity, reason }, key) => safely(`/trades/${trade.trade_id}/close`, { reason, ...(quantity ? { quantity } : {}) }, key),
    done: (answer) => told(answer, `Closing order ${answer.client_order_id} is written`),
  });
}

function cancelTrade(trade) {
  ask({
    title: `End the open entries of ${trade.pair}?`, verb: 'End entries', safe: true, text: 'What has filled stays held.',
    fields: [{ name: 'reason', label: 'Reason, kept in the audit', required: true }],
    send: ({ reason }, key) => safely(`/trades/${trade.trade_id}/cancel`, { reason }, key),
    done: (answer) => told(answer, `${answer.client_order_ids.length} order(s) are being ended`),
  });
}

const RESTING = ['proposed', 'placed', 'partial']; // an entry of it can still fill
const isHeld = (row) => /[1-9]/.test(row.position_size);

function Trades() {
  const shown = (rows) => rows.filter((row) => row.is_open || RESTING.includes(row.status));
  return html`<${Panel} title="Open trades" span="12" resource=${openTrades.held} retry=${openTrades.load} isEmpty=${(rows) => !shown(rows).length} empty="Flat: no trade is open.">
    ${(rows) => html`<${Table} label="Open trades" rows=${shown(rows)} rowKey=${(row) => row.trade_id} columns=${[
      { name: 'opened', cell: (row) => html`<${When} ms=${row.opened_ms} />` }, { name: 'mode', cell: (row) => html`<${ModePill} mode=${row.mode} /> <${Baseline} on=${row.baseline} />` },
      { name: 'pair', cell: (row) => html`<a href="/insights?pair=${row.pair}&at=${row.opened_ms}&trade=${row.trade_id}">${row.pair}</a>` },
      { name: 'side', cell: (row) => html`<span class=${row.side === 'buy' ? 'up' : 'down'}>${row.side === 'buy' ? '▲ buy' : '▼ sell'}</span>` },
      { name: 'position', num: true, cell: (row) => trimmed(row.position_size) }, { name: 'entry', num: true, cell: (row) => money(row.average_fill_price) },
      { name: 'fees', num: true, cell: (row) => money(row.fees) }, { name: 'status', cell: (row) => row.status }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
      { name: '', cell: (row) => html`<span class="buttons">${isHeld(row) && html`<button class="danger" onClick=${() => closeTrade(row)}>Close …</button>`}${RESTING.includes(row.status) && html`<button onClick=${() => cancelTrade(row)}>Cancel …</button>`}</span>` },
    ]} />`}
  <//>`;
}

// --- versions and learning --------------------------------------------------------------------

function Versions() {
  return html`<${Panel} title="Versions" span="7" resource=${versions.held} retry=${versions.load} isEmpty=${(rows) => !rows.length} empty=${html`<span>Train or import a policy first.</span><button class="primary" onClick=${train}>Train …</button>`}
    actions=${html`<button onClick=${train}>Train …</button>`}>
    ${(rows) => html`<${Table} label="Versions" rows=${rows} rowKey=${(row) => row.version_id} columns=${[
      { name: 'made', cell: (row) => html`<${When} ms=${row.created_ms} />` }, { name: 'version', cell: (row) => html`<span title="${row.version_id}, ${row.algorithm}">${row.name}</span> ${row.baseline ? html`<${Baseline} on />` : html`<span class="muted">${row.algorithm}</span>`}` },
      { name: 'status', cell: (row) => html`<${Pill} tone=${row.active ? 'ok' : 'muted'} icon=${row.active ? '●' : ''}>${row.active ? 'active' : row.status}<//>` },
      { name: 'dataset', cell: (row) => (row.dataset_id ? html`<code>${row.dataset_id}</code>` : html`<span class="muted">–</span>`) },
      { name: '', cell: (row) => (row.active || row.baseline ? null : html`<span class="buttons"><button onClick=${() => promote(row)}>Promote …</button>${row.promoted_at_ms && html`<button onClick=${() => rollBack(row)}>Roll back …</button>`}</span>`) },
    ]} />`}
  <//>`;
}

function runCycle() {
  ask({
    title: 'Run a learning cycle now?', verb: 'Run it', text: 'A challenger is trained on the newest window and judged on what came after it.',
    fields: [{ name: 'pair', label: 'Pair', hint: "its run's" }],
    send: ({ pair }, key) => post('/ops/learning/run', { agent_id: AGENT, ...(pair ? { pair } : {}) }, key),
    done: (cycle) => {
      toast(`Cycle ${cycle.cycle_id} is ${cycle.status}`);
      learning.load();
      cycles.load();
    },
  });
}

async function turnLearning(wish) {
  try {
    await send('POST', `/ops/learning/${wish}`, {}, { safe: wish === 'pause' });
  } catch (problem) {
    toast(`Learning: ${problem.message}`, { bad: true, traceId: problem.traceId });
  }
  learning.load();
}

function Learning() {
  const work = jobsOf('training', 'evaluation').slice(-4);
  return html`<${Panel} title="Learning" span="5" resource=${learning.held} retry=${learning.load} isEmpty=${() => false}
    actions=${html`<button onClick=${runCycle}>Run a cycle …</button><button onClick=${() => turnLearning(learning.held.value.data?.paused ? 'resume' : 'pause')}>${learning.held.value.data?.paused ? 'Resume' : 'Pause'}</button>`}>
    ${(row) => html`<div class="pad stack">
      <p>${row.paused ? html`<${Pill} tone="warn" icon="Ⅱ">paused ${row.pause_reason}<//>` : html`<${Pill} tone="ok" icon="●">cycles may step<//>`} ${row.runs.length ? row.runs.map((run) => html`<span key=${run.run_id}>${run.run_id}: next cycle <${When} ms=${run.next_cycle_ms} /> </span>`) : html`<span class="muted">No run learns while it trades.</span>`}</p>
      <p class="muted">Trains on ${row.window.train_window_min} min, judges on ${row.window.evaluation_window_min} min after a gap of ${row.window.evaluation_lag_min} min, every ${row.window.every_min} min; rollout ${row.window.rollout_mode}.</p>
      ${work.map((job) => html`<${JobLine} key=${job.job_id} job=${job} />`)}
    </div>
    ${(cycles.held.value.data ?? []).length > 0 && html`<${Table} label="Learning cycles" rows=${cycles.held.value.data} rowKey=${(cycle) => cycle.cycle_id} columns=${[
      { name: 'begun', cell: (cycle) => html`<${When} ms=${cycle.created_ms} />` }, { name: 'pair', cell: (cycle) => cycle.pair }, { name: 'challenger', cell: (cycle) => cycle.challenger_id || '–' },
      { name: 'status', cell: (cycle) => html`<${Pill} tone=${cycle.status === 'promoted' ? 'ok' : ['failed', 'rejected', 'rolled_back'].includes(cycle.status) ? 'warn' : 'muted'} title=${cycle.error || cycle.reasons.join(', ')}>${cycle.status.replace('_', ' ')}<//>` },
    ]} />`}`}
  <//>`;
}

function Decisions() {
  return html`<${Panel} title="Decisions" span="12" resource=${decisions.held} retry=${decisions.load} isEmpty=${(rows) => !rows.length} empty="No decision yet: a run decides when a candle closes.">
    ${(rows) => html`<${Table} label="Decisions" rows=${rows} rowKey=${(row) => row.decision_id} columns=${[
      { name: 'candle', cell: (row) => html`<${When} ms=${row.open_ms} />` }, { name: 'pair', cell: (row) => row.pair },
      { name: 'action', cell: (row) => html`<${Pill} tone=${row.action === 'trade' ? 'ok' : row.action === 'hold' ? 'warn' : 'muted'}>${row.action}<//>` },
      { name: 'target', num: true, cell: (row) => row.target }, { name: 'confidence', num: true, cell: (row) => row.confidence?.toFixed(2) ?? '–' },
      { name: 'gate', cell: (row) => row.hold_reason || row.gates.filter((gate) => !gate.passed).map((gate) => gate.code || gate.gate).join(', ') || html`<span class="muted">all passed</span>` },
      { name: 'latency', num: true, cell: (row) => (row.latency_ms.total === undefined ? '–' : `${row.latency_ms.total.toFixed(0)} ms`) }, { name: 'trace', cell: (row) => html`<${TraceLink} id=${row.trace_id} />` },
    ]} />`}
  <//>`;
}

start(Page);

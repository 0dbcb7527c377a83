// Starting, pausing and ending runs: one set of dialogs for every page.

import { get, post, send } from './api.js';
import { summary } from './frame.js';
import { money } from './format.js';
import { list, resource } from './store.js';
import { knownPairs, sources } from './ingestion_controls.js';
import { ask, askOf, html, Pill, toast } from './ui.js';

export const AGENT = 'desk';
export const agent = resource(() => get(`/agents/${AGENT}`));
export const versions = list(`/agents/${AGENT}/versions`, { limit: 50 });
export const limitSets = list('/risk-limits');
const watchers = new Set([() => summary.load(), () => agent.load()]);

// Called after every command that changed a run.
export const onRunChange = (call) => watchers.add(call);

export function told(answer, text) {
  toast(text, { traceId: answer?.trace_id ?? '' });
  for (const call of watchers) call();
}

const versionOptions = () => (versions.held.value.data ?? []).map((version) => ({ value: version.version_id, label: `${version.name}${version.baseline ? ' (baseline rule)' : ''} · ${version.status}` }));
const limitOptions = () => (limitSets.held.value.data ?? []).map((set) => ({ value: set.set_id, label: `${set.name}: ${money(set.max_position_size, 0)} USDT a position` }));
const pairOptions = () => {
  const allowed = agent.held.value.data?.allowed_instruments;
  const pairs = allowed?.length ? allowed : knownPairs();
  return pairs.map((pair) => ({ value: pair, label: pair }));
};

const RUN_NEEDS = [agent, versions, limitSets, sources];

function fields() {
  const active = (versions.held.value.data ?? []).find((version) => version.active);
  return [
    { name: 'pair', label: 'Pair', options: pairOptions() },
    { name: 'version_id', label: 'Policy version', value: active?.version_id, options: versionOptions() },
    { name: 'risk_limit_set_id', label: 'Risk limit set', options: limitOptions() },
    { name: 'decision_threshold', label: 'Decision threshold, 0 to 1', type: 'number', min: 0, max: 1, step: 0.01, hint: "the agent's own" },
    { name: 'stop_loss_fraction', label: 'Stop loss, fraction of the entry price', type: 'number', min: 0.0001, max: 0.9999, step: 'any', hint: 'none' },
  ];
}

function startBody(values, mode) {
  const { decision_threshold: threshold, stop_loss_fraction: stop, confirm_name: _, ...body } = values;
  return { ...body, mode, ...(threshold ? { decision_threshold: Number(threshold) } : {}), ...(stop ? { stop_loss_fraction: stop } : {}) };
}

export function startPaper() {
  askOf(RUN_NEEDS, 'Start a paper run', () => ({
    verb: 'Start paper run',
    text: 'Paper orders fill on the internal paper venue, from closed candles, with real fees and slippage.',
    fields: fields(),
    send: (values, key) => post(`/agents/${AGENT}/start`, startBody(values, 'paper'), key),
    done: (run) => told(run, `Run ${run.run_id} started on ${run.pair}`),
  }));
}

// More risk: every gate is shown and passed before the button works, and the server judges them again.
export function startLive() {
  askOf([...RUN_NEEDS, summary], 'Start a live run', () => ({
    verb: 'Start live run', checkVerb: 'Check the gates', danger: true, wide: true,
    text: html`<span>Orders of this run reach <strong>${summary.held.value.data?.venue ?? 'the exchange'}</strong> with the money of its account.</span>`,
    fields: fields(),
    check: (values) => post('/ops/preflight', { ...startBody(values, 'live'), action: 'start', agent_id: AGENT }),
    mayGo: (answer) => answer.allowed && Boolean(answer.confirm_token),
    shown: (answer) => html`<${Gates} gates=${answer.gates} />${answer.allowed
      ? html`<p>Version <strong>${answer.version_id}</strong> may trade ${answer.pair}. The confirmation is good for 60 seconds.</p>`
      : html`<p class="refusal" role="alert">Not allowed: every gate has to pass first.</p>`}`,
    send: (values, key, checked) => post(`/agents/${AGENT}/start`, { ...startBody(values, 'live'), confirm_token: checked.confirm_token, confirm_name: checked.confirm_name }, key),
    done: (run) => told(run, `LIVE run ${run.run_id} started on ${run.pair}`),
  }));
}

export const Gates = ({ gates }) => html`<ul class="gates" tabindex="0" aria-label="Gates">${gates.map((gate) => html`<li key=${gate.gate} data-passed=${gate.passed}><${Pill} tone=${gate.passed ? 'ok' : 'bad'} icon=${gate.passed ? '✓' : '✕'}>${gate.gate}<//> <span>${gate.value}${gate.threshold ? html`<span class="muted">, needed: ${gate.threshold}</span>` : ''}</span>${!gate.passed && html`<p class="refusal">${gate.problem}</p>`}</li>`)}</ul>`;

// `run` is the row that was seen: with it, a run that moved on meanwhile is not turned unseen.
const withReason = (verb, title, text, { extra = [], safe = false } = {}) => function turn(run) {
  ask({
    title, text, verb: title, safe,
    conflict: run && { seen: run, read: async () => (await get(`/agents/${AGENT}`)).current_run ?? {}, again: turn },
    fields: [{ name: 'reason', label: 'Reason, kept in the audit', required: true }, ...extra],
    send: ({ reason, position }, key) => send('POST', `/agents/${AGENT}/${verb}`, { reason, ...(position ? { flatten: position === 'flatten' } : {}) }, { key, safe, version: run?.row_version ?? null }),
    done: (after) => told(after, `Run ${after.run_id} is ${after.status}`),
  });
};
export const pauseRun = withReason('pause', 'Pause run', 'No new decisions; the position stays.', { safe: true });
export const resumeRun = withReason('resume', 'Resume run', 'Decisions go on with the next closed candle.');
export const stopRun = withReason('stop', 'Stop run', 'The run ends. Its position can stay or be closed reduce-only.', {
  safe: true,
  extra: [{ name: 'position', label: 'Position', options: [{ value: 'keep', label: 'keep it' }, { value: 'flatten', label: 'close it, reduce-only' }] }],
});

// What an operator does with versions: train, promote, roll back.

import { get, post, send } from './api.js';
import { summary } from './frame.js';
import { keep } from './jobs.js';
import { AGENT, agent, Gates, told, versions } from './run_controls.js';
import { moment } from './times.js';
import { askOf, html, toast } from './ui.js';

const pairOptions = () => (agent.held.value.data?.allowed_instruments ?? []).map((pair) => ({ value: pair, label: pair }));
const refresh = (text) => (answer) => {
  told(answer, text(answer));
  versions.load();
};

// A pointer that somebody else moved since the dialog was opened is not moved unseen.
const conflict = (seen, again) => ({
  seen, read: () => get(`/agents/${AGENT}`),
  again: async () => {
    await agent.load();
    again();
  },
});

export function train() {
  askOf([agent], 'Train a version', () => ({
    verb: 'Train',
    text: 'On stored candles, next to what trades. The result is a draft; an evaluation judges it, and a gate lets it be promoted.',
    fields: [
      { name: 'pair', label: 'Pair', options: pairOptions() },
      { name: 'algorithm', label: 'Algorithm', options: ['ppo', 'dqn', 'bc'].map((value) => ({ value, label: value.toUpperCase() })) },
      { name: 'start', label: 'Start, UTC (2026-01-31 12:00)', hint: 'as far back as there are candles' },
      { name: 'end', label: 'End, UTC', hint: 'now' },
      { name: 'timesteps', label: 'Steps', type: 'number', min: 1, hint: "the desk's own" },
      { name: 'seed', label: 'Seed', type: 'number', min: 0, value: 7 },
      { name: 'name', label: 'Name', hint: 'of its number' },
    ],
    send: ({ start, end, timesteps, seed, name, ...body }, key) => post(`/agents/${AGENT}/training`, {
      ...body, seed: Number(seed || 0), ...(name ? { name } : {}), ...(timesteps ? { timesteps: Number(timesteps) } : {}),
      ...(start ? { start_ms: moment('start', start) } : {}), ...(end ? { end_ms: moment('end', end) } : {}),
    }, key),
    done: (job) => {
      keep(job);
      toast(`Training on ${job.arguments.pair ?? ''} started`);
    },
  }));
}

// More risk: the gate is shown row by row and passed before the button works, and the server judges it again.
// With `onPair` it is asked for where a report was looked at.
export function promote(version, onPair = null) {
  askOf([agent], `Promote ${version.name}?`, (seen) => ({
    verb: 'Promote', checkVerb: 'Check the gates', danger: true, wide: true,
    text: html`<span>Active version: <strong>${seen.active_version_id}</strong> → <strong>${version.version_id}</strong>. Its newest evaluation on the pair has to pass every gate.</span>`,
    fields: [{ name: 'pair', label: 'Pair', value: onPair, options: pairOptions() }],
    conflict: conflict(seen, () => promote(version, onPair)),
    check: ({ pair }) => post('/ops/preflight', { action: 'version.promote', agent_id: AGENT, version_id: version.version_id, pair }),
    mayGo: (answer) => answer.allowed && Boolean(answer.confirm_token),
    shown: (answer) => html`<${Gates} gates=${answer.gates} />${answer.allowed
      ? html`<p>By evaluation <code>${answer.evaluation_id}</code>. ${answer.runs.length ? html`<strong>It decides for ${answer.runs.map(nameOfRun).join(', ')} from the next candle on.</strong>` : 'No run at work follows the agent.'} The confirmation is good for 60 seconds.</p>`
      : html`<p class="refusal" role="alert">Not allowed: every gate has to pass first.</p>`}`,
    send: ({ pair }, key, { confirm_token, confirm_name }) => send('POST', `/agents/${AGENT}/versions/${version.version_id}/promote`, { pair, confirm_token, confirm_name }, { key, version: seen.row_version }),
    done: refresh((answer) => `${answer.active_version_id} is active, by evaluation ${answer.evaluation_id}`),
  }));
}

const nameOfRun = (id) => {
  const run = (summary.held.value.data?.runs ?? []).find((each) => each.run_id === id);
  return run ? `${run.mode} run ${id} on ${run.pair}` : id;
};

export function rollBack(version) {
  askOf([agent], `Roll back to ${version.name}?`, (seen) => ({
    verb: 'Roll back',
    text: html`<span>Active version: <strong>${seen.active_version_id}</strong> → <strong>${version.version_id}</strong>, which was promoted before. Runs decide with it from the next candle on.</span>`,
    conflict: conflict(seen, () => rollBack(version)),
    send: (_, key) => send('POST', `/agents/${AGENT}/versions/${version.version_id}/rollback`, {}, { key, version: seen.row_version }),
    done: refresh((answer) => `Rolled back to ${answer.active_version_id}`),
  }));
}

// What an operator does with versions: train, promote, roll back.

import { get, post, send } from './api.js';
import { keep } from './jobs.js';
import { AGENT, agent, told, versions } from './run_controls.js';
import { moment } from './times.js';
import { ask, html, toast } from './ui.js';

const pairOptions = () => (agent.held.value.data?.allowed_instruments ?? []).map((pair) => ({ value: pair, label: pair }));
const refresh = (text) => (answer) => {
  told(answer, text(answer));
  versions.load();
};

// A pointer that somebody else moved meanwhile is not moved unseen.
const seen = () => agent.held.peek().data?.row_version ?? null;
const conflict = (again) => ({
  seen: agent.held.peek().data ?? {}, read: () => get(`/agents/${AGENT}`),
  again: async () => {
    await agent.load();
    again();
  },
});

export function train() {
  ask({
    title: 'Train a version', verb: 'Train',
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
  });
}

export function promote(version) {
  ask({
    title: `Promote ${version.name}?`, verb: 'Promote', danger: true,
    text: html`<span>Active version: <strong>${agent.held.value.data?.active_version_id}</strong> → <strong>${version.version_id}</strong>. Its own evaluation on the pair has to pass the gate; the server judges it now.</span>`,
    fields: [{ name: 'pair', label: 'Pair', options: pairOptions() }],
    conflict: conflict(() => promote(version)),
    send: ({ pair }, key) => send('POST', `/agents/${AGENT}/versions/${version.version_id}/promote`, { pair }, { key, version: seen() }),
    done: refresh((answer) => `${answer.active_version_id} is active, by evaluation ${answer.evaluation_id}`),
  });
}

export function rollBack(version) {
  ask({
    title: `Roll back to ${version.name}?`, verb: 'Roll back',
    text: html`<span>Active version: <strong>${agent.held.value.data?.active_version_id}</strong> → <strong>${version.version_id}</strong>, which was promoted before. Runs decide with it from the next candle on.</span>`,
    conflict: conflict(() => rollBack(version)),
    send: (_, key) => send('POST', `/agents/${AGENT}/versions/${version.version_id}/rollback`, {}, { key, version: seen() }),
    done: refresh((answer) => `Rolled back to ${answer.active_version_id}`),
  });
}

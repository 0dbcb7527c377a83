// Long work as events tell it: its bar, its figures, and the button that ends it.

import { signal } from '@preact/signals';
import { send } from './api.js';
import { on } from './stream.js';
import { html, Pill, toast } from './ui.js';

const jobs = signal({});
const ended = new Set();
const ENDED = ['done', 'failed', 'cancelled'];
const MOST = 40;

on('job', (message) => keep(message.data));

// `onJobEnd(call)`: called with every job that ends, once.
export const onJobEnd = (call) => ended.add(call);

export function keep(job) {
  const before = jobs.peek()[job.job_id];
  if (before && before.updated_ms > job.updated_ms) return;
  // An event tells how far it is, and not what was asked for.
  const kept = Object.entries({ ...jobs.peek(), [job.job_id]: { ...before, ...job } }).slice(-MOST);
  jobs.value = Object.fromEntries(kept);
  if (before && !ENDED.includes(before.status) && ENDED.includes(job.status)) for (const call of ended) call(job);
}

export const jobsOf = (...kinds) => Object.values(jobs.value).filter((job) => kinds.includes(job.kind));

const TONES = { done: 'ok', failed: 'bad', cancelled: 'warn', paused: 'warn' };
const PAUSABLE = ['training', 'backfill']; // the others do not go on where they were left
const left = (seconds) => (seconds === null || seconds === undefined ? '' : seconds < 90 ? `${Math.round(seconds)} s left` : `${Math.round(seconds / 60)} min left`);

export function JobLine({ job }) {
  const turn = async (wish) => {
    try {
      keep(await send('POST', `/jobs/${job.job_id}/${wish}`, {}, { safe: wish !== 'resume' }));
    } catch (problem) {
      toast(`${job.kind}: ${problem.message}`, { bad: true, traceId: problem.traceId });
    }
  };
  const isOver = ENDED.includes(job.status);
  return html`<p data-job=${job.job_id} class="buttons"><strong>${job.kind}</strong> ${job.arguments?.pair ?? job.arguments?.file ?? ''}
    ${!isOver && html`<progress max=${job.total || undefined} value=${job.total ? job.done : undefined} aria-label="progress of ${job.kind}"></progress>`}
    <${Pill} tone=${TONES[job.status] ?? 'muted'}>${job.status}<//>
    <span class="muted">${job.error || job.detail} ${isOver ? '' : left(job.remaining_s)}</span>
    ${!isOver && PAUSABLE.includes(job.kind) && html`<button class="plain" onClick=${() => turn(job.status === 'paused' ? 'resume' : 'pause')}>${job.status === 'paused' ? 'Resume' : 'Pause'}</button>`}
    ${!isOver && html`<button class="plain" onClick=${() => turn('cancel')}>Cancel</button>`}</p>`;
}

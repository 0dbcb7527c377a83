// The retry queue: what failed, when it is tried again, and the two ways out.

import { send } from './api.js';
import { age } from './format.js';
import { wallNow } from './staleness.js';
import { list } from './store.js';
import { html, Panel, Pill, Table, toast } from './ui.js';

export const retries = list('/ops/retry-queue', { limit: 50 });

async function act(row, wish) {
  try {
    await send('POST', `/ops/retry-queue/${encodeURIComponent(row.item_id)}/${wish}`, {}, { version: row.row_version });
    toast(`${row.job_type}: ${wish === 'retry' ? 'tried again now' : 'taken out'}`);
  } catch (problem) {
    toast(`${row.job_type}: ${problem.message}`, { bad: true, traceId: problem.traceId });
  }
  retries.load();
}

const next = (row) => (row.next_attempt_at_ms > wallNow.value ? `in ${age(row.next_attempt_at_ms - wallNow.value)}` : 'now');

export const RetryQueue = ({ span = 6 }) => html`<${Panel} title="Retry queue" span=${span} resource=${retries.held} retry=${retries.load} isEmpty=${(rows) => !rows.length} empty="Nothing waits to be tried again.">
  ${(rows) => html`<${Table} label="Retry queue" rows=${rows} rowKey=${(row) => row.item_id} columns=${[
    { name: 'job', cell: (row) => html`${row.job_type} ${row.payload.pair ?? row.payload.source_id ?? ''}` }, { name: 'status', cell: (row) => html`<${Pill} tone=${row.status === 'dead' ? 'bad' : 'warn'} icon=${row.status === 'dead' ? '✕' : ''}>${row.status.replace('_', ' ')}<//>` },
    { name: 'tries', num: true, cell: (row) => `${row.attempts} of ${row.max_attempts}` }, { name: 'next', by: (row) => row.next_attempt_at_ms || null, cell: (row) => (row.status === 'waiting' ? next(row) : '–') },
    { name: 'error', cell: (row) => html`<span class="clip" title=${row.last_error}>${row.last_error}</span>` },
    { name: '', cell: (row) => html`<span class="buttons"><button onClick=${() => act(row, 'retry')}>Retry</button><button onClick=${() => act(row, 'discard')}>Discard</button></span>` },
  ]} />`}
<//>`;

// Sweeps of trainings: where one stands, its trials in order with how sure each score is, and the button that ends it.

import { signal } from '@preact/signals';
import { JobLine, jobsOf, keep } from './jobs.js';
import { html, Panel, Pill, Table, When } from './ui.js';

const chosen = signal('');
const STATUS = { running: 'ok', done: 'muted', stopped: 'warn', failed: 'bad' };
const short = (value) => (typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)).toString() : typeof value === 'object' ? JSON.stringify(value) : String(value)).replace('-', '−');
const signed = (value, places) => value.toFixed(places).replace('-', '−');

const Score = ({ row }) => (row.score === null ? html`<span class="muted">–</span>` : html`${signed(row.score, 4)} <span class="muted">${row.standard_error === null ? '± ?' : `± ${signed(row.standard_error, 4)}`}</span>`);

// learning: the resource of `/ops/learning/status`, whose `sweeps` come newest first.
export function Sweeps({ learning }) {
  const sweeps = learning.held.value.data?.sweeps ?? [];
  const shown = sweeps.find((job) => job.job_id === chosen.value) ?? sweeps[0];
  const empty = html`<span>No sweep was run. It is one file and one command: <code>desk tune tune_configs/smoke.yaml</code></span>`;
  return html`<${Panel} title="Sweeps" span="12" resource=${learning.held} retry=${learning.load} isEmpty=${() => !shown} empty=${empty}
    actions=${sweeps.length > 1 && html`<select aria-label="Sweep" value=${shown.job_id} onChange=${(event) => { chosen.value = event.target.value; }}>${sweeps.map((job) => html`<option key=${job.job_id} value=${job.job_id} selected=${job === shown}>${job.arguments.sweep_id ?? job.job_id}, ${job.status}</option>`)}</select>`}>
    ${() => html`<${Sweep} job=${shown} />`}
  <//>`;
}

function Sweep({ job }) {
  const { leaderboard = [], metric, trials = 0, overfitting_probability: luck } = job.result;
  const varied = [...new Set(leaderboard.flatMap((row) => Object.keys(row.point)))].sort();
  const newest = jobsOf('sweep').find((each) => each.job_id === job.job_id) ?? job;
  return html`<div class="pad stack"><${JobLine} job=${newest} />
      <p class="muted"><code>${job.arguments.sweep_id}</code> from <${When} ms=${job.created_ms} />.${leaderboard.length ? ` Score: ${metric}, the mean over folds, ± its standard error; the best one's is too good by selection.` : ''}${luck === null || luck === undefined ? '' : ` Probability that the order is luck: ${luck.toFixed(2)}.`}</p></div>
    ${leaderboard.length ? html`<${Table} label="Leaderboard" rows=${leaderboard} rowKey=${(row) => row.number} columns=${[
      { name: 'rank', num: true, cell: (row) => row.rank }, { name: 'trial', num: true, cell: (row) => row.number },
      { name: 'status', cell: (row) => html`<${Pill} tone=${STATUS[row.status] ?? 'muted'} title=${row.status === 'stopped' ? 'its scheduler saw no reason to go on' : ''}>${row.status}<//>` },
      { name: 'steps', num: true, cell: (row) => row.steps.toLocaleString('en-US') },
      { name: metric || 'score', num: true, title: 'mean over seeds and folds ± standard error', cell: (row) => html`<${Score} row=${row} />` },
      ...varied.map((name) => ({ name: name.replaceAll('_', ' '), num: true, cell: (row) => (row.point[name] === undefined ? '–' : short(row.point[name])) })),
      { name: 'draft', cell: (row) => (row.version_id ? html`<code>${row.version_id}</code>` : html`<span class="muted">–</span>`) },
    ]} />` : html`<p class="pad muted">No trial has a score yet.</p>`}
    ${trials > leaderboard.length && html`<p class="pad muted">The best ${leaderboard.length} of ${trials}; all of them are in <code>leaderboard.parquet</code> of the sweep.</p>`}`;
}

// The rows that the page was opened on; events carry only how far they are.
export const keepSweeps = (data) => (data?.sweeps ?? []).forEach(keep);

// Every run that was, and of one of them how its state moved and who moved it.

import { signal } from '@preact/signals';
import { get } from '../lib/api.js';
import { money, sum, tone } from '../lib/format.js';
import { startPaper } from '../lib/run_controls.js';
import { resource } from '../lib/store.js';
import { TraceLink } from '../lib/trace.js';
import { Baseline, Drawer, Facts, Failed, html, ModePill, Panel, RunState, Table, When } from '../lib/ui.js';

const MOST = 200;
export const LISTED = 50; // trades of the page
const chosen = signal(null); // a run
const story = resource(async () => {
  const run = chosen.value;
  if (!run) return null;
  const [moves, trades] = await Promise.all([
    get('/ops/audit', { resource: `run/${run.run_id}`, limit: 100 }),
    get('/trades', { mode: run.mode, pair: run.pair, start_ms: run.started_ms, end_ms: run.stopped_ms ? run.stopped_ms + 1 : null, limit: MOST }),
  ]);
  return { moves: moves.items.filter((each) => each.resource === `run/${run.run_id}`).reverse(), trades: trades.items.filter((each) => each.run_id === run.run_id), more: Boolean(trades.next_cursor) };
});

function pick(run) {
  chosen.value = run;
  story.held.value = { state: 'loading', data: null, problem: null, at: 0 };
  story.load();
}

// Net of a run's trades, where all of them are among the newest ones that are listed; null where not.
function netOf(run, trades) {
  const areAll = trades.length < LISTED || run.started_ms > trades.at(-1).opened_ms;
  if (run.shadow || !areAll) return null;
  return sum(trades.filter((trade) => trade.run_id === run.run_id).map((trade) => trade.net_pnl));
}

export function RunHistory({ runs, trades }) {
  const newest = trades.held.value.data ?? [];
  return html`<${Panel} title="Run history" span="12" resource=${runs.held} retry=${runs.load} isEmpty=${(rows) => !rows.length} empty=${html`<span>No runs yet.</span><button onClick=${startPaper}>Start a paper run …</button>`}>
    ${(rows) => html`<${Table} label="Run history" rows=${rows} rowKey=${(run) => run.run_id} onPick=${pick} selected=${chosen.value?.run_id} columns=${[
      { name: 'started', cell: (run) => html`<${When} ms=${run.started_ms} />` }, { name: 'stopped', cell: (run) => html`<${When} ms=${run.stopped_ms} />` },
      { name: 'mode', cell: (run) => html`<${ModePill} mode=${run.mode} />${run.shadow ? ' shadow' : ''}` }, { name: 'pair', cell: (run) => `${run.pair} ${run.interval}` },
      { name: 'state', cell: (run) => html`<${RunState} run=${run} />` }, { name: 'policy', cell: (run) => html`${run.version_id} <${Baseline} on=${run.baseline} />` },
      { name: 'net PnL', num: true, title: 'USDT, after fees; open the run for one that is older than the trades listed here', by: (run) => (netOf(run, newest) === null ? null : Number(netOf(run, newest))), cell: (run) => html`<span class=${tone(netOf(run, newest))}>${money(netOf(run, newest))}</span>` },
      { name: 'limits', cell: (run) => run.risk_limit_set_id }, { name: 'last decided', cell: (run) => html`<${When} ms=${run.last_decided_open_ms} />` },
    ]} />`}
  <//>`;
}

export function RunDrawer() {
  const run = chosen.value;
  if (!run) return null;
  const { data, problem } = story.held.value;
  const close = () => { chosen.value = null; };
  return html`<${Drawer} label="Run" title=${html`Run <code>${run.run_id}</code>`} onClose=${close}>
    <div class="pad stack"><${Facts} rows=${[['pair', `${run.pair} ${run.interval}`], ['mode', html`<${ModePill} mode=${run.mode} />`], ['policy', run.version_id], ['limits', run.risk_limit_set_id], ['threshold', run.decision_threshold],
      ['trades', data && `${data.trades.length}${data.more ? ' and more' : ''}`], ['net PnL', data && !data.more && html`<span class=${tone(sum(data.trades.map((each) => each.net_pnl)))}>${money(sum(data.trades.map((each) => each.net_pnl)))} USDT</span>`]]} />
      <p class="buttons"><a href="/insights?pair=${run.pair}&at=${run.started_ms}">On the chart</a></p>
      <h3>How its state moved</h3></div>
    ${problem ? html`<${Failed} problem=${problem} retry=${story.load} />` : !data ? html`<div class="skeleton" role="status"><span class="sr">Loading the run</span></div>` : data.moves.length === 0 ? html`<p class="pad muted">Nothing of it is in the audit any more.</p>`
      : html`<ol class="timeline" aria-label="State of the run">${data.moves.map((each) => html`<li key=${each.audit_id}><h3>${each.after.status ?? each.action} <small class="muted"><${When} ms=${each.at_ms} full /></small></h3>
          <p>${each.action} by <strong>${each.actor}</strong>${each.after.pause_reason ? `: ${each.after.pause_reason}` : ''} <${TraceLink} id=${each.trace_id} /></p></li>`)}</ol>`}
  <//>`;
}

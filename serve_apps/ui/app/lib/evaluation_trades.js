// The trades of one evaluation: by side, by weekday and hour, and one by one; on the chart and as a file.

import { signal } from '@preact/signals';
import { get } from './api.js';
import { ARROW, save, saveAnswer } from './files.js';
import { age, money, percent, sum, tone, trimmed, utc } from './format.js';
import { html, Panel, Table, When } from './ui.js';

const EVALUATIONS = '/agents/desk/evaluations';
const MOST = 5000;
const SHOWN = 100;
const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];
const HOURS = [0, 4, 8, 12, 16, 20];

// All of an evaluation's trades, oldest first, or the first ones where there are more than a page draws.
export async function tradesOf(id) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(`${EVALUATIONS}/${encodeURIComponent(id)}/trades`, { limit: 1000, cursor });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < MOST);
  return { id, items, more: Boolean(cursor) };
}

const hasWon = (trade) => tone(trade.pnl) === 'up';
const larger = (a, b) => (Number(a) > Number(b) ? a : b);
const smaller = (a, b) => (Number(a) < Number(b) ? a : b);

function sides(trades) {
  const of = { long: trades.filter((each) => each.side === 'buy'), short: trades.filter((each) => each.side === 'sell'), both: trades };
  return Object.entries(of).filter(([, rows]) => rows.length).map(([side, rows]) => ({
    side, count: rows.length, won: rows.filter(hasWon).length / rows.length, net: sum(rows.map((each) => each.pnl)), fees: sum(rows.map((each) => each.fees)),
    best: rows.map((each) => each.pnl).reduce(larger), worst: rows.map((each) => each.pnl).reduce(smaller),
    held: rows.reduce((all, each) => all + each.closed_ms - each.opened_ms, 0) / rows.length,
  }));
}

const dayOf = (ms) => (new Date(ms).getUTCDay() + 6) % 7;
const hourOf = (ms) => Math.floor(new Date(ms).getUTCHours() / 4) * 4;

function weekOf(trades) {
  return DAYS.map((day, number) => ({ day, cells: HOURS.map((hour) => {
    const there = trades.filter((each) => dayOf(each.opened_ms) === number && hourOf(each.opened_ms) === hour);
    return there.length ? { net: sum(there.map((each) => each.pnl)), count: there.length } : null;
  }) }));
}

// A spreadsheet takes a text that begins like a formula for one; figures are none.
const cell = (value) => (/^[=+@\t\r]/.test(value) ? `'${value}` : value.includes(',') ? `"${value}"` : value);
const COLUMNS = ['opened_ms', 'closed_ms', 'side', 'quantity', 'entry_price', 'exit_price', 'pnl', 'fees', 'funding', 'cause'];

function saveTable(id, trades) {
  const lines = [COLUMNS, ...trades.map((each) => COLUMNS.map((name) => cell(String(each[name]))))];
  save(`${id}-trades.csv`, new Blob([`${lines.map((line) => line.join(',')).join('\n')}\n`], { type: 'text/csv' }));
}

const isWhole = signal(false); // every trade is listed, not the newest ones

export function EvaluationTrades({ report, held, retry }) {
  const onChart = (trade) => location.assign(`/insights?${new URLSearchParams({ pair: report.pair, at: trade.opened_ms, evaluation: report.evaluation_id, layers: 'evaluation,gaps' })}`);
  return html`<${Panel} title="Trades of the report" span="12" resource=${held} retry=${retry} isEmpty=${(data) => !data?.items.length} empty="It made no trade."
    actions=${held.value.data?.items.length > 0 && html`<button onClick=${() => saveTable(report.evaluation_id, held.value.data.items)}>Save as CSV</button><button title="every trade, for pyarrow or polars" onClick=${() => saveAnswer(`${EVALUATIONS}/${encodeURIComponent(report.evaluation_id)}/trades`, ARROW, `${report.evaluation_id}-trades.arrows`)}>Save as Arrow</button>`}>
    ${({ items, more }) => {
      const newest = [...items].reverse();
      return html`<${Table} label="By side" rows=${sides(items)} rowKey=${(row) => row.side} columns=${[
        { name: 'side', cell: (row) => row.side }, { name: 'trades', num: true, cell: (row) => row.count }, { name: 'won', num: true, cell: (row) => percent(row.won) },
        { name: 'net PnL', num: true, cell: (row) => html`<span class=${tone(row.net)}>${money(row.net)}</span>` }, { name: 'fees', num: true, cell: (row) => money(row.fees) },
        { name: 'best', num: true, cell: (row) => html`<span class=${tone(row.best)}>${money(row.best)}</span>` }, { name: 'worst', num: true, cell: (row) => html`<span class=${tone(row.worst)}>${money(row.worst)}</span>` },
        { name: 'held', num: true, title: 'mean', cell: (row) => age(row.held) },
      ]} />
      <${Table} label="By weekday and hour" rows=${weekOf(items)} rowKey=${(row) => row.day} columns=${[
        { name: 'entered', title: 'UTC', by: (row) => DAYS.indexOf(row.day), cell: (row) => row.day },
        ...HOURS.map((hour, at) => ({ name: `${String(hour).padStart(2, '0')}–${String(hour + 4).padStart(2, '0')}`, num: true, title: 'net PnL of trades entered then, USDT', by: (row) => (row.cells[at] ? Number(row.cells[at].net) : null), cell: ({ cells }) => (cells[at] ? html`<span class=${tone(cells[at].net)} title="${cells[at].count} trades">${money(cells[at].net)}</span>` : html`<span class="muted">–</span>`) })),
      ]} />
      <${Table} label="Trades of the report" rows=${isWhole.value ? newest : newest.slice(0, SHOWN)} rowKey=${(row) => `${row.opened_ms} ${row.closed_ms} ${row.side}`} onPick=${onChart} columns=${[
        { name: 'opened', cell: (row) => html`<${When} ms=${row.opened_ms} />` }, { name: 'held', num: true, by: (row) => row.closed_ms - row.opened_ms, cell: (row) => age(row.closed_ms - row.opened_ms) },
        { name: 'side', cell: (row) => html`<span class=${row.side === 'buy' ? 'up' : 'down'}>${row.side === 'buy' ? '▲ long' : '▼ short'}</span>` }, { name: 'quantity', num: true, cell: (row) => trimmed(row.quantity) },
        { name: 'entry', num: true, cell: (row) => money(row.entry_price) }, { name: 'exit', num: true, cell: (row) => money(row.exit_price) }, { name: 'ended by', cell: (row) => row.cause.replaceAll('_', ' ') },
        { name: 'fees', num: true, cell: (row) => money(row.fees) }, { name: 'PnL', num: true, title: 'USDT, after fees and funding', cell: (row) => html`<span class=${tone(row.pnl)}>${money(row.pnl)}</span>` },
      ]} />
      ${items.length > SHOWN && !isWhole.value && html`<p class="pad"><button onClick=${() => { isWhole.value = true; }}>Show all ${items.length}</button></p>`}
      ${more && html`<p class="pad muted">The first ${items.length}, up to ${utc(items.at(-1).opened_ms)}: the route or <code>desk evaluations</code> has the rest.</p>`}`;
    }}
  <//>`;
}

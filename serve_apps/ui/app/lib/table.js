// The one table of the pages. Every named column sorts by its head; what was chosen is kept while rows change.

import { signal } from '@preact/signals';
import { html } from './html.js';

const sorts = signal({}); // label of the table -> {column, down}
const UNITS = { ms: 0.001, s: 1, min: 60, h: 3600, d: 86400 };

// What a cell says, without its markup.
function textOf(node) {
  if (node === null || node === undefined || typeof node === 'boolean') return '';
  if (Array.isArray(node)) return node.map(textOf).join(' ');
  if (typeof node !== 'object') return String(node);
  const { ms, status, run, mode, children } = node.props ?? {};
  if (ms !== undefined) return String(ms ?? '');
  return textOf(children ?? status ?? run?.status ?? mode);
}

// Figures sort as figures, whatever unit of time they are told in; the rest sorts as text.
function valueOf(column, row) {
  if (column.by) return column.by(row);
  const text = textOf(column.cell(row)).trim();
  if (text === '' || text === '–') return null;
  if (text === 'never') return Infinity;
  const [, figure, unit] = /^([−-]?[\d,.]+)(?: (ms|s|min|h|d))?/.exec(text) ?? [];
  if (figure === undefined || !(column.num || /^\d{10,}$/.test(text))) return text.toLowerCase();
  return Number.parseFloat(figure.replaceAll(',', '').replace('−', '-')) * (UNITS[unit] ?? 1);
}

function compare(left, right) {
  if (typeof left === 'number' && typeof right === 'number') return left - right;
  return String(left).localeCompare(String(right), 'en', { numeric: true });
}

function sorted(rows, columns, sort) {
  const column = columns.find((each) => each.name === sort?.column);
  if (!column) return rows;
  const valued = rows.map((row) => [valueOf(column, row), row]);
  valued.sort(([left], [right]) => {
    if (left === null || right === null) return (left === null) - (right === null); // nothing to compare comes last
    return sort.down ? compare(right, left) : compare(left, right);
  });
  return valued.map(([, row]) => row);
}

// Up, down, then as the server sent it.
function turn(label, column) {
  const { [label]: before, ...others } = sorts.value;
  if (before?.column !== column) sorts.value = { ...others, [label]: { column, down: false } };
  else sorts.value = before.down ? others : { ...others, [label]: { column, down: true } };
}

function Head({ label, column, sort }) {
  const down = sort?.column === column.name ? sort.down : null;
  const said = down === null ? 'none' : down ? 'descending' : 'ascending';
  if (!column.name) return html`<td class="num"></td>`; // a column of buttons has no head
  return html`<th scope="col" class=${column.num ? 'num' : ''} title=${column.title} aria-sort=${said}>
    <button class="sort" onClick=${() => turn(label, column.name)}>${column.name}<span aria-hidden="true">${down === null ? '' : down ? '▼' : '▲'}</span></button></th>`;
}

const step = (row, way) => (way > 0 ? row.nextElementSibling : row.previousElementSibling)?.focus();

function pickable(row, { onPick, selected, rowKey }) {
  const press = (event) => {
    if (event.target !== event.currentTarget) return; // a button in the row has keys of its own
    if (event.key === 'Enter') onPick(row);
    else if (event.key === 'ArrowDown' || event.key === 'j') step(event.currentTarget, 1);
    else if (event.key === 'ArrowUp' || event.key === 'k') step(event.currentTarget, -1);
    else return;
    event.preventDefault();
  };
  return { class: 'pick', tabIndex: 0, onClick: () => onPick(row), onKeyDown: press, 'aria-selected': selected === rowKey(row) };
}

// columns: [{name, num, title, cell(row), by(row)}]; `by` gives what to sort by where the cell does not say it.
export function Table({ label, columns, rows, rowKey, onPick, selected, fixed = false }) {
  const sort = fixed ? null : sorts.value[label];
  const shown = sorted(rows, columns, sort);
  const plain = (column) => html`<th scope="col" class=${column.num ? 'num' : ''} title=${column.title}>${column.name}</th>`;
  return html`<div class="scroll" tabindex=${fixed && !onPick ? 0 : undefined} role=${fixed && !onPick ? 'group' : undefined} aria-label=${fixed && !onPick ? `${label}, rows` : undefined}><table aria-label=${label}>
    <thead><tr>${columns.map((column) => (fixed ? plain(column) : html`<${Head} key=${column.name} label=${label} column=${column} sort=${sort} />`))}</tr></thead>
    <tbody>${shown.map((row) => html`<tr key=${rowKey(row)} data-key=${rowKey(row)} ...${onPick ? pickable(row, { onPick, selected, rowKey }) : {}}>${columns.map((column) => html`<td class=${column.num ? 'num' : ''}>${column.cell(row)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

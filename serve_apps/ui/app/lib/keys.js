// Keys for all pages: `?` lists them. None acts while something is typed or a dialog is open.

import { useEffect, useRef } from 'preact/hooks';
import { signal } from '@preact/signals';
import { html } from './html.js';

const GO = { o: ['/rl-ops', 'Operations'], a: ['/rl-agent', 'Agent'], e: ['/rl-evaluations', 'Evaluations'], d: ['/rl-data-sources', 'Sources'], i: ['/ingestion', 'Ingestion'], t: ['/insights', 'Insights'] };
const OTHERS = [
  ['?', 'this list'],
  ['/', 'to the first filter of the page'],
  ['.', 'pause the run: asks for the reason'],
  ['Shift+K, Shift+K', 'KILL, within a second'],
  ['j, k, ↓, ↑', 'next and previous row of a list that opens'],
  ['Enter', 'open the row'],
  ['Esc', 'close what is open'],
];
const TOGETHER_MS = 1500;

export const helpIsOpen = signal(false);

const typesInto = (target) => Boolean(target.closest?.('input, select, textarea, [contenteditable], dialog'));

// `pause()`: what `.` does.
export function listen(pause) {
  let wentAt = 0;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typesInto(event.target) || document.querySelector('dialog[open]')) return;
    const isSecond = Date.now() - wentAt < TOGETHER_MS;
    wentAt = 0;
    if (isSecond && GO[event.key]) location.assign(GO[event.key][0]);
    else if (event.key === 'g') wentAt = Date.now();
    else if (event.key === '?') helpIsOpen.value = true;
    else if (event.key === '.') pause();
    else if (event.key === '/') document.querySelector('main select, main input:not([type="hidden"])')?.focus();
    else return;
    event.preventDefault();
  });
}

export function Help() {
  const box = useRef(null);
  useEffect(() => {
    if (helpIsOpen.value) box.current.showModal();
  }, [helpIsOpen.value]);
  if (!helpIsOpen.value) return null;
  const rows = [...Object.entries(GO).map(([key, [, title]]) => [`g ${key}`, `to ${title}`]), ...OTHERS];
  return html`<dialog ref=${box} aria-labelledby="keys-title" onClose=${() => { helpIsOpen.value = false; }}>
    <div class="pad stack"><h2 id="keys-title">Keys</h2>
      <dl class="facts">${rows.map(([key, text]) => html`<dt><kbd>${key}</kbd></dt><dd>${text}</dd>`)}</dl>
      <p class="muted">Not while you type.</p>
      <div class="buttons"><button class="primary" autofocus onClick=${() => box.current.close()}>Close</button></div></div>
  </dialog>`;
}

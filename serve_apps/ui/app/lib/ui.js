// The few pieces every page is made of: html, panels with all their states, tables, dialogs, toasts.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { computed, signal } from '@preact/signals';
import { newKey, Problem } from './api.js';
import { brief, clockText, local, utc } from './format.js';
import { html } from './html.js';
import { isOld, staleReason } from './staleness.js';
import { Table } from './table.js';

export { html, Table };

export const When = ({ ms, full, clock }) => html`<time title=${local(ms)} datetime=${ms ? new Date(ms).toISOString() : undefined}>${full ? utc(ms) : clock ? clockText(ms) : brief(ms)}</time>`;

export const Pill = ({ tone = 'muted', icon = '', title, children }) => html`<span class="pill ${tone}" title=${title}>${icon && html`<span aria-hidden="true">${icon}</span>`}${children}</span>`;

const FRESH = {
  ok: ['ok', '●'], late: ['warn', '◐'], stale: ['bad', '▲'], unavailable: ['bad', '✕'],
  never: ['muted', '○'], disabled: ['muted', '–'], degraded: ['warn', '◐'], down: ['bad', '✕'],
};
export const Fresh = ({ status, title }) => {
  const [tone, icon] = FRESH[status] ?? ['muted', '?'];
  return html`<${Pill} tone=${tone} icon=${icon} title=${title}>${status}<//>`;
};

const RUN = { running: ['ok', '▶'], paused: ['warn', 'Ⅱ'], starting: ['muted', '…'], stopped: ['muted', '■'], failed: ['bad', '✕'] };
export const RunState = ({ run }) => {
  const [tone, icon] = RUN[run.status] ?? ['muted', '?'];
  return html`<${Pill} tone=${tone} icon=${icon} title=${run.pause_reason}>${run.status}${run.pause_reason ? `: ${run.pause_reason}` : ''}<//>`;
};

export const Baseline = ({ on }) => (on ? html`<span class="tag" title="A plain trend rule shipped with the desk, not a trained model">baseline</span>` : null);

export const ModePill = ({ mode }) => html`<span class="pill ${mode}">${mode.toUpperCase()}</span>`;

// resource: signal of {state: 'loading'|'ready'|'failed', data, problem, at}
export function Panel({ title, span = 12, actions, resource, empty, isEmpty, retry, children }) {
  const held = resource?.value;
  const old = useMemo(() => computed(() => Boolean(resource) && isOld(resource)), [resource]).value;
  const isStale = held?.data && (held.state === 'failed' || old);
  const body = () => {
    if (!resource) return children;
    if (held.state === 'loading' && !held.data) return html`<div class="skeleton" role="status"><span class="sr">Loading ${title}</span></div>`;
    if (!held.data) return html`<${Failed} problem=${held.problem} retry=${retry} />`;
    if (isEmpty?.(held.data)) return html`<div class="empty">${empty}</div>`;
    return html`<div class=${isStale ? 'is-stale' : ''}>${children(held.data)}</div>`;
  };
  return html`<section class="panel span-${span}" aria-label=${title} data-state=${held?.state ?? 'ready'}>
    <header><h2>${title}</h2>
      ${isStale && html`<${Pill} tone="warn" icon="▲" title=${held.problem?.message ?? 'not read again since'}>as of <${When} ms=${held.at} clock /><//>`}
      ${actions}</header>
    <div class="body">${body()}</div></section>`;
}

export const Failed = ({ problem, retry }) => html`<div class="failed" role="alert"><span><strong>${problem?.title || 'Could not load'}</strong> ${problem?.message ?? ''} ${problem?.status ? `(HTTP ${problem.status})` : ''} ${problem?.traceId ? html`<code>${problem.traceId}</code>` : ''}</span>${retry && html`<button onClick=${retry}>Retry</button>`}</div>`;

// How much of a limit is used: the bar and the figures.
export function Meter({ label, used, cap, text, over }) {
  const share = Math.max(0, Math.min(used / (cap || 1), 1));
  const tone = over ? 'over' : share >= 0.8 ? 'near' : '';
  return html`<div class="meter" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax=${cap} aria-valuenow=${used} aria-valuetext=${text}>
    <svg class="track ${tone}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect width=${share * 100} height="6" /></svg>
    <span class=${over ? 'down' : ''}>${over ? '▲ ' : ''}${text}</span></div>`;
}

// Name and value, one below the other; empty values are left out.
export const Facts = ({ rows }) => html`<dl class="facts">${rows.filter(([, value]) => value !== null && value !== undefined && value !== '').map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;

export const Tile = ({ name, value, note, title, href, tone: colour = '' }) => html`<div class="tile" title=${title}><dt>${href ? html`<a href=${href}>${name}</a>` : name}</dt><dd class=${colour} title=${typeof value === 'string' ? value : undefined}>${value}</dd><dd title=${typeof note === 'string' ? note : undefined}>${note}</dd></div>`;

// --- dialogs ----------------------------------------------------------------------------------

const openDialog = signal(null);

const drawers = []; // the one opened last is the one that Esc closes

// A drawer takes the focus and gives it back to what opened it; Esc closes it.
export function Drawer({ label, title, actions, onClose, children }) {
  const box = useRef(null);
  const close = useRef(onClose);
  close.current = onClose;
  useLayoutEffect(() => { // before it can be seen: Esc pressed at once would close the drawer below
    const opener = document.activeElement;
    const me = {};
    drawers.push(me);
    const escape = (event) => {
      if (event.key !== 'Escape' || event.defaultPrevented || drawers.at(-1) !== me || document.querySelector('dialog[open]')) return;
      event.preventDefault(); // the drawer below hears the same key
      close.current();
    };
    document.addEventListener('keydown', escape);
    box.current.focus();
    return () => {
      document.removeEventListener('keydown', escape);
      drawers.splice(drawers.indexOf(me), 1);
      if (opener?.isConnected) opener.focus();
    };
  }, []);
  return html`<aside class="drawer" aria-label=${label} ref=${box} tabindex="-1">
    <header><h2>${title}</h2>${actions}<button onClick=${onClose}>Close</button></header>${children}</aside>`;
}

// fields: [{name, label, type, value, options, required, hint, min, max, step, note}]; send(values, key, checked) → promise.
// With `check(values)` nothing is sent at first: its answer is shown by `shown(answer)`, and only an answer that
// `mayGo` lets the button act. An answer with `confirm_name` asks for that name to be typed; one that expires is asked anew.
// `estimate(values)` → what is shown of it while it is filled in. `columns`: many fields, two beside each other. `safe`: it only takes risk away, so that a stale page may do it too. `conflict` {seen, read(), again(fresh)}: when somebody
// else changed the row meanwhile (412), what is different is shown, and `again` opens the dialog on the row as it is.
export const ask = (spec) => askOf([], spec.title, () => spec);

// A dialog on what was read: `make(...what the needs hold)` → its fields and all else, called once, when all of `needs`
// (resources) have been read. What was filled in, or seen before it was acted on, does not change under the operator's hands after that.
export function askOf(needs, title, make) {
  needs.forEach((each) => each.want());
  openDialog.value = { needs, title, make, key: newKey() };
}

export function Dialogs() {
  const opened = openDialog.value;
  return opened && html`<${Dialog} key=${opened.key} opened=${opened} />`;
}

function Dialog({ opened }) {
  const box = useRef(null);
  const made = useRef(null);
  useEffect(() => box.current.showModal(), []);
  const close = () => {
    box.current?.close(); // gives the focus back
    if (openDialog.peek() === opened) openDialog.value = null; // another one may be open already
    if (document.activeElement === document.body) document.getElementById('main')?.focus();
  };
  if (!made.current && opened.needs.every((each) => each.held.value.data)) made.current = { title: opened.title, ...opened.make(...opened.needs.map((each) => each.held.peek().data)), key: opened.key };
  const spec = made.current;
  return html`<dialog ref=${box} onClose=${close} aria-labelledby="dialog-title" class=${spec?.wide ? 'wide' : ''}>
    ${spec ? html`<${Asked} spec=${spec} close=${close} />` : html`<${Awaited} ...${opened} close=${close} />`}</dialog>`;
}

// Until all that a dialog is made of is there.
function Awaited({ needs, title, close }) {
  const failed = needs.filter(({ held }) => held.value.state === 'failed' && !held.value.data);
  return html`<h2 id="dialog-title">${title}</h2>
    ${failed.length ? failed.map((each) => html`<${Failed} problem=${each.held.value.problem} retry=${each.load} />`) : html`<div class="skeleton" role="status"><span class="sr">Loading ${title}</span></div>`}
    <div class="buttons"><button type="button" onClick=${close}>Cancel</button></div>`;
}

function Asked({ spec, close }) {
  const form = useRef(null);
  const [refusal, setRefusal] = useState(null);
  const [busy, setBusy] = useState(false);
  const [checked, setChecked] = useState(null);
  const [typed, setTyped] = useState('');
  const [fresh, setFresh] = useState(null);
  const [about, setAbout] = useState('');
  const weigh = () => setAbout(spec.estimate ? spec.estimate(Object.fromEntries(new FormData(form.current))) : '');
  useEffect(() => {
    weigh();
    // A dialog that waited is open already, with the focus on what it had to press.
    if (form.current.closest('dialog').open) form.current.querySelector('input, select, button')?.focus();
  }, []);
  const asks = spec.check && !checked;
  const mayGo = asks || !spec.check || (spec.mayGo(checked) && typed === (checked.confirm_name ?? ''));
  const submit = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    setRefusal(null);
    setFresh(null);
    try {
      if (asks) {
        setChecked(await spec.check(values));
        setTyped('');
        setBusy(false);
        return;
      }
      const answer = await spec.send(values, spec.key, checked);
      close();
      spec.done?.(answer);
    } catch (problem) {
      setBusy(false);
      setChecked(null); // a token is good for one call
      setRefusal(problem instanceof Problem ? problem : { message: String(problem.message ?? problem) });
      if (problem.status === 412 && spec.conflict) spec.conflict.read().then(setFresh, () => setFresh(null));
    }
  };
  const reload = () => {
    close();
    spec.conflict.again(fresh);
  };
  const stale = spec.safe ? '' : staleReason.value;
  const verb = asks ? spec.checkVerb ?? 'Check' : spec.verb;
  return html`<form ref=${form} onSubmit=${submit} onInput=${(event) => {
    if (event.target.name !== 'confirm_name') setChecked(null);
    weigh();
  }}>
    <h2 id="dialog-title">${spec.title}</h2>
    ${spec.text && html`<p>${spec.text}</p>`}
    <div class="fields ${spec.columns ? 'two' : ''}">${(spec.fields ?? []).map((field) => html`<${Field} key=${field.name} field=${field} wrong=${refusal?.field === field.name ? refusal.message : null} />`)}</div>
    ${about && html`<p class="muted" data-testid="estimate">${about}</p>`}
    ${checked && html`<div data-testid="checked">${spec.shown(checked)}</div>`}
    ${checked?.confirm_name && spec.mayGo(checked) && html`<label class="field"><span>Type <strong>${checked.confirm_name}</strong> to confirm</span><input name="confirm_name" autocomplete="off" value=${typed} onInput=${(event) => setTyped(event.target.value)} /></label>`}
    ${refusal && html`<p class="refusal" role="alert">${refusal.title ? `${refusal.title}: ` : ''}${refusal.field ? html`<strong>${refusal.field}</strong> ` : ''}${refusal.message}</p>`}
    ${fresh && html`<${Moved} seen=${spec.conflict.seen} fresh=${fresh} />`}
    ${stale && html`<p class="refusal" role="alert">This page is stale: ${stale}. It acts again when it sees the desk again.</p>`}
    <div class="buttons"><button type="button" onClick=${close}>Cancel</button>
      ${fresh && html`<button type="button" onClick=${reload}>Reload</button>`}
      <button class=${spec.danger && !asks ? 'danger solid' : 'primary'} disabled=${busy || !mayGo || Boolean(stale)}>${busy ? 'Sending …' : verb}</button></div>
  </form>`;
}

const told = (value) => (value === null || value === undefined ? '–' : typeof value === 'object' ? JSON.stringify(value) : String(value));

// What somebody else changed since the dialog was opened.
function Moved({ seen, fresh }) {
  const names = Object.keys(fresh).filter((name) => name !== 'row_version' && told(fresh[name]) !== told(seen[name]));
  if (!names.length) return html`<p>It was written again meanwhile, with the same values.</p>`;
  return html`<${Table} fixed label="Changed meanwhile" rows=${names} rowKey=${(name) => name} columns=${[
    { name: 'changed meanwhile', cell: (name) => name }, { name: 'you saw', cell: (name) => html`<span class="clip">${told(seen[name])}</span>` }, { name: 'now', cell: (name) => html`<span class="clip">${told(fresh[name])}</span>` },
  ]} />`;
}

function Field({ field, wrong }) {
  const given = { name: field.name, required: field.required, 'aria-invalid': wrong ? 'true' : undefined };
  return html`<label class="field"><span>${field.label}</span>
    ${field.options
      ? html`<select ...${given}>${field.options.map((option) => html`<option value=${option.value} selected=${option.value === field.value}>${option.label}</option>`)}</select>`
      : html`<input ...${given} type=${field.type ?? 'text'} defaultValue=${field.value ?? ''} min=${field.min} max=${field.max} step=${field.step} placeholder=${field.hint} />`}
    ${field.note && html`<small class="muted">${field.note}</small>`}
  </label>`;
}

// --- toasts -----------------------------------------------------------------------------------

const toasts = signal([]);
let nextToast = 1;

export function toast(text, { bad = false, traceId = '' } = {}) {
  const id = nextToast++;
  toasts.value = [...toasts.value.slice(-3), { id, text, bad, traceId }];
  setTimeout(() => {
    toasts.value = toasts.value.filter((each) => each.id !== id);
  }, bad ? 12000 : 5000);
}

export const Toasts = () => html`<div class="toasts" role="status" aria-live="polite">${toasts.value.map((each) => html`<div key=${each.id} class="toast ${each.bad ? 'bad' : ''}">${each.text} ${each.traceId && html`<code>${each.traceId}</code>`}</div>`)}</div>`;

// The marks of the chart's layers, as its painters draw them.
const SHAPES = {
  paper: html`<path d="M8 3 L13 12 L3 12 Z" />`,
  live: html`<path class="filled" d="M8 3 L13 12 L3 12 Z" />`,
  evaluation: html`<circle cx="8" cy="8" r="4" />`,
  blocked: html`<path d="M4 4 L12 12 M4 12 L12 4" />`,
  signals: html`<path class="filled" d="M8 2 L13 8 L8 14 L3 8 Z" />`,
  gaps: html`<rect class="band" x="4" y="1" width="8" height="14" /><path d="M4 1 V15 M12 1 V15" stroke-dasharray="2 2" />`,
  levels: html`<path d="M1 4 H15" /><path d="M1 8 H15" stroke-dasharray="4 2" /><path d="M1 12 H15" stroke-dasharray="1 2" />`,
};
export const Glyph = ({ name }) => html`<svg class="glyph ${name}" viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">${SHAPES[name]}</svg>`;

// One way to the operator API: JSON in, JSON out, refusals as Problem.

import { staleReason } from './staleness.js';

const READ_MS = 30_000;
const WRITE_MS = 90_000; // a start waits for its actors

// Empty without a cookie login: a script with a bearer token and a loopback desk need none.
export const csrf = document.querySelector('meta[name="csrf"]')?.content ?? '';

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.title = body.title ?? '';
    this.field = body.field ?? null;
    this.traceId = body.trace_id ?? '';
  }
}

// A read or write that ran out of time says so in words; what a caller gave up itself stays an abort.
async function answered(asked, withinMs) {
  try {
    return await decode(await asked);
  } catch (wrong) {
    if (wrong.name === 'TimeoutError') throw new Problem(0, { title: 'No answer', detail: `within ${withinMs / 1000} s: the desk is busy or away` });
    throw wrong;
  }
}

async function decode(answer) {
  if (answer.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const text = await answer.text();
  let body = {};
  try {
    body = text ? JSON.parse(text) : {};
  } catch {
    body = { title: 'unreadable answer', detail: text.slice(0, 200) };
  }
  if (!answer.ok) throw new Problem(answer.status, body);
  return body;
}

export async function get(path, query = {}, signal = undefined) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const search = given.length ? `?${new URLSearchParams(given)}` : '';
  const patience = AbortSignal.timeout(READ_MS);
  return answered(fetch(path + search, { headers: { Accept: 'application/json' }, signal: signal ? AbortSignal.any([signal, patience]) : patience }), READ_MS);
}

// The bytes of an answer in the format asked for, to be saved as a file.
export async function read(path, type) {
  const answer = await fetch(path, { headers: { Accept: type }, signal: AbortSignal.timeout(READ_MS) });
  if (!answer.ok) return decode(answer);
  return answer.blob();
}

// `key` is made when a dialog opens, so that pressing twice is one command. `version` is the row that
// the operator saw: what somebody else changed meanwhile is refused and not overwritten. A stale page
// sends nothing, but for what is `safe`: it only takes risk away, whatever the page still shows.
export async function send(method, path, body, { key = newKey(), version = null, safe = false } = {}) {
  if (staleReason.value && !safe) throw new Problem(0, { title: 'This page is stale', detail: `${staleReason.value}. It acts again when it sees the desk again.` });
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
  if (version !== null) headers['If-Match'] = `"${version}"`;
  if (csrf) headers['X-CSRF-Token'] = csrf;
  return answered(fetch(path, { method, headers, body: JSON.stringify(body ?? {}), signal: AbortSignal.timeout(WRITE_MS) }), WRITE_MS);
}

export const post = (path, body, key = newKey()) => send('POST', path, body, { key });

// What takes risk away: it is sent from a stale page too.
export const safely = (path, body, key = newKey()) => send('POST', path, body, { key, safe: true });

export const newKey = () => crypto.randomUUID();

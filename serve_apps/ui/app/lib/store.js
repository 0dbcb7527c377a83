// What a page shows, as signals: read once, read again when events say so, kept while a read fails.

import { signal } from '@preact/signals';
import { get, Problem } from './api.js';

export function resource(read) {
  const held = signal({ state: 'loading', data: null, problem: null, at: 0 });
  let running = null;
  let again = false;
  async function load() {
    if (running) {
      again = true;
      return running;
    }
    running = (async () => {
      try {
        held.value = { state: 'ready', data: await read(), problem: null, at: Date.now() };
      } catch (problem) {
        const told = problem instanceof Problem ? problem : new Problem(0, { title: 'No answer', detail: String(problem.message ?? problem) });
        held.value = { ...held.value, state: 'failed', problem: told };
      }
      running = null;
      if (again) {
        again = false;
        load();
      }
    })();
    return running;
  }
  // Read it unless it was, or is under way.
  const want = () => (held.peek().data || running ? null : load());
  return { held, load, want };
}

export const list = (path, query) => resource(async () => (await get(path, query)).items);

// Code that no first picture needs, `load` imports it; asked for again while the desk is away, which the
// stream's badge says.
const AGAIN_MS = 2000;
export async function behind(load, after = null) {
  await after;
  for (;;) {
    try {
      return await load();
    } catch {
      await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
    }
  }
}

// At most one call per `ms`, the last one never lost.
export function throttled(call, ms) {
  let timer = null;
  let last = 0;
  return () => {
    if (timer) return;
    const wait = Math.max(0, last + ms - Date.now());
    timer = setTimeout(() => {
      timer = null;
      last = Date.now();
      call();
    }, wait);
  };
}

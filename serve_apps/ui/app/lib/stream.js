// The one event stream of this tab. It closes while the tab is hidden and resumes by event id.

import { signal } from '@preact/signals';

export const streamState = signal('connecting'); // connecting | live | reconnecting | offline
const listeners = new Map(); // topic -> Set(handler)
const resyncs = new Set();
let source = null;
let lastId = '';
let wanted = false;

export function on(topic, handler) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(handler);
  if (source) source.addEventListener(topic, dispatch);
  return () => listeners.get(topic).delete(handler);
}

// Called when events were missed: everything shown must be read again.
export function onResync(handler) {
  resyncs.add(handler);
  return () => resyncs.delete(handler);
}

function dispatch(event) {
  if (event.lastEventId) lastId = event.lastEventId;
  let message;
  try {
    message = JSON.parse(event.data);
  } catch {
    return;
  }
  for (const handler of listeners.get(event.type) ?? []) handler(message);
}

export function open() {
  wanted = true;
  if (source) return;
  source = new EventSource(lastId ? `/events?last_event_id=${encodeURIComponent(lastId)}` : '/events');
  source.addEventListener('hello', () => {
    streamState.value = 'live';
  });
  source.addEventListener('resync', () => {
    for (const handler of resyncs) handler();
  });
  for (const topic of listeners.keys()) source.addEventListener(topic, dispatch);
  source.onerror = () => {
    const closed = source?.readyState === EventSource.CLOSED;
    streamState.value = navigator.onLine ? 'reconnecting' : 'offline';
    if (closed) {
      source = null;
      setTimeout(() => wanted && open(), 2000);
    }
  };
}

function close() {
  source?.close();
  source = null;
}

document.addEventListener('visibilitychange', () => {
  if (!wanted) return;
  if (document.hidden) close();
  else {
    open();
    for (const handler of resyncs) handler();
  }
});
window.addEventListener('pagehide', close);
// A dead network leaves the stream silently open: the browser knows first.
window.addEventListener('offline', () => {
  if (!wanted) return;
  close();
  streamState.value = 'offline';
});
window.addEventListener('online', () => wanted && open());

// Whether this page still sees the desk. While it does not, nothing is done from it but what takes risk away.

import { computed, effect, signal } from '@preact/signals';
import { streamState } from './stream.js';

const GRACE_MS = 5_000; // a stream that is opened anew is back sooner
const OLD_MS = 20_000; // the frame's figures are read every 5 s

export const wallNow = signal(Date.now());
const lostAt = signal(Date.now());
const readAt = signal(Date.now());
setInterval(() => {
  wallNow.value = Date.now();
}, 1000);

effect(() => {
  if (streamState.value === 'live') lostAt.value = null;
  else if (lostAt.peek() === null) lostAt.value = Date.now();
});

// Called whenever the frame's figures were read.
export const seen = (at) => {
  readAt.value = at;
};

// Why the page is stale; empty while it is not.
export const staleReason = computed(() => {
  if (streamState.value === 'offline') return 'the network is down';
  if (lostAt.value !== null && wallNow.value - lostAt.value > GRACE_MS) return 'its event stream is lost';
  if (wallNow.value - readAt.value > OLD_MS) return 'the desk does not answer';
  return '';
});

export const staleSince = computed(() => (lostAt.value === null ? readAt.value : Math.min(lostAt.value, readAt.value)));

// Whether what was read is older than it may be; a resource without a bound never is.
export const isOld = (held) => Boolean(held.oldAfterMs && held.value.at && wallNow.value - held.value.at > held.oldAfterMs);

// Reads again what events say has changed, after a lost stream everything, and every so often anyway.

import { throttled } from './store.js';
import { on, onResync } from './stream.js';

// watched: [[resource, topics, at most once per ms]]; others are read at the start and after a lost stream.
// What is three times older than it is read again is shown as stale.
export function keepFresh(watched, { others = [], everyMs = 10000, othersMs = 60000 } = {}) {
  for (const [held, topics, ms] of watched) {
    const refresh = throttled(held.load, ms);
    for (const topic of topics) on(topic, refresh);
  }
  const everything = [...watched.map(([held]) => held), ...others];
  const loadAll = () => everything.forEach((each) => each.load());
  onResync(loadAll);
  loadAll();
  setInterval(() => watched.forEach(([each]) => each.load()), everyMs);
  setInterval(() => others.forEach((each) => each.load()), othersMs);
  for (const [each] of watched) each.held.oldAfterMs = 3 * everyMs;
  for (const each of others) each.held.oldAfterMs = 3 * othersMs;
}

// Editing limits: what is lowered takes effect at once, what is raised needs the server's token first.

import { get, post, send } from './api.js';
import { money, percent, trimmed } from './format.js';
import { limitSets } from './run_controls.js';
import { ask, html, Pill, Table, toast } from './ui.js';

export const LIMITS = [
  ['max_position_size', 'Largest position, USDT'],
  ['leverage_cap', 'Leverage, at most'],
  ['max_daily_loss', 'Loss of a day, USDT'],
  ['max_drawdown', 'Drawdown, fraction of the highest equity'],
  ['max_open_positions', 'Open positions'],
];
const POLICY = [
  ['max_total_exposure', 'Exposure in total, fraction of equity'],
  ['max_instrument_exposure', 'Exposure in one instrument, fraction of equity'],
  ['max_open_positions', 'Open positions'],
  ['max_daily_loss', 'Loss of a day, fraction of equity'],
  ['max_drawdown', 'Drawdown, fraction of the highest equity'],
  ['max_leverage', 'Leverage, at most'],
  ['circuit_breaker_loss', 'Loss that trips the breaker, fraction of equity'],
  ['cooldown_minutes', 'Cool-down, minutes'],
];

export const amount = (cap, value) => (cap.unit === 'fraction' ? percent(Number(value)) : cap.unit === 'USDT' ? money(value, 0) : `${trimmed(value)}${cap.unit === 'count' ? '' : ` ${cap.unit}`}`);

// Only what differs travels: a field left as it was is not a change.
function changes(names, before, values) {
  const changed = {};
  for (const [name] of names) {
    const text = values[name]?.trim();
    if (text === '' || text === undefined || Number(text) === Number(before[name])) continue;
    changed[name] = name === 'max_open_positions' || name === 'cooldown_minutes' ? Number(text) : text;
  }
  if (!Object.keys(changed).length) throw new Error('Nothing was changed: edit a field first.');
  return changed;
}

function edit({ title, names, before, version, preflight, apply, done, conflict }) {
  const fields = names.filter(([name]) => before[name] !== undefined).map(([name, label]) => ({ name, label, value: trimmed(before[name]), type: 'number', min: 0, step: 'any', required: true }));
  let changed = {};
  ask({
    title, fields, conflict, verb: 'Apply', checkVerb: 'Show the change', wide: true, danger: true,
    text: 'What lowers a limit takes effect at the next approval. What raises one is more risk and needs the confirmation below.',
    check: (values) => {
      changed = changes(names, before, values);
      return preflight({ ...changed, version });
    },
    mayGo: () => true,
    shown: (answer) => html`<${Table} label="Changes" rows=${Object.entries(changed)} rowKey=${([name]) => name} columns=${[
      { name: 'limit', cell: ([name]) => name }, { name: 'before', num: true, cell: ([name]) => trimmed(before[name]) }, { name: 'after', num: true, cell: ([, value]) => value },
      { name: 'risk', cell: ([name]) => (answer.raises.includes(name) ? html`<${Pill} tone="bad" icon="▲">more<//>` : html`<${Pill} tone="ok" icon="▼">less<//>`) },
    ]} />${answer.raises.length > 0 && html`<p class="refusal">This raises risk. The confirmation is good for 60 seconds.</p>`}`,
    send: (_, key, checked) => apply({ ...changed, version, ...(checked.confirm_token ? { confirm_token: checked.confirm_token } : {}) }, key),
    done,
  });
}

export const editSet = (set, after) => edit({
  title: `Edit limits ${set.name}`, names: LIMITS, before: set, version: set.row_version,
  preflight: (body) => post('/ops/preflight', { ...body, action: 'risk-limits.edit', set_id: set.set_id }),
  apply: (body, key) => send('PATCH', `/risk-limits/${set.set_id}`, body, { key }),
  conflict: { seen: set, read: async () => (await get('/risk-limits')).items.find((each) => each.set_id === set.set_id), again: (fresh) => editSet(fresh, after) },
  done: (stored) => {
    toast(`${stored.name} is at revision ${stored.row_version}`);
    limitSets.load();
    after();
  },
});

const readAccount = async (name) => (await get('/ops/trading/risk')).accounts.find((each) => each.account === name);

export const editPolicy = (account, after) => edit({
  title: `Guardrails of account ${account.account}`, names: POLICY, before: account.policy, version: account.policy_version,
  preflight: (body) => post('/ops/preflight', { ...body, action: 'risk-policy.edit', account: account.account }),
  apply: (body, key) => send('PATCH', '/ops/trading/risk', { ...body, account: account.account }, { key }),
  conflict: { seen: account.policy, read: async () => (await readAccount(account.account)).policy, again: async () => editPolicy(await readAccount(account.account), after) },
  done: () => {
    toast(`Guardrails of ${account.account} were changed`);
    after();
  },
});

export function newSet() {
  ask({
    title: 'New set of limits', verb: 'Store', wide: true,
    text: 'It is stored and not active yet: activate it, then runs can start with it.',
    fields: [
      { name: 'set_id', label: 'Id (letters, digits, dashes)', required: true }, { name: 'name', label: 'Name', required: true },
      ...LIMITS.map(([name, label]) => ({ name, label, type: 'number', min: 0, step: 'any', required: true })),
    ],
    send: ({ max_open_positions: open, ...values }, key) => post('/risk-limits', { ...values, max_open_positions: Number(open) }, key),
    done: (set) => {
      toast(`Limits ${set.name} are stored`);
      limitSets.load();
    },
  });
}

export async function activate(set) {
  try {
    await send('POST', `/risk-limits/${set.set_id}/activate`, { version: set.row_version });
    toast(`Runs can start with ${set.name}`);
  } catch (problem) {
    toast(`${set.name} was not activated: ${problem.message}`, { bad: true, traceId: problem.traceId });
  }
  limitSets.load();
}

export function resetBreaker(account, after) {
  ask({
    title: `End the cool-down of ${account.account}?`, verb: 'End the cool-down', danger: true,
    text: `It was tripped by ${account.trigger_reason || 'a loss'}. Losses are measured from now on.`,
    fields: [{ name: 'reason', label: 'Reason, kept in the audit', required: true }],
    send: ({ reason }, key) => post('/ops/trading/circuit-breaker/reset', { account: account.account, reason }, key),
    done: after,
  });
}

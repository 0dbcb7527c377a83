// Adding a source: it is named by settings, so this says which ones to set, with a new token for a feed.

import { ask, html } from './ui.js';

const FEED = /^[a-z0-9][a-z0-9_-]{0,40}$/;
const CHANNEL = /^@?[A-Za-z0-9_-]{2,64}$/;

function newToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function settingsOf({ kind, name }) {
  const given = name.trim();
  if (kind === 'tradingview') {
    if (!FEED.test(given)) throw new Error('Name: expected small letters, digits and dashes, like my-strategy');
    const token = newToken();
    return { kind, line: `TRADINGVIEW_FEED_TOKENS=${given}=${token}`, address: `${location.origin}/webhooks/tradingview/${token}` };
  }
  if (!CHANNEL.test(given)) throw new Error('Name: expected the name of a channel or its id, like @signals or -1001234567890');
  return { kind, line: `TELEGRAM_CHAT_IDS=${given.replace(/^@/, '')}` };
}

export const addSource = () => ask({
  title: 'Add a source', verb: 'Done', checkVerb: 'Show what to set', wide: true,
  text: 'Sources are read from the settings when the desk starts. Nothing is sent from here: set what is shown, then restart the desk. Other sources of the same setting stay in it, separated by commas.',
  fields: [
    { name: 'kind', label: 'Kind', options: [{ value: 'tradingview', label: 'TradingView feed' }, { value: 'telegram', label: 'Telegram channel' }] },
    { name: 'name', label: 'Name of the feed, or of the channel', required: true },
  ],
  check: async (values) => settingsOf(values),
  mayGo: () => true,
  shown: (made) => html`<div class="stack"><p>Set</p><p><code class="copy">${made.line}</code></p>${made.kind === 'tradingview'
    ? html`<p>and let TradingView post its alerts to</p><p><code class="copy">${made.address}</code></p><p class="warn">The token is shown this once and kept nowhere: whoever has it can send signals.</p>`
    : html`<p>and, if that was not done yet, <code>TELEGRAM_API_ID</code> and <code>TELEGRAM_API_HASH</code>, then <code>desk telegram login</code> for <code>TELEGRAM_SESSION</code>.</p>`}</div>`,
  send: async () => ({}),
});

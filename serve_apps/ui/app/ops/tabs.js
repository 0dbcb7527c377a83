// The lists of the operations page, one at a time: the tab shown is in the address.

import { signal } from '@preact/signals';
import { html } from '../lib/ui.js';

// tabs: [{id, title, count(), load?, body}]
export function makeTabs(tabs) {
  const asked = new URLSearchParams(location.search).get('tab');
  const shown = signal(tabs.some((tab) => tab.id === asked) ? asked : tabs[0].id);
  const show = (id) => {
    shown.value = id;
    const url = new URL(location.href);
    url.searchParams.set('tab', id);
    history.replaceState(null, '', url);
    tabs.find((tab) => tab.id === id).load?.();
  };
  const move = (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    const at = tabs.findIndex((tab) => tab.id === shown.value);
    const next = tabs[(at + way + tabs.length) % tabs.length];
    show(next.id);
    document.getElementById(`tab-${next.id}`).focus();
  };
  const isShown = (id) => shown.value === id;
  function Tabs() {
    const now = tabs.find((tab) => tab.id === shown.value);
    return html`<div class="span-12"><div class="tablist" role="tablist" aria-label="Lists" onKeyDown=${move}>${tabs.map((tab) => {
      const count = tab.count?.() ?? 0;
      return html`<button key=${tab.id} role="tab" id="tab-${tab.id}" aria-controls="tab-body" aria-selected=${tab === now} tabindex=${tab === now ? 0 : -1} onClick=${() => show(tab.id)}>${tab.title}${count > 0 && html` <span class="count">${count}</span>`}</button>`;
    })}</div><div role="tabpanel" id="tab-body" aria-labelledby="tab-${now.id}"><${now.body} key=${now.id} /></div></div>`;
  }
  return { Tabs, isShown, load: () => tabs.find((tab) => tab.id === shown.peek()).load?.() };
}

// A line of the size of a word; the figure beside it says what it means.

import { html } from './html.js';

export function Spark({ values, title }) {
  if (values.length < 2) return null;
  const highest = Math.max(...values, 1e-9);
  const place = (value, at) => `${((at / (values.length - 1)) * 60).toFixed(1)},${(15 - (value / highest) * 14).toFixed(1)}`;
  return html`<svg class="spark" viewBox="0 0 60 16" preserveAspectRatio="none" role=${title ? 'img' : undefined} aria-label=${title} aria-hidden=${title ? undefined : 'true'}><polyline points=${values.map(place).join(' ')} /></svg>`;
}

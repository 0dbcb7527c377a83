// A small line chart over time, drawn as SVG: a few series, one axis, no interaction.

import { brief } from '../lib/format.js';
import { html } from '../lib/ui.js';

const WIDTH = 600;
const HEIGHT = 120;

// series: [{name, values: [[ms, number]], dashed}]
export function Lines({ label, series, unit, digits = 1 }) {
  const points = series.flatMap((one) => one.values);
  if (!points.length) return html`<p class="pad muted">No sample in this time.</p>`;
  const times = points.map(([ms]) => ms);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const highest = Math.max(...points.map(([, value]) => value), 1e-9);
  const place = ([ms, value]) => `${(((ms - first) / (last - first || 1)) * WIDTH).toFixed(1)},${(HEIGHT - (value / highest) * HEIGHT).toFixed(1)}`;
  return html`<figure class="lines">
    <svg viewBox="0 -4 ${WIDTH} ${HEIGHT + 8}" preserveAspectRatio="none" role="img" aria-label="${label}: 0 to ${highest.toFixed(digits)} ${unit}">
      <line class="axis" x1="0" x2=${WIDTH} y1=${HEIGHT} y2=${HEIGHT} />
      ${series.map((one) => html`<polyline key=${one.name} class=${one.dashed ? 'dashed' : ''} points=${one.values.map(place).join(' ')} />`)}
    </svg>
    <figcaption>${series.map((one) => html`<span key=${one.name}>${one.dashed ? '┄' : '─'} ${one.name}</span> `)}<span class="muted">0 to ${highest.toFixed(digits)} ${unit}, ${brief(first)} to ${brief(last)}</span></figcaption>
  </figure>`;
}

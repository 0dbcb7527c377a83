// Two small figures drawn as SVG: how results are spread, and a result over a setting.

import { money } from '../lib/format.js';
import { html } from '../lib/ui.js';

const WIDTH = 600;
const HEIGHT = 160;

// Bins as the server made them: `edges` has one more than `counts`, as decimal strings.
export function Histogram({ label, edges, counts }) {
  const most = Math.max(...counts);
  const wide = WIDTH / counts.length;
  const zero = edges.map(Number).findIndex((edge) => edge >= 0);
  const of = (at) => `${money(edges[at])} to ${money(edges[at + 1])} USDT: ${counts[at]} trade${counts[at] === 1 ? '' : 's'}`;
  const modal = counts.indexOf(most);
  return html`<figure class="figure">
    <svg viewBox="0 -4 ${WIDTH} ${HEIGHT + 8}" preserveAspectRatio="none" role="img" data-bins=${counts.length} aria-label="${label}: ${counts.length} bins, ${money(edges[0])} to ${money(edges.at(-1))} USDT; the most in ${of(modal)}">
      ${counts.map((count, at) => html`<rect key=${edges[at]} class=${Number(edges[at]) >= 0 ? 'won' : 'lost'} x=${at * wide + 1} width=${Math.max(wide - 2, 1)} y=${HEIGHT - (count / most) * HEIGHT} height=${(count / most) * HEIGHT}><title>${of(at)}</title></rect>`)}
      <line class="axis" x1="0" x2=${WIDTH} y1=${HEIGHT} y2=${HEIGHT} />
      ${zero > 0 && html`<line class="zero" x1=${zero * wide} x2=${zero * wide} y1="-4" y2=${HEIGHT} />`}
    </svg>
    <figcaption><span>${money(edges[0])}</span><span class="muted">USDT a trade, after fees; at most ${most} in a bin; losses left of the dashed line</span><span>${money(edges.at(-1))}</span></figcaption>
  </figure>`;
}

// points: [[x, y]] by rising x; `at`: the x that was chosen.
export function Over({ label, points, at, digits = 2, unit }) {
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const ys = points.map(([, y]) => y);
  const [low, high] = [Math.min(0, ...ys), Math.max(0, ...ys)];
  const x = (value) => ((value - first) / (last - first || 1)) * WIDTH;
  const y = (value) => HEIGHT - ((value - low) / (high - low || 1)) * HEIGHT;
  const place = ([left, up]) => `${x(left).toFixed(1)},${y(up).toFixed(1)}`;
  return html`<figure class="figure">
    <svg viewBox="-6 -6 ${WIDTH + 12} ${HEIGHT + 12}" preserveAspectRatio="none" role="img" data-points=${points.length} aria-label="${label}: ${money(Math.min(...ys).toFixed(2))} to ${money(Math.max(...ys).toFixed(2))} ${unit}">
      <line class="axis" x1="0" x2=${WIDTH} y1=${y(0)} y2=${y(0)} />
      ${at >= first && at <= last && html`<line class="zero" x1=${x(at)} x2=${x(at)} y1="-4" y2=${HEIGHT} />`}
      <polyline points=${points.map(place).join(' ')} />
      ${points.map((point) => html`<rect key=${point[0]} class="dot" x=${x(point[0]) - 3} y=${y(point[1]) - 3} width="6" height="6"><title>${point[0].toFixed(digits)}: ${money(point[1].toFixed(2))} ${unit}</title></rect>`)}
    </svg>
    <figcaption><span>${first.toFixed(digits)}</span><span class="muted">line: 0 ${unit}; dashed: the one evaluated</span><span>${last.toFixed(digits)}</span></figcaption>
  </figure>`;
}

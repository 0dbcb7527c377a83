// Equity above drawdown, on one time axis with one cursor, drawn by uPlot. Line and dash tell the curves
// apart, colour repeats it; the names below are switches and show what the cursor is at.

import { effect, signal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { money, percent, utc } from '../lib/format.js';
import { themeChanged } from '../lib/frame.js';
import { html } from '../lib/ui.js';
import { palette } from './palette.js';

const { uPlot } = globalThis;
const HEIGHTS = { equity: 300, drawdown: 160 };
const inUtc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC');

// How a curve looks: [token, dash, width].
export const LOOKS = {
  candidate: ['accent', null, 2],
  rivals: [['live', [7, 4], 1.5], ['paper', [10, 3, 2, 3], 1.5], ['warn', [4, 4], 1.5], ['up', [12, 4], 1.5], ['fg', [6, 2, 2, 2], 1.5]],
  baseline: ['muted', [2, 4], 1.5],
  rule: ['muted', [8, 3, 2, 3], 1.5],
};

// Fraction below the highest value so far, zero or negative; holes stay holes.
export function drawdown(values) {
  let peak = -Infinity;
  return values.map((value) => {
    if (value === null || value === undefined) return null;
    peak = Math.max(peak, value);
    return peak > 0 ? value / peak - 1 : 0;
  });
}

const cents = (value) => money(value.toFixed(2));
const under = (fraction, places = 1) => percent(fraction, places).replace('-', '−');

const TICK = 8;

// Each trade where it ended, at the lower edge: a win points up and is filled, a loss points down and is not.
// Of several in one pixel one is drawn.
function drawTicks(plot, ticks, colours) {
  const { ctx, bbox } = plot;
  const size = TICK * devicePixelRatio;
  const seen = new Set();
  ctx.save();
  ctx.setLineDash([]);
  ctx.lineWidth = devicePixelRatio;
  for (const { seconds, hasWon } of ticks) {
    const x = Math.round(plot.valToPos(seconds, 'x', true));
    const key = hasWon ? x : -x;
    if (x < bbox.left || x > bbox.left + bbox.width || seen.has(key)) continue;
    seen.add(key);
    const base = bbox.top + bbox.height - (hasWon ? 0 : size);
    const tip = hasWon ? base - size : base + size;
    ctx.beginPath();
    ctx.moveTo(x - size / 2, base);
    ctx.lineTo(x + size / 2, base);
    ctx.lineTo(x, tip);
    ctx.closePath();
    ctx.fillStyle = ctx.strokeStyle = hasWon ? colours.up : colours.down;
    if (hasWon) ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}

function options(kind, { curves, hidden, isLog, width, sync, onCursor, ticks }) {
  const colours = palette();
  const isEquity = kind === 'equity';
  // As many places as tell one tick from the next.
  const text = isEquity ? (value, step) => money(value.toFixed(2), step < 1 ? 2 : 0) : (value, step) => under(value, step < 0.001 ? 2 : 1);
  const axis = { stroke: colours.muted, font: `11px ${colours.font}`, grid: { stroke: colours.line, width: 1 }, ticks: { stroke: colours.line, width: 1, size: 4 } };
  return {
    width, height: HEIGHTS[kind], tzDate: inUtc, legend: { show: false },
    cursor: { sync: { key: sync, setSeries: false }, drag: { x: true, y: false } },
    padding: [10, 42, 0, 0],
    scales: { x: { time: true }, y: isEquity ? (isLog ? { distr: 3 } : {}) : { range: (_, low) => [Math.min(low * 1.1, -0.001), 0] } },
    axes: [
      { ...axis, space: 95, size: 26, values: (_, ticks, __, ___, step) => ticks.map((tick) => (step >= 86400 ? utc(tick * 1000).slice(5, 10) : utc(tick * 1000).slice(5, 16))) },
      // As wide as its longest label, and as the other chart's, so that both begin at the same place.
      { ...axis, size: 78, values: (_, ticks, __, ___, step) => ticks.map((tick) => (tick === null ? '' : text(tick, step))) },
    ],
    series: [{}, ...curves.map(({ name, look: [token, dash, size] }, at) => ({
      label: name, show: !hidden.has(name), stroke: colours[token], width: size, dash: dash ?? undefined, spanGaps: true, points: { show: false },
      fill: !isEquity && at === 0 ? `${colours[token]}2e` : undefined,
    }))],
    hooks: { setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)], draw: isEquity ? [(plot) => drawTicks(plot, ticks, colours)] : [] },
  };
}

let plots = 0;

// seconds: rising times; curves: [{ name, look, values }], the first one is what all is about;
// ticks: its trades as [{ seconds, hasWon }], where there are any.
export function Curves(given) {
  return given.seconds.length < 2 ? html`<p class="pad muted">One close alone makes no curve.</p>` : html`<${Plots} ...${given} />`;
}

const NONE = [];

function Plots({ label, seconds, curves, hiddenFirst = [], ticks = NONE }) {
  const box = useRef(null);
  const held = useMemo(() => ({ hidden: signal(new Set(hiddenFirst)), isLog: signal(false), hasTicks: signal(true), at: signal(null), key: `curves-${plots++}` }), []);
  const falls = useMemo(() => curves.map(({ values }) => drawdown(values)), [curves]);
  useEffect(() => {
    const element = box.current;
    const draw = (kind, data) => new uPlot(options(kind, {
      curves, ticks: held.hasTicks.value ? ticks : NONE, hidden: held.hidden.value, isLog: held.isLog.value, width: element.clientWidth, sync: held.key, onCursor: (at) => { held.at.value = at; },
    }), [seconds, ...data], element.querySelector(`.${kind}`));
    let drawn = [];
    const stop = effect(() => {
      themeChanged.value;
      drawn.forEach((plot) => plot.destroy());
      drawn = [draw('equity', curves.map(({ values }) => values)), draw('drawdown', falls)];
      element.dataset.curves = curves.filter(({ name }) => !held.hidden.value.has(name)).length;
      element.dataset.ticks = held.hasTicks.value ? ticks.length : 0;
      element.dataset.scale = held.isLog.value ? 'log' : 'linear';
    });
    const sizes = new ResizeObserver(() => drawn.forEach((plot) => plot.width !== element.clientWidth && plot.setSize({ width: element.clientWidth, height: plot.height })));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      stop();
      drawn.forEach((plot) => plot.destroy());
    };
  }, [seconds, curves, ticks]);
  return html`<div class="curves pad">
    <div class="buttons"><${Names} curves=${curves} falls=${falls} seconds=${seconds} held=${held} /></div>
    <div class="buttons"><h3 class="muted">Equity, USDT</h3><span class="grow"></span>
      <span class="muted where">${held.at.value === null ? 'at the end' : utc(seconds[held.at.value] * 1000).slice(0, 16)}: USDT, drawdown</span>
      ${ticks.length > 0 && html`<button aria-pressed=${held.hasTicks.value} onClick=${() => { held.hasTicks.value = !held.hasTicks.value; }} title="Where each trade ended: ▲ won, ▽ lost">Trades ▲▽</button>`}
      <button aria-pressed=${held.isLog.value} onClick=${() => { held.isLog.value = !held.isLog.value; }} disabled=${curves.some(({ values }) => values.some((value) => value !== null && value <= 0))} title="Equal changes in percent look equally high; not for an equity of zero or less">Log scale</button></div>
    <div ref=${box} role="img" aria-label=${label}><div class="equity"></div><h3 class="muted">Drawdown</h3><div class="drawdown"></div></div>
  </div>`;
}

function turn(hidden, name) {
  const next = new Set(hidden.value);
  if (!next.delete(name)) next.add(name);
  hidden.value = next;
}

function Names({ curves, falls, seconds, held }) {
  const at = held.at.value ?? seconds.length - 1;
  return html`${curves.map(({ name, look: [token, dash, size], values }, nth) => html`<button key=${name} class="curve" aria-pressed=${!held.hidden.value.has(name)} onClick=${() => turn(held.hidden, name)}>
      <svg width="22" height="8" aria-hidden="true"><line class="stroke-${token}" x1="0" y1="4" x2="22" y2="4" stroke-width=${size} stroke-dasharray=${dash?.join(' ')} /></svg>
      ${name} <span class="muted">${values[at] === null || values[at] === undefined ? '–' : `${cents(values[at])}, ${under(falls[nth][at])}`}</span></button>`)}`;
}

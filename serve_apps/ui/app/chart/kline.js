// The candle chart: KLineChart set up once, told what to show, never left with a failed load.

import { get } from '../lib/api.js';
import { on, onResync } from '../lib/stream.js';
import { createLayers } from './layers.js';
import { palette } from './palette.js';

const { klinecharts } = globalThis;
const OLDER_BARS = 2000;
const MOST_BARS = 10000;
// After so many new ones, four hours of minutes, the chart begins anew: a tab that is left open does not grow.
const MOST_NEW_BARS = 240;
// So many newer ones come along when an older time is looked at: with fewer the chart would not ask for the next.
const BARS_AFTER = 300;

function styles() {
  const { fg, muted, line, panel, up, down, font: family } = palette();
  const text = { color: muted, size: 11, family };
  const axis = { axisLine: { color: line }, tickLine: { color: line }, tickText: text };
  const tooltip = { title: { color: muted, size: 12, family, template: '{ticker}' }, legend: { color: muted, size: 12, family } };
  return {
    grid: { horizontal: { color: line, style: 'dashed' }, vertical: { show: false } },
    candle: {
      bar: {
        upColor: up, downColor: down, noChangeColor: muted,
        upBorderColor: up, downBorderColor: down, noChangeBorderColor: muted,
        upWickColor: up, downWickColor: down, noChangeWickColor: muted,
      },
      priceMark: {
        high: { color: muted, textFamily: family }, low: { color: muted, textFamily: family },
        last: { upColor: up, downColor: down, noChangeColor: muted, text: { family } },
      },
      tooltip,
    },
    indicator: { tooltip, bars: [{ upColor: `${up}88`, downColor: `${down}88`, noChangeColor: `${muted}88` }] },
    xAxis: axis,
    yAxis: axis,
    separator: { color: line },
    crosshair: {
      horizontal: { line: { color: muted }, text: { color: panel, backgroundColor: fg, borderColor: fg, family } },
      vertical: { line: { color: muted }, text: { color: panel, backgroundColor: fg, borderColor: fg, family } },
    },
  };
}

// Beside and on the candles; heights in pixels of those that have a pane of their own.
const INDICATORS = { VOL: { paneId: 'volume', height: 90 }, MACD: { paneId: 'macd', height: 90, precision: 2 }, RSI: { paneId: 'rsi', height: 80, precision: 1 }, MA: { paneId: 'candle_pane' }, BOLL: { paneId: 'candle_pane' } };
export const INDICATOR_NAMES = Object.keys(INDICATORS);

const PERIODS = { m: 'minute', h: 'hour', d: 'day' };
const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const period = (interval) => ({ type: PERIODS[interval.slice(-1)], span: Number(interval.slice(0, -1)) });
export const stepMs = (interval) => Number(interval.slice(0, -1)) * UNIT_MS[interval.slice(-1)];

const bars = ({ t, o, h, l, c, v }) => t.map((timestamp, i) => ({ timestamp, open: o[i], high: h[i], low: l[i], close: c[i], volume: v[i] }));

// state: signal told 'loading' | 'ready' | 'empty' | 'failed'
export function createTape(element, { state, problem, firstBars, onPick }) {
  const chart = klinecharts.init(element, { styles: styles(), locale: 'en-US', timezone: 'UTC', thousandsSeparator: { sign: ',' } });
  element.tabIndex = 0;
  for (const inner of element.children) inner.tabIndex = -1; // the library puts itself first in the tab order
  element.setAttribute('role', 'img');
  chart.setBarSpace(7);
  chart.setOffsetRightDistance(130); // labels of levels stand there, not on the newest candles
  const indicators = new Set();

  const layers = createLayers(chart, onPick);

  let generation = 0;
  let abort = new AbortController();
  let shown = null;
  let loaded = 0;
  let grown = 0;

  // A stale answer must not be drawn, and a refusal must still answer the chart: a rejection inside
  // getBars would leave it unable to load anything again.
  async function getBars({ type, timestamp, callback }) {
    const mine = generation;
    const { pair, interval } = shown;
    try {
      const query = { pair, interval, limit: type === 'init' ? firstBars : OLDER_BARS };
      if (type === 'forward') query.before_ms = timestamp;
      if (type === 'backward') query.start_ms = timestamp + 1;
      if (type === 'init') {
        loaded = 0;
        grown = 0;
        if (shown.at) query.before_ms = shown.at + BARS_AFTER * stepMs(interval);
      }
      const columns = await get('/market-data/candles', query, abort.signal);
      if (mine !== generation) return;
      const fresh = bars(columns).filter((bar) => timestamp === null || type === 'init' || (type === 'forward' ? bar.timestamp < timestamp : bar.timestamp > timestamp));
      loaded += fresh.length;
      const older = columns.more && fresh.length > 0 && loaded < MOST_BARS;
      setTimeout(() => {
        if (mine !== generation) return;
        callback(fresh, type === 'init' ? { forward: older, backward: Boolean(shown.at) && fresh.length > 0 } : type === 'forward' ? { forward: older } : { backward: columns.more && fresh.length > 0 });
        if (type === 'init') {
          state.value = fresh.length ? 'ready' : 'empty';
          element.dataset.ready = String(fresh.length);
        }
      });
    } catch (told) {
      if (mine !== generation || told.name === 'AbortError') return;
      callback([], false);
      problem.value = told;
      if (type === 'init') state.value = 'failed';
    }
  }

  let live = null;
  chart.setDataLoader({
    getBars,
    subscribeBar: ({ callback }) => {
      live = callback;
    },
    unsubscribeBar: () => {
      live = null;
    },
  });
  const stopCandles = on('candle', (message) => {
    if (!live || !shown || message.key !== `${shown.pair}:${shown.interval}`) return;
    const { t, o, h, l, c, v } = message.data;
    const list = chart.getDataList();
    const last = list[list.length - 1];
    // A candle behind the last bar is a heal or a correction: the chart would ignore it.
    if (last && t < last.timestamp) {
      if (!shown.at || t >= list[0].timestamp) reload();
      return;
    }
    // While an older time is looked at, the newest candle does not follow the last one that is there.
    if (shown.at && last && t > last.timestamp + stepMs(shown.interval)) return;
    if (last && t > last.timestamp) grown += 1;
    if (grown > MOST_NEW_BARS && chart.getVisibleRange().realTo >= list.length) {
      reload();
      return;
    }
    live({ timestamp: t, open: Number(o), high: Number(h), low: Number(l), close: Number(c), volume: Number(v) });
  });

  function reload() {
    generation += 1;
    abort.abort();
    abort = new AbortController();
    state.value = 'loading';
    chart.resetData();
  }
  const stopResync = onResync(reload);

  // The first report is of the size it was made with.
  let isSized = false;
  const sizes = new ResizeObserver(() => {
    if (isSized) chart.resize();
    isSized = true;
  });
  sizes.observe(element);

  return {
    chart,
    reload,
    show(next) {
      generation += 1;
      abort.abort();
      abort = new AbortController();
      state.value = 'loading';
      const first = !shown;
      const samePair = shown?.pair === next.pair;
      shown = next;
      element.setAttribute('aria-label', `Candles of ${next.pair}, ${next.interval}; the trades are listed beside it`);
      if (!samePair || first) chart.setSymbol({ ticker: next.pair, pricePrecision: next.pricePrecision, volumePrecision: next.quantityPrecision });
      chart.setPeriod(period(next.interval));
      if (!first && samePair) chart.resetData();
    },
    // False: that time is not among the candles that are loaded.
    jumpTo(ms) {
      const list = chart.getDataList();
      if (!list.length || ms < list[0].timestamp || ms >= list.at(-1).timestamp + stepMs(shown.interval)) return false;
      const index = list.findLastIndex((bar) => bar.timestamp <= ms);
      const { from, to } = chart.getVisibleRange();
      chart.scrollToDataIndex(Math.min(list.length - 1, index + Math.round((to - from) / 2)));
      return true;
    },
    indicate(wanted) {
      for (const name of INDICATOR_NAMES) {
        const { height, ...at } = INDICATORS[name];
        if (indicators.has(name) === wanted.has(name)) continue;
        if (indicators.delete(name)) chart.removeIndicator({ name, paneId: at.paneId });
        else {
          indicators.add(name);
          chart.createIndicator({ name, ...at }, true);
          if (height) chart.setPaneOptions({ id: at.paneId, height });
        }
      }
      // The highest mark does not stand on the legend, which has a line more for each of these.
      const lines = 2 + ['MA', 'BOLL'].filter((name) => wanted.has(name)).length;
      chart.overrideYAxis({ paneId: 'candle_pane', gap: { top: 0.12 * lines, bottom: 0.1 } });
    },
    // A data URL of all that is drawn.
    picture: () => chart.getConvertPictureUrl(true, 'png', palette().panel),
    draw: layers.draw,
    painted: layers.painted,
    restyle() {
      chart.setStyles(styles());
    },
    dispose() {
      stopCandles();
      stopResync();
      sizes.disconnect();
      abort.abort();
      klinecharts.dispose(element);
    },
  };
}

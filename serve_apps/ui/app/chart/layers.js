// What lies on the candles. One overlay a layer holds all its marks and draws those in view, so that
// 5,000 marks cost what the visible ones do. Shape, fill and dash carry the meaning, colour repeats it.

import { palette } from './palette.js';
import { PAINTERS } from './painters.js';

const { klinecharts } = globalThis;
const TEMPLATE = 'deskLayer';
let isRegistered = false;

// The candle that was open at `ms`, the first where none was yet.
function candleAt(candles, ms) {
  let low = 0, high = candles.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (candles[middle].timestamp <= ms) low = middle;
    else high = middle - 1;
  }
  return candles[low];
}

// From the back to the front.
const ORDER = ['gaps', 'levels', 'blocked', 'signals', 'evaluation', 'paper', 'live'];

// onPick(id): a mark with an id was pressed.
export function createLayers(chart, onPick) {
  if (!isRegistered) klinecharts.registerOverlay({ name: TEMPLATE, totalStep: 2, needDefaultPointFigure: false, createPointFigures: () => [] });
  isRegistered = true;
  const drawn = new Map(); // layer → { marks, revision, painted }

  function paint(name, { bounding, xAxis, yAxis }) {
    const layer = drawn.get(name);
    const place = {
      width: bounding.width, height: bounding.height,
      x: (ms) => xAxis.convertTimestampToPixel(ms),
      y: (value) => yAxis.convertToPixel(value),
      close: (ms) => candleAt(chart.getDataList(), ms).close,
      isSeen: (x) => x > -20 && x < bounding.width + 20,
    };
    const { figures, count } = PAINTERS[name](layer.marks, place, palette());
    layer.painted = count;
    return figures;
  }

  return {
    // The same list again, also an empty one, costs nothing.
    draw(name, marks) {
      const before = drawn.get(name);
      if (before ? before.marks === marks || (!before.marks.length && !marks.length) : !marks.length) return;
      drawn.set(name, { marks, revision: (before?.revision ?? 0) + 1, painted: 0 });
      // The library copies what an overlay carries at each change: it carries a number, and the marks stay here.
      if (before) chart.overrideOverlay({ id: name, extendData: drawn.get(name).revision });
      else {
        chart.createOverlay({
          id: name, name: TEMPLATE, groupId: 'layers', lock: true, zLevel: ORDER.indexOf(name),
          points: [{ timestamp: 0, value: 0 }], extendData: 1,
          createPointFigures: (given) => paint(name, given),
          onClick: ({ figure }) => figure?.key && onPick(figure.key),
        });
      }
    },
    // How many marks of a layer the last painting showed.
    painted: (name) => drawn.get(name)?.painted ?? 0,
  };
}

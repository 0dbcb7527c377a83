// Trades and blocked decisions on the chart. Shape, fill and dash carry the meaning, colour repeats it:
// live = filled triangle and solid link, paper = hollow and dashed; up = buy, down = sell.

const { klinecharts } = globalThis;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let registered = false;

export function registerOverlays() {
  if (registered) return;
  registered = true;
  klinecharts.registerOverlay({ name: 'deskEntry', totalStep: 2, needDefaultPointFigure: false, createPointFigures: figures });
  klinecharts.registerOverlay({ name: 'deskTrade', totalStep: 3, needDefaultPointFigure: false, createPointFigures: figures });
  klinecharts.registerOverlay({ name: 'deskHold', totalStep: 2, needDefaultPointFigure: false, createPointFigures: hold });
}

const visible = (point, bounding) => point.x > -20 && point.x < bounding.width + 20;

function figures({ overlay, coordinates, bounding }) {
  const { trade, selected } = overlay.extendData;
  const [entry, exit] = coordinates;
  if (!visible(entry, bounding) && !(exit && visible(exit, bounding))) return [];
  const colour = css(trade.mode === 'live' ? '--live' : '--paper');
  const style = { style: trade.mode === 'live' ? 'stroke_fill' : 'stroke', color: colour, borderColor: colour, borderSize: selected ? 3 : 1.6 };
  const buy = trade.side === 'buy';
  const drawn = [{ key: 'entry', type: 'polygon', attrs: { coordinates: triangle(entry, buy) }, styles: style }];
  if (exit) {
    const won = !trade.net_pnl.startsWith('-');
    drawn.push(
      { key: 'link', type: 'line', attrs: { coordinates: [entry, exit] }, styles: { color: css(won ? '--up' : '--down'), style: trade.mode === 'live' ? 'solid' : 'dashed', dashedValue: [4, 3], size: selected ? 2 : 1 } },
      { key: 'exit', type: 'polygon', attrs: { coordinates: triangle(exit, !buy) }, styles: style },
    );
  }
  return drawn;
}

function triangle({ x, y }, up) {
  const tip = up ? y + 6 : y - 6;
  const foot = up ? tip + 10 : tip - 10;
  return [{ x, y: tip }, { x: x - 6, y: foot }, { x: x + 6, y: foot }];
}

function hold({ coordinates: [point], bounding }) {
  if (!visible(point, bounding)) return [];
  const { x, y } = point;
  const styles = { color: css('--muted'), size: 1 };
  return [
    { type: 'line', attrs: { coordinates: [{ x: x - 3, y: y - 3 }, { x: x + 3, y: y + 3 }] }, styles, ignoreEvent: true },
    { type: 'line', attrs: { coordinates: [{ x: x - 3, y: y + 3 }, { x: x + 3, y: y - 3 }] }, styles, ignoreEvent: true },
  ];
}

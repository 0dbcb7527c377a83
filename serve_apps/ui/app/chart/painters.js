// How the marks of each layer look. Live = filled triangle and solid link, paper = hollow and dashed,
// evaluation = hollow circle and dotted link, blocked decision = small cross, signal = diamond; below the
// price buys, above it sells. Each painter returns the figures in view and how many marks they stand for.

const still = { ignoreEvent: true };

const line = (coordinates, color, { dash, size = 1 } = {}) => ({
  type: 'line', attrs: { coordinates }, styles: { color, size, style: dash ? 'dashed' : 'solid', dashedValue: dash ?? [] }, ...still,
});

const text = (x, y, said, color, font, { align = 'left', back = 'transparent' } = {}) => ({
  type: 'text', attrs: { x, y, text: said, align, baseline: 'middle' },
  styles: { color, size: 11, family: font, backgroundColor: back, borderColor: back, borderSize: 0, paddingLeft: 3, paddingRight: 3, paddingTop: 1, paddingBottom: 1 }, ...still,
});

function triangle({ x, y }, isUp) {
  const tip = isUp ? y + 6 : y - 6;
  const foot = isUp ? tip + 10 : tip - 10;
  return [{ x, y: tip }, { x: x - 6, y: foot }, { x: x + 6, y: foot }];
}

// On long bars many marks share a place: the first is drawn, the others are counted beside it.
class Places {
  #taken = new Map();

  isFree(x, y, kind = '') {
    const key = `${Math.round(x)}:${kind}`;
    const before = this.#taken.get(key);
    if (before) before.count += 1;
    else this.#taken.set(key, { count: 1, x, y });
    return !before;
  }

  counts(colour, font) {
    return [...this.#taken.values()].filter(({ count }) => count > 1).map(({ count, x, y }) => text(x + 7, y, String(count), colour, font));
  }
}

// marks: [{ id, isBuy, entry: [ms, price], exit: [ms, price] | null, hasWon, isSelected }]
const journeys = ({ shape, dash }) => (marks, place, colours) => {
  const figures = [];
  const taken = new Places();
  const colour = colours[shape.colour];
  let count = 0;
  const corner = (mark, point, isUp, name) => {
    if (!place.isSeen(point.x)) return false;
    if (taken.isFree(point.x, point.y + (isUp ? 14 : -14), `${name}${isUp}`) || mark.isSelected) figures.push({ key: mark.id, ...shape.figure(point, isUp, colour, mark.isSelected) });
    return true;
  };
  for (const mark of marks) {
    const [entry, exit] = [mark.entry, mark.exit].map((end) => end && { x: place.x(end[0]), y: place.y(end[1]) });
    const seen = [corner(mark, entry, mark.isBuy, 'entry'), exit && corner(mark, exit, !mark.isBuy, 'exit')];
    if (!seen.some(Boolean)) continue;
    count += 1;
    if (exit) figures.push(line([entry, exit], colours[mark.hasWon ? 'up' : 'down'], { dash, size: mark.isSelected ? 2 : 1 }));
  }
  figures.push(...taken.counts(colour, colours.font));
  return { figures, count };
};

const triangles = (colour, isFilled) => ({
  colour,
  figure: (point, isUp, color, isSelected) => ({ type: 'polygon', attrs: { coordinates: triangle(point, isUp) }, styles: { style: isFilled ? 'stroke_fill' : 'stroke', color, borderColor: color, borderSize: isSelected ? 3 : 1.6 } }),
});

const circles = {
  colour: 'fg',
  figure: (point, isUp, color, isSelected) => ({ type: 'circle', attrs: { x: point.x, y: point.y + (isUp ? 9 : -9), r: 4 }, styles: { style: 'stroke', color, borderColor: color, borderSize: isSelected ? 2.5 : 1.4 } }),
};

// marks: [{ ms, price }]
function crosses(marks, place, colours) {
  const figures = [];
  const taken = new Places();
  for (const { ms, price } of marks) {
    const x = place.x(ms);
    const y = place.y(price);
    if (!place.isSeen(x) || !taken.isFree(x, y)) continue;
    figures.push(line([{ x: x - 3, y: y - 3 }, { x: x + 3, y: y + 3 }], colours.muted), line([{ x: x - 3, y: y + 3 }, { x: x + 3, y: y - 3 }], colours.muted));
  }
  return { figures, count: figures.length / 2 };
}

// marks: [{ id, ms, price, side: 'buy' | 'sell' | null }]: filled with a side, hollow without one; without a
// price it lies on the close of its candle.
function diamonds(marks, place, colours) {
  const figures = [];
  let count = 0;
  for (const { id, ms, price, side } of marks) {
    const x = place.x(ms);
    if (!place.isSeen(x)) continue;
    const y = place.y(price ?? place.close(ms)) + (side === 'buy' ? 24 : side === 'sell' ? -24 : 0);
    count += 1;
    figures.push({
      key: id, type: 'polygon', attrs: { coordinates: [{ x, y: y - 6 }, { x: x + 6, y }, { x, y: y + 6 }, { x: x - 6, y }] },
      styles: { style: side ? 'stroke_fill' : 'stroke', color: colours.accent, borderColor: colours.accent, borderSize: 1.4 },
    });
  }
  return { figures, count };
}

// marks: [{ before_ms, after_ms, missing }]: the open times of the candles around the hole. Bars stand side
// by side whatever is missing between them, so the band is as wide as the step.
function bands(marks, place, colours) {
  const figures = [];
  let count = 0;
  for (const gap of marks) {
    const left = place.x(gap.before_ms), right = place.x(gap.after_ms);
    if (!place.isSeen(left) && !place.isSeen(right)) continue;
    count += 1;
    const wide = Math.max(right - left, 6);
    figures.push(
      { type: 'rect', attrs: { x: left, y: 0, width: wide, height: place.height }, styles: { style: 'fill', color: `${colours.warn}2e` }, ...still },
      line([{ x: left, y: 0 }, { x: left, y: place.height }], colours.warn, { dash: [2, 3] }),
      line([{ x: left + wide, y: 0 }, { x: left + wide, y: place.height }], colours.warn, { dash: [2, 3] }),
      text(left + wide / 2, place.height - 12, `${gap.missing} missing`, colours.warn, colours.font, { align: 'center', back: colours.panel }),
    );
  }
  return { figures, count };
}

const LEVELS = { entry: ['fg', null], stop: ['down', [6, 4]], target: ['up', [2, 3]] };

// marks: [{ kind: 'entry' | 'stop' | 'target', ms, price, label }]: from where it began to the right edge.
function levels(marks, place, colours) {
  const figures = [];
  const labels = [];
  let count = 0;
  // From above, so that a label that gives way keeps the order of the lines.
  for (const { kind, ms, price, label } of [...marks].sort((a, b) => b.price - a.price)) {
    const y = place.y(price);
    if (y < 0 || y > place.height) continue;
    count += 1;
    const [name, dash] = LEVELS[kind];
    const from = Math.max(0, Math.min(place.x(ms), place.width - 120));
    let at = y - 9;
    while (labels.some((other) => Math.abs(other - at) < 15)) at += 15;
    labels.push(at);
    figures.push(line([{ x: from, y }, { x: place.width, y }], colours[name], { dash }), text(place.width - 4, at, label, colours[name], colours.font, { align: 'right', back: colours.panel }));
  }
  return { figures, count };
}

export const PAINTERS = {
  paper: journeys({ shape: triangles('paper', false), dash: [4, 3] }),
  live: journeys({ shape: triangles('live', true), dash: null }),
  evaluation: journeys({ shape: circles, dash: [1, 3] }),
  blocked: crosses,
  signals: diamonds,
  gaps: bands,
  levels,
};

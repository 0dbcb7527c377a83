// The chart library alone: it fetches what the insights page fetches for its first chart, and draws it.

const { klinecharts } = globalThis;
const get = async (path) => (await fetch(path)).json();
const candles = get(`/market-data/candles?pair=BTC-USDT&interval=1m&limit=${new URLSearchParams(location.search).get('bars')}`);
const trades = get('/trades?pair=BTC-USDT&limit=200');

klinecharts.registerOverlay({
  name: 'trade', totalStep: 3, needDefaultPointFigure: false,
  createPointFigures: ({ coordinates }) => {
    globalThis.isDrawn = true;
    return [{ type: 'line', attrs: { coordinates } }];
  },
});
const chart = klinecharts.init('chart');
chart.setSymbol({ ticker: 'BTC-USDT', pricePrecision: 1, volumePrecision: 4 });
chart.setPeriod({ type: 'minute', span: 1 });
chart.createIndicator({ name: 'VOL' });
chart.setDataLoader({
  getBars: async ({ type, callback }) => {
    const { t, o, h, l, c, v } = await candles;
    callback(type === 'init' ? t.map((timestamp, i) => ({ timestamp, open: o[i], high: h[i], low: l[i], close: c[i], volume: v[i] })) : [], false);
    if (type !== 'init') return;
    for (const trade of (await trades).items) {
      chart.createOverlay({ name: 'trade', lock: true, points: [{ timestamp: trade.opened_ms, value: Number(trade.average_fill_price) }, { timestamp: trade.closed_at_ms, value: Number(trade.exit_price) }] });
    }
  },
});
globalThis.bareChart = chart;

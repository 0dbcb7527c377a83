// Insights: the tape of one pair, the layers that lie on it, and their list twins.

import { computed, effect, signal } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { start, themeChanged } from './lib/frame.js';
import * as state from './lib/insights_state.js';
import { behind } from './lib/store.js';
import { streamState } from './lib/stream.js';
import { moment } from './lib/times.js';
import { utc } from './lib/format.js';
import { Failed, Glyph, html, Panel, When } from './lib/ui.js';
import { createTape, INDICATOR_NAMES } from './chart/kline.js';

const { evaluation, instrument, interval, jump, layers, marks, pair, selected } = state;
const INTERVALS = ['1m', '3m', '5m', '15m', '1h', '4h', '1d'];
const chartState = signal('loading');
const chartProblem = signal(null);

function Page() {
  return html`<h1 class="sr">Insights</h1><div class="tape">
    <section class="panel" aria-label="Chart"><${Toolbar} /><${LayerBar} /><${IndicatorBar} /><${ChartBox} /><${Notes} /></section>
    <div class="side grid"><${Side} /></div>
  </div>`;
}

// Their code and hundreds of rows would keep the first chart waiting.
const lists = signal(null);
behind(() => import('./lib/insights_lists.js'), state.chartIsThere).then((there) => { lists.value = there; });

function Side() {
  if (!lists.value) return html`<${Panel} title="Trades" span="12"><div class="skeleton" role="status"><span class="sr">Loading Trades</span></div><//>`;
  return html`<${lists.value.Lists} goTo=${goTo} />`;
}

async function heal(gap) {
  const { backfill } = await state.controls;
  backfill({ pair: gap.pair, interval: gap.interval, start: utc(gap.start_ms).slice(0, 16), end: utc(gap.end_ms + 60_000).slice(0, 16) });
}

// Bring a time into view: scroll where its candles are loaded, load around it where not.
function goTo(ms) {
  if (!globalThis.deskTape.jumpTo(ms)) jump.value = ms;
}

const wrongTime = signal('');

function Toolbar() {
  const offered = state.pairs.held.value.data ?? [];
  const toPair = (event) => {
    selected.value = null;
    jump.value = null;
    pair.value = event.target.value;
  };
  const toTime = (event) => {
    event.preventDefault();
    wrongTime.value = '';
    try {
      goTo(moment('time', new FormData(event.target).get('time')));
    } catch (told) {
      wrongTime.value = told.message;
    }
  };
  const toNow = () => {
    jump.value = null;
    selected.value = null;
  };
  return html`<header>
    <select aria-label="Pair" value=${pair.value} onChange=${toPair}>${offered.map((each) => html`<option value=${each.pair} selected=${each.pair === pair.value}>${each.pair}</option>`)}</select>
    <div class="buttons" role="group" aria-label="Interval">${INTERVALS.map((each) => {
      const there = instrument.value?.intervals.includes(each);
      return html`<button aria-pressed=${each === interval.value} disabled=${!there} title=${there ? '' : 'neither stored nor made from a smaller stored interval'} onClick=${() => { interval.value = each; }}>${each}</button>`;
    })}</div>
    <span class="grow"></span>
    <form class="buttons" onSubmit=${toTime}><input name="time" size="16" required aria-label="Time to go to, UTC" placeholder="2026-01-31 12:00" aria-invalid=${wrongTime.value ? 'true' : undefined} title=${wrongTime.value} /><button>Go</button></form>
    <button onClick=${toNow} disabled=${!jump.value}>Go to now</button>
  </header>`;
}

function LayerBar() {
  return html`<div class="layers" role="group" aria-label="Layers">${state.LAYERS.map(({ name, label, what }) => {
    const on = layers.value.has(name);
    const failed = on && state.heldOf(name).some((held) => held.value.state === 'failed');
    return html`<button key=${name} aria-pressed=${on} title=${what} data-layer=${name} onClick=${() => state.turnLayer(name)}><${Glyph} name=${name} />${label}${on && html` <small data-count>${failed ? '!' : marks[name].value.length}</small>`}</button>`;
  })}</div>`;
}

const INDICATOR = { VOL: 'volume with its averages of 5, 10 and 20', MACD: 'moving averages of 12 and 26, their distance and its average of 9', RSI: 'relative strength of 6, 12 and 24', MA: 'moving averages of 5, 10, 30 and 60', BOLL: 'average of 20 and two deviations around it' };

function savePicture() {
  const link = document.createElement('a');
  link.href = globalThis.deskTape.picture();
  link.download = `${pair.value}-${interval.value}-${utc(Date.now()).slice(0, 16).replace(/[ :]/g, '-')}.png`;
  link.click();
}

function IndicatorBar() {
  return html`<div class="layers" role="group" aria-label="Indicators">${INDICATOR_NAMES.map((name) => html`<button key=${name} aria-pressed=${state.indicators.value.has(name)} title=${INDICATOR[name]} onClick=${() => state.turnIndicator(name)}>${name}</button>`)}
    <span class="grow"></span><button onClick=${savePicture} disabled=${chartState.value !== 'ready'}>Save picture</button></div>`;
}

function EvaluationChoice() {
  const offered = state.evaluations.held.value.data ?? [];
  if (!offered.length) return html`<span class="muted">No evaluation of this pair. <a href="/rl-evaluations">Evaluate a version</a></span>`;
  return html`<select aria-label="Evaluation" value=${evaluation.value} onChange=${(event) => { evaluation.value = event.target.value; }}>${offered.map((row) => html`<option key=${row.evaluation_id} value=${row.evaluation_id} selected=${row.evaluation_id === evaluation.value}>${row.version_id}, ${utc(row.period_start_ms).slice(0, 10)}, ${row.trade_count} trades</option>`)}</select>`;
}

function ChartBox() {
  const element = useRef(null);
  // Before the first frame: after it the chart would stand empty for that long.
  useLayoutEffect(() => {
    const tape = createTape(element.current, { state: chartState, problem: chartProblem, firstBars: state.firstBars, onPick: (id) => { selected.value = id; } });
    globalThis.deskTape = tape;
    const isReady = computed(() => chartState.value === 'ready');
    const undo = [
      effect(() => {
        if (!instrument.value) return;
        const { price_precision: pricePrecision, quantity_precision: quantityPrecision } = instrument.value;
        tape.show({ pair: pair.value, interval: interval.value, pricePrecision, quantityPrecision, at: jump.value });
      }),
      ...Object.entries(marks).map(([name, held]) => effect(() => isReady.value && tape.draw(name, held.value))),
      effect(() => {
        if (chartState.value !== 'loading') setTimeout(() => { state.isChartThere.value = true; }, 100);
      }),
      effect(() => tape.indicate(state.indicators.value)),
      effect(() => themeChanged.value && tape.restyle()),
      effect(() => isReady.value && jump.value && tape.jumpTo(jump.value)),
    ];
    return () => {
      undo.forEach((stop) => stop());
      tape.dispose();
    };
  }, []);
  return html`<div class="pad chart-box">
    <div class="chart" ref=${element} data-state=${chartState.value}></div>
    ${chartState.value === 'loading' && html`<p class="chart-state" role="status">Loading candles …</p>`}
    ${chartState.value === 'empty' && html`<p class="chart-state">No candles for this range. <a href="/rl-ops">Backfill on the operations page</a>.</p>`}
    ${chartState.value === 'failed' && html`<div class="chart-state"><${Failed} problem=${chartProblem.value} retry=${() => globalThis.deskTape.reload()} /></div>`}
  </div>`;
}

// Below the chart, so that what appears here moves nothing: what a layer says, and what the marks mean.
function Notes() {
  const lost = !['live', 'connecting'].includes(streamState.value);
  const failed = state.LAYERS.filter(({ name }) => layers.value.has(name)).flatMap(({ name, label }) => {
    const told = state.heldOf(name).find((held) => held.value.state === 'failed')?.value;
    return told ? [{ name, label, told }] : [];
  });
  return html`<div class="notes">
    ${wrongTime.value && html`<p class="refusal" role="alert">${wrongTime.value}</p>`}
    ${lost && html`<p class="warn" role="status">Stream lost: the chart stands still until it is back.</p>`}
    ${failed.map(({ name, label, told }) => html`<p key=${name} role="alert" data-failed=${name}><span class="down">${label}: ${told.problem.title} ${told.problem.message}</span>${told.data && html` <span class="muted">drawn as of <${When} ms=${told.at} full /></span>`} <button class="plain" onClick=${() => state.retryLayer(name)}>Retry</button></p>`)}
    <${EvaluationNote} /><${SignalNote} />
    ${layers.value.has('gaps') && state.missing.value.slice(0, 3).map((gap) => html`<p key=${gap.gap_id}><${Glyph} name="gaps" /> ${gap.missing_points} candle${gap.missing_points === 1 ? '' : 's'} missing from <${When} ms=${gap.start_ms} full />, ${gap.status.replaceAll('_', ' ')} <button class="plain" onClick=${() => goTo(gap.start_ms)}>Show</button>${gap.status === 'absent_at_venue' ? '' : html`<button class="plain" onClick=${() => heal(gap)}>Heal …</button>`}</p>`)}
    <p class="muted">Below the price a buy, above it a sell; links green when won, red when lost; a number counts marks that share a candle. UTC.</p>
  </div>`;
}

function EvaluationNote() {
  if (!layers.value.has('evaluation')) return null;
  const held = state.evaluationTrades.held.value.data;
  const first = held?.items[0];
  const isRead = held?.id && held.id === evaluation.value;
  return html`<p class="buttons"><${Glyph} name="evaluation" /> <${EvaluationChoice} />
    ${isRead && (first ? html`<span>${held.items.length} trades${held.more ? ', the first ones,' : ''} from <${When} ms=${first.opened_ms} full /> to <${When} ms=${held.items.at(-1).closed_ms} full /></span><button class="plain" onClick=${() => goTo(first.opened_ms)}>Show the first</button>` : html`<span>This evaluation made no trade.</span>`)}</p>`;
}

function SignalNote() {
  const held = state.signals.held.value.data;
  if (!layers.value.has('signals') || !held) return null;
  if (!held.feeds) return html`<p>No source of signals is configured. <a href="/rl-data-sources">Sources</a></p>`;
  return state.signalRows.value.length ? null : html`<p>No signal for ${pair.value} in 31 days.</p>`;
}

start(Page, { after: state.chartIsThere });

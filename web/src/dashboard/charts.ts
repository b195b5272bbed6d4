// Charts of the last hour.

import uPlot from 'uplot';
import { byId, write } from '../dom';
import type { Sample } from './data';
import { make } from './elements';

/** Number of samples in an hour. */
const HOUR = 360;
/** Seconds between two samples. */
const STEP = 10;
const HEIGHT = 160;

interface Chart {
  title: string;
  value: (sample: Sample) => number | null;
  /** Unit of the newest value, which the heading shows. */
  unit: string;
  /** True if all values are whole numbers. */
  whole: boolean;
  bars?: boolean;
}

const CHARTS: Chart[] = [
  { title: 'Rooms on air', value: (s) => s.rooms, unit: '', whole: true },
  { title: 'Listeners', value: (s) => s.listeners, unit: '', whole: true },
  { title: 'Joins of anchors', value: (s) => s.joins, unit: ' in 10 s', whole: true, bars: true },
  { title: 'Late parts', value: (s) => s.lateParts, unit: ' in 10 s', whole: true, bars: true },
  { title: 'Restarts of actors and FFmpeg', value: (s) => s.restarts, unit: ' in 10 s', whole: true, bars: true },
  { title: 'Store requests, mean duration', value: (s) => s.storeMs, unit: ' ms', whole: false },
];

let samples: Sample[] = [];
let plots: { chart: Chart; plot: uPlot; holder: HTMLElement; now: HTMLElement }[] = [];
let visible = false;

/** Returns the colour of a design token as `rgb(…)`, with the opacity `alpha` if it is given. */
function colour(token: string, alpha?: number): string {
  const probe = make('span');
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const text = getComputedStyle(probe).color;
  probe.remove();
  return alpha === undefined ? text : text.replace('rgb(', 'rgba(').replace(')', `, ${alpha})`);
}

function build(): void {
  for (const { plot } of plots) plot.destroy();
  const [ink, rule] = [colour('--muted'), colour('--line')];
  const stroke = { stroke: colour('--accent'), fill: colour('--accent', 0.12), width: 2, points: { show: false } };
  const axis = { stroke: ink, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1 }, font: '12px system-ui, sans-serif' };
  plots = CHARTS.map((chart) => {
    const now = make('span', 'strong');
    const holder = make('div', 'plot');
    const smallest = chart.whole ? 1 : 0.1;
    const label = (value: number): string => (chart.whole && !Number.isInteger(value) ? '' : String(+value.toFixed(2)));
    const bars = chart.bars && uPlot.paths.bars ? { paths: uPlot.paths.bars({ size: [0.9, 8, 2] }) } : {};
    const options: uPlot.Options = {
      width: 320,
      height: HEIGHT,
      padding: [8, 24, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { y: { range: (_, __, max) => [0, Math.max(smallest, max ?? 0) * 1.1] } },
      axes: [{ ...axis, size: 32, space: 70, values: '{HH}:{mm}' }, { ...axis, size: 44, values: (_, values) => values.map(label) }],
      series: [{}, { ...stroke, ...bars, label: chart.title }],
      hooks: { setCursor: [(plot) => headline(chart, now, plot)] },
    };
    return { chart, plot: new uPlot(options, data(chart), holder), holder, now };
  });
  const panel = ({ chart, holder, now }: (typeof plots)[number]): HTMLElement => make('figure', 'chart', make('figcaption', '', chart.title, now), holder);
  byId('charts-grid').replaceChildren(...plots.map(panel));
}

/** Returns the points of a chart. The first point has no value; it only makes the axis an hour long. */
function data({ value }: Chart): uPlot.AlignedData {
  const end = (samples.at(-1)?.at ?? Date.now()) / 1000;
  const first = end - (HOUR - 1) * STEP;
  const known = samples.filter((sample) => sample.at / 1000 > first);
  return [[first, ...known.map((sample) => sample.at / 1000)], [null, ...known.map(value)]];
}

/** Writes the value under the pointer into the heading; if the pointer is elsewhere, the newest value. */
function headline(chart: Chart, target: HTMLElement, plot: uPlot): void {
  const [times, values] = plot.data;
  const pointed = plot.cursor.idx ?? null;
  const index = pointed ?? times.length - 1;
  const value = values?.[index] ?? null;
  const time = pointed === null ? '' : ` at ${new Date(times[index]! * 1000).toTimeString().slice(0, 8)}`;
  write(target, value === null ? '–' : `${+value.toFixed(2)}${chart.unit}${time}`);
}

function draw(): void {
  if (!visible) return;
  if (plots.length === 0) build();
  for (const { chart, plot, holder, now } of plots) {
    plot.setSize({ width: holder.clientWidth, height: HEIGHT });
    plot.setData(data(chart));
    headline(chart, now, plot);
  }
}

export function setHistory(history: Sample[]): void {
  samples = history.slice(-HOUR);
  draw();
}

export function addSample(sample: Sample | null): void {
  if (!sample || sample.at <= (samples.at(-1)?.at ?? 0)) return;
  samples = [...samples, sample].slice(-HOUR);
  draw();
}

export function showCharts(show: boolean): void {
  visible = show;
  draw();
}

export function startCharts(): void {
  window.addEventListener('resize', draw);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    if (plots.length > 0) build();
    draw();
  });
}

// One plot over the steps of a run: uPlot with the page's colours, zoom, pan and reading by pointer and keyboard.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { number, whole } from "./kit.js";
import { extent } from "./columns.js";

const HEIGHTS = { loss: 250, lr: 96, grad_norm: 96 };

/** The colour a CSS variable has at `node`. */
export const colour = (node, name) => getComputedStyle(node).getPropertyValue(name).trim();

/**
 * A plot of `lines` ([{label, stroke, width, dash, fill, points}]) over joined `tables` in `place`.
 * `view` answers for the chart: {log(), clip(), marks(), zoom(range), reset(), hover(step)}.
 */
export function plot(place, key, lines, tables, view) {
  const log = key === "loss" && view.log();
  const axis = { stroke: colour(place, "--st-soft"), grid: { stroke: colour(place, "--st-rule"), width: 1 },
    ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const made = new uPlot({
    width: Math.max(120, place.clientWidth), height: HEIGHTS[key],
    scales: { x: { time: false }, y: { ...(log ? { distr: 3 } : {}), range: (self) => within(self, key !== "lr" && view.clip(), log) } },
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 },
      bind: { mousedown: (self, _, handler) => (event) => (event.shiftKey || event.button === 1
        ? pan(event, self, view) : handler(event)), dblclick: () => () => view.reset() } },
    legend: { show: false },
    series: [{}, ...lines.map((line) => ({ ...line, points: { show: false, ...line.points } }))],
    bands: lines[0]?.band ? [{ series: [2, 1], fill: lines[0].band }] : [],
    axes: [{ ...axis, size: 28, values: (_, ticks) => ticks.map((v) => whole(v)) },
      { ...axis, size: 62, values: (_, ticks) => ticks.map((v) => (v === null ? "" : number(v, 3))) }],
    hooks: {
      draw: [(self) => view.marks().forEach(([steps, name, dash]) => marks(self, steps, colour(place, name), dash))],
      setSelect: [(self) => select(self, view)],
      setCursor: [(self) => view.hover(self.cursor.idx === null || self.cursor.idx === undefined ? null : self.data[0][self.cursor.idx])],
    },
  }, joined(tables), place);
  made.over.addEventListener("wheel", (event) => wheel(event, made, view), { passive: false });
  return made;
}

/** Several tables of steps and columns as one; a step that a table lacks is no gap in its lines. */
export const joined = (tables) => (tables.length === 1 ? tables[0] : uPlot.join(tables));

/** Upright lines at the steps where something happened to the run: dotted where it was resumed, dashed where changed. */
function marks(self, steps, stroke, dash) {
  const { ctx, bbox } = self;
  ctx.save();
  ctx.strokeStyle = stroke;
  ctx.setLineDash(dash);
  for (const step of steps) {
    const x = self.valToPos(step, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function within(self, clip, log) {
  const { min, max } = self.scales.x;
  const steps = self.data[0];
  const values = [];
  self.series.forEach((series, i) => {
    if (i === 0 || !series.show) return;
    self.data[i].forEach((value, at) => { if (steps[at] >= (min ?? -Infinity) && steps[at] <= (max ?? Infinity)) values.push(value); });
  });
  return extent(values, clip, log);
}

function select(self, view) {
  const { left, width } = self.select;
  if (width < 6) return;
  const range = { min: self.posToVal(left, "x"), max: self.posToVal(left + width, "x") };
  self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  view.zoom(range);
}

function pan(event, self, view) {
  event.preventDefault();
  const { min, max } = self.scales.x;
  const perPixel = (max - min) / self.over.clientWidth;
  const from = event.clientX;
  const move = (e) => view.zoom({ min: min - (e.clientX - from) * perPixel, max: max - (e.clientX - from) * perPixel });
  const end = () => { window.removeEventListener("pointermove", move); window.removeEventListener("pointerup", end); };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
}

function wheel(event, self, view) {
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (!sideways && !event.ctrlKey && !event.metaKey) return;  // the page scrolls
  event.preventDefault();
  const { min, max } = self.scales.x;
  if (sideways) {
    const by = (event.deltaX / self.over.clientWidth) * (max - min);
    view.zoom({ min: min + by, max: max + by });
    return;
  }
  const at = self.posToVal(event.clientX - self.over.getBoundingClientRect().left, "x");
  const factor = event.deltaY > 0 ? 1.25 : 0.8;
  view.zoom({ min: at - (at - min) * factor, max: at + (max - at) * factor });
}

// @ts-check
// One plot over the steps of a run: uPlot with the page's colours, zoom, pan and reading by pointer and keyboard.

import { number, whole } from "../kit/kit.js";
import { extent } from "./columns.js";

/** @import uPlot from "../vendor/uplot/uPlot.esm.js" */
/** @import { Range } from "./columns.js" */
/**
 * @typedef {"loss" | "lr" | "grad_norm"} Panel
 * @typedef {uPlot.Series & { band?: string }} Line
 * @typedef {{ steps: number[], colour: string, dash: number[] }} Marks upright lines
 */
/**
 * What a plot asks of the chart it is in, and tells it.
 * @typedef {object} View
 * @property {() => boolean} log whether losses are drawn on a logarithm
 * @property {() => boolean} clip whether the outermost values are left outside
 * @property {() => Marks[]} marks
 * @property {(range: Range) => void} zoom
 * @property {() => void} reset
 * @property {(step: number | null) => void} hover
 */

/** @type {Record<Panel, number>} */
const HEIGHTS = { loss: 250, lr: 96, grad_norm: 96 };
const FONT = "12px system-ui, sans-serif";

/** What draws; fetched by the first chart. @type {typeof uPlot | null} */
let Drawer = null;

/** Fetch what draws. */
export async function prepare() {
  Drawer ??= (await import("../vendor/uplot/uPlot.esm.js")).default;
}

/** What draws. Throws before `prepare` is done. */
function drawer() {
  if (!Drawer) throw new Error("nothing can be plotted before prepare() is done");
  return Drawer;
}

/** The colour a CSS variable has at `node`. @param {Element} node @param {string} name */
export const colour = (node, name) => getComputedStyle(node).getPropertyValue(name).trim();

/**
 * A plot of `lines` over joined `tables` in `place`; `view` answers for the chart.
 * @param {HTMLElement} place
 * @param {Panel} panel
 * @param {Line[]} lines
 * @param {uPlot.AlignedData[]} tables
 * @param {View} view
 */
export function plot(place, panel, lines, tables, view) {
  const log = panel === "loss" && view.log();
  const clips = () => panel !== "lr" && view.clip();
  /** @type {uPlot.Options} */
  const options = {
    width: Math.max(120, place.clientWidth),
    height: HEIGHTS[panel],
    scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: (self) => heights(self, clips(), log) } },
    cursor: {
      drag: { x: true, y: false, setScale: false },
      points: { size: 7 },
      bind: { mousedown: (self, _, drag) => pressed(self, drag, view), dblclick: () => doubled(view) },
    },
    legend: { show: false },
    series: [{}, ...lines.map((line) => ({ ...line, points: { show: false, ...line.points } }))],
    bands: lines[0]?.band ? [{ series: [2, 1], fill: lines[0].band }] : [],
    axes: axes(place),
    hooks: {
      draw: [(self) => view.marks().forEach((marks) => mark(self, marks, colour(place, marks.colour)))],
      setSelect: [(self) => select(self, view)],
      setCursor: [(self) => view.hover(pointedAt(self))],
    },
  };
  const plotted = new (drawer())(options, joined(tables), place);
  plotted.over.addEventListener("wheel", (event) => wheel(event, plotted, view), { passive: false });
  return plotted;
}

/** @param {HTMLElement} place @returns {uPlot.Axis[]} */
function axes(place) {
  const grid = { stroke: colour(place, "--st-rule"), width: 1 };
  const axis = { stroke: colour(place, "--st-soft"), grid, ticks: { show: false }, font: FONT };
  return [
    { ...axis, size: 28, values: (_, ticks) => ticks.map((tick) => whole(tick)) },
    { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick, 3))) },
  ];
}

/** With Shift or the middle button the plot is moved, else a part of it is chosen.
 * @param {uPlot} self @param {(event: MouseEvent) => unknown} drag @param {View} view
 * @returns {(event: MouseEvent) => null} */
const pressed = (self, drag, view) => (event) => {
  if (event.shiftKey || event.button === 1) pan(event, self, view);
  else drag(event);
  return null;
};

/** @param {View} view @returns {() => null} */
const doubled = (view) => () => {
  view.reset();
  return null;
};

/** The step at the cursor. @param {uPlot} self */
function pointedAt(self) {
  const { idx } = self.cursor;
  return idx === null || idx === undefined ? null : self.data[0][idx];
}

/** Several tables of steps and columns as one; a step that a table lacks is no gap in its lines.
 * @param {uPlot.AlignedData[]} tables */
export const joined = (tables) => (tables.length === 1 ? tables[0] : drawer().join(tables));

/** Upright lines at the steps where a run was resumed (dotted) or changed (dashed).
 * @param {uPlot} self @param {Marks} marks @param {string} stroke */
function mark(self, { steps, dash }, stroke) {
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

/** The lowest and the highest value to draw of the steps on show.
 * @param {uPlot} self @param {boolean} clip @param {boolean} log @returns {[number, number]} */
function heights(self, clip, log) {
  const { min, max } = self.scales.x;
  const [from, to] = [min ?? -Infinity, max ?? Infinity];
  const steps = self.data[0];
  /** @type {(number | null | undefined)[]} */
  const values = [];
  self.series.forEach((series, i) => {
    if (i === 0 || !series.show) return;
    for (let at = 0; at < steps.length; at += 1) {
      if (steps[at] >= from && steps[at] <= to) values.push(self.data[i][at]);
    }
  });
  return extent(values, clip, log);
}

/** @param {uPlot} self @param {View} view */
function select(self, view) {
  const { left, width } = self.select;
  if (width < 6) return;
  const range = { min: self.posToVal(left, "x"), max: self.posToVal(left + width, "x") };
  self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  view.zoom(range);
}

/** The steps on show. @param {uPlot} self @returns {Range} */
const rangeOf = ({ scales }) => ({ min: scales.x.min ?? 0, max: scales.x.max ?? 0 });

/** @param {MouseEvent} event @param {uPlot} self @param {View} view */
function pan(event, self, view) {
  event.preventDefault();
  const { min, max } = rangeOf(self);
  const perPixel = (max - min) / self.over.clientWidth;
  const from = event.clientX;
  /** @param {PointerEvent} moved */
  const move = (moved) => {
    const by = (moved.clientX - from) * perPixel;
    view.zoom({ min: min - by, max: max - by });
  };
  const end = () => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
}

/** @param {WheelEvent} event @param {uPlot} self @param {View} view */
function wheel(event, self, view) {
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (!sideways && !event.ctrlKey && !event.metaKey) return; // the page scrolls
  event.preventDefault();
  const { min, max } = rangeOf(self);
  if (sideways) {
    const by = (event.deltaX / self.over.clientWidth) * (max - min);
    view.zoom({ min: min + by, max: max + by });
    return;
  }
  const at = self.posToVal(event.clientX - self.over.getBoundingClientRect().left, "x");
  const factor = event.deltaY > 0 ? 1.25 : 0.8;
  view.zoom({ min: at - (at - min) * factor, max: at + (max - at) * factor });
}

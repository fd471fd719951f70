// @ts-check
// The values at the chart's cursor beside each line's mark, and the whole chart as a PNG.

import { el, number, say, t, whole } from "../kit/kit.js";
import { nearest, smooth } from "./columns.js";
import { colourBeside } from "./panels.js";
import { colour } from "./plot.js";
import { DASHES, VALIDATION } from "./tracks.js";

/** @import { Numbers, Weights } from "../../types/api.js" */
/** @import { Chart } from "./chart.js" */
/** @import { Panel } from "./plot.js" */
/** @import { Track } from "./tracks.js" */
/**
 * One value above a panel.
 * @typedef {object} Reading
 * @property {string} id
 * @property {string} label
 * @property {number | null} [value]
 * @property {string} [stroke] the CSS variable of its line's colour; without one it is words alone
 * @property {number[]} [dash]
 */

const SVG = "http://www.w3.org/2000/svg";

/** Write each panel's values at the step pointed at, or the last ones. @param {Chart} chart */
export function readings(chart) {
  const step = chart.step ?? chart.track.curve.last;
  const rows = ofRun(chart, step);
  chart.others.tracks.forEach((track, place) => {
    const values = beside(track, step, chart.look.weight);
    const line = { id: track.id, label: track.name, stroke: colourBeside(place), dash: DASHES[place + 1] };
    rows.loss.push({ ...line, value: values.loss });
    rows.lr.push({ ...line, value: values.lr });
    rows.grad_norm.push({ ...line, value: values.grad_norm });
  });
  fill(chart.heads.loss, rows.loss);
  fill(chart.heads.lr, rows.lr);
  fill(chart.heads.grad_norm, rows.grad_norm);
}

/** The entry of a column nearest to a step.
 * @template Value @param {{ step: number[] }} table @param {Value[]} column @param {number} step */
const valueAt = (table, column, step) => column[nearest(table.step, step)] ?? null;

/** The page's own run at a step. @param {Chart} chart @param {number} step @returns {Record<Panel, Reading[]>} */
function ofRun({ track: { curve }, look }, step) {
  const table = curve.at(step);
  /** @param {Numbers} column */
  const at = (column) => valueAt(table, column, step);
  const shown = whole(valueAt(table, table.step, step) ?? step);
  const smoothed = at(smooth(table.loss, look.weight));
  const held = Object.entries(curve.validation).map(([weights, losses]) => ({
    id: weights,
    label: t(`chart.validation_${weights}`),
    value: valueAt(losses, losses.loss, step),
    stroke: "--st-second",
    dash: VALIDATION[/** @type {Weights} */ (weights)],
  }));
  return {
    loss: [
      { id: "step", label: t("chart.at_step", { step: shown }) },
      { id: "raw", label: t("chart.raw"), value: at(table.loss), stroke: "--st-raw" },
      { id: "smoothed", label: t("chart.smoothed"), value: smoothed, stroke: "--st-line" },
      ...held,
    ],
    lr: [{ id: "lr", label: t("chart.lr"), value: at(table.lr), stroke: "--st-line" }],
    grad_norm: [{ id: "grad", label: t("chart.grad_norm"), value: at(table.grad_norm), stroke: "--st-line" }],
  };
}

/** Another run at a step; nothing beyond its end. @param {Track} track @param {number} step @param {number} weight
 * @returns {Record<Panel, number | null>} */
function beside({ curve }, step, weight) {
  const table = curve.at(step);
  if (!table.step.length || step > curve.last) return { loss: null, lr: null, grad_norm: null };
  return {
    loss: valueAt(table, smooth(table.loss, weight), step),
    lr: valueAt(table, table.lr, step),
    grad_norm: valueAt(table, table.grad_norm, step),
  };
}

/** @param {HTMLElement} head @param {Reading[]} rows */
function fill(head, rows) {
  const key = rows.map(({ id }) => id).join();
  if (head.dataset.key !== key) {
    head.dataset.key = key;
    head.replaceChildren(...rows.map(cell));
  }
  rows.forEach(({ label, value, stroke }, place) => {
    const { children, lastElementChild: last } = head.children[place];
    say(children[stroke ? 1 : 0], label);
    if (stroke && last) say(last, number(value));
  });
}

/** @param {Reading} reading */
function cell({ stroke, dash }) {
  return stroke ? el("span", {}, mark(stroke, dash ?? []), el("span"), el("b")) : el("span", {}, el("span"));
}

/** A short piece of a line, as it is drawn. @param {string} stroke @param {number[]} dash */
function mark(stroke, dash) {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "line");
  svg.setAttribute("viewBox", "0 0 26 8");
  svg.setAttribute("aria-hidden", "true");
  const ends = { x1: "0", x2: "26", y1: "4", y2: "4", "stroke-dasharray": dash.join(" ") };
  for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
  line.style.stroke = `var(${stroke})`;
  svg.append(line);
  return svg;
}

/** Download what the chart shows as a PNG. @param {Chart} chart */
export async function picture(chart) {
  const plots = chart.eachPlot();
  const canvas = document.createElement("canvas");
  const ink = canvas.getContext("2d");
  if (!plots.length || !ink) return;
  const ratio = window.devicePixelRatio || 1;
  const line = 26 * ratio;
  const gap = 14 * ratio;
  canvas.width = plots[0][1].ctx.canvas.width + 2 * gap;
  canvas.height = plots.reduce((sum, [, plotted]) => sum + plotted.ctx.canvas.height + line, 2 * gap);
  ink.fillStyle = colour(chart.node, "--st-card");
  ink.fillRect(0, 0, canvas.width, canvas.height);
  ink.font = `${13 * ratio}px system-ui, sans-serif`;
  ink.textBaseline = "middle";
  let top = gap;
  for (const [panel, plotted] of plots) {
    words(ink, chart, panel, gap, top + line / 2, ratio);
    ink.drawImage(plotted.ctx.canvas, gap, top + line);
    top += plotted.ctx.canvas.height + line;
  }
  canvas.toBlob((blob) => blob && download(blob, `run-${chart.id.slice(0, 8)}.png`));
}

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}

/** Write the values above a panel, each with its line's colour.
 * @param {CanvasRenderingContext2D} ink @param {Chart} chart @param {Panel} panel @param {number} left
 * @param {number} middle @param {number} ratio pixels of the screen to one of the page */
function words(ink, chart, panel, left, middle, ratio) {
  for (const item of chart.heads[panel].children) {
    const stroke = item.querySelector("line")?.style.stroke.match(/--[\w-]+/)?.[0];
    if (stroke) {
      ink.fillStyle = colour(chart.node, stroke);
      ink.fillRect(left, middle - 1.5 * ratio, 18 * ratio, 3 * ratio);
      left += 24 * ratio;
    }
    ink.fillStyle = colour(chart.node, "--st-ink");
    const text = [...item.querySelectorAll("span, b")].map((node) => node.textContent).join(" ");
    ink.fillText(text, left, middle);
    left += ink.measureText(text).width + 18 * ratio;
  }
}

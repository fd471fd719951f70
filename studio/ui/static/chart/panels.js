// @ts-check
// What each panel of a chart draws: the tables of the runs on show, and a line for each of their columns.

import { t } from "../kit/kit.js";
import { positive, smooth } from "./columns.js";
import { DASHES, VALIDATION } from "./tracks.js";

/** @import { Numbers, Weights } from "../../types/api.js" */
/** @import { Table } from "./columns.js" */
/** @import { Line, Panel } from "./plot.js" */
/** @import { Track } from "./tracks.js" */
/** @typedef {[number[], ...Numbers[]]} Columns steps, and what is drawn over them */
/** @typedef {{ columns: Columns, lines: Line[] }} Drawn */
/**
 * How the curves are looked at.
 * @typedef {object} Look
 * @property {number} weight of the running mean
 * @property {boolean} logs whether losses are drawn on a logarithm
 * @property {(name: string) => string} colour of a CSS variable
 */

/** @type {Panel[]} */
export const PANELS = ["loss", "lr", "grad_norm"];

/** What a panel draws of a run and of those beside it. @param {Panel} panel @param {Track} track
 * @param {Track[]} others @param {Look} look @returns {Drawn[]} */
export function drawnIn(panel, track, others, look) {
  const ofRun = panel === "loss" ? losses(track, look) : [plain(panel, track, look)];
  return [...ofRun, ...others.map((other, place) => beside(panel, other, place, look))];
}

/** @param {Exclude<Panel, "loss">} panel @param {Track} track @param {Look} look @returns {Drawn} */
function plain(panel, { curve: { shown } }, { colour }) {
  const line = { label: t(`chart.${panel}`), stroke: colour("--st-line"), width: 1.5 };
  return { columns: [shown.step, shown[panel]], lines: [line] };
}

/** The band between the lowest and highest losses, raw and smoothed ones, and held-out ones.
 * @param {Track} track @param {Look} look @returns {Drawn[]} */
function losses({ curve: { shown, validation } }, look) {
  const { colour } = look;
  const raw = scaled(shown.loss, look);
  const points = { show: shown.step.length < 3 };
  const lines = [
    { stroke: "transparent", width: 0, band: colour("--st-band") },
    { stroke: "transparent", width: 0 },
    { label: t("chart.raw"), stroke: colour("--st-raw"), width: 1, points },
    { label: t("chart.smoothed"), stroke: colour("--st-line"), width: 2.5 },
  ];
  /** @type {Columns} */
  const columns = [shown.step, scaled(shown.low, look), scaled(shown.high, look), raw, smooth(raw, look.weight)];
  const held = Object.entries(validation).map(([weights, { step, loss }]) => ({
    columns: /** @type {Columns} */ ([step, scaled(loss, look)]),
    lines: [heldOut(/** @type {Weights} */ (weights), colour)],
  }));
  return [{ columns, lines }, ...held];
}

/** @param {Weights} weights @param {Look["colour"]} colour @returns {Line} */
const heldOut = (weights, colour) => ({
  label: t(`chart.validation_${weights}`),
  stroke: colour("--st-second"),
  width: 2,
  dash: VALIDATION[weights],
  points: { show: true, size: 6 },
});

/** Another run's line. @param {Panel} panel @param {Track} track @param {number} place @param {Look} look
 * @returns {Drawn} */
function beside(panel, { name, curve: { shown } }, place, look) {
  const line = { label: name, stroke: look.colour(colourBeside(place)), width: 2, dash: DASHES[place + 1] };
  return { columns: [shown.step, valuesOf(panel, shown, look)], lines: [line] };
}

/** The CSS variable of a run's colour. @param {number} place among those beside the page's own */
export const colourBeside = (place) => `--st-c${place + 2}`;

/** @param {Panel} panel @param {Table} table @param {Look} look */
function valuesOf(panel, table, look) {
  return panel === "loss" ? smooth(scaled(table.loss, look), look.weight) : table[panel];
}

/** @param {Numbers} values @param {Look} look */
const scaled = (values, { logs }) => (logs ? positive(values) : values);

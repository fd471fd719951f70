// @ts-check
// The curves of one run as columns, whole and zoomed in, and what is drawn from them.

/** @import { Numbers, Series, StepEvent, ValidationEvent, Weights } from "../../types/api.js" */
/**
 * @typedef {{ step: number[], loss: Numbers, low: Numbers, high: Numbers, lr: Numbers, grad_norm: Numbers }} Table
 * @typedef {{ step: number[], loss: Numbers }} Losses
 * @typedef {{ min: number, max: number }} Range
 */

/** @returns {Table} */
const nothing = () => ({ step: [], loss: [], low: [], high: [], lr: [], grad_norm: [] });

/** A series answer as columns: means, and the range of the loss within each entry.
 * @param {Pick<Series, "step" | "loss" | "lr" | "grad_norm">} series @returns {Table} */
export function columns({ step, loss, lr, grad_norm }) {
  return {
    step: [...step],
    loss: [...loss.mean],
    low: [...loss.min],
    high: [...loss.max],
    lr: [...lr.mean],
    grad_norm: [...grad_norm.mean],
  };
}

/** A running mean without bias at its start, `weight` 0 (none) to 0.99; gaps stay gaps.
 * @param {Numbers} values @param {number} weight @returns {Numbers} */
export function smooth(values, weight) {
  let mean = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

/** The values that a logarithm has a place for; others become gaps. @param {Numbers} values @returns {Numbers} */
export const positive = (values) => values.map((value) => (value !== null && value > 0 ? value : null));

/** The place of the entry nearest to `step` in ascending `steps`; -1 when there is none.
 * @param {number[]} steps @param {number} step */
export function nearest(steps, step) {
  if (!steps.length) return -1;
  let low = 0;
  let high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - steps[low - 1] <= steps[low] - step ? low - 1 : low;
}

/** The [lowest, highest] to draw of many values; with `clip` the outermost hundredth at each end is left outside.
 * @param {(number | null | undefined)[]} values @param {boolean} clip @param {boolean} log
 * @returns {[number, number]} */
export function extent(values, clip, log) {
  const good = values.filter((value) => typeof value === "number" && (!log || value > 0));
  const sorted = /** @type {number[]} */ (good).sort((a, b) => a - b);
  if (!sorted.length) return log ? [0.1, 1] : [0, 1];
  const cut = clip && sorted.length > 20 ? Math.floor(sorted.length / 100) + 1 : 0;
  const low = sorted[cut];
  const high = sorted[sorted.length - 1 - cut];
  return log ? roomOfLogarithm(low, high) : roomAround(low, high);
}

/** @param {number} low @param {number} high @returns {[number, number]} */
function roomOfLogarithm(low, high) {
  if (low === high) return [low / 2, high * 2];
  const room = (high / low) ** 0.05;
  return [low / room, high * room];
}

/** @param {number} low @param {number} high @returns {[number, number]} */
function roomAround(low, high) {
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** One run's columns: the whole curve, true detail of the part zoomed in on, and its validation losses. */
export class Curve {
  constructor() {
    this.base = nothing();
    /** @type {Table | null} */
    this.detail = null;
    /** @type {Range | null} */
    this.range = null;
    /** @type {Partial<Record<Weights, Losses>>} */
    this.validation = {};
  }

  get length() {
    return this.base.step.length;
  }

  get last() {
    return this.base.step[this.length - 1] ?? 0;
  }

  /** What is on show: the detail once it is there, else the whole. */
  get shown() {
    return this.detail ?? this.base;
  }

  /** The table to read `step` from: the detail where it reaches, else the whole. @param {number} step */
  at(step) {
    const { step: steps } = this.shown;
    return step >= steps[0] && step <= steps[steps.length - 1] ? this.shown : this.base;
  }

  /** @param {Table} base @param {Partial<Record<Weights, Losses>>} validation */
  load(base, validation) {
    this.base = base;
    this.validation = validation;
  }

  /** New step events; what lies at or after their first step is replaced. @param {StepEvent[]} points */
  append(points) {
    if (!points.length) return;
    this.cut(points[0].step - 1);
    for (const point of points) {
      push(this.base, point);
      if (this.detail && this.range && point.step <= this.range.max) push(this.detail, point);
    }
  }

  /** New validation losses. @param {ValidationEvent[]} points */
  validate(points) {
    for (const { step, loss, weights } of points) {
      const losses = this.validation[weights] ?? { step: [], loss: [] };
      this.validation[weights] = losses;
      trim(losses, step - 1);
      losses.step.push(step);
      losses.loss.push(loss ?? null);
    }
  }

  /** Drop everything after `step` (a resumed run goes back to its checkpoint). @param {number} step */
  cut(step) {
    trim(this.base, step);
    if (this.detail) trim(this.detail, step);
    for (const losses of Object.values(this.validation)) trim(losses, step);
  }
}

/** @param {Table} table @param {StepEvent} point */
function push(table, { step, loss = null, lr = null, grad_norm = null }) {
  table.step.push(step);
  table.loss.push(loss);
  table.low.push(loss);
  table.high.push(loss);
  table.lr.push(lr);
  table.grad_norm.push(grad_norm);
}

/** @param {Table | Losses} table @param {number} step */
function trim(table, step) {
  const steps = table.step;
  while (steps.length && steps[steps.length - 1] > step) {
    for (const column of Object.values(table)) column.pop();
  }
}

// The curves of one run as columns, whole and zoomed in, and what is drawn from them.

const KEYS = ["loss", "low", "high", "lr", "grad_norm"];

const nothing = () => ({ step: [], ...Object.fromEntries(KEYS.map((key) => [key, []])) });

/** A series answer as columns: means, and the range of the loss within each entry. */
export function columns({ step, loss, lr, grad_norm }) {
  return { step: [...step], loss: [...loss.mean], low: [...loss.min], high: [...loss.max], lr: [...lr.mean],
    grad_norm: [...grad_norm.mean] };
}

/** A running mean without bias at its start, `weight` 0 (none) to 0.99; gaps stay gaps. */
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

/** The place of the entry nearest to `step` in ascending `steps`; -1 when there is none. */
export function nearest(steps, step) {
  if (!steps.length) return -1;
  let [low, high] = [0, steps.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - steps[low - 1] <= steps[low] - step ? low - 1 : low;
}

/** The [lowest, highest] to draw of many values; with `clip` the outermost hundredth at each end is left outside. */
export function extent(values, clip, log) {
  const good = values.filter((value) => value !== null && value !== undefined && (!log || value > 0)).sort((a, b) => a - b);
  if (!good.length) return log ? [0.1, 1] : [0, 1];
  const cut = clip && good.length > 20 ? Math.floor(good.length / 100) + 1 : 0;
  const [low, high] = [good[cut], good[good.length - 1 - cut]];
  if (log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.05, high * (high / low) ** 0.05];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** One run's columns: the whole curve, true detail of the part zoomed in on, and its validation losses. */
export class Curve {
  constructor() {
    this.base = nothing();
    this.detail = null;
    this.range = null;
    this.validation = {};  // by weights: {step, loss}
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

  /** The table to read `step` from: the detail where it reaches, else the whole. */
  at(step) {
    const { step: steps } = this.shown;
    return step >= steps[0] && step <= steps[steps.length - 1] ? this.shown : this.base;
  }

  load(base, validation) {
    this.base = base;
    this.validation = validation;
  }

  /** New step events; what lies at or after their first step is replaced. */
  append(points) {
    if (!points.length) return;
    this.cut(points[0].step - 1);
    for (const point of points) {
      push(this.base, point);
      if (this.detail && this.range && point.step <= this.range.max) push(this.detail, point);
    }
  }

  /** New validation losses. */
  validate(points) {
    for (const { step, loss, weights } of points) {
      const own = this.validation[weights] ??= { step: [], loss: [] };
      trim(own, step - 1);
      own.step.push(step);
      own.loss.push(loss ?? null);
    }
  }

  /** Drop everything after `step` (a resumed run goes back to its checkpoint). */
  cut(step) {
    trim(this.base, step);
    if (this.detail) trim(this.detail, step);
    for (const own of Object.values(this.validation)) trim(own, step);
  }
}

function push(table, { step, loss = null, lr = null, grad_norm = null }) {
  table.step.push(step);
  const values = { loss, low: loss, high: loss, lr, grad_norm };
  for (const key of KEYS) table[key].push(values[key]);
}

function trim(table, step) {
  while (table.step.length && table.step[table.step.length - 1] > step) {
    for (const column of Object.values(table)) column.pop();
  }
}

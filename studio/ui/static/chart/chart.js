// @ts-check
// The curves of a run: loss raw and smoothed, validation, learning rate, gradient norm; other runs beside it.

import { number, say, t, whole } from "../kit/kit.js";
import { remembered } from "../kit/pieces.js";
import { nearest, smooth } from "./columns.js";
import { Compare } from "./compare.js";
import { frame } from "./frame.js";
import { PANELS, drawnIn } from "./panels.js";
import { colour, joined, plot, prepare } from "./plot.js";
import { readings } from "./readings.js";
import { Others, Track } from "./tracks.js";

/** @import { Edit, ResumedEvent, RunEvent, StepEvent, ValidationEvent } from "../../types/api.js" */
/** @import { Range } from "./columns.js" */
/** @import { Panel, View } from "./plot.js" */
/** @import { Named } from "./tracks.js" */
/** @typedef {ReturnType<typeof plot>} Plot */

const KEPT = "studio-chart";
const LATEST = 5000; // milliseconds after which a new point is drawn, though it moves the curve by less than a pixel
const ZOOM_PAUSE = 120; // milliseconds without a further zoom after which true detail is asked for

export class Chart {
  /** @param {string} id of the run */
  constructor(id) {
    this.id = id;
    this.track = new Track(id);
    this.others = new Others(id);
    /** The steps on show; null: all. @type {Range | null} */
    this.range = null;
    this.total = 0;
    /** The steps the run was resumed from. @type {number[]} */
    this.resumes = [];
    /** The steps from which on something was changed. @type {number[]} */
    this.edits = [];
    /** The step that is pointed at. @type {number | null} */
    this.step = null;
    this.asking = 0;
    /** The lines of the panel of losses when it was built. */
    this.lines = 0;
    /** @type {{ weight?: number, log?: boolean, clip?: boolean }} */
    const settings = remembered(KEPT, {});
    this.look = {
      weight: settings.weight ?? 0.9,
      logs: settings.log ?? false,
      clips: settings.clip ?? true,
      colour: (/** @type {string} */ name) => colour(this.parts.node, name),
    };
    /** @type {Partial<Record<Panel, Plot>>} */
    this.plots = {};
    this.drawn = { last: 0, at: 0 };
    this.compare = new Compare(this);
    this.parts = frame(this);
    this.node = this.parts.node;
    this.heads = this.parts.heads;
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.parts.panels);
    this.dark = new MutationObserver(() => this.build());
    this.dark.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    /** @type {View} */
    this.view = {
      log: () => this.look.logs,
      clip: () => this.look.clips,
      marks: () => [
        { steps: this.resumes, colour: "--st-soft", dash: [2, 4] },
        { steps: this.edits, colour: "--st-line", dash: [6, 3] },
      ],
      zoom: (range) => this.zoom(range),
      reset: () => this.zoom(null),
      hover: (step) => this.read(step),
    };
  }

  // ------------------------------------------------------------------------------------------------- its look

  /** @param {number} weight of the running mean */
  smoothBy(weight) {
    this.look.weight = weight;
    this.keep();
    this.draw();
  }

  /** @param {"logs" | "clips"} name @param {boolean} on */
  turn(name, on) {
    this.look[name] = on;
    this.keep();
    this.build();
  }

  keep() {
    const { weight, logs, clips } = this.look;
    localStorage.setItem(KEPT, JSON.stringify({ weight, log: logs, clip: clips }));
  }

  // ------------------------------------------------------------------------------------------------- its data

  /** Ask for the whole curve; resolves to the event from which on to follow. */
  async load() {
    await prepare(); // nothing is drawn before there are points
    const seq = await this.track.load();
    this.draw();
    return seq;
  }

  /** New events of the run. @param {RunEvent[]} events */
  append(events) {
    const { curve } = this.track;
    const resumed = /** @type {ResumedEvent[]} */ (events.filter((event) => event.kind === "resumed"));
    for (const { from_step: from } of resumed) {
      curve.cut(from);
      this.resumes.push(from);
    }
    const steps = /** @type {StepEvent[]} */ (events.filter((event) => event.kind === "step"));
    const checks = /** @type {ValidationEvent[]} */ (events.filter((event) => event.kind === "validation"));
    curve.append(steps);
    curve.validate(checks);
    if (checks.length || (steps.length && this.moved())) this.draw();
    else if (steps.length) this.tell();
  }

  /** Whether the steps since the last drawing would be seen: a long curve is not drawn anew for part of a pixel. */
  moved() {
    const { min, max } = this.bounds();
    const { last, at } = this.drawn;
    const pixels = ((this.track.curve.last - last) / (max - min)) * this.parts.panels.clientWidth;
    return !this.plots.loss || pixels >= 1 || pixels < 0 || performance.now() - at > LATEST;
  }

  /** Mark the steps at which the run was changed. @param {Edit[]} edits */
  mark(edits) {
    this.edits = edits.map(({ step }) => step);
    this.draw();
  }

  get points() {
    return this.track.curve.length;
  }

  get tracks() {
    return [this.track, ...this.others.tracks];
  }

  /** Show other runs beside this one. @param {Named[]} runs */
  async beside(runs) {
    await this.others.choose(runs);
    for (const { curve } of this.others.tracks) {
      curve.range = null;
      curve.detail = null;
    }
    this.build();
    if (this.range) this.zoom(this.range);
  }

  /** The news of the runs beside this one. */
  async refresh() {
    if (await this.others.refresh()) this.draw();
  }

  // ---------------------------------------------------------------------------------------------- its drawing

  /** @param {Panel} panel */
  panel(panel) {
    return drawnIn(panel, this.track, this.others.tracks, this.look);
  }

  draw() {
    const any = this.points > 0;
    this.parts.empty.hidden = any;
    this.parts.panels.classList.toggle("st-hidden", !any);
    if (!any) return;
    if (!this.plots.loss || this.lines !== this.panel("loss").length) {
      this.build();
      return;
    }
    this.drawn = { last: this.track.curve.last, at: performance.now() };
    for (const [panel, plotted] of this.eachPlot()) {
      plotted.batch(() => {
        plotted.setData(joined(this.panel(panel).map(({ columns }) => columns)), false);
        plotted.setScale("x", this.bounds());
      });
    }
    this.tell();
  }

  /** The plots there are, in the order of their panels. @returns {[Panel, Plot][]} */
  eachPlot() {
    return PANELS.flatMap((panel) => {
      const plotted = this.plots[panel];
      return plotted ? [/** @type {[Panel, Plot]} */ ([panel, plotted])] : [];
    });
  }

  /** The steps on show. @returns {Range} */
  bounds() {
    if (this.range) return this.range;
    const first = Math.min(...this.tracks.map(({ curve }) => curve.base.step[0] ?? Infinity));
    const last = Math.max(...this.tracks.map(({ curve }) => curve.last));
    return { min: Number.isFinite(first) ? first : 0, max: Math.max(last, first + 1) };
  }

  build() {
    this.destroy();
    if (!this.points || !this.parts.panels.clientWidth) return;
    for (const panel of PANELS) {
      const drawn = this.panel(panel);
      const lines = drawn.flatMap((one) => one.lines);
      const tables = drawn.map((one) => one.columns);
      this.plots[panel] = plot(this.parts.places[panel], panel, lines, tables, this.view);
    }
    this.lines = this.panel("loss").length;
    this.draw();
  }

  destroy() {
    for (const [, plotted] of this.eachPlot()) plotted.destroy();
    this.plots = {};
  }

  /** The text alternatives, and the values at the cursor (or the last ones). */
  tell() {
    const { curve } = this.track;
    const { base } = curve;
    const last = curve.length - 1;
    const step = whole(curve.last);
    const lr = number(base.lr[last]);
    const loss = number(base.loss[last]);
    const smoothed = number(smooth(base.loss, this.look.weight)[last]);
    const { places } = this.parts;
    const words = { step, total: whole(this.total), loss, smooth: smoothed, lr };
    places.loss.setAttribute("aria-label", t("chart.alt", words));
    places.lr.setAttribute("aria-label", t("chart.lr_alt", { lr, step }));
    places.grad_norm.setAttribute("aria-label", t("chart.grad_alt", { value: number(base.grad_norm[last]), step }));
    readings(this);
  }

  // ---------------------------------------------------------------------------------------- moving about in it

  /** Show the steps of `range`, or all; true detail follows. @param {Range | null} range */
  zoom(range) {
    const shown = range ? { min: range.min, max: range.min + Math.max(2, range.max - range.min) } : null;
    this.range = shown;
    this.parts.reset.hidden = !shown;
    for (const { curve } of this.tracks) {
      curve.range = shown;
      if (!shown) curve.detail = null;
    }
    this.draw();
    clearTimeout(this.asking);
    this.parts.panels.ariaBusy = String(Boolean(shown));
    if (shown) this.asking = window.setTimeout(() => this.detail(shown), ZOOM_PAUSE);
  }

  /** @param {Range} range */
  async detail(range) {
    const reached = this.tracks.filter(({ curve }) => curve.length);
    await Promise.allSettled(reached.map((track) => track.zoom(range))); // the coarse curve stays where that fails
    if (this.range !== range) return;
    this.draw();
    this.parts.panels.ariaBusy = "false";
  }

  /** @param {number} factor of the width of what is on show */
  scale(factor) {
    const { min, max } = this.bounds();
    const inside = this.step !== null && this.step >= min && this.step <= max;
    const at = inside && this.step !== null ? this.step : (min + max) / 2;
    this.zoom({ min: at - (at - min) * factor, max: at + (max - at) * factor });
  }

  /** A step was pointed at (null: none). @param {number | null} step */
  read(step) {
    if (step === this.step) return;
    this.step = step;
    for (const [, plotted] of this.eachPlot()) {
      const top = Math.max(1, plotted.cursor.top ?? 0);
      const place = step === null ? { left: -10, top: -10 } : { left: plotted.valToPos(step, "x"), top };
      plotted.setCursor(place, false); // false: these cursors do not tell of themselves again
    }
    readings(this);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.parts.panels) return;
    const action = event.shiftKey ? this.withShift(event.key) : this.withoutShift(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @param {string} key */
  withShift(key) {
    if (key === "ArrowLeft") return () => this.slide(-0.2);
    if (key === "ArrowRight") return () => this.slide(0.2);
    return this.withoutShift(key);
  }

  /** @param {string} key @returns {(() => void) | undefined} */
  withoutShift(key) {
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => this.walk(-1),
      ArrowRight: () => this.walk(1),
      PageUp: () => this.walk(-10),
      PageDown: () => this.walk(10),
      Home: () => this.walk(-Infinity),
      End: () => this.walk(Infinity),
      "+": () => this.scale(0.5),
      "=": () => this.scale(0.5),
      "-": () => this.scale(2),
      0: () => this.zoom(null),
      Escape: () => this.zoom(null),
    };
    return actions[key];
  }

  /** Read the step that is `by` entries from the one pointed at. @param {number} by */
  walk(by) {
    const { min, max } = this.bounds();
    const steps = this.track.curve.shown.step.filter((step) => step >= min && step <= max);
    const at = this.step === null ? steps.length - 1 : nearest(steps, this.step);
    this.read(steps[Math.max(0, Math.min(steps.length - 1, at + by))] ?? null);
    this.speak();
  }

  /** @param {number} by a share of the width of what is on show */
  slide(by) {
    const { min, max } = this.bounds();
    this.zoom({ min: min + by * (max - min), max: max + by * (max - min) });
  }

  speak() {
    const words = Object.values(this.heads).map((head) => head.textContent);
    say(this.parts.spoken, words.join(". "));
  }

  resize() {
    if (!this.plots.loss) {
      this.draw();
      return;
    }
    for (const [panel, plotted] of this.eachPlot()) {
      plotted.setSize({ width: this.parts.places[panel].clientWidth, height: plotted.height });
    }
  }

  /** Take it off the page. */
  close() {
    clearTimeout(this.asking);
    this.sizes.disconnect();
    this.dark.disconnect();
    this.destroy();
  }
}

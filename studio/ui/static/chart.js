// The curves of a run: loss raw and smoothed, validation, learning rate, gradient norm; other runs beside it.

import { Compare } from "./compare.js";
import { nearest, smooth } from "./columns.js";
import { el, number, say, t, whole } from "./kit.js";
import { colour, joined, plot } from "./plot.js";
import { picture, readings } from "./readings.js";
import { DASHES, Others, Track, VALIDATION } from "./tracks.js";

const KEPT = "studio-chart";
const PANELS = ["loss", "lr", "grad_norm"];
const LATEST = 5000;  // milliseconds after which a new point is drawn, though it moves the curve by less than a pixel

export class Chart {
  constructor(id) {
    this.id = id;
    this.track = new Track(id);
    this.others = new Others(id);
    this.range = null;
    this.total = 0;
    this.resumes = [];  // the steps the run was resumed from
    this.edits = [];  // the steps from which on something was changed
    this.step = null;
    const kept = remembered();
    this.weight = kept.weight ?? 0.9;
    this.logs = kept.log ?? false;
    this.clips = kept.clip ?? true;
    this.plots = {};
    this.drawn = { last: 0, at: 0 };
    this.node = this.frame();
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.panels);
    this.dark = new MutationObserver(() => this.build());
    this.dark.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    this.view = { log: () => this.logs, clip: () => this.clips, marks: () => [[this.resumes, "--st-soft", [2, 4]], [this.edits, "--st-line", [6, 3]]], zoom: (range) => this.zoom(range),
      reset: () => this.zoom(null), hover: (step) => this.read(step) };
  }

  // ------------------------------------------------------------------------------------------------ its frame

  frame() {
    const slider = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: this.weight, id: "chart-smooth",
      oninput: () => { this.weight = Number(slider.value); this.keep(); this.draw(); } });
    const box = (id, name) => el("label", { for: id }, el("input", { type: "checkbox", id, checked: this[name],
      onchange: (event) => { this[name] = event.target.checked; this.keep(); this.build(); } }), t(`chart.${name}`));
    const button = (key, sign, action) => el("button", { type: "button", class: "st-button st-small st-square",
      "aria-label": t(`chart.${key}`), title: t(`chart.${key}`), onclick: action }, sign);
    this.reset = el("button", { type: "button", class: "st-button st-small", id: "chart-reset", hidden: true,
      onclick: () => this.zoom(null) }, t("chart.reset"));
    this.empty = el("p", { class: "st-quiet st-chart-empty" }, t("chart.none"));
    this.places = Object.fromEntries(PANELS.map((key) => [key, el("div", { class: "st-plot", role: "img",
      id: `${key === "grad_norm" ? "grad" : key}-chart`, "aria-label": t("chart.alt_none") })]));
    this.heads = Object.fromEntries(PANELS.map((key) => [key, el("div", { class: "st-legend" })]));
    this.panels = el("div", { class: "st-panels", id: "chart-panels", tabindex: 0, role: "application",
      "aria-label": t("chart.panels"), "aria-describedby": "chart-help", onkeydown: (event) => this.key(event) },
    PANELS.map((key) => el("div", {}, this.heads[key], this.places[key])));
    this.spoken = el("p", { class: "st-sr", role: "status", "aria-live": "polite" });
    this.compare = new Compare(this);
    return el("section", { class: "st-card st-chart", id: "chart" },
      el("div", { class: "st-card-head" }, el("h2", {}, t("chart.title")),
        el("div", { class: "st-tools" }, this.reset,
          button("zoom_in", "+", () => this.scale(0.5)), button("zoom_out", "−", () => this.scale(2)),
          el("label", { for: "chart-smooth" }, t("chart.smooth"), slider), box("chart-log", "logs"), box("chart-clip", "clips"))),
      this.empty, this.panels, this.spoken,
      el("div", { class: "st-card-foot" }, el("p", { class: "st-quiet st-small-text", id: "chart-help" }, t("chart.help")),
        el("div", { class: "st-actions" }, this.compare.button,
          el("a", { class: "st-button st-small", id: "chart-csv", download: true, href: `api/runs/${this.id}/series.csv` }, t("chart.csv")),
          el("button", { type: "button", class: "st-button st-small", id: "chart-png", onclick: () => picture(this) }, t("chart.png")))));
  }

  keep() {
    localStorage.setItem(KEPT, JSON.stringify({ weight: this.weight, log: this.logs, clip: this.clips }));
  }

  // ------------------------------------------------------------------------------------------------- its data

  /** Ask for the whole curve; resolves to the event from which on to follow. */
  async load() {
    const seq = await this.track.load();
    this.draw();
    return seq;
  }

  /** New events of the run. */
  append(events) {
    const { curve } = this.track;
    for (const { from_step: from } of events.filter((event) => event.kind === "resumed")) {
      curve.cut(from);
      this.resumes.push(from);
    }
    const steps = events.filter((event) => event.kind === "step");
    const checks = events.filter((event) => event.kind === "validation");
    curve.append(steps);
    curve.validate(checks);
    if (checks.length || (steps.length && this.moved())) this.draw();
    else if (steps.length) this.tell();
  }

  /** Whether the steps since the last drawing would be seen on it: a long curve is not drawn anew for part of a pixel. */
  moved() {
    const { min, max } = this.bounds();
    const pixels = (this.track.curve.last - this.drawn.last) / (max - min) * this.panels.clientWidth;
    return !this.plots.loss || pixels >= 1 || pixels < 0 || performance.now() - this.drawn.at > LATEST;
  }

  /** Mark the steps at which the run was changed. */
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

  /** Show other runs ({id, name}) beside this one. */
  async beside(runs) {
    await this.others.choose(runs);
    for (const track of this.others.tracks) Object.assign(track.curve, { range: null, detail: null });
    this.build();
    if (this.range) this.zoom(this.range);
  }

  /** The news of the runs beside this one. */
  async refresh() {
    if (await this.others.refresh()) this.draw();
  }

  // ---------------------------------------------------------------------------------------------- its drawing

  /** The tables a panel draws, and its lines. */
  panel(key) {
    const style = (name) => colour(this.node, name);
    const others = this.others.tracks.map((track, i) => ({ table: track.curve.shown, line: { label: track.name,
      stroke: style(`--st-c${i + 2}`), width: 2, dash: DASHES[i + 1] } }));
    const { shown: own, validation } = this.track.curve;
    const value = (table) => (key === "loss" ? smooth(this.positive(table.loss), this.weight) : table[key]);
    const more = others.map(({ table, line }) => [[table.step, value(table)], line]);
    if (key !== "loss") {
      return [[[own.step, own[key]], { label: t(`chart.${key}`), stroke: style("--st-line"), width: 1.5 }], ...more];
    }
    const band = colour(this.node, "--st-band");
    const raw = { label: t("chart.raw"), stroke: style("--st-raw"), width: 1, points: { show: own.step.length < 3 } };
    const found = [[[own.step, this.positive(own.low), this.positive(own.high), this.positive(own.loss), value(own)],
      { stroke: "transparent", width: 0, band }, { stroke: "transparent", width: 0 }, raw,
      { label: t("chart.smoothed"), stroke: style("--st-line"), width: 2.5 }]];
    for (const [weights, { step, loss }] of Object.entries(validation)) {
      found.push([[step, this.positive(loss)], { label: t(`chart.validation_${weights}`), stroke: style("--st-second"), width: 2,
        dash: VALIDATION[weights], points: { show: true, size: 6 } }]);
    }
    return [...found, ...more];
  }

  positive(values) {
    return this.logs ? values.map((value) => (value > 0 ? value : null)) : values;
  }

  draw() {
    const any = this.points > 0;
    this.empty.hidden = any;
    this.panels.classList.toggle("st-hidden", !any);
    if (!any) return;
    const lines = this.panel("loss").length;
    if (!this.plots.loss || this.lines !== lines) { this.build(); return; }
    this.drawn = { last: this.track.curve.last, at: performance.now() };
    for (const key of PANELS) {
      const made = this.plots[key];
      made.batch(() => {
        made.setData(joined(this.panel(key).map(([table]) => table)), false);
        made.setScale("x", this.bounds());
      });
    }
    this.tell();
  }

  /** The steps on show. */
  bounds() {
    if (this.range) return this.range;
    const first = Math.min(...this.tracks.map(({ curve }) => curve.base.step[0] ?? Infinity));
    const last = Math.max(...this.tracks.map(({ curve }) => curve.last));
    return { min: Number.isFinite(first) ? first : 0, max: Math.max(last, first + 1) };
  }

  build() {
    for (const made of Object.values(this.plots)) made.destroy();
    this.plots = {};
    if (!this.points || !this.panels.clientWidth) return;
    for (const key of PANELS) {
      const parts = this.panel(key);
      this.plots[key] = plot(this.places[key], key, parts.flatMap(([, ...lines]) => lines), parts.map(([table]) => table), this.view);
    }
    this.lines = this.panel("loss").length;
    this.draw();
  }

  /** The text alternatives, and the values at the cursor (or the last ones). */
  tell() {
    const { curve } = this.track;
    const last = curve.length - 1;
    const [lr, grad] = [number(curve.base.lr[last]), number(curve.base.grad_norm[last])];
    const step = whole(curve.last);
    this.places.loss.setAttribute("aria-label", t("chart.alt", { step, total: whole(this.total),
      loss: number(curve.base.loss[last]), smooth: number(smooth(curve.base.loss, this.weight)[last]), lr }));
    this.places.lr.setAttribute("aria-label", t("chart.lr_alt", { lr, step }));
    this.places.grad_norm.setAttribute("aria-label", t("chart.grad_alt", { value: grad, step }));
    readings(this);
  }

  // ---------------------------------------------------------------------------------------- moving about in it

  /** Show the steps of `range`, or all; true detail follows. */
  zoom(range) {
    const width = range ? Math.max(2, range.max - range.min) : 0;
    this.range = range ? { min: range.min, max: range.min + width } : null;
    this.reset.hidden = !range;
    for (const { curve } of this.tracks) {
      curve.range = this.range;
      if (!range) curve.detail = null;
    }
    this.draw();
    clearTimeout(this.asking);
    this.panels.ariaBusy = String(Boolean(range));
    if (range) this.asking = setTimeout(() => this.detail(this.range), 120);
  }

  async detail(range) {
    const reached = this.tracks.filter(({ curve }) => curve.length);
    await Promise.allSettled(reached.map((track) => track.zoom(range)));  // the coarse curve stays where that fails
    if (this.range !== range) return;
    this.draw();
    this.panels.ariaBusy = "false";
  }

  scale(factor) {
    const { min, max } = this.bounds();
    const at = this.step !== null && this.step >= min && this.step <= max ? this.step : (min + max) / 2;
    this.zoom({ min: at - (at - min) * factor, max: at + (max - at) * factor });
  }

  /** A step was pointed at (null: none). */
  read(step) {
    if (step === this.step) return;
    this.step = step;
    for (const made of Object.values(this.plots)) {  // false: these cursors do not tell of themselves again
      made.setCursor(step === null ? { left: -10, top: -10 } : { left: made.valToPos(step, "x"), top: Math.max(1, made.cursor.top) }, false);
    }
    readings(this);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.panels) return;
    const { min, max } = this.bounds();
    const steps = this.track.curve.shown.step.filter((step) => step >= min && step <= max);
    const at = this.step === null ? steps.length - 1 : nearest(steps, this.step);
    const go = (place) => { this.read(steps[Math.max(0, Math.min(steps.length - 1, place))] ?? null); this.speak(); };
    const slide = (by) => this.zoom({ min: min + by * (max - min), max: max + by * (max - min) });
    const keys = { ArrowLeft: () => (event.shiftKey ? slide(-0.2) : go(at - 1)), ArrowRight: () => (event.shiftKey ? slide(0.2) : go(at + 1)),
      PageUp: () => go(at - 10), PageDown: () => go(at + 10), Home: () => go(0), End: () => go(steps.length - 1),
      "+": () => this.scale(0.5), "=": () => this.scale(0.5), "-": () => this.scale(2), 0: () => this.zoom(null),
      Escape: () => this.zoom(null) };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  speak() {
    say(this.spoken, Object.values(this.heads).map((head) => head.textContent).join(". "));
  }

  resize() {
    if (!this.plots.loss) { this.draw(); return; }
    for (const key of PANELS) this.plots[key].setSize({ width: this.places[key].clientWidth, height: this.plots[key].height });
  }

  /** Take it off the page. */
  close() {
    clearTimeout(this.asking);
    this.sizes.disconnect();
    this.dark.disconnect();
    for (const made of Object.values(this.plots)) made.destroy();
    this.plots = {};
  }
}

function remembered() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

// The loss and learning rate curves of a run: raw and smoothed, zoom that survives updates, a text alternative.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { el, number, say, t, whole } from "./kit.js";

const KEPT = "studio-chart";

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

export class Chart {
  /** `zoomed(from, to)` resolves to true columns of a range, or null; it is asked when a person zooms in. */
  constructor(zoomed) {
    this.zoomed = zoomed;
    this.base = { step: [], loss: [], lr: [] };
    this.detail = null;
    this.range = null;
    this.total = 0;
    const kept = remembered();
    this.weight = kept.weight ?? 0.9;
    this.log = kept.log ?? false;
    this.node = this.frame();
    this.plots = [];
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.lossPlace);
    this.dark = new MutationObserver(() => this.build());
    this.dark.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }

  frame() {
    const slider = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: this.weight, id: "chart-smooth",
      oninput: () => { this.weight = Number(slider.value); this.keep(); this.draw(); } });
    const log = el("input", { type: "checkbox", checked: this.log, id: "chart-log",
      onchange: () => { this.log = log.checked; this.keep(); this.build(); } });
    this.reset = el("button", { type: "button", class: "st-button st-small", hidden: true, id: "chart-reset",
      onclick: () => this.unzoom() }, t("chart.reset"));
    this.empty = el("p", { class: "st-quiet st-chart-empty" }, t("chart.none"));
    this.lossPlace = el("div", { class: "st-plot", id: "loss-chart", role: "img", "aria-label": t("chart.alt_none") });
    this.lrPlace = el("div", { class: "st-plot st-plot-lr", id: "lr-chart", role: "img", "aria-label": "" });
    return el("section", { class: "st-card st-chart", id: "chart" },
      el("div", { class: "st-card-head" }, el("h2", {}, t("chart.title")),
        el("div", { class: "st-tools" }, this.reset,
          el("label", { for: "chart-smooth" }, t("chart.smooth"), slider),
          el("label", { for: "chart-log" }, log, t("chart.log")))),
      this.empty, this.lossPlace,
      el("h3", {}, t("run.lr")), this.lrPlace);
  }

  keep() {
    localStorage.setItem(KEPT, JSON.stringify({ weight: this.weight, log: this.log }));
  }

  /** The whole curve, as columns. */
  load({ step, loss, lr }) {
    this.base = { step: [...step], loss: [...loss], lr: [...lr] };
    this.draw();
  }

  /** New points; what lies at or after their first step is replaced. */
  append(points) {
    if (!points.length) return;
    this.cut(points[0].step - 1);
    for (const point of points) {
      this.base.step.push(point.step);
      this.base.loss.push(point.loss ?? null);
      this.base.lr.push(point.lr ?? null);
    }
    this.draw();
  }

  /** Drop every point after `step` (a resumed run goes back to its checkpoint). */
  cut(step) {
    const { base } = this;
    while (base.step.length && base.step[base.step.length - 1] > step) {
      for (const column of Object.values(base)) column.pop();
    }
  }

  get points() {
    return this.base.step.length;
  }

  columns() {
    const { step, loss, lr } = this.range && this.detail ? this.detail : this.base;
    const raw = this.log ? loss.map((value) => (value > 0 ? value : null)) : loss;
    return { loss: [step, raw, smooth(raw, this.weight)], lr: [step, lr] };
  }

  draw() {
    this.empty.hidden = this.points > 0;
    for (const node of [this.lossPlace, this.lrPlace]) node.classList.toggle("st-hidden", !this.points);
    if (!this.points) return;
    if (!this.plots.length) { this.build(); return; }
    const { loss, lr } = this.columns();
    for (const [plot, data] of [[this.plots[0], loss], [this.plots[1], lr]]) {
      plot.batch(() => {
        plot.setData(data, !this.range);
        if (this.range) plot.setScale("x", this.range);
      });
    }
    this.tell(loss);
  }

  tell([steps, raw, smoothed]) {
    const last = steps.length - 1;
    const lr = number(this.base.lr[this.base.lr.length - 1]);
    const step = whole(this.base.step[this.base.step.length - 1]);
    this.lossPlace.setAttribute("aria-label", t("chart.alt", { step, total: whole(this.total),
      loss: number(raw[last]), smooth: number(smoothed[last]), lr }));
    this.lrPlace.setAttribute("aria-label", t("chart.lr_alt", { lr, step }));
  }

  build() {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
    if (!this.points || !this.lossPlace.clientWidth) return;
    const { loss, lr } = this.columns();
    const style = getComputedStyle(this.node);
    const colour = (name) => style.getPropertyValue(name).trim();
    const lines = [
      { label: t("chart.raw"), stroke: colour("--st-raw"), width: 1, value: shown, points: { show: loss[0].length < 3 } },
      { label: t("chart.smoothed"), stroke: colour("--st-line"), width: 2.5, value: shown, points: { show: false } }];
    const rate = [{ label: t("run.lr"), stroke: colour("--st-second"), width: 2, value: shown, points: { show: false } }];
    this.plots = [
      new uPlot(this.options(lines, 240, this.log ? 3 : 1, colour), loss, this.lossPlace),
      new uPlot(this.options(rate, 110, 1, colour), lr, this.lrPlace)];
    this.draw();
  }

  options(series, height, distribution, colour) {
    const axis = { stroke: colour("--st-soft"), grid: { stroke: colour("--st-rule"), width: 1 },
      ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const scale = distribution === 3 ? { distr: 3 } : {};
    return {
      width: this.lossPlace.clientWidth, height,
      scales: { x: { time: false }, y: scale },
      cursor: { sync: { key: "studio-run" }, drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
      legend: { live: true },
      series: [{ label: t("run.step"), value: (_, value) => (value === null ? t("app.never") : whole(value)) }, ...series],
      axes: [{ ...axis, size: 28 }, { ...axis, size: 62, values: (_, ticks) => ticks.map((v) => (v === null ? "" : number(v, 3))) }],
      hooks: { setSelect: [(plot) => this.select(plot)] },
    };
  }

  async select(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    const range = { min: plot.posToVal(left, "x"), max: plot.posToVal(left + width, "x") };
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.range = range;
    this.detail = null;
    this.reset.hidden = false;
    this.draw();
    const detail = await this.zoomed(Math.floor(range.min), Math.ceil(range.max));
    if (detail && this.range === range) { this.detail = detail; this.draw(); }
  }

  unzoom() {
    this.range = null;
    this.detail = null;
    this.reset.hidden = true;
    this.draw();
  }

  resize() {
    if (!this.plots.length) { this.build(); return; }
    for (const plot of this.plots) plot.setSize({ width: this.lossPlace.clientWidth, height: plot.height });
  }

  /** Take it off the page. */
  close() {
    this.sizes.disconnect();
    this.dark.disconnect();
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
  }
}

const shown = (_, value) => number(value);

function remembered() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

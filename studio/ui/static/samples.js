// Sample pictures of a run: prompt by step as a grid, or through time with a slider; raw or EMA.

import { el, t, whole } from "./kit.js";
import { Timeline } from "./timeline.js";
import { Viewer, alt, source } from "./viewer.js";

export class Samples {
  constructor(id) {
    this.id = id;
    this.kept = new Set();
    this.weights = "ema";
    this.mode = "grid";
    this.items = [];
    this.switch = choice("weights", ["ema", "raw"], this.weights, (weights) => { this.weights = weights; this.draw(); });
    this.modes = choice("mode", ["grid", "time"], this.mode, (mode) => { this.mode = mode; this.draw(); });
    this.grid = el("div", { class: "st-samples", id: "samples" });
    this.timeline = new Timeline((row, i, named) => this.shot(row, i, named));
    this.node = el("section", { class: "st-card", id: "samples-card" },
      el("div", { class: "st-card-head" }, el("h2", {}, t("samples.title")),
        el("div", { class: "st-tools" }, this.modes, this.switch)), this.grid);
    this.viewer = new Viewer((item) => this.tried(item));
  }

  /** The playground with a picture's prompt, seed and settings, and its checkpoint while that is kept. */
  tried({ step, weights, prompt, seed }) {
    if (!this.kept.size) return null;
    const checkpoint = `checkpoint-${step}`;
    return `?${new URLSearchParams({ play: this.id, prompt, seed, ...(this.kept.has(checkpoint) ? { at: checkpoint, weights } : {}) })}`;
  }

  /** `checkpoints` are those that are kept. */
  show(items, checkpoints) {
    this.items = items;
    this.kept = new Set(checkpoints.map((one) => one.name));
    const kinds = new Set(items.map((item) => item.weights));
    this.switch.hidden = kinds.size < 2;
    this.modes.hidden = new Set(items.map((item) => item.step)).size < 2;
    if (kinds.size === 1) this.weights = [...kinds][0];
    this.draw();
  }

  /** The pictures of each prompt by step, in the weights chosen; before the first step both are the same. */
  rows() {
    const rows = new Map();
    for (const item of this.items) {
      if (item.weights !== this.weights && item.step !== 0) continue;
      const key = `${item.prompt_index}\n${item.prompt}`;
      const row = rows.get(key) ?? rows.set(key, new Map()).get(key);
      const kept = row.get(item.step);
      if (!kept || item.weights === this.weights) row.set(item.step, item);
    }
    return [...rows.values()].map((row) => [...row.values()].sort((a, b) => a.step - b.step));
  }

  draw() {
    const rows = this.rows();
    if (!rows.length) this.grid.replaceChildren(el("p", { class: "st-quiet" }, t("samples.none")));
    else if (this.mode === "time" && !this.modes.hidden) this.drawTime(rows);
    else this.drawGrid(rows);
  }

  drawTime(rows) {
    if (this.grid.firstChild !== this.timeline.node) this.grid.replaceChildren(this.timeline.node);
    this.timeline.show(rows);
  }

  drawGrid(rows) {
    const old = this.grid.querySelector(".st-track");
    const atEnd = !old || old.scrollLeft + old.clientWidth >= old.scrollWidth - 8;
    const left = old?.scrollLeft;
    const track = el("div", { class: "st-track", tabindex: 0, role: "group", "aria-label": t("samples.title") },
      rows.map((row) => el("figure", {}, el("figcaption", {}, row[0].prompt),
        el("div", { class: "st-strip" }, row.map((_, i) => this.shot(row, i, true))))));
    const known = new Map([...this.grid.querySelectorAll("img")].map((img) => [img.src, img]));
    for (const img of track.querySelectorAll("img")) {  // pictures already loaded stay: nothing flickers
      const kept = known.get(img.src);
      if (kept && kept.alt === img.alt) img.replaceWith(kept);
    }
    this.grid.replaceChildren(track);
    track.scrollLeft = atEnd ? track.scrollWidth : left;
  }

  /** One picture as a button that opens it full screen, with its step below where `named`. */
  shot(row, i, named) {
    const item = row[i];
    return el("button", { type: "button", class: "st-shot", "aria-label": t("samples.open", { picture: alt(item) }),
      onclick: () => this.viewer.open(row, i) },
    el("img", { src: source(item), alt: alt(item), loading: named ? "lazy" : "eager", decoding: "async" }),
    named ? el("span", {}, item.step === 0 ? t("samples.before") : t("samples.step", { step: whole(item.step) })) : null);
  }

  close() {
    this.viewer.close();
  }
}

/** Buttons of which one is pressed. */
function choice(name, values, first, chosen) {
  const group = el("div", { class: "st-switch", role: "group", "aria-label": t(`samples.${name}`), id: `sample-${name}` },
    values.map((value) => el("button", { type: "button", "data-value": value, "aria-pressed": String(value === first),
      onclick: () => {
        for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === value));
        chosen(value);
      } }, t(`samples.${value}`))));
  return group;
}

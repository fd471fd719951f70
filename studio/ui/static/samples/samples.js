// @ts-check
// Sample pictures of a run: prompt by step as a grid, or through time with a slider; raw or EMA.

import { WEIGHTS } from "../kit/facts.js";
import { el, t } from "../kit/kit.js";
import { Viewer, alt, moment, source } from "./viewer.js";
import { rowsOf } from "./rows.js";
import { Timeline } from "./timeline.js";

/** @import { Checkpoint, Sample } from "../../types/api.js" */

const AT_END = 8; // pixels that may be left of a strip that is at its end

export class Samples {
  /** @param {string} id of the run */
  constructor(id) {
    this.id = id;
    /** Names of the checkpoints that are kept. @type {Set<string>} */
    this.checkpoints = new Set();
    this.weights = WEIGHTS[0];
    /** @type {"grid" | "time"} */
    this.mode = "grid";
    /** @type {Sample[]} */
    this.items = [];
    this.switch = choice("weights", WEIGHTS, this.weights, (weights) => {
      this.weights = weights;
      this.draw();
    });
    this.modes = choice("mode", /** @type {const} */ (["grid", "time"]), this.mode, (mode) => {
      this.mode = mode;
      this.draw();
    });
    this.grid = el("div", { class: "st-samples", id: "samples" });
    this.timeline = new Timeline((row, place) => this.shot(row, place));
    const tools = el("div", { class: "st-tools" }, this.modes, this.switch);
    const head = el("div", { class: "st-card-head" }, el("h2", {}, t("samples.title")), tools);
    this.node = el("section", { class: "st-card", id: "samples-card" }, head, this.grid);
    this.viewer = new Viewer((sample) => this.tried(sample));
  }

  /** The playground with a picture's prompt, seed and settings, and its checkpoint while that is kept.
   * @param {Sample} sample */
  tried({ step, weights, prompt, seed }) {
    if (!this.checkpoints.size) return null;
    const checkpoint = `checkpoint-${step}`;
    const query = new URLSearchParams({ play: this.id, prompt, seed: String(seed) });
    if (this.checkpoints.has(checkpoint)) {
      query.set("at", checkpoint);
      query.set("weights", weights);
    }
    return `?${query}`;
  }

  /** `checkpoints` are those that are kept. @param {Sample[]} items @param {Checkpoint[]} checkpoints */
  show(items, checkpoints) {
    this.items = items;
    this.checkpoints = new Set(checkpoints.map((one) => one.name));
    const [only, ...others] = new Set(items.map((item) => item.weights));
    this.switch.hidden = others.length === 0;
    this.modes.hidden = new Set(items.map((item) => item.step)).size < 2;
    if (only && !others.length) this.weights = only;
    this.draw();
  }

  draw() {
    const rows = rowsOf(this.items, this.weights);
    if (!rows.length) this.grid.replaceChildren(el("p", { class: "st-quiet" }, t("samples.none")));
    else if (this.mode === "time" && !this.modes.hidden) this.drawTime(rows);
    else this.drawGrid(rows);
  }

  /** @param {Sample[][]} rows */
  drawTime(rows) {
    if (this.grid.firstChild !== this.timeline.node) this.grid.replaceChildren(this.timeline.node);
    this.timeline.show(rows);
  }

  /** @param {Sample[][]} rows */
  drawGrid(rows) {
    const old = this.grid.querySelector(".st-track");
    const atEnd = !old || old.scrollLeft + old.clientWidth >= old.scrollWidth - AT_END;
    const left = old?.scrollLeft ?? 0;
    const figures = rows.map((row) => this.strip(row));
    const track = el(
      "div",
      { class: "st-track", tabindex: 0, role: "group", "aria-label": t("samples.title") },
      ...figures,
    );
    this.keepLoaded(track);
    this.grid.replaceChildren(track);
    track.scrollLeft = atEnd ? track.scrollWidth : left;
  }

  /** @param {Sample[]} row */
  strip(row) {
    const shots = row.map((_, place) => this.shot(row, place, true));
    return el("figure", {}, el("figcaption", {}, row[0].prompt), el("div", { class: "st-strip" }, ...shots));
  }

  /** Pictures that are loaded already stay: nothing flickers. @param {HTMLElement} track */
  keepLoaded(track) {
    const loaded = new Map([...this.grid.querySelectorAll("img")].map((picture) => [picture.src, picture]));
    for (const picture of track.querySelectorAll("img")) {
      const old = loaded.get(picture.src);
      if (old && old.alt === picture.alt) picture.replaceWith(old);
    }
  }

  /** One picture as a button that opens it full screen, with its step below where `named`.
   * @param {Sample[]} row @param {number} place @param {boolean} [named] */
  shot(row, place, named = false) {
    const sample = row[place];
    const loading = named ? "lazy" : "eager";
    return el(
      "button",
      {
        type: "button",
        class: "st-shot",
        "aria-label": t("samples.open", { picture: alt(sample) }),
        onclick: () => this.viewer.open(row, place),
      },
      el("img", { src: source(sample), alt: alt(sample), loading, decoding: "async" }),
      named ? el("span", {}, moment(sample.step)) : null,
    );
  }

  close() {
    this.viewer.close();
  }
}

/**
 * Buttons of which one is pressed.
 * @template {string} Value
 * @param {string} name
 * @param {readonly Value[]} values
 * @param {Value} first
 * @param {(value: Value) => void} chosen
 */
function choice(name, values, first, chosen) {
  const buttons = values.map((value) =>
    el(
      "button",
      {
        type: "button",
        "data-value": value,
        "aria-pressed": String(value === first),
        onclick: () => {
          for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.value === value));
          chosen(value);
        },
      },
      t(`samples.${value}`),
    ),
  );
  const group = { class: "st-switch", role: "group", "aria-label": t(`samples.${name}`), id: `sample-${name}` };
  return el("div", group, ...buttons);
}

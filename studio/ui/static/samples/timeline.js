// @ts-check
// Sample pictures through time: one slider moves every prompt's picture from before training to the last step.

import { el, say, t } from "../kit/kit.js";
import { moment } from "./viewer.js";

/** @import { Sample } from "../../types/api.js" */

export class Timeline {
  /** `shot(row, place)` makes a picture's button.
   * @param {(row: Sample[], place: number) => HTMLElement} shot */
  constructor(shot) {
    this.shot = shot;
    /** @type {Sample[][]} */
    this.rows = [];
    /** @type {number[]} */
    this.steps = [];
    /** The step on show; null: the last one, wherever that is. @type {number | null} */
    this.at = null;
    this.words = el("output", { class: "st-number", for: "samples-time" });
    this.slider = el("input", {
      type: "range",
      id: "samples-time",
      min: 0,
      value: 0,
      "aria-label": t("samples.time"),
      oninput: ({ currentTarget }) => {
        this.at = this.steps[Number(currentTarget.value)];
        this.draw();
      },
    });
    this.shots = el("div", { class: "st-moments" });
    const label = el("label", { for: "samples-time" }, t("samples.time"));
    const time = el("div", { class: "st-time" }, label, this.slider, this.words);
    this.node = el("div", { class: "st-timeline" }, time, this.shots);
  }

  /** `rows`: the pictures of each prompt, by step. @param {Sample[][]} rows */
  show(rows) {
    this.rows = rows;
    this.steps = [...new Set(rows.flat().map((item) => item.step))].sort((a, b) => a - b);
    const last = this.steps.length - 1;
    if (this.at === this.steps[last] || (this.at !== null && !this.steps.includes(this.at))) this.at = null;
    this.slider.max = String(Math.max(0, last));
    this.slider.disabled = this.steps.length < 2;
    this.draw();
  }

  draw() {
    const place = this.at === null ? this.steps.length - 1 : this.steps.indexOf(this.at);
    const step = this.steps[place];
    this.slider.value = String(place);
    this.slider.setAttribute("aria-valuetext", moment(step));
    say(this.words, moment(step));
    this.shots.replaceChildren(...this.rows.map((row) => this.figure(row, step)));
  }

  /** A prompt's picture at a step: its newest until then. @param {Sample[]} row @param {number} step */
  figure(row, step) {
    const place = Math.max(
      0,
      row.findLastIndex((item) => item.step <= step),
    );
    return el("figure", {}, this.shot(row, place), el("figcaption", {}, row[place].prompt));
  }
}

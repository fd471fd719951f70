// Sample pictures through time: one slider moves every prompt's picture from before training to the last step.

import { el, say, t, whole } from "./kit.js";

export class Timeline {
  /** `shot(item, size, open)` makes a picture's button. */
  constructor(shot) {
    this.shot = shot;
    this.at = null;  // null: the last step, wherever that is
    this.words = el("output", { class: "st-number", for: "samples-time" });
    this.slider = el("input", { type: "range", id: "samples-time", min: 0, value: 0, "aria-label": t("samples.time"),
      oninput: () => { this.at = this.steps[Number(this.slider.value)]; this.draw(); } });
    this.shots = el("div", { class: "st-moments" });
    this.node = el("div", { class: "st-timeline" },
      el("div", { class: "st-time" }, el("label", { for: "samples-time" }, t("samples.time")), this.slider, this.words), this.shots);
  }

  /** `rows`: the pictures of each prompt, by step. */
  show(rows) {
    this.rows = rows;
    this.steps = [...new Set(rows.flatMap((row) => row.map((item) => item.step)))].sort((a, b) => a - b);
    if (this.at === this.steps[this.steps.length - 1] || !this.steps.includes(this.at)) this.at = null;
    this.slider.max = Math.max(0, this.steps.length - 1);
    this.slider.disabled = this.steps.length < 2;
    this.draw();
  }

  draw() {
    const last = this.steps.length - 1;
    const place = this.at === null ? last : this.steps.indexOf(this.at);
    const step = this.steps[place];
    this.slider.value = place;
    const words = step === 0 ? t("samples.before") : t("samples.step", { step: whole(step) });
    this.slider.setAttribute("aria-valuetext", words);
    say(this.words, words);
    this.shots.replaceChildren(...this.rows.map((row) => {
      const near = row.filter((item) => item.step <= step).pop() ?? row[0];
      return el("figure", {}, this.shot(row, row.indexOf(near), false), el("figcaption", {}, near.prompt));
    }));
  }
}

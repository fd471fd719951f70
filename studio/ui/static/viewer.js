// A sample picture full screen: a divider against the picture before training, a slider through time, its settings.

import { address, el, number, t, whole } from "./kit.js";

/** Where a sample picture lies. */
export const source = (item) => address(item.url);

/** A picture's text alternative. */
export function alt(item) {
  if (item.words) return item.words;
  return t(item.step === 0 ? "samples.alt_before" : "samples.alt",
    { step: whole(item.step), weights: t(`samples.${item.weights}`), prompt: item.prompt });
}

/** Which of a row's pictures it is: its own words for it, or its step. */
const moment = (item) => item.label ?? t(item.step === 0 ? "samples.before" : "samples.step", { step: whole(item.step) });

export class Viewer {
  /** `tried(item)` is the way to draw such a picture oneself, or null. */
  constructor(tried = null) {
    this.tried = tried;
  }

  /** Show `items` (one prompt's pictures by step), beginning with the one at place `at`. */
  open(items, at) {
    this.items = items;
    this.at = at;
    this.split = 50;
    this.stage = el("div", { class: "st-stage" });
    this.words = el("div", { class: "st-viewer-words" });
    this.time = el("input", { type: "range", class: "st-viewer-time", min: 0, max: items.length - 1, value: at,
      "aria-label": t("samples.time"), hidden: items.length < 2, oninput: () => this.move(Number(this.time.value) - this.at) });
    const button = (key, sign, action) => el("button", { type: "button", class: "st-button", "aria-label": t(key),
      onclick: action }, sign);
    this.dialog = el("dialog", { class: "st-viewer", "aria-label": t("samples.title"), onkeydown: (e) => this.key(e),
      onclose: () => this.dialog.remove(), onclick: (e) => { if (e.target === this.dialog) this.close(); } },
      this.stage, this.time, el("div", { class: "st-viewer-foot" },
        button("samples.previous", "‹", () => this.move(-1)), this.words, button("samples.next", "›", () => this.move(1)),
        button("app.close", "×", () => this.close())));
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.draw();
  }

  close() {
    this.dialog?.close();
    this.dialog?.remove();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && event.target.type !== "range") { event.preventDefault(); this.move(step); }
  }

  move(by) {
    this.at = Math.max(0, Math.min(this.items.length - 1, this.at + by));
    this.time.value = this.at;
    this.draw();
  }

  draw() {
    const item = this.items[this.at];
    const before = this.items[0].step === 0 && this.at > 0 ? this.items[0] : null;
    const when = moment(item);
    this.time.setAttribute("aria-valuetext", when);
    const shape = ({ target }) => this.stage.style.setProperty("--st-shape", target.naturalWidth / target.naturalHeight);
    this.stage.replaceChildren(el("img", { src: source(item), alt: alt(item), onload: shape }), ...(before ? this.divided(before) : []));
    const facts = [when, ...(item.weights ? [t(`samples.${item.weights}`)] : []), t("samples.seed", { seed: item.seed })];
    if (item.guidance_scale !== undefined && item.guidance_scale !== null) {
      facts.push(t("samples.guidance", { value: number(item.guidance_scale) }));
    }
    if (item.num_inference_steps) facts.push(t("samples.steps", { value: item.num_inference_steps }));
    const tried = this.tried?.(item);
    this.words.replaceChildren(el("strong", {}, item.prompt), el("span", {}, facts.join(" · ")),
      el("a", { href: source(item), download: item.file }, t("samples.download")),
      tried ? el("a", { href: tried, id: "sample-try", onclick: () => this.close() }, t("samples.try")) : "");
  }

  /** The picture before training over the left part, with the slider that moves the divider. */
  divided(before) {
    const cut = () => { this.stage.style.setProperty("--st-split", `${this.split}%`); };
    const slider = el("input", { type: "range", min: 0, max: 100, value: this.split, "aria-label": t("samples.compare"),
      oninput: () => { this.split = Number(slider.value); cut(); } });
    cut();
    return [el("img", { src: source(before), alt: alt(before), class: "st-before" }),
      el("span", { class: "st-corner", "aria-hidden": "true" }, moment(before)),
      el("i", { class: "st-divider", "aria-hidden": "true" }), slider];
  }
}

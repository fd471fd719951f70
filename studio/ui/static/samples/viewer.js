// @ts-check
// A sample picture full screen: a divider against the picture before training, a slider through time, its settings.

import { address, button, el, number, t, whole } from "../kit/kit.js";

/** @import { Weights } from "../../types/api.js" */
/**
 * A picture that is shown; those of a row are of one prompt.
 * @typedef {object} Shot
 * @property {number} step 0 before training
 * @property {string} prompt
 * @property {number | null} seed
 * @property {string | null} url
 * @property {Weights} [weights]
 * @property {string} [label] which of its row's pictures it is, where that is not its step
 * @property {string} [words] its text alternative, where that is not made of its step
 * @property {string} [file] the name to download it by
 * @property {number | null} [guidance_scale]
 * @property {number | null} [num_inference_steps]
 */

/** Where a sample picture lies. @param {Pick<Shot, "url">} shot */
export const source = (shot) => address(shot.url);

/** A picture's text alternative. @param {Shot} shot */
export function alt(shot) {
  if (shot.words) return shot.words;
  const key = shot.step === 0 ? "samples.alt_before" : "samples.alt";
  return t(key, { step: whole(shot.step), weights: t(`samples.${shot.weights}`), prompt: shot.prompt });
}

/** A step as the moment of a picture. @param {number} step */
export const moment = (step) => (step === 0 ? t("samples.before") : t("samples.step", { step: whole(step) }));

/** Which of a row's pictures it is: its own words for it, or its step. @param {Shot} shot */
const labelOf = (shot) => shot.label ?? moment(shot.step);

const ARROWS = new Map([
  ["ArrowLeft", -1],
  ["ArrowRight", 1],
]);

export class Viewer {
  /** `tried(shot)` is the way to draw such a picture oneself, or null.
   * @param {((shot: any) => string | null) | null} [tried] */
  constructor(tried = null) {
    this.tried = tried;
    /** @type {Shot[]} */
    this.shots = [];
    this.at = 0;
    this.split = 50;
    this.stage = el("div", { class: "st-stage" });
    this.words = el("div", { class: "st-viewer-words" });
    this.time = el("input", {
      type: "range",
      class: "st-viewer-time",
      min: 0,
      "aria-label": t("samples.time"),
      oninput: ({ currentTarget }) => this.move(Number(currentTarget.value) - this.at),
    });
    /** @type {HTMLDialogElement | null} */
    this.dialog = null;
  }

  /** Show `shots` (one prompt's pictures by step), beginning with the one at place `at`.
   * @param {Shot[]} shots @param {number} at */
  open(shots, at) {
    this.shots = shots;
    this.at = at;
    this.split = 50;
    this.time.max = String(shots.length - 1);
    this.time.value = String(at);
    this.time.hidden = shots.length < 2;
    const dialog = this.frame();
    this.dialog = dialog;
    document.body.append(dialog);
    dialog.showModal();
    this.draw();
  }

  frame() {
    /** @param {string} key @param {string} sign @param {() => void} action */
    const control = (key, sign, action) => button(sign, { "aria-label": t(key), onclick: action });
    const dialog = el(
      "dialog",
      {
        class: "st-viewer",
        "aria-label": t("samples.title"),
        onkeydown: (event) => this.key(event),
        onclose: ({ currentTarget }) => currentTarget.remove(),
        onclick: (event) => {
          if (event.target === dialog) this.close();
        },
      },
      this.stage,
      this.time,
      el(
        "div",
        { class: "st-viewer-foot" },
        control("samples.previous", "‹", () => this.move(-1)),
        this.words,
        control("samples.next", "›", () => this.move(1)),
        control("app.close", "×", () => this.close()),
      ),
    );
    return dialog;
  }

  close() {
    this.dialog?.close();
    this.dialog?.remove();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const step = ARROWS.get(event.key);
    const onSlider = event.target instanceof HTMLInputElement && event.target.type === "range";
    if (step === undefined || onSlider) return;
    event.preventDefault();
    this.move(step);
  }

  /** @param {number} by */
  move(by) {
    this.at = Math.max(0, Math.min(this.shots.length - 1, this.at + by));
    this.time.value = String(this.at);
    this.draw();
  }

  draw() {
    const shot = this.shots[this.at];
    const first = this.shots[0];
    const before = first.step === 0 && this.at > 0 ? first : null;
    this.time.setAttribute("aria-valuetext", labelOf(shot));
    const picture = el("img", {
      src: source(shot),
      alt: alt(shot),
      onload: ({ currentTarget }) => this.shape(currentTarget),
    });
    this.stage.replaceChildren(picture, ...(before ? this.divided(before) : []));
    const tried = this.tried?.(shot);
    this.words.replaceChildren(
      el("strong", {}, shot.prompt),
      el("span", {}, facts(shot).join(" · ")),
      el("a", { href: source(shot), download: shot.file }, t("samples.download")),
      tried ? el("a", { href: tried, id: "sample-try", onclick: () => this.close() }, t("samples.try")) : "",
    );
  }

  /** Give the stage the shape of the picture. @param {HTMLImageElement} picture */
  shape(picture) {
    this.stage.style.setProperty("--st-shape", String(picture.naturalWidth / picture.naturalHeight));
  }

  /** The picture before training over the left part, with the slider that moves the divider. @param {Shot} before */
  divided(before) {
    const cut = () => this.stage.style.setProperty("--st-split", `${this.split}%`);
    const slider = el("input", {
      type: "range",
      min: 0,
      max: 100,
      value: this.split,
      "aria-label": t("samples.compare"),
      oninput: () => {
        this.split = Number(slider.value);
        cut();
      },
    });
    cut();
    return [
      el("img", { src: source(before), alt: alt(before), class: "st-before" }),
      el("span", { class: "st-corner", "aria-hidden": "true" }, labelOf(before)),
      el("i", { class: "st-divider", "aria-hidden": "true" }),
      slider,
    ];
  }
}

/** How a picture was drawn, in words. @param {Shot} shot */
function facts(shot) {
  const { weights, seed, guidance_scale: guidance, num_inference_steps: steps } = shot;
  const words = [labelOf(shot)];
  if (weights) words.push(t(`samples.${weights}`));
  words.push(t("samples.seed", { seed }));
  if (guidance !== undefined && guidance !== null) words.push(t("samples.guidance", { value: number(guidance) }));
  if (steps) words.push(t("samples.steps", { value: steps }));
  return words;
}

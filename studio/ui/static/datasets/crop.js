// @ts-check
// The part of a picture that is learned from, as a square on the original: moved and sized by mouse, touch or keyboard.

import { FACTS } from "../kit/facts.js";
import { address, el, t, whole } from "../kit/kit.js";
import { byKey, centre, inside } from "./square.js";

/** @import { Picture, Square } from "../../types/api.js" */

const PAUSE = 500; // milliseconds without a further key after which a move has ended

export class Crop {
  /** `changed(square)` is told when a move has ended.
   * @param {Picture} picture @param {(square: Square) => void} changed */
  constructor(picture, changed) {
    this.picture = picture;
    this.changed = changed;
    this.timer = 0;
    this.value = centre(picture);
    this.corner = el("i", { class: "st-crop-corner", "aria-hidden": "true" });
    this.box = el(
      "div",
      {
        class: "st-crop-box",
        tabindex: 0,
        role: "slider",
        "aria-label": t("see.crop"),
        "aria-describedby": "crop-help",
        onkeydown: (event) => this.key(event),
        onpointerdown: (event) => this.grab(event),
      },
      this.corner,
    );
    const alt = t("datasets.picture", { name: picture.name, caption: picture.captions?.[0] ?? "" });
    const original = el("img", { src: address(picture.url), alt, draggable: "false" });
    this.node = el("div", { class: "st-crop" }, original, this.box);
    this.node.style.aspectRatio = `${picture.width} / ${picture.height}`;
    this.set(picture.crop ?? this.value);
  }

  /** Show the largest square in the middle. */
  reset() {
    this.set(centre(this.picture));
  }

  /** Show a square, kept inside the picture. @param {Square} square */
  set(square) {
    const { width, height } = this.picture;
    this.value = inside(square, this.picture, FACTS.least_crop);
    const [x, y, side] = this.value;
    const { style } = this.box;
    style.left = `${(100 * x) / width}%`;
    style.top = `${(100 * y) / height}%`;
    style.width = `${(100 * side) / width}%`;
    style.height = `${(100 * side) / height}%`;
    const along = width - side || height - side;
    const words = t("see.crop_value", { x: whole(x), y: whole(y), side: whole(side) });
    this.box.setAttribute("aria-valuemin", "0");
    this.box.setAttribute("aria-valuemax", String(Math.max(0, along)));
    this.box.setAttribute("aria-valuenow", String(width - side ? x : y));
    this.box.setAttribute("aria-valuetext", words);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { width, height } = this.picture;
    const share = event.shiftKey ? 0.1 : 0.01;
    const by = Math.max(1, Math.round(Math.min(width, height) * share));
    const square = byKey(event.key, this.value, by, this.picture);
    if (!square) return;
    event.preventDefault();
    this.set(square);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.changed(this.value), PAUSE);
  }

  /** Move or size the square with the pointer. @param {PointerEvent} event */
  grab(event) {
    event.preventDefault();
    this.box.focus();
    this.box.setPointerCapture(event.pointerId);
    const scale = this.picture.width / this.node.clientWidth;
    const before = this.value;
    const [x, y, side] = before;
    const sizing = event.target === this.corner;
    const most = Math.min(this.picture.width - x, this.picture.height - y);
    /** @param {PointerEvent} moved */
    const move = (moved) => {
      const right = (moved.clientX - event.clientX) * scale;
      const down = (moved.clientY - event.clientY) * scale;
      if (sizing) this.set([x, y, Math.min(side + Math.max(right, down), most)]);
      else this.set([x + right, y + down, side]);
    };
    const end = () => {
      this.box.removeEventListener("pointermove", move);
      this.box.removeEventListener("pointerup", end);
      this.box.removeEventListener("pointercancel", end);
      if (this.value.join() !== before.join()) this.changed(this.value);
    };
    this.box.addEventListener("pointermove", move);
    this.box.addEventListener("pointerup", end);
    this.box.addEventListener("pointercancel", end);
  }
}

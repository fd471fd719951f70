// The part of a picture that is learned from, as a square on the original: moved and sized by mouse, touch or keyboard.

import { address, el, t, whole } from "./kit.js";

const LEAST = 16;  // pixels of the original

export class Crop {
  /** `row` is a picture; `changed([x, y, side])` is told when a move has ended. */
  constructor(row, changed) {
    Object.assign(this, { row, changed });
    this.box = el("div", { class: "st-crop-box", tabindex: 0, role: "slider", "aria-label": t("see.crop"),
      "aria-describedby": "crop-help", onkeydown: (event) => this.key(event),
      onpointerdown: (event) => this.grab(event) }, el("i", { class: "st-crop-corner", "aria-hidden": "true" }));
    this.node = el("div", { class: "st-crop" },
      el("img", { src: address(row.url), alt: t("datasets.picture", { name: row.name, caption: row.captions?.[0] ?? "" }), draggable: "false" }),
      this.box);
    this.node.style.aspectRatio = `${row.width} / ${row.height}`;
    this.set(row.crop ?? this.centre());
  }

  /** The largest square in the middle. */
  centre() {
    const { width, height } = this.row;
    const side = Math.min(width, height);
    return [Math.floor((width - side) / 2), Math.floor((height - side) / 2), side];
  }

  /** Show a square, kept inside the picture. */
  set([x, y, side]) {
    const { width, height } = this.row;
    side = Math.round(Math.max(Math.min(LEAST, width, height), Math.min(side, width, height)));
    x = Math.round(Math.max(0, Math.min(x, width - side)));
    y = Math.round(Math.max(0, Math.min(y, height - side)));
    this.value = [x, y, side];
    const { style } = this.box;
    style.left = `${(100 * x) / width}%`;
    style.top = `${(100 * y) / height}%`;
    style.width = `${(100 * side) / width}%`;
    style.height = `${(100 * side) / height}%`;
    const along = width - side || height - side;
    this.box.setAttribute("aria-valuemin", 0);
    this.box.setAttribute("aria-valuemax", Math.max(0, along));
    this.box.setAttribute("aria-valuenow", width - side ? x : y);
    this.box.setAttribute("aria-valuetext", t("see.crop_value", { x: whole(x), y: whole(y), side: whole(side) }));
  }

  key(event) {
    const [x, y, side] = this.value;
    const by = Math.max(1, Math.round(Math.min(this.row.width, this.row.height) * (event.shiftKey ? 0.1 : 0.01)));
    const to = { ArrowLeft: [x - by, y, side], ArrowRight: [x + by, y, side], ArrowUp: [x, y - by, side], ArrowDown: [x, y + by, side],
      "+": [x - by, y - by, side + 2 * by], "=": [x - by, y - by, side + 2 * by], "-": [x + by, y + by, side - 2 * by],
      Home: this.centre() }[event.key];
    if (!to) return;
    event.preventDefault();
    this.set(to);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.changed(this.value), 500);
  }

  grab(event) {
    event.preventDefault();
    this.box.focus();
    this.box.setPointerCapture(event.pointerId);
    const scale = this.row.width / this.node.clientWidth;
    const [x, y, side] = this.value;
    const sizing = event.target.matches(".st-crop-corner");
    const move = (e) => {
      const [dx, dy] = [(e.clientX - event.clientX) * scale, (e.clientY - event.clientY) * scale];
      this.set(sizing ? [x, y, Math.min(side + Math.max(dx, dy), this.row.width - x, this.row.height - y)] : [x + dx, y + dy, side]);
    };
    const end = () => {
      this.box.removeEventListener("pointermove", move);
      this.box.removeEventListener("pointerup", end);
      this.box.removeEventListener("pointercancel", end);
      if (this.value.join() !== [x, y, side].join()) this.changed(this.value);
    };
    this.box.addEventListener("pointermove", move);
    this.box.addEventListener("pointerup", end);
    this.box.addEventListener("pointercancel", end);
  }
}

// Sample pictures by prompt and step, raw or EMA; full screen with before and after.

import { address, el, number, t, whole } from "./kit.js";

export class Samples {
  constructor() {
    this.weights = "ema";
    this.items = [];
    this.switch = el("div", { class: "st-switch", role: "group", "aria-label": t("samples.weights"), id: "sample-weights" },
      ["ema", "raw"].map((weights) => el("button", { type: "button", "data-weights": weights,
        "aria-pressed": String(weights === this.weights), onclick: () => this.choose(weights) }, t(`samples.${weights}`))));
    this.grid = el("div", { class: "st-samples", id: "samples" });
    this.node = el("section", { class: "st-card", id: "samples-card" },
      el("div", { class: "st-card-head" }, el("h2", {}, t("samples.title")), this.switch), this.grid);
    this.viewer = new Viewer();
  }

  choose(weights) {
    this.weights = weights;
    for (const button of this.switch.children) button.setAttribute("aria-pressed", String(button.dataset.weights === weights));
    this.draw();
  }

  show(items) {
    this.items = items;
    const kinds = new Set(items.map((item) => item.weights));
    this.switch.hidden = kinds.size < 2;
    if (kinds.size === 1) this.weights = [...kinds][0];
    this.draw();
  }

  draw() {
    if (!this.items.length) {
      this.grid.replaceChildren(el("p", { class: "st-quiet" }, t("samples.none")));
      return;
    }
    const rows = new Map();
    for (const item of this.items) {
      if (item.weights !== this.weights && item.step !== 0) continue;
      const key = `${item.prompt_index}\n${item.prompt}`;
      const row = rows.get(key) ?? rows.set(key, new Map()).get(key);
      const kept = row.get(item.step);
      if (!kept || item.weights === this.weights) row.set(item.step, item);
    }
    const atEnd = this.grid.firstChild?.scrollLeft + this.grid.firstChild?.clientWidth >= this.grid.firstChild?.scrollWidth - 8;
    const left = this.grid.firstChild?.scrollLeft;
    const track = el("div", { class: "st-track", tabindex: 0, "aria-label": t("samples.title") },
      [...rows.values()].map((row) => this.row([...row.values()].sort((a, b) => a.step - b.step))));
    const known = new Map([...this.grid.querySelectorAll("img")].map((img) => [img.src, img]));
    for (const img of track.querySelectorAll("img")) {  // pictures already loaded stay: nothing flickers
      const old = known.get(img.src);
      if (old && old.alt === img.alt) img.replaceWith(old);
    }
    this.grid.replaceChildren(track);
    track.scrollLeft = atEnd === false ? left : track.scrollWidth;
  }

  row(items) {
    return el("figure", {}, el("figcaption", {}, items[0].prompt),
      el("div", { class: "st-strip" }, items.map((item, i) => el("button", { type: "button", class: "st-shot",
        "aria-label": `${alt(item)}. ${t("samples.open")}`, onclick: () => this.viewer.open(items, i) },
        el("img", { src: source(item), alt: alt(item), loading: "lazy", decoding: "async" }),
        el("span", {}, item.step === 0 ? t("samples.before") : t("samples.step", { step: whole(item.step) }))))));
  }

  close() {
    this.viewer.close();
  }
}

const source = (item) => address(item.url);

/** A picture's text alternative. */
function alt(item) {
  return t(item.step === 0 ? "samples.alt_before" : "samples.alt",
    { step: whole(item.step), weights: t(`samples.${item.weights}`), prompt: item.prompt });
}

class Viewer {
  open(items, at) {
    this.items = items;
    this.at = at;
    this.split = 50;
    this.stage = el("div", { class: "st-stage" });
    this.words = el("div", { class: "st-viewer-words" });
    const button = (key, sign, action) => el("button", { type: "button", class: "st-button", "aria-label": t(key),
      onclick: action }, sign);
    this.dialog = el("dialog", { class: "st-viewer", "aria-label": t("samples.title"), onkeydown: (e) => this.key(e),
      onclose: () => this.dialog.remove(), onclick: (e) => { if (e.target === this.dialog) this.close(); } },
      this.stage, el("div", { class: "st-viewer-foot" },
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
    this.draw();
  }

  draw() {
    const item = this.items[this.at];
    const before = this.items[0].step === 0 && this.at > 0 ? this.items[0] : null;
    const now = el("img", { src: source(item), alt: alt(item) });
    this.stage.replaceChildren(now);
    if (before) {
      const under = el("img", { src: source(before), alt: alt(before), class: "st-before" });
      const cut = () => { this.stage.style.setProperty("--st-split", `${this.split}%`); };
      const slider = el("input", { type: "range", min: 0, max: 100, value: this.split, "aria-label": t("samples.compare"),
        oninput: () => { this.split = Number(slider.value); cut(); } });
      cut();
      this.stage.append(under, el("i", { class: "st-divider", "aria-hidden": "true" }), slider);
    }
    const facts = [t(item.step === 0 ? "samples.before" : "samples.step", { step: whole(item.step) }),
      t(`samples.${item.weights}`), t("samples.seed", { seed: item.seed })];
    if (item.guidance_scale !== undefined && item.guidance_scale !== null) {
      facts.push(t("samples.guidance", { value: number(item.guidance_scale) }));
    }
    if (item.num_inference_steps) facts.push(t("samples.steps", { value: item.num_inference_steps }));
    this.words.replaceChildren(el("strong", {}, item.prompt), el("span", {}, facts.join(" · ")),
      el("a", { href: source(item), download: item.file }, t("samples.download")));
  }
}

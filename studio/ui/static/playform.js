// What is drawn in the playground: which weights, prompts, seeds, and how.

import { noted } from "./app.js";
import { el, number, say, t, whole } from "./kit.js";

const HISTORY = "studio-prompts";
const REMEMBERED = 30;
const MOST_COLUMNS = 8;

export class PlayForm {
  /** `args` are those of a drawing to begin with, or null; `draw(wanted)` is called with the API's body. */
  constructor(run, args, draw) {
    Object.assign(this, { run, draw, lora: run.config?.model?.method === "lora" });
    const { sample = {}, data = {} } = run.config ?? {};
    const field = (name, value, attributes) => el("input", { id: `play-${name}`, value: value ?? "", autocomplete: "off", ...attributes });
    const count = (name, value, min, max, more = {}) => field(name, value, { type: "number", min, max, step: 1, onchange: () => this.count(), ...more });
    this.base = el("input", { type: "checkbox", id: "play-base", checked: !args || args.columns.some((one) => !one.checkpoint), onchange: () => this.count() });
    this.columns = el("div", { class: "st-weights", id: "play-columns" });
    this.add = el("button", { type: "button", class: "st-button st-small", id: "play-add", onclick: () => this.more() }, t("play.add"));
    this.prompts = el("textarea", { id: "play-prompts", rows: 3, maxlength: 20000, value: (args?.prompts ?? (noted("prompt") === null ? sample.prompts?.slice(0, 1) : [noted("prompt")]) ?? []).join("\n"), oninput: () => this.count() });
    this.negative = field("negative", args?.negative_prompt, { type: "text", maxlength: 2000, placeholder: t("play.negative_empty") });
    this.seed = count("seed", args ? args.seeds[0] : noted("seed") ?? sample.seed, 0, Number.MAX_SAFE_INTEGER, { placeholder: t("play.seed_empty") });
    this.each = count("each", args?.seeds.length ?? 1, 1, 16);
    this.guidance = field("guidance", args?.guidance_scale ?? sample.guidance_scale, { type: "number", min: 0, max: 100, step: "any" });
    this.steps = count("steps", args?.num_inference_steps ?? sample.num_inference_steps, 1, 1000);
    this.width = count("width", args?.width ?? args?.resolution ?? sample.width ?? data.resolution, 16, 4096, { step: 8 });
    this.height = count("height", args?.height ?? args?.resolution ?? sample.height ?? data.resolution, 16, 4096, { step: 8 });
    this.history = el("details", { class: "st-history", id: "play-history", ontoggle: () => this.recall() }, el("summary", {}, t("play.history")));
    this.go = el("button", { type: "submit", class: "st-button st-primary st-wide", id: "play-draw" });
    this.build();
    for (const column of this.first(args)) this.more(column);
    this.count();
  }

  build() {
    const label = (name, input) => el("label", { class: "st-stacked", for: input.id }, t(`play.${name}`), input);
    this.node = el("form", { class: "st-card st-play-form", id: "play-form", onsubmit: (event) => { event.preventDefault(); this.submit(); } },
      el("fieldset", {}, el("legend", {}, t("play.with")), this.columns, this.lora ? el("p", { class: "st-quiet st-small-text" }, t("play.scale_help")) : "",
        el("div", { class: "st-actions" }, this.add, el("label", { class: "st-check" }, this.base, t("play.base")))),
      label("prompts", this.prompts), this.history, label("negative", this.negative),
      el("div", { class: "st-two" }, label("seed", this.seed), label("each", this.each)),
      el("div", { class: "st-two" }, label("guidance", this.guidance), label("steps", this.steps)),
      el("div", { class: "st-two" }, label("width", this.width), label("height", this.height)), this.go);
  }

  /** The columns to begin with: a drawing's own, the checkpoint the URL names, or the newest. */
  first(args) {
    const kept = new Set(this.run.checkpoints.map((one) => one.name));
    const own = (args?.columns ?? []).filter((one) => kept.has(one.checkpoint));
    if (own.length) return own;
    const newest = this.run.checkpoints[this.run.checkpoints.length - 1].name;
    return [{ checkpoint: kept.has(noted("at")) ? noted("at") : newest, weights: this.weights().includes(noted("weights")) ? noted("weights") : this.weights()[0], scale: 1 }];
  }

  weights() {
    return this.run.config?.ema?.enabled === false ? ["raw"] : ["ema", "raw"];
  }

  /** One more choice of weights: by default what is not among them yet. */
  more(column = null) {
    const all = [...this.run.checkpoints].reverse().flatMap((one) => this.weights().map((weights) => ({ checkpoint: one.name, weights, step: one.step })));
    const taken = new Set(this.chosen().map((one) => `${one.checkpoint}/${one.weights}`));
    const next = column ?? all.find((one) => !taken.has(`${one.checkpoint}/${one.weights}`)) ?? all[0];
    const select = el("select", { onchange: () => this.count() }, all.map((one) => el("option", { value: `${one.checkpoint}/${one.weights}`,
      selected: one.checkpoint === next.checkpoint && one.weights === next.weights },
    t("play.column_is", { step: whole(one.step), weights: t(`samples.${one.weights}`) }))));
    const scale = el("input", { type: "number", min: 0, max: 1.5, step: 0.05, value: next.scale ?? 1, hidden: !this.lora, onchange: () => this.count() });
    const row = el("div", { class: "st-weight" }, select, scale, el("button", { type: "button", class: "st-button st-small st-square",
      onclick: () => { row.remove(); this.count(); this.add.focus(); } }, "×"));
    this.columns.append(row);
    this.count();
  }

  chosen() {
    return [...this.columns.children].map((row) => {
      const [checkpoint, weights] = row.querySelector("select").value.split("/");
      return { checkpoint, weights, scale: this.lora ? Number(row.querySelector("input").value) : 1 };
    });
  }

  lines() {
    const found = this.prompts.value.split("\n").map((line) => line.trim()).filter(Boolean);
    return found.length ? found : [""];
  }

  /** Number the rows, and say how many pictures these are. */
  count() {
    const rows = [...this.columns.children];
    rows.forEach((row, i) => {
      row.querySelector("select").setAttribute("aria-label", t("play.column", { number: i + 1 }));
      row.querySelector("input").setAttribute("aria-label", t("play.scale", { number: i + 1 }));
      const away = row.querySelector("button");
      away.setAttribute("aria-label", t("play.remove", { number: i + 1 }));
      away.hidden = rows.length === 1;
    });
    this.add.disabled = rows.length >= MOST_COLUMNS - 1;
    const pictures = (rows.length + Number(this.base.checked)) * this.lines().length * Math.max(1, Number(this.each.value) || 1);
    say(this.go, pictures === 1 ? t("play.draw_one") : t("play.draw_count", { count: whole(pictures) }));
  }

  submit() {
    const whether = (input) => (input.value === "" ? undefined : Number(input.value));
    const from = whether(this.seed) ?? Math.floor(Math.random() * 2 ** 32);
    const seeds = Array.from({ length: Math.max(1, Number(this.each.value) || 1) }, (_, i) => from + i);
    const columns = [...(this.base.checked ? [{}] : []), ...this.chosen()];
    this.keep(this.lines().filter(Boolean));
    this.draw({ columns, prompts: this.lines(), negative_prompt: this.negative.value, seeds, guidance_scale: whether(this.guidance),
      num_inference_steps: whether(this.steps), width: whether(this.width), height: whether(this.height) });
  }

  keep(prompts) {
    const all = [...new Set([...prompts, ...remembered()])].slice(0, REMEMBERED);
    localStorage.setItem(HISTORY, JSON.stringify(all));
    if (this.history.open) this.recall();
  }

  recall() {
    const list = remembered();
    const use = (text) => el("button", { type: "button", class: "st-tag", onclick: () => {
      this.prompts.value = [...this.lines().filter((line) => line && line !== text), text].join("\n");
      this.count();
      this.prompts.focus();
    } }, text);
    this.history.replaceChildren(this.history.firstChild, list.length ? el("div", { class: "st-tags" }, list.map(use)) : el("p", { class: "st-quiet" }, t("play.history_none")),
      list.length ? el("button", { type: "button", class: "st-button st-small", onclick: () => { localStorage.removeItem(HISTORY); this.recall(); } }, t("play.history_clear")) : "");
  }
}

/** The prompts of this browser, newest first. */
function remembered() {
  try {
    const found = JSON.parse(localStorage.getItem(HISTORY) ?? "[]");
    return Array.isArray(found) ? found.filter((text) => typeof text === "string") : [];
  } catch {
    return [];  // something else wrote there: begin anew
  }
}

/** What a column of a drawing is called. */
export function columnName(column) {
  if (!column.checkpoint) return t("play.base_short");
  const words = { step: whole(Number(column.checkpoint.split("-").pop())), weights: t(`samples.${column.weights}`) };
  return column.scale === 1 ? t("play.column_is", words) : t("play.column_scaled", { ...words, scale: number(column.scale) });
}

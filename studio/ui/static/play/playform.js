// @ts-check
// What is drawn in the playground: which weights, prompts, seeds, and how.

import { FACTS, LONGEST } from "../kit/facts.js";
import { el, say, t, whole } from "../kit/kit.js";
import { submitting } from "../kit/pieces.js";
import { noted } from "../kit/route.js";
import { linesOf } from "../runs/settings.js";
import { History } from "./history.js";
import { Weights } from "./weights.js";

/** @import { DrawingArgs, Run, Setting } from "../../types/api.js" */
/** @import { Facts } from "../../types/facts.js" */

const MOST_SEEDS = 16;
const LONGEST_PROMPTS = 20000; // characters of all of them
const SIDE_STEP = 8; // pixels

export class PlayForm {
  /**
   * `args` are those of a drawing to begin with, or null; `draw(args)` is called with the API's body.
   * @param {Run} run
   * @param {DrawingArgs | null} args
   * @param {(args: object) => void} draw
   */
  constructor(run, args, draw) {
    this.draw = draw;
    const { sample = {}, data = {} } = run.config ?? {};
    const changed = () => this.count();
    this.weights = new Weights(run, args, changed);
    this.prompts = el("textarea", {
      id: "play-prompts",
      rows: 3,
      maxlength: LONGEST_PROMPTS,
      value: firstPrompts(args, sample.prompts).join("\n"),
      oninput: changed,
    });
    this.negative = field("negative", args?.negative_prompt, {
      type: "text",
      maxlength: LONGEST.prompt,
      placeholder: t("play.negative_empty"),
    });
    const seed = args ? args.seeds[0] : (noted("seed") ?? sample.seed);
    const anySeed = { min: 0, max: Number.MAX_SAFE_INTEGER, placeholder: t("play.seed_empty") };
    this.seed = wholeNumber("seed", seed, anySeed, changed);
    this.each = wholeNumber("each", args?.seeds.length ?? 1, { min: 1, max: MOST_SEEDS }, changed);
    const guidance = { type: "number", ...bounds("guidance_scale"), step: "any" };
    this.guidance = field("guidance", args?.guidance_scale ?? sample.guidance_scale, guidance);
    const steps = args?.num_inference_steps ?? sample.num_inference_steps;
    this.steps = wholeNumber("steps", steps, bounds("num_inference_steps"), changed);
    /** @param {"width" | "height"} side */
    const pixels = (side) => {
      const value = args?.[side] ?? args?.resolution ?? sample[side] ?? data.resolution;
      return wholeNumber(side, value, { ...bounds(side), step: SIDE_STEP }, changed);
    };
    this.width = pixels("width");
    this.height = pixels("height");
    this.history = new History((text) => this.usePrompt(text));
    this.go = el("button", { type: "submit", class: "st-button st-primary st-wide", id: "play-draw" });
    this.node = this.frame();
    this.count();
  }

  frame() {
    /** @param {string} name @param {HTMLElement} input */
    const label = (name, input) => el("label", { class: "st-stacked", for: input.id }, t(`play.${name}`), input);
    return el(
      "form",
      { class: "st-card st-play-form", id: "play-form", onsubmit: submitting(() => this.submit()) },
      this.weights.node,
      label("prompts", this.prompts),
      this.history.node,
      label("negative", this.negative),
      el("div", { class: "st-two" }, label("seed", this.seed), label("each", this.each)),
      el("div", { class: "st-two" }, label("guidance", this.guidance), label("steps", this.steps)),
      el("div", { class: "st-two" }, label("width", this.width), label("height", this.height)),
      this.go,
    );
  }

  /** The prompts that are written; one without words where there are none. */
  lines() {
    const lines = linesOf(this.prompts.value);
    return lines.length ? lines : [""];
  }

  /** How many pictures are drawn of a prompt with the same weights. */
  get seeds() {
    return Math.max(1, Number(this.each.value) || 1);
  }

  /** Say how many pictures these are. */
  count() {
    const pictures = this.weights.columns.length * this.lines().length * this.seeds;
    say(this.go, pictures === 1 ? t("play.draw_one") : t("play.draw_count", { count: whole(pictures) }));
  }

  submit() {
    const prompts = this.lines();
    const from = numberIn(this.seed) ?? Math.floor(Math.random() * 2 ** 32);
    this.history.keep(prompts.filter(Boolean));
    this.draw({
      columns: this.weights.columns,
      prompts,
      negative_prompt: this.negative.value,
      seeds: Array.from({ length: this.seeds }, (_, place) => from + place),
      guidance_scale: numberIn(this.guidance),
      num_inference_steps: numberIn(this.steps),
      width: numberIn(this.width),
      height: numberIn(this.height),
    });
  }

  /** Write an earlier prompt as the last line. @param {string} text */
  usePrompt(text) {
    const others = this.lines().filter((line) => line && line !== text);
    this.prompts.value = [...others, text].join("\n");
    this.count();
    this.prompts.focus();
  }
}

/** The prompts to begin with: a drawing's own, the one that the URL names, or the run's first.
 * @param {DrawingArgs | null} args @param {Setting} ofRun */
function firstPrompts(args, ofRun) {
  if (args) return args.prompts;
  const named = noted("prompt");
  if (named !== null) return [named];
  return Array.isArray(ofRun) ? ofRun.slice(0, 1) : [];
}

/** @param {string} name @param {unknown} value @param {Record<string, unknown>} attributes */
const field = (name, value, attributes) =>
  el("input", { id: `play-${name}`, value: value ?? "", autocomplete: "off", ...attributes });

/** @param {string} name @param {unknown} value @param {Record<string, unknown>} limits @param {() => void} changed */
const wholeNumber = (name, value, limits, changed) =>
  field(name, value, { type: "number", step: 1, onchange: changed, ...limits });

/** What the studio draws within. @param {keyof Facts["drawing"]} name */
function bounds(name) {
  const { least, most } = FACTS.drawing[name];
  return { min: least, max: most };
}

/** What a field says; nothing where it is empty. @param {HTMLInputElement} input */
const numberIn = (input) => (input.value === "" ? undefined : Number(input.value));

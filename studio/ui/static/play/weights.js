// @ts-check
// Which weights are drawn with: rows of a checkpoint, averaged or raw, and how strong a LoRA is; and the base.

import { FACTS } from "../kit/facts.js";
import { button, el, t, whole } from "../kit/kit.js";
import { noted } from "../kit/route.js";

/** @import { Column, DrawingArgs, Run, Weights as Kind } from "../../types/api.js" */
/** @typedef {{ node: HTMLElement, select: HTMLSelectElement, scale: HTMLInputElement, away: HTMLButtonElement }} Row */

export class Weights {
  /**
   * @param {Run} run
   * @param {DrawingArgs | null} args those of a drawing to begin with
   * @param {() => void} changed
   */
  constructor(run, args, changed) {
    this.run = run;
    this.changed = changed;
    this.lora = run.config?.model?.method === "lora";
    /** @type {Kind[]} */
    this.kinds = run.config?.ema?.enabled === false ? ["raw"] : FACTS.weights;
    /** @type {Row[]} */
    this.rows = [];
    const withBase = !args || args.columns.some((column) => !column.checkpoint);
    this.base = el("input", { type: "checkbox", id: "play-base", checked: withBase, onchange: changed });
    this.list = el("div", { class: "st-weights", id: "play-columns" });
    this.add = button(t("play.add"), {
      class: "st-button st-small",
      id: "play-add",
      onclick: () => {
        this.more(this.unused());
      },
    });
    const help = el("p", { class: "st-quiet st-small-text" }, t("play.scale_help"));
    const check = el("label", { class: "st-check" }, this.base, t("play.base"));
    const actions = el("div", { class: "st-actions" }, this.add, check);
    this.node = el("fieldset", {}, el("legend", {}, t("play.with")), this.list, this.lora ? help : "", actions);
    for (const column of this.first(args)) this.more(column, false);
  }

  /** The columns to begin with: a drawing's own, the checkpoint the URL names, or the newest.
   * @param {DrawingArgs | null} args @returns {Column[]} */
  first(args) {
    const names = this.run.checkpoints.map((one) => one.name);
    const columns = (args?.columns ?? []).filter(({ checkpoint }) => checkpoint && names.includes(checkpoint));
    if (columns.length) return columns;
    const checkpoint = names.find((name) => name === noted("at")) ?? names[names.length - 1];
    const weights = this.kinds.find((kind) => kind === noted("weights")) ?? this.kinds[0];
    return [{ checkpoint, weights, scale: 1 }];
  }

  /** Every choice of weights, the newest checkpoint first. */
  choices() {
    const newestFirst = [...this.run.checkpoints].reverse();
    return newestFirst.flatMap(({ name, step }) => this.kinds.map((weights) => ({ checkpoint: name, weights, step })));
  }

  /** The first choice that is not among the rows yet. */
  unused() {
    const taken = new Set(this.rows.map(({ select }) => select.value));
    const choices = this.choices();
    return choices.find((choice) => !taken.has(valueOf(choice))) ?? choices[0];
  }

  /** One more row. @param {Column} column @param {boolean} [tells] whether the change is told */
  more(column, tells = true) {
    const row = this.row(column);
    this.rows.push(row);
    this.list.append(row.node);
    this.name();
    if (tells) this.changed();
  }

  /** @param {Column} column @returns {Row} */
  row(column) {
    const options = this.choices().map((choice) => {
      const words = { step: whole(choice.step), weights: t(`samples.${choice.weights}`) };
      const selected = valueOf(choice) === valueOf(column);
      return el("option", { value: valueOf(choice), selected }, t("play.column_is", words));
    });
    const { changed } = this;
    const select = el("select", { onchange: changed }, ...options);
    const limits = { min: 0, max: FACTS.most_scale, step: 0.05 };
    const attributes = { ...limits, value: column.scale ?? 1, hidden: !this.lora, onchange: changed };
    const scale = el("input", { type: "number", ...attributes });
    const away = button("×", {
      class: "st-button st-small st-square",
      onclick: () => {
        this.remove(row);
      },
    });
    const node = el("div", { class: "st-weight" }, select, scale, away);
    /** @type {Row} */
    const row = { node, select, scale, away };
    return row;
  }

  /** @param {Row} row */
  remove(row) {
    this.rows = this.rows.filter((one) => one !== row);
    row.node.remove();
    this.name();
    this.changed();
    this.add.focus();
  }

  /** Number the rows; the last one stays. */
  name() {
    this.rows.forEach(({ select, scale, away }, place) => {
      const number = place + 1;
      select.setAttribute("aria-label", t("play.column", { number }));
      scale.setAttribute("aria-label", t("play.scale", { number }));
      away.setAttribute("aria-label", t("play.remove", { number }));
      away.hidden = this.rows.length === 1;
    });
    this.add.disabled = this.rows.length >= FACTS.most_columns - 1;
  }

  /** What is drawn with, as the API has it. @returns {Column[]} */
  get columns() {
    const chosen = this.rows.map(({ select, scale }) => {
      const [checkpoint, weights] = select.value.split("/");
      return { checkpoint, weights: /** @type {Kind} */ (weights), scale: this.lora ? Number(scale.value) : 1 };
    });
    return this.base.checked ? [{}, ...chosen] : chosen;
  }
}

/** @param {Column} column */
const valueOf = ({ checkpoint, weights }) => `${checkpoint}/${weights}`;

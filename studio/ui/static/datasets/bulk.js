// @ts-check
// Many captions at once: find and replace, text before and after, a trigger word, each with a preview; tags.

import { LONGEST } from "../kit/facts.js";
import { attempt, button, call, el, t, toast, whole } from "../kit/kit.js";
import { submitting } from "../kit/pieces.js";

/** @import { CaptionPreview } from "../../types/api.js" */
/** @import { SetPage } from "../../types/page.js" */

const TEXTS = ["find", "replace", "prefix", "suffix", "trigger"];
const SWITCHES = ["match_case", "whole_words"];

export class Bulk {
  /** @param {SetPage} page */
  constructor(page) {
    this.page = page;
    const ofText = { type: "text", maxlength: LONGEST.caption_edit, autocomplete: "off" };
    this.inputs = TEXTS.map((key) => ({ key, input: el("input", { ...ofText, id: `bulk-${key}` }) }));
    this.boxes = SWITCHES.map((key) => ({ key, box: el("input", { type: "checkbox", id: `bulk-${key}` }) }));
    this.shown = el("div", { id: "bulk-preview", role: "status", "aria-live": "polite" });
    this.tags = el("div", { class: "st-tags", id: "tags" });
    const tags = el(
      "section",
      { class: "st-card" },
      el("h2", {}, t("bulk.tags")),
      el("p", { class: "st-quiet" }, t("bulk.tags_help")),
      this.tags,
    );
    this.node = el("div", { class: "st-bulk", id: "bulk" }, this.form(), tags);
  }

  form() {
    const texts = this.inputs.map(({ key, input }) => el("label", {}, t(`bulk.${key}`), input));
    const switches = this.boxes.map(({ key, box }) => el("label", {}, box, t(`bulk.${key}`)));
    const look = el("button", { type: "submit", class: "st-button", id: "bulk-look" }, t("bulk.look"));
    return el(
      "form",
      { class: "st-card", onsubmit: submitting(() => this.preview()) },
      el("h2", {}, t("bulk.title")),
      el("p", { class: "st-quiet" }, t("bulk.help")),
      el("div", { class: "st-two" }, ...texts),
      el("div", { class: "st-tools" }, ...switches),
      el("div", { class: "st-actions" }, look),
      this.shown,
    );
  }

  /** What is to be changed, as the API has it. */
  get change() {
    /** @type {Record<string, string | boolean>} */
    const change = { q: this.page.q() };
    for (const { key, input } of this.inputs) change[key] = input.value;
    for (const { key, box } of this.boxes) change[key] = box.checked;
    return change;
  }

  load() {
    return attempt(async () => {
      const { data } = await call(`datasets/${this.page.id}/tags?limit=200`);
      const tags = data.items.map(({ tag, count }) => {
        const attributes = { type: "button", class: "st-tag", onclick: () => this.page.search(tag) };
        return el("button", attributes, tag, el("b", {}, whole(count)));
      });
      this.tags.replaceChildren(...tags);
    });
  }

  preview() {
    const { change } = this;
    return attempt(async () => {
      const body = { ...change, preview: true };
      const { data } = await call(`datasets/${this.page.id}/captions`, { method: "POST", body });
      const apply = button(t("bulk.apply"), {
        class: "st-button st-primary",
        id: "bulk-apply",
        onclick: ({ currentTarget }) => this.apply(change, currentTarget),
      });
      this.shown.replaceChildren(
        el("p", {}, t("bulk.changes", { count: whole(data.changed) })),
        el("ul", { class: "st-changes" }, ...data.examples.map(example)),
        data.changed ? apply : "",
      );
    });
  }

  /** @param {object} change @param {HTMLButtonElement} pressed */
  async apply(change, pressed) {
    pressed.disabled = true;
    const answer = await attempt(() => call(`datasets/${this.page.id}/captions`, { method: "POST", body: change }));
    pressed.disabled = false;
    if (!answer) return;
    toast(t("bulk.done", { count: whole(answer.data.changed) }));
    this.shown.replaceChildren();
    this.page.changed(answer.data.id);
  }
}

/** A caption before and after. @param {CaptionPreview["examples"][number]} example */
const example = ({ before, after }) =>
  el("li", {}, el("s", { class: "st-cut" }, joined(before)), el("span", {}, joined(after)));

/** @param {string | string[]} texts */
const joined = (texts) => (Array.isArray(texts) ? texts.join(" / ") : texts);

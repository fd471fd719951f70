// Many captions at once: find and replace, text before and after, a trigger word, with a look before anything changes; tags.

import { attempt, call, el, t, toast, whole } from "./kit.js";

const TEXTS = ["find", "replace", "prefix", "suffix", "trigger"];
const SWITCHES = ["match_case", "whole_words"];

export class Bulk {
  /** `set` answers for the page: {id, changed(dataset), search(q), q()}. */
  constructor(set) {
    this.set = set;
    this.inputs = Object.fromEntries(TEXTS.map((key) => [key, el("input", { type: "text", maxlength: 2000, autocomplete: "off", id: `bulk-${key}` })]));
    this.boxes = Object.fromEntries(SWITCHES.map((key) => [key, el("input", { type: "checkbox", id: `bulk-${key}` })]));
    this.shown = el("div", { id: "bulk-preview", role: "status", "aria-live": "polite" });
    this.tags = el("div", { class: "st-tags", id: "tags" });
    const apply = el("button", { type: "submit", class: "st-button", id: "bulk-look" }, t("bulk.look"));
    this.node = el("div", { class: "st-bulk", id: "bulk" },
      el("form", { class: "st-card", onsubmit: (event) => { event.preventDefault(); this.preview(); } },
        el("h2", {}, t("bulk.title")), el("p", { class: "st-quiet" }, t("bulk.help")),
        el("div", { class: "st-two" }, TEXTS.map((key) => el("label", {}, t(`bulk.${key}`), this.inputs[key]))),
        el("div", { class: "st-tools" }, SWITCHES.map((key) => el("label", {}, this.boxes[key], t(`bulk.${key}`)))),
        el("div", { class: "st-actions" }, apply), this.shown),
      el("section", { class: "st-card" }, el("h2", {}, t("bulk.tags")), el("p", { class: "st-quiet" }, t("bulk.tags_help")), this.tags));
  }

  get change() {
    return { ...Object.fromEntries(TEXTS.map((key) => [key, this.inputs[key].value])),
      ...Object.fromEntries(SWITCHES.map((key) => [key, this.boxes[key].checked])), q: this.set.q() };
  }

  load() {
    return attempt(async () => {
      const { data } = await call(`datasets/${this.set.id}/tags?limit=200`);
      this.tags.replaceChildren(...data.items.map(({ tag, count }) => el("button", { type: "button", class: "st-tag", onclick: () => this.set.search(tag) },
        tag, el("b", {}, whole(count)))));
    });
  }

  preview() {
    const change = this.change;
    return attempt(async () => {
      const { data } = await call(`datasets/${this.set.id}/captions`, { method: "POST", body: { ...change, preview: true } });
      this.shown.replaceChildren(el("p", {}, t("bulk.changes", { count: whole(data.changed) })),
        el("ul", { class: "st-changes" }, data.examples.map((one) => el("li", {}, el("s", { class: "st-cut" }, joined(one.before)), el("span", {}, joined(one.after))))),
        data.changed ? el("button", { type: "button", class: "st-button st-primary", id: "bulk-apply", onclick: (event) => this.apply(change, event.currentTarget) },
          t("bulk.apply")) : "");
    });
  }

  async apply(change, button) {
    button.disabled = true;
    const answer = await attempt(() => call(`datasets/${this.set.id}/captions`, { method: "POST", body: change }));
    button.disabled = false;
    if (!answer) return;
    toast(t("bulk.done", { count: whole(answer.data.changed) }));
    this.shown.replaceChildren();
    this.set.changed(answer.data.id);
  }
}

const joined = (texts) => (Array.isArray(texts) ? texts.join(" / ") : texts);

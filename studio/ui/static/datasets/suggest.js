// @ts-check
// Captions that a model suggests: it runs as a job, and nothing is replaced before a person has seen it.

import { LONGEST } from "../kit/facts.js";
import { address, attempt, button, call, el, t, toast, whole } from "../kit/kit.js";
import { submitting } from "../kit/pieces.js";

/** @import { Suggested } from "../../types/api.js" */
/** @import { SetPage } from "../../types/page.js" */

const KNOWN = [
  "florence-community/Florence-2-base",
  "Salesforce/blip-image-captioning-large",
  "HuggingFaceTB/SmolVLM-Instruct",
  "Qwen/Qwen2.5-VL-3B-Instruct",
];
const HOW = ["replace", "append", "prepend"];

export class Suggest {
  /** @param {SetPage} page */
  constructor(page) {
    this.page = page;
    this.model = el("input", {
      type: "text",
      id: "suggest-model",
      list: "suggest-models",
      required: true,
      maxlength: 300,
      autocomplete: "off",
      placeholder: KNOWN[1],
    });
    this.prompt = el("input", {
      type: "text",
      id: "suggest-prompt",
      maxlength: LONGEST.caption_edit,
      autocomplete: "off",
      placeholder: t("suggest.prompt_empty"),
    });
    this.missing = el("input", { type: "checkbox", id: "suggest-missing", checked: true });
    const ways = HOW.map((how) => el("option", { value: how }, t(`suggest.how_${how}`)));
    this.how = el("select", { id: "suggest-how", "aria-label": t("suggest.how") }, ...ways);
    this.list = el("div", { class: "st-suggestions" });
    this.node = el("div", { id: "suggest" }, this.form(), this.list);
  }

  form() {
    const models = KNOWN.map((value) => el("option", { value }));
    const primary = { type: "submit", class: "st-button st-primary", id: "suggest-start" };
    return el(
      "form",
      { class: "st-card", onsubmit: submitting(() => this.start()) },
      el("h2", {}, t("suggest.title")),
      el("p", { class: "st-quiet" }, t("suggest.help")),
      el(
        "div",
        { class: "st-two" },
        el("label", {}, t("suggest.model"), this.model),
        el("label", {}, t("suggest.prompt"), this.prompt),
      ),
      el("datalist", { id: "suggest-models" }, ...models),
      el("div", { class: "st-tools" }, el("label", {}, this.missing, t("suggest.missing"))),
      el("div", { class: "st-actions" }, el("button", primary, t("suggest.start"))),
    );
  }

  start() {
    return attempt(async () => {
      const [model, prompt] = [this.model.value.trim(), this.prompt.value.trim()];
      const body = { model, prompt, missing_only: this.missing.checked };
      const { data } = await call(`datasets/${this.page.id}/caption`, { method: "POST", body });
      const copy = data.subject !== this.page.id ? data.subject : null; // of the shipped set
      if (copy) this.page.changed(copy);
      else this.page.watch();
    });
  }

  load() {
    return attempt(async () => {
      const { data } = await call(`datasets/${this.page.id}/suggestions?limit=50`);
      if (!data.total) {
        this.list.replaceChildren(el("p", { class: "st-quiet" }, t("suggest.none")));
        return;
      }
      this.list.replaceChildren(this.head(data.total), ...data.items.map((item) => this.item(item)));
    });
  }

  /** How many wait, and what can be done with all of them. @param {number} total */
  head(total) {
    const apply = { id: "suggest-apply", class: "st-button st-primary", onclick: () => this.decide(true) };
    const dismiss = { id: "suggest-dismiss", onclick: () => this.decide(false) };
    return el(
      "div",
      { class: "st-card-head" },
      el("h2", {}, t("suggest.waiting", { count: whole(total) })),
      el(
        "div",
        { class: "st-actions" },
        this.how,
        button(t("suggest.apply_all"), apply),
        button(t("suggest.dismiss_all"), dismiss),
      ),
    );
  }

  /** @param {Suggested} item */
  item(item) {
    const caption = item.captions?.[0] ?? "";
    const label = t("datasets.picture", { name: item.name, caption });
    const open = { type: "button", class: "st-picture", "aria-label": label, onclick: () => this.page.open(item) };
    const small = "st-button st-small";
    const apply = { class: small, onclick: () => this.decide(true, [item.id]) };
    const dismiss = { class: small, onclick: () => this.decide(false, [item.id]) };
    const actions = [button(t("suggest.apply"), apply), button(t("suggest.dismiss"), dismiss)];
    return el(
      "figure",
      { class: "st-card st-suggestion" },
      el("button", open, el("img", { src: address(item.thumb), alt: "", loading: "lazy" })),
      el(
        "figcaption",
        {},
        el("small", {}, t("suggest.now", { caption: caption || t("datasets.caption_empty") })),
        el("span", {}, item.suggestion),
        el("span", { class: "st-actions" }, ...actions),
      ),
    );
  }

  /** Take suggestions over, or dismiss them; all where there are no `ids`. @param {boolean} apply
   * @param {string[]} [ids] */
  async decide(apply, ids) {
    const body = { apply, how: this.how.value, ...(ids ? { ids } : {}) };
    const answer = await attempt(() => call(`datasets/${this.page.id}/suggestions`, { method: "POST", body }));
    if (!answer) return;
    if (apply) toast(t("bulk.done", { count: whole(answer.data.changed) }));
    this.page.changed(answer.data.id);
  }
}

// Captions that a model suggests: it runs as a job, and nothing is replaced before a person has seen it.

import { address, attempt, call, el, t, toast, whole } from "./kit.js";

const KNOWN = ["florence-community/Florence-2-base", "Salesforce/blip-image-captioning-large", "HuggingFaceTB/SmolVLM-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct"];
const HOW = ["replace", "append", "prepend"];

export class Suggest {
  /** `set` answers for the page: {id, changed(dataset), watch(job), open(row)}. */
  constructor(set) {
    this.set = set;
    this.model = el("input", { type: "text", id: "suggest-model", list: "suggest-models", required: true, maxlength: 300, autocomplete: "off", placeholder: KNOWN[1] });
    this.prompt = el("input", { type: "text", id: "suggest-prompt", maxlength: 2000, autocomplete: "off", placeholder: t("suggest.prompt_empty") });
    this.missing = el("input", { type: "checkbox", id: "suggest-missing", checked: true });
    this.how = el("select", { id: "suggest-how", "aria-label": t("suggest.how") }, HOW.map((how) => el("option", { value: how }, t(`suggest.how_${how}`))));
    this.list = el("div", { class: "st-suggestions" });
    this.node = el("div", { id: "suggest" }, el("form", { class: "st-card", onsubmit: (event) => { event.preventDefault(); this.start(); } },
      el("h2", {}, t("suggest.title")), el("p", { class: "st-quiet" }, t("suggest.help")),
      el("div", { class: "st-two" }, el("label", {}, t("suggest.model"), this.model), el("label", {}, t("suggest.prompt"), this.prompt)),
      el("datalist", { id: "suggest-models" }, KNOWN.map((value) => el("option", { value }))),
      el("div", { class: "st-tools" }, el("label", {}, this.missing, t("suggest.missing"))),
      el("div", { class: "st-actions" }, el("button", { type: "submit", class: "st-button st-primary", id: "suggest-start" }, t("suggest.start")))), this.list);
  }

  start() {
    return attempt(async () => {
      const body = { model: this.model.value.trim(), prompt: this.prompt.value.trim(), missing_only: this.missing.checked };
      const { data } = await call(`datasets/${this.set.id}/caption`, { method: "POST", body });
      if (data.subject !== this.set.id) this.set.changed(data.subject);  // the shipped set was copied
      else this.set.watch();
    });
  }

  load() {
    return attempt(async () => {
      const { data } = await call(`datasets/${this.set.id}/suggestions?limit=50`);
      if (!data.total) { this.list.replaceChildren(el("p", { class: "st-quiet" }, t("suggest.none"))); return; }
      this.list.replaceChildren(el("div", { class: "st-card-head" }, el("h2", {}, t("suggest.waiting", { count: whole(data.total) })),
        el("div", { class: "st-actions" }, this.how, button("suggest-apply", "st-primary", "apply_all", () => this.decide(true)),
          button("suggest-dismiss", "", "dismiss_all", () => this.decide(false)))), ...data.items.map((item) => this.item(item)));
    });
  }

  item(item) {
    return el("figure", { class: "st-card st-suggestion" },
      el("button", { type: "button", class: "st-picture", "aria-label": t("datasets.picture", { name: item.name, caption: item.captions?.[0] ?? "" }),
        onclick: () => this.set.open(item) }, el("img", { src: address(item.thumb), alt: "", loading: "lazy" })),
      el("figcaption", {}, el("small", {}, t("suggest.now", { caption: item.captions?.[0] || t("datasets.caption_empty") })), el("span", {}, item.suggestion),
        el("span", { class: "st-actions" }, button(null, "st-small", "apply", () => this.decide(true, [item.id])),
          button(null, "st-small", "dismiss", () => this.decide(false, [item.id])))));
  }

  async decide(apply, ids) {
    const body = { apply, how: this.how.value, ...(ids ? { ids } : {}) };
    const answer = await attempt(() => call(`datasets/${this.set.id}/suggestions`, { method: "POST", body }));
    if (!answer) return;
    if (apply) toast(t("bulk.done", { count: whole(answer.data.changed) }));
    this.set.changed(answer.data.id);
  }
}

const button = (id, look, key, action) => el("button", { type: "button", class: `st-button ${look}`, id, onclick: action }, t(`suggest.${key}`));

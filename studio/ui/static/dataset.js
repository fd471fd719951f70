// One data set: its name and actions, the import report, and its parts (pictures, and what else can be done with them).

import { go } from "./app.js";
import { attempt, call, confirm, el, t, toast, whole } from "./kit.js";
import { Grid } from "./grid.js";
import { refusal } from "./parts.js";
import { poll } from "./poll.js";
import { report } from "./report.js";

let carried = null;  // where the keyboard was in the shipped set when its copy took its place

export const counted = (count) => (count === 1 ? t("datasets.count_one") : t("datasets.count", { count: whole(count) }));

export class SetView {
  constructor(id, place) {
    Object.assign(this, { id, place });
    this.keys = (event) => this.key(event);
  }

  open() {
    document.addEventListener("keydown", this.keys);
    this.place.replaceChildren(el("p", { class: "st-quiet" }, t("datasets.loading")));
    poll(async () => {
      const { data } = await call(`datasets/${this.id}`);
      this.set = data;
      if (this.grid && data.state === "importing") { this.showReport(); return 1000; }
      this.build();
      if (data.state === "importing") return 1000;
      const from = carried?.id === this.id ? carried : null;
      carried = null;
      this.grid.offset = from?.offset ?? 0;
      await this.grid.load(from?.at ?? null);
      return null;
    }, (error) => this.place.replaceChildren(refusal(error, t("datasets.gone_title"))));
  }

  close() {
    document.removeEventListener("keydown", this.keys);
  }

  build() {
    const { set } = this;
    this.undo = el("button", { type: "button", class: "st-button", id: "dataset-undo", hidden: !set.can_undo,
      onclick: () => this.takeBack() }, t("datasets.undo"));
    const search = el("input", { type: "search", id: "dataset-search", placeholder: t("datasets.search"),
      "aria-label": t("datasets.search"),
      oninput: () => { clearTimeout(this.typing); this.typing = setTimeout(() => attempt(() => this.grid.find(search.value)), 250); } });
    this.grid = new Grid(this.id, { edited: (answer, grid) => this.edited(answer, grid), opened: () => {} });
    this.reported = el("div");
    const words = set.state === "ready" ? counted(set.count) : t(`datasets.state_${set.state}`);
    this.place.replaceChildren(
      el("a", { class: "st-back", href: "?view=datasets" }, `‹ ${t("datasets.all")}`),
      el("div", { class: "st-run-head" },
        el("div", {}, el("h1", { id: "dataset-title" }, set.name), el("p", { class: "st-quiet", role: "status" },
          [words, set.read_only ? t("datasets.shipped") : null].filter(Boolean).join(" · "))),
        el("div", { class: "st-actions" }, this.actions())),
      this.reported,
      el("div", { class: "st-set-tools" }, search, this.undo),
      el("p", { class: "st-quiet st-small-text st-keys" }, t("datasets.keys")), this.grid.node);
    this.showReport();
  }

  showReport() {
    this.reported.replaceChildren(...report(this.set));
  }

  actions() {
    const { set } = this;
    const button = (key, look, action) => el("button", { type: "button", class: `st-button ${look}`,
      id: `dataset-${key}`, onclick: action }, t(`datasets.${key}`));
    return [
      set.state === "ready" ? button("train", "st-primary", () =>
        window.dispatchEvent(new CustomEvent("studio:use-dataset", { detail: set.id }))) : null,
      set.read_only ? null : button("rename", "", () => this.rename()),
      set.read_only ? null : button("delete", "st-danger", () => this.remove()),
    ].filter(Boolean);
  }

  rename() {
    const input = el("input", { type: "text", value: this.set.name, maxlength: 200, "aria-label": t("datasets.name"), id: "dataset-new-name" });
    const form = el("form", { class: "st-inline-form", onsubmit: async (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (name && await attempt(() => call(`datasets/${this.id}`, { method: "PATCH", body: { name } }))) this.reopen();
    } }, input, el("button", { type: "submit", class: "st-button st-primary" }, t("datasets.rename")));
    document.getElementById("dataset-title").replaceChildren(form);
    input.select();
  }

  reopen() {
    this.close();
    this.open();
  }

  async remove() {
    if (!(await confirm(t("datasets.delete_sure"), t("datasets.delete_yes"), t("datasets.keep")))) return;
    if (await attempt(() => call(`datasets/${this.id}`, { method: "DELETE" }))) go({ view: "datasets" });
  }

  /** A caption was saved. The shipped set is copied on its first edit: go on in the copy, at the same place. */
  edited({ dataset }, grid) {
    this.undo.hidden = false;
    if (dataset === this.id) return;
    toast(t("datasets.copied"));
    const figure = document.activeElement?.closest("#pictures figure");
    carried = { id: dataset, offset: grid.offset, at: figure ? grid.place(figure) : null };
    go({ dataset });
  }

  /** Ctrl+Z outside a field takes the last change back. */
  key(event) {
    const typing = event.target.closest?.("input, textarea, select");
    if (event.key.toLowerCase() !== "z" || event.shiftKey || !(event.ctrlKey || event.metaKey) || typing || this.undo?.hidden) return;
    event.preventDefault();
    this.takeBack();
  }

  async takeBack() {
    if (!(await attempt(() => call(`datasets/${this.id}/undo`, { method: "POST", body: {} })))) return;
    toast(t("datasets.undone"));
    await attempt(() => this.refresh());
  }

  /** Captions or pictures changed: read them anew. */
  async refresh() {
    this.set = (await call(`datasets/${this.id}`)).data;
    this.undo.hidden = !this.set.can_undo;
    await this.grid.load();
  }
}

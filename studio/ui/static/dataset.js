// One data set: its name and actions, the import report, and its parts (pictures, and what else can be done with them).

import { go, note, noted } from "./app.js";
import { address, attempt, call, confirm, el, t, toast, whole } from "./kit.js";
import { answers } from "./again.js";
import { Aim } from "./aim.js";
import { arrived } from "./arrived.js";
import { Bulk } from "./bulk.js";
import { Grid } from "./grid.js";
import { Health } from "./health.js";
import { Jobs } from "./jobs.js";
import { refusal } from "./parts.js";
import { now, poll } from "./poll.js";
import { push } from "./push.js";
import { report } from "./report.js";
import { See } from "./see.js";
import { Suggest } from "./suggest.js";
import { deleted } from "./trashed.js";

const PARTS = ["pictures", "health", "bulk", "suggest"];
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
    poll(() => this.next(), (error) => this.place.replaceChildren(refusal(error, t("datasets.gone_title"))));
  }

  /** One turn of the loop: the import while it is under way, then the jobs about this data set. */
  async next() {
    if (this.ready) return this.jobs.next();
    const { data } = await call(`datasets/${this.id}`);
    this.set = data;
    if (!this.grid) this.build();
    else this.showReport();
    if (data.state === "importing") return 1000;
    this.build();
    this.ready = true;
    const from = carried?.id === this.id ? carried : null;
    carried = null;
    this.grid.offset = from?.offset ?? 0;
    await this.grid.load(from?.at ?? null);
    this.turn(noted("part") ?? "pictures");
    return this.jobs.next();
  }

  close() {
    document.removeEventListener("keydown", this.keys);
    this.see?.dialog.close();
  }

  build() {
    const { set } = this;
    this.undo = el("button", { type: "button", class: "st-button", id: "dataset-undo", hidden: !set.can_undo,
      onclick: () => this.takeBack() }, t("datasets.undo"));
    const search = el("input", { type: "search", id: "dataset-search", placeholder: t("datasets.search"),
      "aria-label": t("datasets.search"),
      oninput: () => { clearTimeout(this.typing); this.typing = setTimeout(() => attempt(() => this.grid.find(search.value)), 250); } });
    const open = (row) => { this.see = new See(this.door, row); };
    this.door = { id: this.id, aim: new Aim(), open, changed: (id) => this.changed(id), watch: () => now(), q: () => this.grid.q,
      search: (q) => { search.value = q; this.turn("pictures"); attempt(() => this.grid.find(q)); } };
    this.grid = new Grid(this.id, { edited: (answer, grid) => this.edited(answer, grid), opened: open });
    this.jobs = new Jobs(this.id, () => { this.parts[this.part]?.load?.(); });
    this.parts = { pictures: { node: el("div", {}, el("p", { class: "st-quiet st-small-text st-keys" }, t("datasets.keys")), this.grid.node) },
      health: new Health(this.door), bulk: new Bulk(this.door), suggest: new Suggest(this.door) };
    this.tabs = el("div", { class: "st-switch", role: "group", "aria-label": t("datasets.parts") }, PARTS.map((name) =>
      el("button", { type: "button", id: `part-${name}`, onclick: () => this.turn(name) }, t(`datasets.part_${name}`))));
    this.shown = el("div");
    this.reported = el("div");
    this.counts = el("p", { class: "st-quiet", role: "status" }, this.words());
    this.place.replaceChildren(
      el("a", { class: "st-back", href: "?view=datasets" }, `‹ ${t("datasets.all")}`),
      el("div", { class: "st-run-head" },
        el("div", {}, el("h1", { id: "dataset-title" }, set.name), this.counts),
        el("div", { class: "st-actions" }, this.actions())),
      this.reported,
      this.jobs.node, el("div", { class: "st-set-tools" }, this.tabs, search, this.undo), this.shown);
    this.showReport();
  }

  /** Show one part of the page; the URL keeps which. */
  turn(part) {
    this.part = PARTS.includes(part) ? part : "pictures";
    for (const button of this.tabs.children) button.setAttribute("aria-pressed", String(button.id === `part-${this.part}`));
    this.shown.replaceChildren(this.parts[this.part].node);
    this.parts[this.part].load?.();
    note("part", this.part === "pictures" ? null : this.part);
  }

  words() {
    const { state, count, read_only: shipped } = this.set;
    return [state === "ready" ? counted(count) : t(`datasets.state_${state}`), shipped ? t("datasets.shipped") : null].filter(Boolean).join(" · ");
  }

  showReport() {
    const broken = arrived(this.set, () => this.reopen());
    this.reported.replaceChildren(...(broken ? [broken] : []), ...answers(this.set, () => this.reopen()), ...report(this.set));
  }

  actions() {
    const { set } = this;
    const button = (key, look, action) => el("button", { type: "button", class: `st-button ${look}`,
      id: `dataset-${key}`, onclick: action }, t(`datasets.${key}`));
    if (set.state === "importing") return [button("import_cancel", "st-danger", () => this.stopImport())];
    return [
      set.state === "ready" ? button("train", "st-primary", () =>
        window.dispatchEvent(new CustomEvent("studio:use-dataset", { detail: set.id }))) : null,
      set.count ? el("a", { class: "st-button", id: "dataset-export", href: address(`api/datasets/${this.id}/export`), download: "" },
        t("datasets.export")) : null,
      set.count ? button("push", "", () => push(this.id, (job) => { this.jobs.take(job); now(); })) : null,
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
    Object.assign(this, { ready: false, grid: null });
    this.open();
  }

  stopImport() {
    return attempt(() => call(`datasets/${this.id}/cancel`, { method: "POST", body: {} }));
  }

  async remove() {
    if (!(await confirm(t("datasets.delete_sure"), t("datasets.delete_yes"), t("datasets.keep")))) return;
    if (await attempt(() => call(`datasets/${this.id}`, { method: "DELETE" }))) { go({ view: "datasets" }); deleted(this.id); }
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

  /** Something in data set `id` changed: read it anew, or go to it where it is a copy of the shipped one. */
  changed(id) {
    if (id !== this.id) {
      toast(t("datasets.copied"));
      go({ dataset: id, ...(this.part === "pictures" ? {} : { part: this.part }) });
      return;
    }
    attempt(() => this.refresh());
  }

  async refresh() {
    this.set = (await call(`datasets/${this.id}`)).data;
    this.undo.hidden = !this.set.can_undo;
    this.counts.textContent = this.words();
    await this.grid.load();
    await this.parts[this.part].load?.();
    now();
  }
}

// @ts-check
// One data set: its name and actions, the import report, and its parts (pictures, and what else can be done with them).

import { answers } from "../imports/again.js";
import { arrived } from "../imports/arrived.js";
import { report } from "../imports/report.js";
import { LONGEST } from "../kit/facts.js";
import { Jobs } from "../kit/jobs.js";
import { address, attempt, button, call, confirm, el, existing, t, toast, whole } from "../kit/kit.js";
import { refusal, submitting, waiting } from "../kit/pieces.js";
import { now, poll } from "../kit/poll.js";
import { go, note, noted } from "../kit/route.js";
import { deleted } from "../trash/trashed.js";
import { Aim } from "./aim.js";
import { Bulk } from "./bulk.js";
import { Grid } from "./grid.js";
import { Health } from "./health.js";
import { push } from "./push.js";
import { See } from "./see.js";
import { Suggest } from "./suggest.js";

/** @import { Dataset } from "../../types/api.js" */
/** @import { SetPage } from "../../types/page.js" */
/** @typedef {{ node: HTMLElement, load?: () => unknown }} Part */
/** @typedef {ReturnType<typeof partsOf>} Parts */

const SEARCH_PAUSE = 250; // milliseconds without a further letter

/** Where the keyboard was in the shipped set when its copy took its place.
 * @type {{ id: string, offset: number, at: number | null } | null} */
let carried = null;

/** How many pictures, in words. @param {number} count */
export const counted = (count) =>
  count === 1 ? t("datasets.count_one") : t("datasets.count", { count: whole(count) });

/** A data set's page and the loop that follows it. */
export class SetView {
  /** @param {string} id @param {HTMLElement} place */
  constructor(id, place) {
    this.id = id;
    this.place = place;
    /** @type {SetFrame | null} */
    this.frame = null;
    this.ready = false;
    this.onkey = (/** @type {KeyboardEvent} */ event) => this.frame?.key(event);
  }

  open() {
    document.addEventListener("keydown", this.onkey);
    this.place.replaceChildren(waiting(t("datasets.loading")));
    poll(
      () => this.next(),
      (error) => this.place.replaceChildren(refusal(error, t("datasets.gone_title"))),
    );
  }

  /** One turn of the loop: the import while it is under way, then the jobs about this data set. */
  async next() {
    if (this.ready && this.frame) return this.frame.jobs.next();
    const { data } = await call(`datasets/${this.id}`);
    if (data.state === "importing") {
      if (this.frame) this.frame.showReport(data);
      else this.build(data);
      return 1000;
    }
    const frame = this.build(data);
    this.ready = true;
    const from = carried?.id === this.id ? carried : null;
    carried = null;
    frame.grid.offset = from?.offset ?? 0;
    await frame.grid.load(from?.at ?? null);
    frame.turn(noted("part") ?? "pictures");
    return frame.jobs.next();
  }

  /** @param {Dataset} set */
  build(set) {
    const frame = new SetFrame(set, () => this.reopen());
    this.frame = frame;
    this.place.replaceChildren(...frame.nodes);
    return frame;
  }

  reopen() {
    this.close();
    this.frame = null;
    this.ready = false;
    this.open();
  }

  close() {
    document.removeEventListener("keydown", this.onkey);
    this.frame?.see?.dialog.close();
  }
}

/** What a data set's page shows. */
class SetFrame {
  /** @param {Dataset} set @param {() => void} reopen */
  constructor(set, reopen) {
    this.id = set.id;
    this.set = set;
    this.reopen = reopen;
    /** @type {See | null} */
    this.see = null;
    /** The part on show. @type {keyof Parts} */
    this.part = "pictures";
    this.undo = button(t("datasets.undo"), {
      id: "dataset-undo",
      hidden: !set.can_undo,
      onclick: () => {
        this.takeBack();
      },
    });
    this.search = this.searchField();
    const page = this.page();
    const edited = (/** @type {string} */ dataset, /** @type {Grid} */ grid) => this.edited(dataset, grid);
    this.grid = new Grid(this.id, { edited, opened: page.open });
    this.jobs = new Jobs(this.id, () => this.parts[this.part].load?.());
    this.parts = partsOf(page, this.grid);
    this.tabs = /** @type {(keyof Parts)[]} */ (Object.keys(this.parts)).map((name) => this.tab(name));
    this.shown = el("div");
    this.reported = el("div");
    this.counts = el("p", { class: "st-quiet", role: "status" }, this.words());
    this.showReport(set);
  }

  /** What the page's parts ask of it. @returns {SetPage} */
  page() {
    /** @type {SetPage} */
    const page = {
      id: this.id,
      aim: new Aim(),
      open: (picture) => {
        this.see = new See(page, picture);
      },
      changed: (id) => this.changed(id),
      watch: () => now(),
      q: () => this.grid.q,
      search: (q) => this.find(q),
    };
    return page;
  }

  get nodes() {
    const tabs = { class: "st-switch", role: "group", "aria-label": t("datasets.parts") };
    const title = el("h1", { id: "dataset-title" }, this.set.name);
    const head = [el("div", {}, title, this.counts), el("div", { class: "st-actions" }, ...this.actions())];
    return [
      el("a", { class: "st-back", href: "?view=datasets" }, `‹ ${t("datasets.all")}`),
      el("div", { class: "st-run-head" }, ...head),
      this.reported,
      this.jobs.node,
      el("div", { class: "st-set-tools" }, el("div", tabs, ...this.tabs), this.search, this.undo),
      this.shown,
    ];
  }

  // --------------------------------------------------------------------------------------------- what it shows

  searchField() {
    let timer = 0;
    return el("input", {
      type: "search",
      id: "dataset-search",
      placeholder: t("datasets.search"),
      "aria-label": t("datasets.search"),
      oninput: ({ currentTarget }) => {
        clearTimeout(timer);
        timer = window.setTimeout(() => attempt(() => this.grid.find(currentTarget.value)), SEARCH_PAUSE);
      },
    });
  }

  /** @param {keyof Parts} name */
  tab(name) {
    return el(
      "button",
      {
        type: "button",
        id: `part-${name}`,
        onclick: () => {
          this.turn(name);
        },
      },
      t(`datasets.part_${name}`),
    );
  }

  /** Look for pictures. @param {string} q */
  find(q) {
    this.search.value = q;
    this.turn("pictures");
    attempt(() => this.grid.find(q));
  }

  /** Show one part of the page; the URL keeps which. @param {string} name */
  turn(name) {
    const part = name in this.parts ? /** @type {keyof Parts} */ (name) : "pictures";
    this.part = part;
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", String(tab.id === `part-${part}`));
    this.shown.replaceChildren(this.parts[part].node);
    this.parts[part].load?.();
    note("part", part === "pictures" ? null : part);
  }

  words() {
    const { state, count, read_only: shipped } = this.set;
    const words = [state === "ready" ? counted(count) : t(`datasets.state_${state}`)];
    if (shipped) words.push(t("datasets.shipped"));
    return words.join(" · ");
  }

  /** @param {Dataset} set */
  showReport(set) {
    this.set = set;
    const broken = arrived(set, this.reopen);
    this.reported.replaceChildren(broken ?? "", ...answers(set, this.reopen), ...report(set));
  }

  // ------------------------------------------------------------------------------------------- what can be done

  actions() {
    const { set } = this;
    /** @param {string} key @param {string} look @param {() => unknown} onclick */
    const action = (key, look, onclick) =>
      button(t(`datasets.${key}`), { class: `st-button ${look}`, id: `dataset-${key}`, onclick });
    if (set.state === "importing") return [action("import_cancel", "st-danger", () => this.stopImport())];
    const href = address(`api/datasets/${this.id}/export`);
    const take = { class: "st-button", id: "dataset-export", href, download: "" };
    const actions = [];
    if (set.state === "ready") actions.push(action("train", "st-primary", () => this.train()));
    if (set.count) {
      actions.push(el("a", take, t("datasets.export")));
      actions.push(action("push", "", () => push(this.id, (job) => this.follow(job))));
    }
    if (!set.read_only) {
      actions.push(action("rename", "", () => this.rename()));
      actions.push(action("delete", "st-danger", () => this.remove()));
    }
    return actions;
  }

  train() {
    window.dispatchEvent(new CustomEvent("studio:use-dataset", { detail: this.id }));
  }

  /** @param {Parameters<Jobs["take"]>[0]} job */
  follow(job) {
    this.jobs.take(job);
    now();
  }

  rename() {
    const input = el("input", {
      type: "text",
      value: this.set.name,
      maxlength: LONGEST.name,
      "aria-label": t("datasets.name"),
      id: "dataset-new-name",
    });
    const keep = async () => {
      const name = input.value.trim();
      if (!name) return;
      const answer = await attempt(() => call(`datasets/${this.id}`, { method: "PATCH", body: { name } }));
      if (answer) this.reopen();
    };
    const form = el(
      "form",
      { class: "st-inline-form", onsubmit: submitting(keep) },
      input,
      el("button", { type: "submit", class: "st-button st-primary" }, t("datasets.rename")),
    );
    existing("dataset-title").replaceChildren(form);
    input.select();
  }

  stopImport() {
    return attempt(() => call(`datasets/${this.id}/cancel`, { method: "POST", body: {} }));
  }

  async remove() {
    if (!(await confirm(t("datasets.delete_sure"), t("datasets.delete_yes"), t("datasets.keep")))) return;
    if (!(await attempt(() => call(`datasets/${this.id}`, { method: "DELETE" })))) return;
    go({ view: "datasets" });
    deleted(this.id);
  }

  // ----------------------------------------------------------------------------------------------- what changed

  /** A caption was saved. The shipped set is copied on its first edit: go on in the copy, at the same place.
   * @param {string} dataset @param {Grid} grid */
  edited(dataset, grid) {
    this.undo.hidden = false;
    if (dataset === this.id) return;
    toast(t("datasets.copied"));
    const figure = document.activeElement?.closest("#pictures figure");
    carried = { id: dataset, offset: grid.offset, at: figure ? grid.place(figure) : null };
    go({ dataset });
  }

  /** Ctrl+Z outside a field takes the last change back. @param {KeyboardEvent} event */
  key(event) {
    const typing = event.target instanceof Element && event.target.closest("input, textarea, select");
    const pressed = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
    if (!pressed || typing || this.undo.hidden) return;
    event.preventDefault();
    this.takeBack();
  }

  async takeBack() {
    if (!(await attempt(() => call(`datasets/${this.id}/undo`, { method: "POST", body: {} })))) return;
    toast(t("datasets.undone"));
    await attempt(() => this.refresh());
  }

  /** Something in a data set changed: read it anew, or go to it where it is a copy of the shipped one.
   * @param {string} id */
  changed(id) {
    if (id === this.id) {
      attempt(() => this.refresh());
      return;
    }
    toast(t("datasets.copied"));
    go(this.part === "pictures" ? { dataset: id } : { dataset: id, part: this.part });
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

/** The parts of a data set's page, in the order of their tabs. @param {SetPage} page @param {Grid} grid */
function partsOf(page, grid) {
  const keys = el("p", { class: "st-quiet st-small-text st-keys" }, t("datasets.keys"));
  /** @type {Part} */
  const pictures = { node: el("div", {}, keys, grid.node) };
  /** @type {Record<"pictures" | "health" | "bulk" | "suggest", Part>} */
  const parts = { pictures, health: new Health(page), bulk: new Bulk(page), suggest: new Suggest(page) };
  return parts;
}

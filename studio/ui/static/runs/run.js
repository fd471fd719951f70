// @ts-check
// One run: reads it once, then follows its events; every part redraws only what changed.

import { Chart } from "../chart/chart.js";
import { isLive } from "../kit/facts.js";
import { call, duration, el, number, say, t, whole } from "../kit/kit.js";
import { fillBar, refusal, waiting } from "../kit/pieces.js";
import { now, poll } from "../kit/poll.js";
import { branch, changed } from "./change.js";
import { controls } from "./controls.js";
import { downloads } from "../downloads/downloads.js";
import { Head } from "./head.js";
import { Notify } from "./notify.js";
import { Overfit } from "../samples/overfit.js";
import { Log, certificate, details, trouble } from "./parts.js";
import { Elapsed } from "../kit/phase.js";
import { PhaseBar, use } from "./phases.js";
import { Publish } from "../downloads/publish.js";
import { Samples } from "../samples/samples.js";
import { sentence, waits } from "./sentence.js";

/** @import { ApiError } from "../kit/kit.js" */
/** @import { Events, Run } from "../../types/api.js" */

const MANY = 4000; // live points kept before the curve is asked for anew, down-sampled
const TELLING = new Set(["sample", "checkpoint", "retired", "control", "warning", "resumed", "attempt", "end"]);
const OF_FILES = new Set(["checkpoint", "retired", "end"]);

/** A run's page and the loop that follows its events. */
export class RunView {
  /** @param {string} id @param {HTMLElement} place */
  constructor(id, place) {
    this.id = id;
    this.place = place;
    this.closed = false;
    /** @type {RunPage | null} */
    this.page = null;
    /** The event from which on to follow. */
    this.since = 0;
    /** @type {string | null} */
    this.tag = null;
  }

  /** Draw the empty frame, then follow the run. */
  open() {
    this.place.replaceChildren(waiting(t("runs.loading")));
    poll(
      () => this.start(),
      (error) => this.refuse(error),
    );
  }

  close() {
    this.closed = true;
    poll(null);
    this.page?.close();
  }

  /** @param {ApiError} error */
  refuse(error) {
    this.place.replaceChildren(refusal(error, error.status === 404 ? t("run.gone_title") : null));
  }

  async start() {
    const record = (await call(`runs/${this.id}`)).data;
    if (this.closed) return null;
    const page = new RunPage(record);
    this.page = page;
    this.place.replaceChildren(...page.nodes);
    page.show(record); // the words first: the curve of a long run takes a moment
    await Promise.all([this.curve(page), page.files()]);
    poll(
      () => this.next(page),
      (error) => this.refuse(error),
    );
    return null;
  }

  /** The whole curve, down-sampled, and the event from which on to follow. @param {RunPage} page */
  async curve({ chart, record }) {
    chart.total = record.total_steps ?? 0;
    chart.resumes = (record.resumes ?? []).map((resume) => resume.from_step ?? 0);
    this.since = Math.min((await chart.load()) ?? 0, record.seq);
    this.tag = null;
    await chart.compare.recall();
  }

  /** One turn of the loop: new events, and the record when they say it changed. @param {RunPage} page */
  async next(page) {
    const { data, tag } = await call(`runs/${this.id}/events?since=${this.since}`, { tag: this.tag });
    if (this.closed) return null;
    if (data) {
      this.tag = data.events.length ? null : tag;
      this.since = data.next;
      await this.take(page, data);
    }
    await page.log.next();
    await page.chart.refresh();
    if (data && data.next < data.last) return 0;
    if (!isLive(page.record.state)) return 5000;
    return document.hasFocus() ? 1000 : 2000; // a window that nobody works in asks half as often
  }

  /** @param {RunPage} page @param {Events} data */
  async take(page, data) {
    const { events, next, last, ...status } = data;
    page.chart.append(events);
    if (page.chart.points > MANY) await page.chart.load();
    const { state, revision } = page.record;
    const other = data.state !== state || data.revision !== revision;
    const telling = other || events.some((event) => TELLING.has(event.kind));
    const fresh = telling ? (await call(`runs/${this.id}`)).data : {};
    if (this.closed) return;
    page.show({ ...page.record, ...fresh, ...status });
    if (events.some((event) => OF_FILES.has(event.kind))) await page.files();
  }
}

/** The parts of a run's page. */
class RunPage {
  /** @param {Run} record */
  constructor(record) {
    const { id } = record;
    this.id = id;
    this.record = record;
    this.closed = false;
    /** The record that the parts show. @type {Run | null} */
    this.shown = null;
    this.chart = new Chart(id);
    this.samples = new Samples(id);
    this.overfit = new Overfit(id);
    this.log = new Log(id);
    this.notify = new Notify(id);
    this.head = new Head(id, this.notify.button, (name) => this.show({ ...this.record, name }));
    this.status = el("p", { class: "st-status", id: "run-status", role: "status", "aria-live": "polite" });
    this.elapsed = new Elapsed({ id: "run-elapsed" });
    const progress = { role: "progressbar", "aria-valuemin": 0, "aria-label": t("run.progress") };
    this.bar = el("div", { class: "st-progress", id: "run-progress", ...progress }, el("i"));
    this.phase = new PhaseBar();
    this.numbers = el("dl", { class: "st-numbers", id: "run-numbers" });
    this.controls = el("div", { class: "st-actions", id: "run-actions" });
    this.trouble = el("div", { id: "run-trouble" });
    this.downloads = el("section", { class: "st-card", id: "downloads" });
    this.publish = new Publish(id);
    this.details = el("section", { class: "st-card", id: "details" });
    this.edits = el("section", { class: "st-card", id: "edits", hidden: true });
    this.resumes = el("section", { class: "st-card", id: "resume-certificate", hidden: true });
    details(this.details, record);
  }

  get nodes() {
    const doing = el("div", { class: "st-doing" }, this.status, this.elapsed.node);
    const live = [doing, this.phase.node, this.bar, this.numbers, this.controls];
    const main = [this.samples.node, this.chart.node, this.overfit.node, this.log.node];
    const side = [this.downloads, this.publish.node, this.edits, this.resumes, this.details];
    return [
      el("a", { class: "st-back", href: "?view=runs" }, `‹ ${t("runs.all")}`),
      this.head.node,
      el("section", { class: "st-card st-live-card" }, ...live),
      this.trouble,
      el("div", { class: "st-run-grid" }, el("div", {}, ...main), el("div", {}, ...side)),
    ];
  }

  close() {
    this.closed = true;
    this.chart.close();
    this.samples.close();
    this.overfit.close();
    this.publish.close();
  }

  async files() {
    const { data } = await call(`runs/${this.id}/files`);
    if (this.closed) return;
    downloads(this.downloads, this.id, data.items, (step) => branch(this.record, `checkpoint-${step}`));
    await this.publish.show(data.items);
  }

  /** @param {Run} record */
  show(record) {
    const before = this.shown;
    /** @param {(record: Run) => unknown} pick */
    const differs = (pick) => !before || JSON.stringify(pick(before)) !== JSON.stringify(pick(record));
    /** @param {Run} fresh */
    const done = (fresh) => this.changed(fresh);
    this.record = record;
    this.shown = record;
    this.chart.total = record.total_steps ?? 0;
    if (differs((r) => [r.name, r.state, r.checkpoints?.length])) this.head.show(record);
    this.showProgress(record);
    this.notify.show(record);
    if (differs((r) => [r.actions, r.state])) controls(this.controls, record, done);
    if (differs((r) => [r.error, r.fixes, r.warnings, r.state])) trouble(this.trouble, record, done);
    if (differs((r) => r.edits)) {
      changed(this.edits, record.edits ?? []);
      this.chart.mark(record.edits ?? []);
    }
    if (differs((r) => r.resumes)) certificate(this.resumes, record.resumes ?? []);
    this.overfit.show(record);
    if (differs((r) => [r.samples, r.checkpoints])) this.samples.show(record.samples ?? [], record.checkpoints ?? []);
  }

  /** A control answered with a fresh record. @param {Run} record */
  changed(record) {
    this.show({ ...this.record, ...record });
    now();
  }

  /** @param {Run} record */
  showProgress(record) {
    say(this.status, sentence(record));
    if (waits(record)) this.elapsed.count(record);
    else this.elapsed.stop();
    this.phase.show(record);
    fillBar(this.bar, record.step, record.total_steps || 1);
    this.bar.dataset.state = record.state;
    const rows = numbersOf(record);
    const key = rows.map(([name]) => name).join();
    if (this.numbers.dataset.key !== key) {
      this.numbers.dataset.key = key;
      const figures = rows.map(([name]) => figure(name));
      this.numbers.replaceChildren(...figures);
    }
    for (const [place, [, value]] of rows.entries()) {
      const cell = this.numbers.children[place].lastElementChild;
      if (cell) say(cell, value);
    }
  }
}

/** The figures under a run's progress: [name, value]. @param {Run} record @returns {[string, string][]} */
function numbersOf(record) {
  /** @type {[string, string][]} */
  const left = isLive(record.state) ? [["eta", duration(record.eta_seconds)]] : [];
  return [
    ["step", t("run.of", { step: whole(record.step), total: whole(record.total_steps) })],
    ...left,
    ["rate", number(record.pictures_per_second, 3)],
    ["loss", number(record.loss)],
    ["lr", number(record.lr)],
    ...use(record),
  ];
}

/** @param {string} name */
const figure = (name) => el("div", { id: `run-${name}` }, el("dt", {}, t(`run.${name}`)), el("dd"));

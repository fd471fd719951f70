// One run: reads it once, then follows its events; every part redraws only what changed.

import { branch, changed } from "./change.js";
import { Chart } from "./chart.js";
import { controls } from "./controls.js";
import { attempt, bytes, call, duration, el, has, number, say, t, unit, whole } from "./kit.js";
import { Log, badge, certificate, details, downloads, refusal, titled, trouble } from "./parts.js";
import { PhaseBar, use } from "./phases.js";
import { Notify } from "./notify.js";
import { now, poll } from "./poll.js";
import { Publish } from "./publish.js";
import { Overfit } from "./overfit.js";
import { Samples } from "./samples.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);
const MANY = 4000;  // live points kept before the curve is asked for anew, down-sampled
const TELLING = new Set(["sample", "checkpoint", "retired", "control", "warning", "resumed", "attempt", "end"]);

export class RunView {
  constructor(id, place) {
    this.id = id;
    this.place = place;
    this.closed = false;
  }

  /** Draw the empty frame, then follow the run. */
  open() {
    this.place.replaceChildren(el("p", { class: "st-quiet" }, t("runs.loading")));
    poll(() => this.start(), (error) => this.refuse(error));
  }

  close() {
    this.closed = true;
    poll(null);
    this.chart?.close();
    this.samples?.close();
    this.overfit?.close();
    this.publish?.close();
  }

  refuse(error) {
    this.place.replaceChildren(refusal(error, error.status === 404 ? t("run.gone_title") : null));
  }

  async start() {
    const record = (await call(`runs/${this.id}`)).data;
    if (this.closed) return null;
    this.record = record;
    this.build();
    this.show(record);  // the words first: the curve of a long run takes a moment
    await Promise.all([this.curve(), this.files()]);
    poll(() => this.next(), (error) => this.refuse(error));
    return null;
  }

  build() {
    this.chart = new Chart(this.id);
    this.samples = new Samples(this.id);
    this.overfit = new Overfit(this.id);
    this.log = new Log(this.id);
    this.notify = new Notify(this.id);
    this.head = el("div", { class: "st-run-head" });
    this.status = el("p", { class: "st-status", id: "run-status", role: "status", "aria-live": "polite" });
    this.bar = el("div", { class: "st-progress", id: "run-progress", role: "progressbar", "aria-valuemin": 0,
      "aria-label": t("run.progress") }, el("i"));
    this.phase = new PhaseBar();
    this.numbers = el("dl", { class: "st-numbers", id: "run-numbers" });
    this.controls = el("div", { class: "st-actions", id: "run-actions" });
    this.trouble = el("div", { id: "run-trouble" });
    this.downloads = el("section", { class: "st-card", id: "downloads" });
    this.publish = new Publish(this.id);
    this.details = el("section", { class: "st-card", id: "details" });
    this.edits = el("section", { class: "st-card", id: "edits", hidden: true });
    this.resumes = el("section", { class: "st-card", id: "resume-certificate", hidden: true });
    this.place.replaceChildren(
      el("a", { class: "st-back", href: "?view=runs" }, `‹ ${t("runs.all")}`), this.head,
      el("section", { class: "st-card st-live-card" }, this.status, this.phase.node, this.bar, this.numbers, this.controls),
      this.trouble,
      el("div", { class: "st-run-grid" },
        el("div", {}, this.samples.node, this.chart.node, this.overfit.node, this.log.node),
        el("div", {}, this.downloads, this.publish.node, this.edits, this.resumes, this.details)));
    details(this.details, this.record);
  }

  /** The whole curve, down-sampled, and the event from which on to follow. */
  async curve() {
    this.chart.total = this.record.total_steps;
    this.chart.resumes = (this.record.resumes ?? []).map((resume) => resume.from_step);
    this.since = Math.min(await this.chart.load(), this.record.seq);
    this.tag = null;
    await this.chart.compare.recall();
  }

  /** One turn of the loop: new events, and the record when they say it changed. */
  async next() {
    const answer = await call(`runs/${this.id}/events?since=${this.since}`, { tag: this.tag });
    if (this.closed) return null;
    if (answer.data) await this.take(answer);
    await this.log.next();
    await this.chart.refresh();
    if (answer.data && answer.data.next < answer.data.last) return 0;
    if (!LIVE.has(this.record.state)) return 5000;
    return document.hasFocus() ? 1000 : 2000;  // a window that nobody works in asks half as often
  }

  async take({ data, tag }) {
    const news = data.events;
    this.tag = news.length ? null : tag;
    this.since = data.next;
    this.chart.append(news);
    if (this.chart.points > MANY) await this.chart.load();
    const changed = data.state !== this.record.state || data.revision !== this.record.revision || news.some((event) => TELLING.has(event.kind));
    const fresh = changed ? (await call(`runs/${this.id}`)).data : {};
    const { events, next, last, ...facts } = data;
    if (this.closed) return;
    this.show({ ...this.record, ...fresh, ...facts });
    if (news.some((event) => ["checkpoint", "retired", "end"].includes(event.kind))) await this.files();
  }

  async files() {
    const { data } = await call(`runs/${this.id}/files`);
    if (this.closed) return;
    downloads(this.downloads, this.id, data.items, (step) => branch(this.record, `checkpoint-${step}`));
    await this.publish.show(data.items);
  }

  show(record) {
    const before = this.shown;
    this.record = record;
    this.chart.total = record.total_steps;
    const same = (pick) => before && JSON.stringify(pick(before)) === JSON.stringify(pick(record));
    if (!same((r) => [r.name, r.state, r.checkpoints?.length])) this.showHead(record);
    this.showProgress(record);
    this.notify.show(record);
    if (!same((r) => [r.actions, r.state])) controls(this.controls, record, (fresh) => this.changed(fresh));
    if (!same((r) => [r.error, r.fixes, r.warnings, r.state])) trouble(this.trouble, record, (fresh) => this.changed(fresh));
    if (!same((r) => r.edits)) { changed(this.edits, record.edits ?? []); this.chart.mark(record.edits ?? []); }
    if (!same((r) => r.resumes)) certificate(this.resumes, record.resumes ?? []);
    this.overfit.show(record);
    if (!same((r) => [r.samples, r.checkpoints])) this.samples.show(record.samples ?? [], record.checkpoints ?? []);
    this.shown = record;
  }

  /** A control answered with a fresh record. */
  changed(record) {
    if (record) this.show({ ...this.record, ...record });
    now();
  }

  showHead(record) {
    document.title = `${titled(record)} · ${t("app.title")}`;
    const facts = [record.dataset?.name, record.config?.model?.base].filter(Boolean).join(" · ");
    if (document.getElementById("run-rename-form")) { this.head.lastChild.replaceWith(badge(record.state)); return; }
    const rename = el("button", { type: "button", class: "st-button st-small", id: "run-rename",
      onclick: () => this.rename() }, t("run.rename"));
    const draw = record.checkpoints?.length ? el("a", { class: "st-button st-small", id: "run-try", href: `?play=${this.id}` }, t("run.try")) : null;
    this.head.replaceChildren(
      el("div", {}, el("h1", { id: "run-title" }, titled(record)), el("p", { class: "st-quiet" }, facts),
        el("div", { class: "st-actions" }, rename, draw, this.notify.button)),
      badge(record.state));
  }

  /** The title as a field: Enter keeps the new name, Escape the old one. */
  rename() {
    const input = el("input", { type: "text", id: "run-new-name", maxlength: 200, autocomplete: "off",
      "aria-label": t("run.name"), value: this.record.name ?? "" });
    const close = (record) => {
      form.remove();
      this.showHead(record);
      document.getElementById("run-rename").focus();
    };
    const form = el("form", { class: "st-inline-form", id: "run-rename-form",
      onkeydown: (event) => { if (event.key === "Escape") close(this.record); },
      onsubmit: async (event) => {
        event.preventDefault();
        const name = input.value.trim();
        const answer = name ? await attempt(() => call(`runs/${this.id}`, { method: "PATCH", body: { name } })) : null;
        if (!answer || this.closed) return;
        this.record = { ...this.record, name: answer.data.name };
        this.shown = this.record;
        close(this.record);
      } }, input, el("button", { type: "submit", class: "st-button st-small st-primary" }, t("run.rename")));
    document.getElementById("run-title").replaceChildren(form);
    document.getElementById("run-rename").hidden = true;
    input.select();
  }

  showProgress(record) {
    const total = record.total_steps || 1;
    say(this.status, sentence(record));
    this.phase.show(record);
    this.bar.setAttribute("aria-valuemax", total);
    this.bar.setAttribute("aria-valuenow", record.step);
    this.bar.firstChild.style.width = `${Math.min(100, (100 * record.step) / total)}%`;
    this.bar.dataset.state = record.state;
    const live = LIVE.has(record.state);
    const rows = [
      ["step", t("run.of", { step: whole(record.step), total: whole(record.total_steps) })],
      live ? ["eta", duration(record.eta_seconds)] : null,
      ["rate", number(record.pictures_per_second, 3)],
      ["loss", number(record.loss)],
      ["lr", number(record.lr)],
      ...use(record),
    ].filter(Boolean);
    const key = rows.map(([name]) => name).join();
    if (this.numbers.dataset.key !== key) {
      this.numbers.dataset.key = key;
      this.numbers.replaceChildren(...rows.map(([name]) =>
        el("div", { id: `run-${name}` }, el("dt", {}, t(`run.${name}`)), el("dd"))));
    }
    rows.forEach(([, value], i) => say(this.numbers.children[i].lastChild, value));
  }
}

/** What the run is doing, in words. */
export function sentence(record) {
  if (record.note) return record.note;
  if (record.state === "queued" && record.queue_position > 0) {
    return t("says.queued_at", { position: record.queue_position });
  }
  const busy = record.state === "running" || record.state === "starting";
  if (busy && record.phase && has(`phase.${record.phase}`)) {
    const phase = t(`phase.${record.phase}`);
    if (!record.phase_total || record.phase === "training") return `${phase} …`;
    const size = (n) => (record.phase_unit === "bytes" ? bytes(n) : whole(n));
    return t("phase.counted", { phase, done: size(record.phase_done ?? 0), total: size(record.phase_total),
      unit: unit(record.phase_unit) }).trim();
  }
  return has(`says.${record.state}`) ? t(`says.${record.state}`) : record.state;
}

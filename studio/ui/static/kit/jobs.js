// @ts-check
// Long work about a data set or a run: what is under way with its progress and Cancel, and what went wrong.

import { isLive } from "./facts.js";
import { attempt, button, call, el, say, t, textOr } from "./kit.js";
import { Elapsed, doing } from "./phase.js";
import { fillBar, listOf, messagesOf, outward } from "./pieces.js";

/** @import { Job } from "../../types/api.js" */

export class Jobs {
  /**
   * `ended(job)` is told once of each job of `subject` that ends while this looks on.
   * @param {string} subject
   * @param {(job: Job) => void} ended
   */
  constructor(subject, ended) {
    this.subject = subject;
    this.ended = ended;
    /** @type {string | null} */
    this.tag = null;
    /** @type {Map<string, Row>} */
    this.live = new Map();
    this.node = el("div", { class: "st-jobs", id: "jobs", "aria-live": "polite" });
  }

  /** Ask once; resolves to the milliseconds to wait, or null when nothing is under way. */
  async next() {
    const { data, tag } = await call(`jobs?subject=${this.subject}`, { tag: this.tag });
    if (data) {
      this.tag = tag;
      const shown = data.items.filter((job) => job.kind !== "see"); // that one has a place of its own
      for (const job of shown) this.take(job);
    }
    return this.live.size ? 1000 : null;
  }

  /** @param {Job} job */
  take(job) {
    const row = this.live.get(job.id);
    if (isLive(job.state)) {
      if (row) row.show(job);
      else this.add(job);
    } else if (row) {
      this.live.delete(job.id);
      row.end(job);
      this.ended(job);
    }
  }

  /** @param {Job} job */
  add(job) {
    const row = new Row(job);
    this.live.set(job.id, row);
    this.node.append(row.node);
    row.show(job);
  }
}

class Row {
  /** @param {Job} job */
  constructor(job) {
    const name = named(job);
    const cancel = () => attempt(() => call(`jobs/${job.id}/cancel`, { method: "POST", body: {} }));
    this.words = el("span", {});
    this.elapsed = new Elapsed();
    const bar = { class: "st-meter", role: "progressbar", "aria-valuemin": 0, "aria-label": name };
    this.bar = el("div", bar, el("i"));
    this.cancel = button(t("jobs.cancel"), { class: "st-button st-small", onclick: cancel });
    const words = [el("strong", {}, name), this.words, this.elapsed.node];
    this.node = el("div", { class: "st-note st-job" }, ...words, this.bar, this.cancel);
  }

  /** @param {Job} job */
  show(job) {
    say(this.words, wordsOf(job));
    this.elapsed.count(job);
    this.bar.hidden = !job.phase_total;
    if (job.phase_total) fillBar(this.bar, job.phase_done ?? 0, job.phase_total);
  }

  /** What is left to say: of a good end only where something was published, the fault and what to do of a bad one.
   * @param {Job} job */
  end(job) {
    const warnings = messagesOf(job.warnings ?? []);
    const { error } = job;
    const published = (job.results ?? []).find((result) => result.published)?.published;
    if (!error && !warnings.length && !published) {
      this.node.remove();
      return;
    }
    const name = named(job);
    this.node.classList.toggle("st-note-bad", Boolean(error));
    this.node.replaceChildren(
      el("strong", {}, error ? t("jobs.failed", { name, message: error.message }) : name),
      error?.hint ? el("span", {}, error.hint) : "",
      published ? el("span", {}, t("publish.done"), " ", outward(published)) : "",
      warnings.length ? listOf(warnings) : "",
      button(t("app.close"), { class: "st-button st-small", onclick: () => this.node.remove() }),
    );
  }
}

/** What a job is called. @param {Job} job */
const named = (job) => textOr(`jobs.kind_${job.kind}`, job.name);

/** What a job is doing, in words. @param {Job} job */
function wordsOf(job) {
  if (job.state === "queued") return waiting(job.queue_position);
  if (job.state === "stopping") return t("jobs.stopping");
  return doing(job) || t("jobs.working");
}

/** @param {number | null} position in the queue */
const waiting = (position) => (position ? t("says.queued_at", { position }) : t("says.queued"));

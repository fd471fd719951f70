// Long work about a data set or a run: what is under way with its progress and Cancel, and what went wrong.

import { attempt, bytes, call, el, has, say, t, whole } from "./kit.js";
import { outward } from "./parts.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);

export class Jobs {
  /** `ended(job)` is told once of each job of `subject` that ends while this looks on. */
  constructor(subject, ended) {
    Object.assign(this, { subject, ended, tag: null, live: new Map() });
    this.node = el("div", { class: "st-jobs", id: "jobs", "aria-live": "polite" });
  }

  /** Ask once; resolves to the milliseconds to wait, or null when nothing is under way. */
  async next() {
    const { data, tag } = await call(`jobs?subject=${this.subject}`, { tag: this.tag });
    if (data) {
      this.tag = tag;
      for (const job of data.items) if (job.kind !== "see") this.take(job);  // that one has a place of its own
    }
    return this.live.size ? 1000 : null;
  }

  take(job) {
    const row = this.live.get(job.id);
    if (LIVE.has(job.state)) {
      if (row) row.show(job);
      else this.add(job);
    } else if (row) {
      this.live.delete(job.id);
      row.end(job);
      this.ended(job);
    }
  }

  add(job) {
    const row = new Row(job);
    this.live.set(job.id, row);
    this.node.append(row.node);
    row.show(job);
  }
}

class Row {
  constructor(job) {
    this.words = el("span", {});
    this.bar = el("div", { class: "st-meter", role: "progressbar", "aria-valuemin": 0, "aria-label": named(job) }, el("i"));
    this.cancel = el("button", { type: "button", class: "st-button st-small",
      onclick: () => attempt(() => call(`jobs/${job.id}/cancel`, { method: "POST", body: {} })) }, t("jobs.cancel"));
    this.node = el("div", { class: "st-note st-job" }, el("strong", {}, named(job)), this.words, this.bar, this.cancel);
  }

  show(job) {
    say(this.words, doing(job));
    this.bar.hidden = !job.phase_total;
    if (!job.phase_total) return;
    this.bar.setAttribute("aria-valuemax", job.phase_total);
    this.bar.setAttribute("aria-valuenow", job.phase_done ?? 0);
    this.bar.firstChild.style.width = `${(100 * (job.phase_done ?? 0)) / job.phase_total}%`;
  }

  /** What is left to say: of a good end only where something was published, the fault and what to do of a bad one. */
  end(job) {
    const warnings = (job.warnings ?? []).map((one) => one.message);
    const bad = job.error ?? null;
    const published = (job.results ?? []).find((result) => result.published)?.published ?? null;
    if (!bad && !warnings.length && !published) { this.node.remove(); return; }
    this.node.classList.toggle("st-note-bad", Boolean(bad));
    this.node.replaceChildren(el("strong", {}, bad ? t("jobs.failed", { name: named(job), message: bad.message }) : named(job)),
      bad?.hint ? el("span", {}, bad.hint) : "", published ? el("span", {}, t("publish.done"), " ", outward(published)) : "", warnings.length ? el("ul", {}, warnings.map((text) => el("li", {}, text))) : "",
      el("button", { type: "button", class: "st-button st-small", onclick: () => this.node.remove() }, t("app.close")));
  }
}

/** What a job is called. */
const named = (job) => (has(`jobs.kind_${job.kind}`) ? t(`jobs.kind_${job.kind}`) : job.name);

/** What a job is doing, in words. */
function doing(job) {
  if (job.state === "queued") return job.queue_position ? t("says.queued_at", { position: job.queue_position }) : t("says.queued");
  if (job.state === "stopping") return t("jobs.stopping");
  const phase = has(`phase.${job.phase}`) ? t(`phase.${job.phase}`) : t("jobs.working");
  if (!job.phase_total) return phase;
  const size = (count) => (job.phase_unit === "bytes" ? bytes(count) : whole(count));
  return t("jobs.counted", { phase, done: size(job.phase_done ?? 0), total: size(job.phase_total) });
}

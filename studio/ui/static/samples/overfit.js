// @ts-check
// Whether a run learns its pictures by heart: a recommended checkpoint, and samples beside their nearest picture.

import { isLive } from "../kit/facts.js";
import { address, attempt, button, call, el, number, say, t, whole } from "../kit/kit.js";
import { Elapsed, doing } from "../kit/phase.js";
import { listOf } from "../kit/pieces.js";
import { alt, source } from "./viewer.js";
import { tellingOf } from "./rows.js";

/** @import { Compared, Held, Job, Overfitting, Recommended, Run } from "../../types/api.js" */

const SHOWN = 12;

export class Overfit {
  /** @param {string} id of the run */
  constructor(id) {
    this.id = id;
    this.key = "";
    this.closed = false;
    this.timer = 0;
    this.advice = el("div", { id: "advice", "aria-live": "polite" });
    this.compare = button(t("overfit.compare"), {
      class: "st-button st-small",
      id: "overfit-compare",
      onclick: () => {
        this.start();
      },
    });
    this.status = el("p", { class: "st-quiet", role: "status" });
    this.elapsed = new Elapsed();
    this.pairs = el("div", { class: "st-alike", id: "overfit-pairs" });
    this.node = el(
      "section",
      { class: "st-card", id: "overfitting", hidden: true },
      el("div", { class: "st-card-head" }, el("h2", {}, t("overfit.title")), this.compare),
      this.advice,
      el("div", { class: "st-doing" }, this.status, this.elapsed.node),
      this.pairs,
    );
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }

  /** Ask anew when the run has something new to tell. @param {Run} record */
  show(record) {
    const key = JSON.stringify([record.samples?.length, record.checkpoints, record.validation, record.state]);
    if (key === this.key) return;
    this.key = key;
    attempt(() => this.load());
  }

  async load() {
    clearTimeout(this.timer);
    const { data } = await call(`runs/${this.id}/overfitting`);
    if (this.closed) return;
    this.draw(data);
    if (data.job && isLive(data.job.state)) this.later(1000, () => this.load());
  }

  /** @param {number} milliseconds @param {() => Promise<void>} action */
  later(milliseconds, action) {
    this.timer = window.setTimeout(() => attempt(action), milliseconds);
  }

  async start() {
    const answer = await attempt(() => call(`runs/${this.id}/overfitting`, { method: "POST", body: {} }));
    if (!answer || this.closed) return;
    await this.follow(answer.data);
  }

  /** Until the comparison has ended; then what it found, or why it failed. @param {Job} job */
  async follow(job) {
    if (this.closed) return;
    this.compare.disabled = isLive(job.state);
    if (isLive(job.state)) {
      this.busy(job);
      this.later(700, async () => this.follow((await call(`jobs/${job.id}`)).data));
      return;
    }
    this.elapsed.stop();
    await this.load();
    if (job.error) this.status.textContent = [job.error.message, job.error.hint].filter(Boolean).join(" ");
  }

  /** How far the comparison is. @param {Job} job */
  busy(job) {
    say(this.status, doing(job) || t("overfit.busy"));
    this.elapsed.count(job);
  }

  /** @param {Overfitting} data */
  draw(data) {
    const { validation, recommended, count, measured, samples, job } = data;
    this.node.hidden = !count && !recommended;
    this.compare.hidden = measured >= count;
    this.compare.disabled = Boolean(job);
    const none = el("p", { class: "st-quiet" }, t("overfit.no_checkpoint"));
    this.advice.replaceChildren(...(recommended ? this.advise(recommended, validation) : [none]));
    if (job) this.busy(job);
    else say(this.status, compared(data));
    const telling = tellingOf(samples).slice(0, SHOWN);
    this.pairs.replaceChildren(...telling.map((one) => pair(one)));
  }

  /** The recommendation, said to be one, with why.
   * @param {Recommended} recommended @param {Record<string, Held>} validation */
  advise(recommended, validation) {
    const { checkpoint, step, weights, loss } = recommended;
    const words = { step: whole(step), weights: t(`samples.${weights}`), loss: number(loss) };
    const tryIt = { class: "st-button st-small", id: "overfit-try", href: `?play=${this.id}&at=${checkpoint}` };
    const reasons = listOf(reasonsFor(recommended, words, validation[weights]));
    reasons.className = "st-reasons";
    return [
      el("p", { class: "st-status" }, t("overfit.recommended", words)),
      reasons,
      el("p", { class: "st-quiet st-small-text" }, t("overfit.only_advice")),
      el("a", tryIt, t("run.try_at", { step: whole(step) })),
    ];
  }
}

/** What was compared, in words. @param {Overfitting} data */
function compared({ count, measured, samples }) {
  if (!measured) return t("overfit.not_compared");
  const { usual } = samples[0];
  return t("overfit.compared", { measured: whole(measured), count: whole(count), usual: number(usual, 3) });
}

/** @param {Recommended} recommended @param {Record<string, string>} words @param {Held | undefined} held */
function reasonsFor({ why, copies, pictures }, words, held) {
  const lines = [t(`overfit.why_${why}`, words)];
  if (held?.risen) {
    const [low, last] = [number(held.best.loss), number(held.last.loss)];
    lines.push(t("overfit.risen", { best: whole(held.best.step), low, last }));
  } else if (held) {
    lines.push(t("overfit.not_risen", { low: number(held.best.loss) }));
  }
  if (copies) lines.push(t("overfit.copies", { copies: whole(copies), pictures: whole(pictures) }));
  else if (pictures) lines.push(t("overfit.no_copies", { pictures: whole(pictures) }));
  return lines;
}

/** A sample beside its nearest training picture. @param {Compared} sample */
function pair(sample) {
  const { step, prompt, distance, bits, copy, nearest } = sample;
  const drawn = el("img", { src: source(sample), alt: alt(sample), loading: "lazy" });
  const about = { step: whole(step), weights: t(`samples.${sample.weights}`), prompt };
  return el(
    "figure",
    { class: copy ? "st-copy" : null },
    el("div", { class: "st-two-shots" }, drawn, trainingPicture(nearest)),
    el(
      "figcaption",
      {},
      copy ? el("strong", {}, t("overfit.copy")) : "",
      el("span", {}, t("overfit.sample", about)),
      el("small", {}, t("overfit.nearest", { name: nearest.name, distance: number(distance, 3), bits })),
    ),
  );
}

/** @param {Compared["nearest"]} nearest */
function trainingPicture({ name, captions, url }) {
  const missing = () => el("div", { class: "st-blank", role: "img", "aria-label": t("overfit.gone") });
  if (!url) return missing();
  return el("img", {
    src: address(url),
    alt: t("overfit.alt", { name, caption: captions[0] ?? "" }),
    loading: "lazy",
    onerror: ({ currentTarget }) => currentTarget.replaceWith(missing()),
  });
}

// Whether a run learns its pictures by heart: a recommended checkpoint, and samples beside their nearest training picture.

import { address, attempt, call, el, number, t, whole } from "./kit.js";
import { alt, source } from "./viewer.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);
const SHOWN = 12;

/** Of each prompt the sample that says most: a copy, of the newest step, and the nearest. */
function nearest(samples) {
  const ordered = [...samples].sort((a, b) => b.copy - a.copy || b.step - a.step || a.distance - b.distance);
  const seen = new Set();
  return ordered.filter(({ prompt }) => !seen.has(prompt) && seen.add(prompt));
}

export class Overfit {
  constructor(id) {
    Object.assign(this, { id, key: "", closed: false });
    this.advice = el("div", { id: "advice", "aria-live": "polite" });
    this.compare = el("button", { type: "button", class: "st-button st-small", id: "overfit-compare", onclick: () => this.start() }, t("overfit.compare"));
    this.said = el("p", { class: "st-quiet", role: "status" });
    this.pairs = el("div", { class: "st-alike", id: "overfit-pairs" });
    this.node = el("section", { class: "st-card", id: "overfitting", hidden: true },
      el("div", { class: "st-card-head" }, el("h2", {}, t("overfit.title")), this.compare), this.advice, this.said, this.pairs);
  }

  close() {
    this.closed = true;
    clearTimeout(this.waiting);
  }

  /** Ask anew when the run has something new to tell. */
  show(record) {
    const key = JSON.stringify([record.samples?.length, record.checkpoints, record.validation, record.state]);
    if (key === this.key) return;
    this.key = key;
    attempt(() => this.load());
  }

  async load() {
    clearTimeout(this.waiting);
    const { data } = await call(`runs/${this.id}/overfitting`);
    if (this.closed) return;
    this.draw(data);
    if (data.job && LIVE.has(data.job.state)) this.waiting = setTimeout(() => attempt(() => this.load()), 1000);
  }

  async start() {
    const answer = await attempt(() => call(`runs/${this.id}/overfitting`, { method: "POST", body: {} }));
    if (!answer || this.closed) return;
    await this.follow(answer.data);
  }

  /** Until the comparison has ended; then what it found, or why it failed. */
  async follow(job) {
    if (this.closed) return;
    this.compare.disabled = LIVE.has(job.state);
    if (LIVE.has(job.state)) {
      this.said.textContent = t("overfit.busy");
      this.waiting = setTimeout(() => attempt(async () => this.follow((await call(`jobs/${job.id}`)).data)), 700);
      return;
    }
    await this.load();
    if (job.error) this.said.textContent = [job.error.message, job.error.hint].filter(Boolean).join(" ");
  }

  draw({ validation, recommended, count, measured, samples, job }) {
    this.node.hidden = !count && !recommended;
    this.compare.hidden = measured >= count;
    this.compare.disabled = Boolean(job);
    this.advice.replaceChildren(...(recommended ? this.advise(recommended, validation) : [el("p", { class: "st-quiet" }, t("overfit.no_checkpoint"))]));
    this.said.textContent = job ? t("overfit.busy") : !measured ? t("overfit.not_compared")
      : t("overfit.compared", { measured: whole(measured), count: whole(count), usual: samples[0].usual === null ? t("app.never") : number(samples[0].usual, 3) });
    this.pairs.replaceChildren(...nearest(samples).slice(0, SHOWN).map((one) => this.pair(one)));
  }

  /** The recommendation, said to be one, with why. */
  advise({ checkpoint, step, weights, why, loss, copies, pictures }, validation) {
    const words = { step: whole(step), weights: t(`samples.${weights}`), loss: number(loss) };
    const held = validation[weights];
    const lines = [t(`overfit.why_${why}`, words)];
    if (held?.risen) lines.push(t("overfit.risen", { best: whole(held.best.step), low: number(held.best.loss), last: number(held.last.loss) }));
    else if (held) lines.push(t("overfit.not_risen", { low: number(held.best.loss) }));
    if (copies) lines.push(t("overfit.copies", { copies: whole(copies), pictures: whole(pictures) }));
    else if (pictures) lines.push(t("overfit.no_copies", { pictures: whole(pictures) }));
    return [el("p", { class: "st-status" }, t("overfit.recommended", words)),
      el("ul", { class: "st-reasons" }, lines.map((line) => el("li", {}, line))),
      el("p", { class: "st-quiet st-small-text" }, t("overfit.only_advice")),
      el("a", { class: "st-button st-small", id: "overfit-try", href: `?play=${this.id}&at=${checkpoint}` }, t("run.try_at", { step: whole(step) }))];
  }

  pair(one) {
    const { name, captions, url } = one.nearest;
    const missing = () => el("div", { class: "st-blank", role: "img", "aria-label": t("overfit.gone") });
    const picture = url ? el("img", { src: address(url), alt: t("overfit.alt", { name, caption: captions[0] ?? "" }), loading: "lazy",
      onerror: ({ target }) => target.replaceWith(missing()) }) : missing();
    return el("figure", { class: one.copy ? "st-copy" : null },
      el("div", { class: "st-two-shots" }, el("img", { src: source(one), alt: alt(one), loading: "lazy" }), picture),
      el("figcaption", {}, one.copy ? el("strong", {}, t("overfit.copy")) : "",
        el("span", {}, t("overfit.sample", { step: whole(one.step), weights: t(`samples.${one.weights}`), prompt: one.prompt })),
        el("small", {}, t("overfit.nearest", { name, distance: number(one.distance, 3), bits: one.bits }))));
  }
}

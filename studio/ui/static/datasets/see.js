// @ts-check
// What the model sees of one picture: the part it learns from, its pixels, what the VAE loses of them, and the tokens.

import { isLive } from "../kit/facts.js";
import { address, attempt, button, call, el, number, say, t, whole } from "../kit/kit.js";
import { Elapsed, doing } from "../kit/phase.js";
import { Crop } from "./crop.js";

/** @import { Job, Picture, SeenPicture, Square, TokensRead } from "../../types/api.js" */
/** @import { SetPage } from "../../types/page.js" */

const POLL = 500; // milliseconds

export class See {
  /** @param {SetPage} page @param {Picture} picture */
  constructor(page, picture) {
    this.page = page;
    this.picture = picture;
    this.closed = false;
    /** Whether a crop was kept. */
    this.cropped = false;
    /** The copy of the shipped data set, once that was changed. @type {string | null} */
    this.copied = null;
    this.timer = 0;
    /** What was asked for last: pixels, and tokens. */
    this.asked = {};
    this.reading = {};
    this.crop = new Crop(picture, (square) => this.keep(square));
    this.seen = el("div", { class: "st-seen", id: "seen" });
    this.status = el("p", { class: "st-quiet", role: "status", "aria-live": "polite" });
    this.elapsed = new Elapsed();
    this.tokens = el("div", { class: "st-tokens", id: "tokens" });
    this.dialog = this.frame();
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.look();
    this.read();
  }

  frame() {
    const { name, width, height } = this.picture;
    const { base, resolution, buckets } = this.page.aim.draw("see", () => {
      this.look();
      this.read();
    });
    const close = button(t("app.close"), {
      onclick: () => {
        this.dialog.close();
      },
    });
    const status = el("div", { class: "st-doing" }, this.status, this.elapsed.node);
    return el(
      "dialog",
      { class: "st-dialog st-see st-live", id: "see", "aria-label": t("see.title"), onclose: () => this.close() },
      el("div", { class: "st-card-head" }, el("h2", {}, t("see.title")), close),
      el("p", { class: "st-quiet" }, t("see.facts", { name, width: whole(width), height: whole(height) })),
      el("div", { class: "st-inline-form st-aim" }, base, resolution, buckets),
      el("div", { class: "st-see-columns" }, this.original(), el("section", {}, status, this.seen)),
      el("h3", {}, t("see.tokens")),
      this.tokens,
    );
  }

  /** The picture with the square that is learned from. */
  original() {
    const reset = { class: "st-button st-small", id: "crop-reset", onclick: () => this.keep(null) };
    return el(
      "section",
      {},
      el("h3", {}, t("see.original")),
      this.crop.node,
      el("p", { class: "st-quiet st-small-text", id: "crop-help" }, t("see.crop_help")),
      el("div", { class: "st-actions" }, button(t("see.crop_reset"), reset)),
    );
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.dialog.remove();
    if (this.copied) this.page.changed(this.copied);
    else if (this.cropped) this.page.changed(this.page.id);
  }

  /** Keep a crop (null: none, the whole picture's centre), then look again. @param {Square | null} crop */
  async keep(crop) {
    const answer = await attempt(() => call(this.path, { method: "PATCH", body: { crop } }));
    if (!answer) return;
    this.cropped = true;
    if (answer.data.dataset !== this.page.id) this.copied = answer.data.dataset;
    if (!crop) this.crop.reset();
    await this.look();
  }

  /** The picture in the data set, or in its copy. @returns {`datasets/${string}/images/${string}`} */
  get path() {
    return `datasets/${this.copied ?? this.page.id}/images/${this.picture.id}`;
  }

  async look() {
    const asked = {};
    this.asked = asked;
    clearTimeout(this.timer);
    say(this.status, t("see.busy"));
    this.elapsed.countFromNow();
    const answer = await attempt(async () => {
      const { aim } = this.page;
      const body = { ...aim.asJson, buckets: aim.buckets };
      const { data } = await call(`${this.path}/see`, { method: "POST", body });
      await this.follow(data, asked);
      return data;
    });
    if (answer || asked !== this.asked) return;
    say(this.status, "");
    this.elapsed.stop();
  }

  /** @param {Job} job @param {object} asked */
  async follow(job, asked) {
    if (this.closed || asked !== this.asked) return;
    this.show(job);
    if (!isLive(job.state)) return;
    const next = async () => this.follow((await call(`jobs/${job.id}`)).data, asked);
    this.timer = window.setTimeout(() => attempt(next), POLL);
  }

  /** @param {Job} job */
  show(job) {
    const seen = new Map(job.results.map((result) => [result.name.split(".")[0], result]));
    /** @param {string} key @param {(picture: SeenPicture) => string} words */
    const figure = (key, words) => {
      const picture = seen.get(key);
      return picture ? seenPicture(key, picture, words(picture)) : "";
    };
    say(this.status, statusOf(job));
    if (isLive(job.state)) this.elapsed.count(job);
    else this.elapsed.stop();
    this.seen.replaceChildren(
      figure("pixels", ({ width, height }) => t("see.pixels_size", { width, height })),
      figure("decoded", ({ latents }) => (latents ? t("see.latents", { shape: latents.join(" × ") }) : "")),
      figure("lost", ({ psnr, mean_error: error }) =>
        t("see.lost_facts", { psnr: number(psnr, 3), error: number(error, 3) }),
      ),
    );
  }

  read() {
    const reading = {};
    this.reading = reading;
    return attempt(async () => {
      const { data } = await call(`${this.path}/tokens?${new URLSearchParams(this.page.aim.query)}`);
      if (reading !== this.reading) return; // another base was wished for since
      const read = data.captions.flatMap(({ caption, encoders }) => encoders.map((one) => tokens(caption, one)));
      const none = el("p", { class: "st-quiet" }, t("see.tokens_none"));
      this.tokens.replaceChildren(...(read.length ? read : [none]));
    });
  }
}

/** How far it is, or what went wrong. @param {Job} job */
function statusOf(job) {
  const { error, state } = job;
  if (error) return [error.message, error.hint].filter(Boolean).join(" ");
  return isLive(state) ? doing(job) || t("see.busy") : "";
}

/** @param {string} key @param {SeenPicture} picture @param {string} words */
function seenPicture(key, picture, words) {
  const title = t(`see.${key}`);
  const caption = el("figcaption", {}, el("strong", {}, title), el("small", {}, words));
  return el("figure", {}, el("img", { src: address(picture.url), alt: title }), caption);
}

/** One caption as an encoder's tokens; what is cut off is greyed and struck through.
 * @param {string} caption @param {TokensRead} read */
function tokens(caption, { encoder, limit, tokens: spans, kept: taken }) {
  const pieces = spans.map(([from, to]) => {
    const look = from >= taken ? "st-token st-cut" : "st-token";
    return el("span", { class: look }, caption.slice(from, to));
  });
  const words = t("see.tokens_of", { encoder, count: spans.length, limit });
  return el("div", {}, el("p", { class: "st-quiet st-small-text" }, words), el("p", {}, ...pieces));
}

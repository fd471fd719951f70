// What the model sees of one picture: the part it learns from, those pixels, what the VAE loses of them, and the tokens.

import { address, attempt, call, el, number, t, whole } from "./kit.js";
import { Crop } from "./crop.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);

export class See {
  /** `set` answers for the page: {id, aim, changed(dataset)}. */
  constructor(set, row) {
    Object.assign(this, { set, row, closed: false });
    this.crop = new Crop(row, (value) => this.keep(value));
    this.seen = el("div", { class: "st-seen", id: "seen" });
    this.said = el("p", { class: "st-quiet", role: "status", "aria-live": "polite" });
    this.tokens = el("div", { class: "st-tokens", id: "tokens" });
    const { base, resolution, buckets } = set.aim.draw("see", () => { this.look(); this.read(); });
    const close = el("button", { type: "button", class: "st-button", onclick: () => this.dialog.close() }, t("app.close"));
    this.dialog = el("dialog", { class: "st-dialog st-see st-live", id: "see", "aria-label": t("see.title"), onclose: () => this.close() },
      el("div", { class: "st-card-head" }, el("h2", {}, t("see.title")), close),
      el("p", { class: "st-quiet" }, t("see.facts", { name: row.name, width: whole(row.width), height: whole(row.height) })),
      el("div", { class: "st-inline-form st-aim" }, base, resolution, buckets),
      el("div", { class: "st-see-columns" },
        el("section", {}, el("h3", {}, t("see.original")), this.crop.node, el("p", { class: "st-quiet st-small-text", id: "crop-help" }, t("see.crop_help")),
          el("div", { class: "st-actions" }, el("button", { type: "button", class: "st-button st-small", id: "crop-reset", onclick: () => this.keep(null) }, t("see.crop_reset")))),
        el("section", {}, this.said, this.seen)),
      el("h3", {}, t("see.tokens")), this.tokens);
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.look();
    this.read();
  }

  close() {
    this.closed = true;
    clearTimeout(this.waiting);
    this.dialog.remove();
    if (this.copied) this.set.changed(this.copied);
    else if (this.kept) this.set.changed(this.set.id);
  }

  /** Keep a crop (null: none, the whole picture's centre), then look again. */
  async keep(crop) {
    const answer = await attempt(() => call(`datasets/${this.from}/images/${this.row.id}`, { method: "PATCH", body: { crop } }));
    if (!answer) return;
    this.kept = true;
    if (answer.data.dataset !== this.set.id) this.copied = answer.data.dataset;
    if (!crop) this.crop.set(this.crop.centre());
    await this.look();
  }

  /** The data set the picture is in: a copy, once the shipped one was changed. */
  get from() {
    return this.copied ?? this.set.id;
  }

  look() {
    const asked = this.asked = {};
    clearTimeout(this.waiting);
    return attempt(async () => {
      const body = { ...this.set.aim.wanted, buckets: this.set.aim.buckets };
      const { data } = await call(`datasets/${this.from}/images/${this.row.id}/see`, { method: "POST", body });
      await this.follow(data, asked);
    });
  }

  async follow(job, asked) {
    if (this.closed || asked !== this.asked) return;
    this.show(job);
    if (!LIVE.has(job.state)) return;
    this.waiting = setTimeout(() => attempt(async () => this.follow((await call(`jobs/${job.id}`)).data, asked)), 500);
  }

  show(job) {
    const found = Object.fromEntries(job.results.map((one) => [one.name.split(".")[0], one]));
    this.said.textContent = job.error ? [job.error.message, job.error.hint].filter(Boolean).join(" ") : LIVE.has(job.state) ? t("see.busy") : "";
    const picture = (key, words) => (found[key] ? el("figure", {}, el("img", { src: address(found[key].url), alt: t(`see.${key}`) }),
      el("figcaption", {}, el("strong", {}, t(`see.${key}`)), el("small", {}, words))) : null);
    const { pixels, decoded, lost } = found;
    this.seen.replaceChildren(...[
      picture("pixels", pixels ? t("see.pixels_size", { width: pixels.width, height: pixels.height }) : ""),
      picture("decoded", decoded?.latents ? t("see.latents", { shape: decoded.latents.join(" × ") }) : ""),
      picture("lost", lost ? t("see.lost_facts", { psnr: number(lost.psnr, 3), error: number(lost.mean_error, 3) }) : "")].filter(Boolean));
  }

  read() {
    const reading = this.reading = {};
    return attempt(async () => {
      const { data } = await call(`datasets/${this.from}/images/${this.row.id}/tokens?${new URLSearchParams(this.set.aim.wanted)}`);
      if (reading !== this.reading) return;  // another base was wished for since
      this.tokens.replaceChildren(...data.captions.flatMap((one) => one.encoders.map((read) => tokens(one.caption, read))));
      if (!this.tokens.children.length) this.tokens.append(el("p", { class: "st-quiet" }, t("see.tokens_none")));
    });
  }
}

/** One caption as an encoder's tokens; what is cut off is greyed and struck through. */
function tokens(caption, { encoder, limit, tokens: found, kept }) {
  const pieces = found.map(([from, to]) => el("span", { class: from >= kept ? "st-token st-cut" : "st-token" }, caption.slice(from, to)));
  return el("div", {}, el("p", { class: "st-quiet st-small-text" }, t("see.tokens_of", { encoder, count: found.length, limit })), el("p", {}, pieces));
}

// The pictures of one drawing as they come: a column for each choice of weights, a row for each prompt and seed.

import { address, attempt, call, el, say, t, whole } from "./kit.js";
import { refusal } from "./parts.js";
import { columnName } from "./playform.js";
import { Viewer } from "./viewer.js";
import { Vote } from "./vote.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);

export class Drawing {
  /** `voted()` is called when a blind vote on it has ended. */
  constructor(run, voted) {
    Object.assign(this, { run, voted, job: null, viewer: new Viewer(), cells: new Map() });
    this.words = el("p", { class: "st-status", id: "play-status", role: "status", "aria-live": "polite" });
    this.bar = el("div", { class: "st-progress", role: "progressbar", "aria-label": t("play.pictures"), "aria-valuemin": 0, hidden: true }, el("i"));
    this.trouble = el("div", {});
    this.cancel = el("button", { type: "button", class: "st-button st-small", id: "play-cancel", hidden: true,
      onclick: () => attempt(() => call(`jobs/${this.job.id}/cancel`, { method: "POST", body: {} })) }, t("play.cancel"));
    this.vote = el("button", { type: "button", class: "st-button st-small", id: "play-vote", hidden: true, onclick: () => new Vote(this.job.id, this.args, this.voted) }, t("vote.button"));
    this.table = el("div", { class: "st-drawn", id: "play-pictures" }, el("p", { class: "st-quiet" }, t("play.empty")));
    this.node = el("section", { class: "st-card", id: "drawing" },
      el("div", { class: "st-card-head" }, el("h2", {}, t("play.pictures")), el("div", { class: "st-actions" }, this.vote, this.cancel)), this.words, this.bar, this.trouble, this.table);
  }

  get live() {
    return this.job !== null && LIVE.has(this.job.state);
  }

  close() {
    this.viewer.close();
  }

  refuse(error) {
    this.table.replaceChildren(refusal(error));
  }

  show(job) {
    if (this.job?.id !== job.id) this.build(job);
    this.job = job;
    for (const result of job.results) this.fill(result);
    const total = this.cells.size;
    say(this.words, sentence(job, total));
    this.cancel.hidden = !this.live;
    this.vote.hidden = this.live || new Set(job.results.map((one) => one.column)).size < 2;
    this.bar.hidden = !this.live;
    this.bar.setAttribute("aria-valuemax", total);
    this.bar.setAttribute("aria-valuenow", job.results.length);
    this.bar.firstChild.style.width = `${(100 * job.results.length) / total}%`;
    const messages = job.warnings.map((one) => one.message);
    this.trouble.replaceChildren(...[
      job.error ? el("div", { class: "st-note st-note-bad", role: "alert" }, el("strong", {}, job.error.message), job.error.hint ? el("p", {}, job.error.hint) : "") : null,
      messages.length ? el("div", { class: "st-note" }, el("ul", {}, messages.map((text) => el("li", {}, text)))) : null].filter(Boolean));
  }

  /** The empty table of what was asked for. */
  build({ args }) {
    this.args = args;
    this.cells.clear();
    const rows = args.prompts.flatMap((text, prompt) => args.seeds.map((seed) => ({ text, prompt, seed })));
    const head = el("thead", {}, el("tr", {}, args.columns.map((column) => el("th", { scope: "col" }, columnName(column)))));
    const body = rows.map(({ text, prompt, seed }) => el("tbody", {},
      el("tr", {}, el("th", { scope: "rowgroup", colspan: args.columns.length }, el("span", {}, t("play.row", { prompt: text || t("play.no_prompt"), seed })))),
      el("tr", {}, args.columns.map((_, column) => {
        const cell = el("td", {}, el("div", { class: "st-blank", role: "img", "aria-label": t("play.waiting") }));
        this.cells.set(key({ column, prompt, seed }), { cell, result: null });
        return cell;
      }))));
    this.table.replaceChildren(el("div", { class: "st-track", tabindex: 0, role: "group", "aria-label": t("play.pictures") },
      el("table", { class: "st-grid", style: `--st-columns: ${args.columns.length}` }, head, body)));
  }

  fill(result) {
    const entry = this.cells.get(key(result));
    if (!entry || entry.result) return;
    entry.result = result;
    const words = this.alt(result);
    entry.cell.replaceChildren(
      el("button", { type: "button", class: "st-shot", "aria-label": t("samples.open", { picture: words }), onclick: () => this.open(result) },
        el("img", { src: address(result.url), alt: words, decoding: "async" })),
      el("a", { class: "st-take", href: address(result.url), download: this.file(result), "aria-label": t("play.download_of", { picture: words }) }, t("play.download")));
  }

  alt({ column, prompt, seed }) {
    return t("play.alt", { column: columnName(this.args.columns[column]), seed, prompt: this.args.prompts[prompt] || t("play.no_prompt") });
  }

  file({ column, prompt, seed }) {
    const { checkpoint, weights, scale } = this.args.columns[column];
    return [checkpoint ?? "base", weights, checkpoint && scale !== 1 ? scale : null, `prompt-${prompt + 1}`, `seed-${seed}`].filter((part) => part !== null).join("_") + ".png";
  }

  /** A row's pictures full screen, the base first, so that the others are compared with it. */
  open(chosen) {
    const row = this.job.results.filter((one) => one.prompt === chosen.prompt && one.seed === chosen.seed)
      .sort((a, b) => this.order(a) - this.order(b));
    const { prompts, columns, guidance_scale: guidance, num_inference_steps: steps } = this.args;
    this.viewer.open(row.map((one) => ({ step: columns[one.column].checkpoint ? 1 : 0, label: columnName(columns[one.column]), words: this.alt(one),
      prompt: prompts[one.prompt], seed: one.seed, guidance_scale: guidance, num_inference_steps: steps, url: one.url, file: this.file(one) })), row.findIndex((one) => one.name === chosen.name));
  }

  order({ column }) {
    return this.args.columns[column].checkpoint ? column + 1 : 0;
  }
}

const key = ({ column, prompt, seed }) => `${column} ${prompt} ${seed}`;

function sentence(job, total) {
  const count = whole(job.results.length);
  if (job.state === "queued") return job.queue_position ? `${t("says.queued_at", { position: job.queue_position })} ${t("play.queued")}` : t("play.queued");
  if (job.state === "stopping") return t("play.stopping");
  if (LIVE.has(job.state)) return job.phase === "drawing" ? t("play.counted", { done: count, total: whole(total) }) : `${t("phase.loading")} …`;
  return job.state === "finished" ? t("play.done", { count }) : t("play.cancelled", { count });
}

// @ts-check
// The pictures of one drawing as they come: a column for each choice of weights, a row for each prompt and seed.

import { isLive } from "../kit/facts.js";
import { address, attempt, button, call, el, say, t, whole } from "../kit/kit.js";
import { Elapsed, doing } from "../kit/phase.js";
import { fillBar, listOf, messagesOf, refusal } from "../kit/pieces.js";
import { Viewer } from "../samples/viewer.js";
import { columnName, fileOf } from "./columns.js";
import { Vote } from "./vote.js";

/** @import { DrawingArgs, DrawingJob, Drawn } from "../../types/api.js" */
/** @import { Shot } from "../samples/viewer.js" */
/** @typedef {Pick<Drawn, "column" | "prompt" | "seed">} Place */

export class Drawing {
  /** `voted()` is called when a blind vote on it has ended. @param {() => void} voted */
  constructor(voted) {
    this.voted = voted;
    /** @type {DrawingJob | null} */
    this.job = null;
    this.viewer = new Viewer();
    /** The cells of the table, and the pictures in them. @type {Map<string, { cell: HTMLElement, filled: boolean }>} */
    this.cells = new Map();
    this.words = el("p", { class: "st-status", id: "play-status", role: "status", "aria-live": "polite" });
    const progress = { role: "progressbar", "aria-label": t("play.pictures"), "aria-valuemin": 0, hidden: true };
    this.elapsed = new Elapsed();
    this.bar = el("div", { class: "st-progress", ...progress }, el("i"));
    this.trouble = el("div", {});
    const small = { class: "st-button st-small", hidden: true };
    this.cancel = button(t("play.cancel"), {
      ...small,
      id: "play-cancel",
      onclick: () => {
        this.stop();
      },
    });
    this.vote = button(t("vote.button"), {
      ...small,
      id: "play-vote",
      onclick: () => {
        if (this.job) new Vote(this.job.id, this.job.args, this.voted);
      },
    });
    const empty = el("p", { class: "st-quiet" }, t("play.empty"));
    this.table = el("div", { class: "st-drawn", id: "play-pictures" }, empty);
    const actions = el("div", { class: "st-actions" }, this.vote, this.cancel);
    const head = el("div", { class: "st-card-head" }, el("h2", {}, t("play.pictures")), actions);
    const words = el("div", { class: "st-doing" }, this.words, this.elapsed.node);
    const parts = [head, words, this.bar, this.trouble, this.table];
    this.node = el("section", { class: "st-card", id: "drawing" }, ...parts);
  }

  get live() {
    return this.job !== null && isLive(this.job.state);
  }

  close() {
    this.viewer.close();
  }

  /** Another drawing is being asked for: nothing but the time is known of it. */
  ask() {
    say(this.words, `${t("phase.starting")} …`);
    this.elapsed.countFromNow();
  }

  /** It was refused: what was there before stands. */
  unask() {
    this.elapsed.stop();
    say(this.words, "");
    if (this.job) this.show(this.job);
  }

  async stop() {
    const { job } = this;
    if (job) await attempt(() => call(`jobs/${job.id}/cancel`, { method: "POST", body: {} }));
  }

  /** @param {unknown} error */
  refuse(error) {
    this.table.replaceChildren(refusal(error));
  }

  /** @param {DrawingJob} job */
  show(job) {
    if (this.job?.id !== job.id) this.build(job.args);
    this.job = job;
    for (const result of job.results) this.fill(job, result);
    const total = this.cells.size;
    const columns = new Set(job.results.map((result) => result.column));
    say(this.words, sentence(job, total));
    if (this.live) this.elapsed.count(job);
    else this.elapsed.stop();
    this.cancel.hidden = !this.live;
    this.vote.hidden = this.live || columns.size < 2;
    this.bar.hidden = !this.live;
    fillBar(this.bar, job.results.length, total);
    this.trouble.replaceChildren(...troubles(job));
  }

  /** The empty table of what was asked for. @param {DrawingArgs} args */
  build(args) {
    this.cells.clear();
    const names = args.columns.map((column) => el("th", { scope: "col" }, columnName(column)));
    const rows = args.prompts.flatMap((text, prompt) => args.seeds.map((seed) => ({ text, prompt, seed })));
    const bodies = rows.map(({ text, prompt, seed }) => {
      const words = t("play.row", { prompt: text || t("play.no_prompt"), seed });
      const title = el("th", { scope: "rowgroup", colspan: args.columns.length }, el("span", {}, words));
      const cells = args.columns.map((_, column) => this.cell({ column, prompt, seed }));
      return el("tbody", {}, el("tr", {}, title), el("tr", {}, ...cells));
    });
    const columns = { class: "st-grid", style: `--st-columns: ${args.columns.length}` };
    const table = el("table", columns, el("thead", {}, el("tr", {}, ...names)), ...bodies);
    const track = { class: "st-track", tabindex: 0, role: "group", "aria-label": t("play.pictures") };
    this.table.replaceChildren(el("div", track, table));
  }

  /** A place that a picture will come to. @param {Place} place */
  cell(place) {
    const blank = el("div", { class: "st-blank", role: "img", "aria-label": t("play.waiting") });
    const cell = el("td", {}, blank);
    this.cells.set(keyOf(place), { cell, filled: false });
    return cell;
  }

  /** @param {DrawingJob} job @param {Drawn} drawn */
  fill({ args }, drawn) {
    const place = this.cells.get(keyOf(drawn));
    if (!place || place.filled) return;
    place.filled = true;
    const words = altOf(args, drawn);
    const src = address(drawn.url);
    const open = {
      class: "st-shot",
      type: "button",
      "aria-label": t("samples.open", { picture: words }),
      onclick: () => this.open(drawn),
    };
    const label = t("play.download_of", { picture: words });
    const take = { class: "st-take", href: src, download: fileOf(args, drawn), "aria-label": label };
    place.cell.replaceChildren(
      el("button", open, el("img", { src, alt: words, decoding: "async" })),
      el("a", take, t("play.download")),
    );
  }

  /** A row's pictures full screen, the base first, so that the others are compared with it. @param {Drawn} chosen */
  open(chosen) {
    if (!this.job) return;
    const { args, results } = this.job;
    /** @param {Drawn} drawn */
    const order = ({ column }) => (args.columns[column].checkpoint ? column + 1 : 0);
    const row = results
      .filter((one) => one.prompt === chosen.prompt && one.seed === chosen.seed)
      .sort((a, b) => order(a) - order(b));
    const shots = row.map((one) => shotOf(args, one));
    this.viewer.open(
      shots,
      row.findIndex((one) => one.name === chosen.name),
    );
  }
}

/** @param {Place} place */
const keyOf = ({ column, prompt, seed }) => `${column} ${prompt} ${seed}`;

/** A picture's text alternative. @param {DrawingArgs} args @param {Drawn} drawn */
function altOf({ columns, prompts }, { column, prompt, seed }) {
  const words = { column: columnName(columns[column]), seed, prompt: prompts[prompt] || t("play.no_prompt") };
  return t("play.alt", words);
}

/** @param {DrawingArgs} args @param {Drawn} drawn @returns {Shot} */
function shotOf(args, drawn) {
  const column = args.columns[drawn.column];
  return {
    step: column.checkpoint ? 1 : 0,
    label: columnName(column),
    words: altOf(args, drawn),
    prompt: args.prompts[drawn.prompt],
    seed: drawn.seed,
    guidance_scale: args.guidance_scale,
    num_inference_steps: args.num_inference_steps,
    url: drawn.url,
    file: fileOf(args, drawn),
  };
}

/** What went wrong, and warnings. @param {DrawingJob} job */
function troubles({ error, warnings }) {
  const notes = [];
  if (error) {
    const hint = error.hint ? el("p", {}, error.hint) : "";
    const alert = { class: "st-note st-note-bad", role: "alert" };
    notes.push(el("div", alert, el("strong", {}, error.message), hint));
  }
  if (warnings.length) {
    notes.push(el("div", { class: "st-note" }, listOf(messagesOf(warnings))));
  }
  return notes;
}

/** How far a drawing is, in words. @param {DrawingJob} job @param {number} total */
function sentence(job, total) {
  const count = whole(job.results.length);
  const { state, queue_position: position, phase } = job;
  if (state === "queued") {
    return position ? `${t("says.queued_at", { position })} ${t("play.queued")}` : t("play.queued");
  }
  if (state === "stopping") return t("play.stopping");
  if (isLive(state) && phase === "drawing") return t("play.counted", { done: count, total: whole(total) });
  if (isLive(state)) return doing(job) || `${t("phase.starting")} …`;
  return state === "finished" ? t("play.done", { count }) : t("play.cancelled", { count });
}

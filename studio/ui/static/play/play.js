// @ts-check
// The page *Try it*: which run is tried, the form that says what is drawn, and the drawing below it.

import { ApiError, attempt, call, el, t, toast, when, whole } from "../kit/kit.js";
import { badge, picture, placeIn, refusal, titled, waiting } from "../kit/pieces.js";
import { poll } from "../kit/poll.js";
import { follow, go, note, noted } from "../kit/route.js";
import { Drawing } from "./drawing.js";
import { PlayForm } from "./playform.js";
import { verdict } from "./vote.js";

/** @import { DrawingJob, KeptVote, Run } from "../../types/api.js" */

/** @param {Element} root */
export function mount(root) {
  const place = placeIn(root);
  /** @type {{ at: string, close: () => void } | null} */
  let view = null;
  follow(({ page, play }) => {
    const at = `${play} ${noted("job")}`;
    if (view && page === "play" && view.at === at) return;
    view?.close();
    view = null;
    if (page !== "play") return;
    if (play) {
      const opened = new Play(play, place, at);
      view = opened;
      opened.open();
    } else {
      view = { at, close: () => poll(null) };
      choose(place);
    }
  });
}

/** @param {...Node} more */
const title = (...more) => el("div", { class: "st-title" }, el("h1", {}, t("play.title")), ...more);

/** The runs that can be tried. @param {HTMLElement} place */
function choose(place) {
  const body = el("div", {}, waiting(t("runs.loading")));
  place.replaceChildren(title(el("p", {}, t("play.lead"))), body);
  const next = async () => {
    const { items } = (await call("runs?limit=200")).data;
    const ready = items.filter((run) => run.checkpoints.length);
    const picks = el("div", { class: "st-picks st-tries", id: "play-runs" }, ...ready.map(choice));
    const card = el("section", { class: "st-card" }, el("h2", {}, t("play.choose")), picks);
    body.replaceChildren(ready.length ? card : nothing());
    return null;
  };
  poll(next, (error) => body.replaceChildren(refusal(error)));
}

/** @param {Run} run */
function choice(run) {
  const newest = run.checkpoints[run.checkpoints.length - 1];
  const step = el("small", {}, t("play.newest", { step: whole(newest.step) }));
  const words = el("span", {}, el("strong", {}, titled(run)), step);
  return el("a", { class: "st-pick", href: `?play=${run.id}` }, words, badge(run.state));
}

function nothing() {
  return el(
    "div",
    { class: "st-card st-empty" },
    picture(),
    el("h2", {}, t("play.none_title")),
    el("p", {}, t("play.none_text")),
    el("a", { class: "st-button st-primary", href: "?view=train" }, t("runs.none_action")),
  );
}

class Play {
  /** @param {string} id of the run @param {HTMLElement} place @param {string} at what the URL says */
  constructor(id, place, at) {
    this.id = id;
    this.place = place;
    this.at = at;
    this.closed = false;
    this.drawing = new Drawing(() => {
      attempt(() => this.showVotes());
    });
    this.votes = el("section", { class: "st-card", id: "play-votes", hidden: true });
    this.earlier = el("section", { class: "st-card", id: "play-earlier", hidden: true });
  }

  open() {
    this.place.replaceChildren(waiting(t("runs.loading")));
    const refuse = (/** @type {ApiError} */ error) => {
      const gone = error.status === 404 ? t("run.gone_title") : null;
      this.place.replaceChildren(refusal(error, gone));
    };
    poll(() => this.start(), refuse);
  }

  close() {
    this.closed = true;
    poll(null);
    this.drawing.close();
  }

  async start() {
    const { data: run } = await call(`runs/${this.id}`);
    const asked = noted("job");
    const job = asked ? await this.jobOf(asked) : null;
    if (this.closed) return null;
    document.title = `${t("play.title")}: ${titled(run)} · ${t("app.title")}`;
    const links = el(
      "div",
      { class: "st-tools" },
      el("a", { class: "st-back", href: `?run=${run.id}` }, `‹ ${t("play.run")}`),
      el("a", { class: "st-back", href: "?view=play" }, t("play.other")),
    );
    const head = title(el("p", {}, titled(run)));
    if (!run.checkpoints.length) {
      const none = el("p", {}, t("play.no_checkpoint"));
      this.place.replaceChildren(links, head, el("div", { class: "st-card st-empty" }, picture(), none));
      return null;
    }
    const form = new PlayForm(run, job?.args ?? null, (args) => this.draw(args));
    const drawn = el("div", {}, this.drawing.node, this.votes, this.earlier);
    this.place.replaceChildren(links, head, el("div", { class: "st-play" }, form.node, drawn));
    await Promise.all([this.showEarlier(), this.showVotes()]);
    if (job) this.begin(job, form);
    return null;
  }

  /** Follow a drawing, with the keyboard on the button that makes the next. @param {DrawingJob} job
   * @param {PlayForm} form */
  begin(job, form) {
    this.watch(job);
    if (!this.drawing.live) return;
    form.go.focus({ preventScroll: true });
    this.drawing.node.scrollIntoView({ block: "nearest" });
  }

  /** A drawing, or null with a word when it is gone. @param {string} id */
  async jobOf(id) {
    try {
      return /** @type {DrawingJob} */ ((await call(`jobs/${id}`)).data);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      note("job", null);
      toast(t("play.gone"));
      return null;
    }
  }

  /** @param {object} args */
  async draw(args) {
    this.drawing.ask();
    const answer = await attempt(() => call(`runs/${this.id}/draw`, { method: "POST", body: args }));
    if (!answer) this.drawing.unask();
    else if (!this.closed) go({ play: this.id, job: answer.data.id });
  }

  /** @param {DrawingJob} job */
  watch(job) {
    this.drawing.show(job);
    /** @type {string | null} */
    let tag = null;
    const next = async () => {
      const answer = await call(`jobs/${job.id}`, { tag });
      if (this.closed) return null;
      tag = answer.tag;
      if (answer.data) this.drawing.show(/** @type {DrawingJob} */ (answer.data));
      return this.drawing.live ? 700 : null;
    };
    poll(next, (error) => this.drawing.refuse(error));
  }

  /** What the blind votes said; they stay when their pictures go. */
  async showVotes() {
    const { items } = (await call(`runs/${this.id}/votes`)).data;
    this.votes.hidden = !items.length;
    this.votes.replaceChildren(el("h2", {}, t("vote.kept")), ...items.map(keptVote));
  }

  /** The drawings that were made before. */
  async showEarlier() {
    const { items } = (await call(`jobs?subject=${this.id}&kind=draw&limit=20`)).data;
    const others = items.filter((job) => job.id !== noted("job"));
    const picks = others.map((job) => this.earlierOne(job));
    this.earlier.hidden = !others.length;
    this.earlier.replaceChildren(
      el("h2", {}, t("play.earlier")),
      el("p", { class: "st-quiet" }, t("play.earlier_help")),
      el("div", { class: "st-picks st-tries" }, ...picks),
    );
  }

  /** @param {DrawingJob} job */
  earlierOne(job) {
    const count = el("small", {}, t("play.done", { count: whole(job.results.length) }));
    const words = el("span", {}, el("strong", {}, when(job.created)), count);
    return el("a", { class: "st-pick", href: `?play=${this.id}&job=${job.id}` }, words, badge(job.state));
  }
}

/** @param {KeptVote} vote */
function keptVote({ time, done, total, columns, tally }) {
  const words = `${when(time)} · ${t("vote.over", { done: whole(done), total: whole(total) })}`;
  const verdicts = tally.map((one) => verdict(one, columns));
  return el("div", {}, el("p", { class: "st-quiet" }, words), el("ul", { class: "st-tally" }, ...verdicts));
}

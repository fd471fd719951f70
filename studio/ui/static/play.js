// The page *Try it*: which run is tried, the form that says what is drawn, and the drawing below it.

import { follow, go, note, noted } from "./app.js";
import { Drawing } from "./drawing.js";
import { attempt, call, el, t, toast, when, whole } from "./kit.js";
import { badge, refusal, titled } from "./parts.js";
import { PlayForm } from "./playform.js";
import { poll } from "./poll.js";
import { picture } from "./runs.js";
import { verdict } from "./vote.js";

export function mount(root) {
  const place = root.querySelector(".st-live");
  let view = null;
  follow(({ page, play }) => {
    const at = `${play} ${noted("job")}`;
    if (view && page === "play" && view.at === at) return;
    view?.close();
    view = null;
    if (page !== "play") return;
    view = play ? new Play(play, place, at) : { at, close: () => poll(null) };
    if (play) view.open();
    else choose(place);
  });
}

/** The runs that can be tried. */
function choose(place) {
  place.replaceChildren(el("div", { class: "st-title" }, el("h1", {}, t("play.title")), el("p", {}, t("play.lead"))),
    el("p", { class: "st-quiet" }, t("runs.loading")));
  poll(async () => {
    const { items } = (await call("runs?limit=200")).data;
    const ready = items.filter((run) => run.checkpoints.length);
    place.lastChild.replaceWith(ready.length ? el("section", { class: "st-card" }, el("h2", {}, t("play.choose")),
      el("div", { class: "st-picks st-tries", id: "play-runs" }, ready.map(choice))) : nothing());
    return null;
  }, (error) => place.lastChild.replaceWith(refusal(error)));
}

const choice = (run) => el("a", { class: "st-pick", href: `?play=${run.id}` }, el("span", {}, el("strong", {}, titled(run)),
  el("small", {}, t("play.newest", { step: whole(run.checkpoints[run.checkpoints.length - 1].step) }))), badge(run.state));

const nothing = () => el("div", { class: "st-card st-empty" }, picture(), el("h2", {}, t("play.none_title")),
  el("p", {}, t("play.none_text")), el("a", { class: "st-button st-primary", href: "?view=train" }, t("runs.none_action")));

class Play {
  constructor(id, place, at) {
    Object.assign(this, { id, place, at, closed: false });
  }

  open() {
    this.place.replaceChildren(el("p", { class: "st-quiet" }, t("runs.loading")));
    poll(() => this.start(), (error) => this.place.replaceChildren(refusal(error, error.status === 404 ? t("run.gone_title") : null)));
  }

  close() {
    this.closed = true;
    poll(null);
    this.drawing?.close();
  }

  async start() {
    const { data: run } = await call(`runs/${this.id}`);
    const job = noted("job") ? await this.kept(noted("job")) : null;
    if (this.closed) return null;
    const head = el("div", { class: "st-title" }, el("h1", {}, t("play.title")), el("p", {}, titled(run)));
    const links = el("div", { class: "st-tools" }, el("a", { class: "st-back", href: `?run=${run.id}` }, `‹ ${t("play.run")}`),
      el("a", { class: "st-back", href: "?view=play" }, t("play.other")));
    document.title = `${t("play.title")}: ${titled(run)} · ${t("app.title")}`;
    if (!run.checkpoints.length) {
      this.place.replaceChildren(links, head, el("div", { class: "st-card st-empty" }, picture(), el("p", {}, t("play.no_checkpoint"))));
      return null;
    }
    this.drawing = new Drawing(run, () => attempt(() => this.voted()));
    this.votes = el("section", { class: "st-card", id: "play-votes", hidden: true });
    this.earlier = el("section", { class: "st-card", id: "play-earlier", hidden: true });
    this.form = new PlayForm(run, job?.args ?? null, (wanted) => this.draw(wanted));
    this.place.replaceChildren(links, head, el("div", { class: "st-play" }, this.form.node, el("div", {}, this.drawing.node, this.votes, this.earlier)));
    await Promise.all([this.remember(), this.voted()]);
    if (!job) return null;
    this.watch(job);
    if (!this.drawing.live) return null;
    this.form.go.focus({ preventScroll: true });
    this.drawing.node.scrollIntoView({ block: "nearest" });
    return null;
  }

  /** A drawing, or null with a word when it is gone. */
  async kept(id) {
    try {
      return (await call(`jobs/${id}`)).data;
    } catch (error) {
      if (error.status !== 404) throw error;
      note("job", null);
      toast(t("play.gone"));
      return null;
    }
  }

  async draw(wanted) {
    const answer = await attempt(() => call(`runs/${this.id}/draw`, { method: "POST", body: wanted }));
    if (answer && !this.closed) go({ play: this.id, job: answer.data.id });
  }

  watch(job) {
    this.drawing.show(job);
    let tag = null;
    poll(async () => {
      const answer = await call(`jobs/${job.id}`, { tag });
      if (this.closed) return null;
      tag = answer.tag;
      if (answer.data) this.drawing.show(answer.data);
      return this.drawing.live ? 700 : null;
    }, (error) => this.drawing.refuse(error));
  }

  /** What the blind votes said; they stay when their pictures go. */
  async voted() {
    const { items } = (await call(`runs/${this.id}/votes`)).data;
    this.votes.hidden = !items.length;
    this.votes.replaceChildren(el("h2", {}, t("vote.kept")), ...items.map(({ time, done, total, columns, tally }) => el("div", {},
      el("p", { class: "st-quiet" }, `${when(time)} · ${t("vote.over", { done: whole(done), total: whole(total) })}`),
      el("ul", { class: "st-tally" }, tally.map((one) => verdict(one, columns))))));
  }

  /** The drawings that were made before. */
  async remember() {
    const { items } = (await call(`jobs?subject=${this.id}&kind=draw&limit=20`)).data;
    const others = items.filter((job) => job.id !== noted("job"));
    this.earlier.hidden = !others.length;
    this.earlier.replaceChildren(el("h2", {}, t("play.earlier")), el("p", { class: "st-quiet" }, t("play.earlier_help")),
      el("div", { class: "st-picks st-tries" }, others.map((job) => el("a", { class: "st-pick", href: `?play=${this.id}&job=${job.id}` },
        el("span", {}, el("strong", {}, when(job.created)), el("small", {}, t("play.done", { count: whole(job.results.length) }))), badge(job.state)))));
  }
}

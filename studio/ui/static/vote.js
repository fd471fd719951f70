// The blind vote on a drawing: two pictures of one prompt and seed, names unknown until the end.

import { address, attempt, call, el, say, t, whole } from "./kit.js";
import { columnName } from "./playform.js";

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", " ": "tie" };

export class Vote {
  /** `args` are the drawing's; `over()` is called when the vote has ended. */
  constructor(id, args, over) {
    Object.assign(this, { id, args, over, busy: false });
    this.said = el("p", { class: "st-status", role: "status", "aria-live": "polite", id: "vote-status" });
    this.prompt = el("p", { class: "st-quiet" });
    this.body = el("div", { class: "st-vote" });
    this.foot = el("div", { class: "st-actions" });
    this.dialog = el("dialog", { class: "st-dialog st-see st-live", id: "vote", "aria-label": t("vote.title"), onkeydown: (event) => this.key(event), onclose: () => this.dialog.remove() },
      el("div", { class: "st-card-head" }, el("h2", {}, t("vote.title")), el("button", { type: "button", class: "st-button", onclick: () => this.dialog.close() }, t("app.close"))),
      this.said, this.prompt, this.body, this.foot);
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.ask();
  }

  /** Ask how it stands, or tell of a vote, and show the answer. */
  async ask(body) {
    if (this.busy) return;
    this.busy = true;
    const answer = await attempt(() => call(`jobs/${this.id}/votes`, body ? { method: "POST", body } : {}));
    this.busy = false;
    if (answer) this.show(answer.data);
  }

  key(event) {
    if (!this.next || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("button") && event.key === " ") return;
    if (KEYS[event.key]) this.choose(KEYS[event.key]);
    else if (event.key === "Backspace" && this.last) this.ask({ undo: true });
    else return;
    event.preventDefault();
  }

  choose(choice) {
    this.ask({ pair: this.next.pair, choice });
  }

  show({ total, done, ended, next, last, tally }) {
    Object.assign(this, { next, last });
    if (ended) this.tell(tally, done, total);
    else if (next) this.pair(done, total);
    else say(this.said, t("vote.none"));
  }

  pair(done, total) {
    say(this.said, t("vote.place", { number: whole(done + 1), total: whole(total) }));
    say(this.prompt, this.args.prompts[this.next.prompt]);
    const picture = (side) => el("figure", {}, el("img", { src: address(this.next[side]), alt: t(`vote.alt_${side}`) }),
      this.button(`vote.${side}`, () => this.choose(side), `vote-${side}`));
    const held = document.activeElement?.id;
    this.body.replaceChildren(picture("left"), picture("right"));
    const back = this.button("vote.back", () => this.ask({ undo: true }), "vote-back");
    back.disabled = !this.last;
    this.foot.replaceChildren(this.button("vote.tie", () => this.choose("tie"), "vote-tie"), back, this.button("vote.end", () => this.ask({ end: true }), "vote-end"),
      el("p", { class: "st-quiet st-small-text" }, t("vote.keys")));
    document.getElementById(held)?.focus();
  }

  button(key, action, id) {
    return el("button", { type: "button", class: "st-button", id, onclick: action }, t(key));
  }

  tell(tally, done, total) {
    say(this.said, t("vote.over", { done: whole(done), total: whole(total) }));
    say(this.prompt, "");
    this.foot.replaceChildren();
    this.over();
    this.body.replaceChildren(el("ul", { class: "st-tally", id: "vote-tally" }, tally.map((one) => verdict(one, this.args.columns))),
      el("p", { class: "st-quiet st-small-text" }, t("vote.honest")));
  }
}

/** What the votes say of two columns. */
export function verdict({ columns, wins, ties, share, low, high, telling }, names) {
  const [a, b] = columns.map((column) => columnName(names[column]));
  const first = share === null || share >= 0.5;
  const percent = (value) => whole(Math.round(100 * value));
  const [better, worse, won] = first ? [a, b, wins[0]] : [b, a, wins[1]];
  const [part, from, to] = first ? [share, low, high] : [1 - share, 1 - high, 1 - low];
  const votes = wins[0] + wins[1];
  return el("li", {}, el("strong", {}, t("vote.against", { a: better, b: worse })),
    votes ? el("span", {}, t("vote.share", { won: whole(won), votes: whole(votes), share: percent(part), low: percent(from), high: percent(to), ties: whole(ties) }))
      : el("span", {}, t("vote.only_ties", { ties: whole(ties) })),
    el("small", {}, t(telling ? "vote.telling" : "vote.open")));
}

// @ts-check
// The blind vote on a drawing: two pictures of one prompt and seed, names unknown until the end.

import { address, attempt, button, call, el, say, t, whole } from "../kit/kit.js";
import { columnName } from "./columns.js";
import { outcome } from "./tally.js";

/** @import { Column, DrawingArgs, Pair, Tally, Vote as Standing } from "../../types/api.js" */
/** @typedef {"left" | "right" | "tie"} Choice */

/** @type {Record<string, Choice>} */
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", " ": "tie" };

export class Vote {
  /**
   * `args` are the drawing's; `over()` is called when the vote has ended.
   * @param {string} id of the drawing
   * @param {DrawingArgs} args
   * @param {() => void} over
   */
  constructor(id, args, over) {
    this.id = id;
    this.args = args;
    this.over = over;
    this.busy = false;
    /** The pair that is asked for. @type {Pair | null} */
    this.next = null;
    /** The vote that can be taken back. @type {number | null} */
    this.last = null;
    this.status = el("p", { class: "st-status", role: "status", "aria-live": "polite", id: "vote-status" });
    this.prompt = el("p", { class: "st-quiet" });
    this.body = el("div", { class: "st-vote" });
    this.foot = el("div", { class: "st-actions" });
    this.dialog = this.frame();
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.ask();
  }

  frame() {
    const close = button(t("app.close"), {
      onclick: () => {
        this.dialog.close();
      },
    });
    return el(
      "dialog",
      {
        class: "st-dialog st-see st-live",
        id: "vote",
        "aria-label": t("vote.title"),
        onkeydown: (event) => this.key(event),
        onclose: ({ currentTarget }) => currentTarget.remove(),
      },
      el("div", { class: "st-card-head" }, el("h2", {}, t("vote.title")), close),
      this.status,
      this.prompt,
      this.body,
      this.foot,
    );
  }

  /** Ask how it stands, or tell of a vote, and show the answer. @param {object} [body] */
  async ask(body) {
    if (this.busy) return;
    this.busy = true;
    const answer = await attempt(() =>
      body ? call(`jobs/${this.id}/votes`, { method: "POST", body }) : call(`jobs/${this.id}/votes`),
    );
    this.busy = false;
    if (answer) this.show(answer.data);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.next || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof HTMLButtonElement && event.key === " ") return;
    const choice = KEYS[event.key];
    if (choice) this.choose(choice);
    else if (event.key === "Backspace" && this.last) this.ask({ undo: true });
    else return;
    event.preventDefault();
  }

  /** @param {Choice} choice */
  choose(choice) {
    if (this.next) this.ask({ pair: this.next.pair, choice });
  }

  /** @param {Standing} standing */
  show({ total, done, ended, next, last, tally }) {
    this.next = next;
    this.last = last;
    if (ended) this.tell(tally, done, total);
    else if (next) this.pair(next, done, total);
    else say(this.status, t("vote.none"));
  }

  /** @param {Pair} pair @param {number} done @param {number} total */
  pair(pair, done, total) {
    say(this.status, t("vote.place", { number: whole(done + 1), total: whole(total) }));
    say(this.prompt, this.args.prompts[pair.prompt]);
    const focused = document.activeElement?.id;
    this.body.replaceChildren(this.side(pair, "left"), this.side(pair, "right"));
    this.foot.replaceChildren(
      button(t("vote.tie"), { id: "vote-tie", onclick: () => this.choose("tie") }),
      button(t("vote.back"), { id: "vote-back", disabled: !this.last, onclick: () => this.ask({ undo: true }) }),
      button(t("vote.end"), { id: "vote-end", onclick: () => this.ask({ end: true }) }),
      el("p", { class: "st-quiet st-small-text" }, t("vote.keys")),
    );
    if (focused) document.getElementById(focused)?.focus();
  }

  /** @param {Pair} pair @param {"left" | "right"} side */
  side(pair, side) {
    const picture = el("img", { src: address(pair[side]), alt: t(`vote.alt_${side}`) });
    const choose = button(t(`vote.${side}`), { id: `vote-${side}`, onclick: () => this.choose(side) });
    return el("figure", {}, picture, choose);
  }

  /** What the votes say. @param {Tally[]} tally @param {number} done @param {number} total */
  tell(tally, done, total) {
    say(this.status, t("vote.over", { done: whole(done), total: whole(total) }));
    say(this.prompt, "");
    this.foot.replaceChildren();
    this.over();
    const verdicts = tally.map((one) => verdict(one, this.args.columns));
    const list = el("ul", { class: "st-tally", id: "vote-tally" }, ...verdicts);
    this.body.replaceChildren(list, el("p", { class: "st-quiet st-small-text" }, t("vote.honest")));
  }
}

/** What the votes say of two columns. @param {Tally} tally @param {Column[]} columns */
export function verdict(tally, columns) {
  const { better, worse, won, votes, share, low, high } = outcome(tally);
  const ties = whole(tally.ties);
  /** @param {number | null} part */
  const percent = (part) => whole(Math.round(100 * (part ?? 0)));
  const bounds = { share: percent(share), low: percent(low), high: percent(high) };
  const counted = t("vote.share", { won: whole(won), votes: whole(votes), ...bounds, ties });
  return el(
    "li",
    {},
    el("strong", {}, t("vote.against", { a: columnName(columns[better]), b: columnName(columns[worse]) })),
    el("span", {}, votes ? counted : t("vote.only_ties", { ties })),
    el("small", {}, t(tally.telling ? "vote.telling" : "vote.open")),
  );
}

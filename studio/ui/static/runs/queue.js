// @ts-check
// The runs and jobs that wait, in order; arrows move one's own.

import { attempt, button, call, el, say, t } from "../kit/kit.js";

/** @import { Queued } from "../../types/api.js" */

export class Queue {
  constructor() {
    /** @type {Queued[]} */
    this.items = [];
    /** @type {string | null} */
    this.tag = null;
    this.list = el("ol", { class: "st-queue" });
    this.spoken = el("p", { class: "st-sr", role: "status", "aria-live": "polite" });
    const heading = el("div", { class: "st-heading" }, el("h2", {}, t("queue.title")), el("p", {}, t("queue.help")));
    this.node = el("section", { class: "st-card", id: "queue", hidden: true }, heading, this.list, this.spoken);
  }

  async next() {
    const { data, tag } = await call("queue", { tag: this.tag });
    if (!data) return;
    this.tag = tag;
    this.show(data.items);
  }

  /** Draw the list anew; the focus stays on the arrow that was pressed, or its neighbour at an end.
   * @param {Queued[]} items */
  show(items) {
    const focused = document.activeElement;
    const arrow = this.list.contains(focused) ? focused?.id : null;
    this.items = items;
    this.node.hidden = items.length < 2;
    this.list.replaceChildren(...items.map((item, place) => this.row(item, place)));
    if (arrow) this.refocus(arrow);
  }

  /** @param {Queued} item @param {number} place */
  row(item, place) {
    const name = el("a", item.work === "run" ? { href: `?run=${item.id}` } : {}, item.name);
    const arrows = el("span", { class: "st-actions" }, this.arrow(item, place, -1), this.arrow(item, place, 1));
    return el("li", { value: item.position }, name, arrows);
  }

  /** @param {string} id of the arrow that had the focus */
  refocus(id) {
    const arrow = document.getElementById(id);
    if (!(arrow instanceof HTMLButtonElement)) return;
    /** @type {HTMLButtonElement | null | undefined} */
    const usable = arrow.disabled ? arrow.parentElement?.querySelector("button:enabled") : arrow;
    usable?.focus();
  }

  /** @param {Queued} item @param {number} place @param {-1 | 1} by */
  arrow(item, place, by) {
    const key = by < 0 ? "up" : "down";
    const label = t(`queue.${key}`, { name: item.name });
    return button(by < 0 ? "↑" : "↓", {
      class: "st-button st-small st-square",
      id: `queue-${key}-${item.id}`,
      "aria-label": label,
      title: label,
      disabled: place + by < 0 || place + by >= this.items.length,
      onclick: () => this.move(place, by),
    });
  }

  /** @param {number} place @param {-1 | 1} by */
  async move(place, by) {
    const order = this.items.map((item) => item.id);
    const { name } = this.items[place];
    const { position } = this.items[place + by];
    [order[place], order[place + by]] = [order[place + by], order[place]];
    const answer = await attempt(() => call("queue", { method: "POST", body: { order } }));
    this.tag = null;
    if (!answer) return;
    this.show(answer.data.items);
    say(this.spoken, t("queue.place", { name, position }));
  }
}

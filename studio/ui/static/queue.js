// The runs and jobs that wait, in order; arrows move one's own.

import { attempt, call, el, say, t } from "./kit.js";

export class Queue {
  constructor() {
    this.list = el("ol", { class: "st-queue" });
    this.spoken = el("p", { class: "st-sr", role: "status", "aria-live": "polite" });
    this.node = el("section", { class: "st-card", id: "queue", hidden: true },
      el("div", { class: "st-heading" }, el("h2", {}, t("queue.title")), el("p", {}, t("queue.help"))), this.list, this.spoken);
  }

  async next() {
    const answer = await call("queue", { tag: this.tag });
    if (!answer.data) return;
    this.tag = answer.tag;
    this.show(answer.data.items);
  }

  /** Draw the list anew; the focus stays on the arrow that was pressed, or its neighbour at an end. */
  show(items) {
    const held = this.list.contains(document.activeElement) ? document.activeElement.id : null;
    this.items = items;
    this.node.hidden = items.length < 2;
    this.list.replaceChildren(...items.map((item, i) => el("li", { value: item.position },
      el("a", item.work === "run" ? { href: `?run=${item.id}` } : {}, item.name),
      el("span", { class: "st-actions" }, this.arrow(item, i, -1), this.arrow(item, i, 1)))));
    const same = held && document.getElementById(held);
    (same?.disabled ? same.parentElement.querySelector("button:enabled") : same)?.focus();
  }

  arrow(item, i, by) {
    const key = by < 0 ? "up" : "down";
    const label = t(`queue.${key}`, { name: item.name });
    return el("button", { type: "button", class: "st-button st-small st-square", id: `queue-${key}-${item.id}`, "aria-label": label, title: label,
      disabled: i + by < 0 || i + by >= this.items.length, onclick: () => this.move(i, by) }, by < 0 ? "↑" : "↓");
  }

  async move(i, by) {
    const order = this.items.map((item) => item.id);
    const [name, position] = [this.items[i].name, this.items[i + by].position];
    [order[i], order[i + by]] = [order[i + by], order[i]];
    const answer = await attempt(() => call("queue", { method: "POST", body: { order } }));
    this.tag = null;
    if (!answer) return;
    this.show(answer.data.items);
    say(this.spoken, t("queue.place", { name, position }));
  }
}

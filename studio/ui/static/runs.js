// The page *Runs*: the list, or the one run that the URL names.

import { follow } from "./app.js";
import { call, el, number, t, when, whole } from "./kit.js";
import { badge, refusal, titled } from "./parts.js";
import { poll } from "./poll.js";
import { Queue } from "./queue.js";
import { RunView } from "./run.js";
import { trashLink } from "./trashed.js";
import { usage } from "./usage.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);

export function mount(root) {
  const place = root.querySelector(".st-live");
  let view = null;
  follow(({ page, run }) => {
    if (view && page === "runs" && view.id === run) return;
    view?.close();
    view = null;
    if (page !== "runs") return;
    if (run) {
      view = new RunView(run, place);
      view.open();
    } else {
      list(place);
    }
  });
}

function list(place) {
  const body = el("div", { id: "run-list" }, el("p", { class: "st-quiet" }, t("runs.loading")));
  const queue = new Queue();
  place.replaceChildren(
    el("div", { class: "st-title" }, el("h1", {}, t("runs.title")), el("p", {}, t("runs.lead"))), queue.node, body, usage(),
    trashLink());
  let tag = null;
  let wait = 3000;
  poll(async () => {
    const answer = await call("runs?limit=100", { tag });
    if (answer.data) {
      tag = answer.tag;
      const { items } = answer.data;
      body.replaceChildren(items.length ? table(items) : nothing());
      wait = items.some((run) => LIVE.has(run.state)) ? 2000 : 6000;
    }
    await queue.next();
    return wait;
  }, (error) => body.replaceChildren(refusal(error)));
}

function table(items) {
  const names = ["name", "state", "step", "loss", "when"];
  return el("div", { class: "st-card st-table", role: "table" },
    el("div", { class: "st-row st-row-head", role: "row" },
      names.map((name) => el("span", { role: "columnheader" }, t(`runs.column_${name}`)))),
    items.map(row));
}

function row(run) {
  const share = run.total_steps ? Math.min(1, run.step / run.total_steps) : 0;
  return el("a", { class: "st-row", role: "row", href: `?run=${run.id}` },
    el("span", { role: "cell", class: "st-name" }, titled(run), el("small", {}, run.dataset?.name ?? "")),
    el("span", { role: "cell" }, badge(run.state)),
    el("span", { role: "cell", class: "st-number" }, t("run.of", { step: whole(run.step), total: whole(run.total_steps) }),
      el("span", { class: "st-meter", "aria-hidden": "true" }, el("i", { style: `width:${share * 100}%` }))),
    el("span", { role: "cell", class: "st-number" }, number(run.loss)),
    el("span", { role: "cell", class: "st-number" }, when(run.created)));
}

function nothing() {
  return el("div", { class: "st-card st-empty" }, picture(), el("h2", {}, t("runs.none_title")),
    el("p", {}, t("runs.none_text")),
    el("a", { class: "st-button st-primary", href: "?view=train" }, t("runs.none_action")));
}

/** Three frames, the last one in colour: what an empty page shows. */
export function picture() {
  return el("div", { class: "st-frames", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
}

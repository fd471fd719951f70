// @ts-check
// The page *Runs*: the list, or the one run that the URL names.

import { isLive } from "../kit/facts.js";
import { call, el, number, t, when, whole } from "../kit/kit.js";
import { badge, picture, placeIn, refusal, titled, waiting } from "../kit/pieces.js";
import { poll } from "../kit/poll.js";
import { follow } from "../kit/route.js";
import { trashLink } from "../trash/trashed.js";
import { usage } from "../trash/usage.js";
import { Queue } from "./queue.js";
import { RunView } from "./run.js";

/** @import { Run } from "../../types/api.js" */

const COLUMNS = ["name", "state", "step", "loss", "when"];

/** @param {Element} root */
export function mount(root) {
  const place = placeIn(root);
  /** @type {RunView | null} */
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

/** @param {HTMLElement} place */
function list(place) {
  const body = el("div", { id: "run-list" }, waiting(t("runs.loading")));
  const queue = new Queue();
  const title = el("div", { class: "st-title" }, el("h1", {}, t("runs.title")), el("p", {}, t("runs.lead")));
  place.replaceChildren(title, queue.node, body, usage(), trashLink());
  /** @type {string | null} */
  let tag = null;
  let wait = 3000;
  const next = async () => {
    const answer = await call("runs?limit=100", { tag });
    if (answer.data) {
      tag = answer.tag;
      const { items } = answer.data;
      body.replaceChildren(items.length ? table(items) : nothing());
      wait = items.some((run) => isLive(run.state)) ? 2000 : 6000;
    }
    await queue.next();
    return wait;
  };
  poll(next, (error) => body.replaceChildren(refusal(error)));
}

/** @param {Run[]} items */
function table(items) {
  const names = COLUMNS.map((name) => el("span", { role: "columnheader" }, t(`runs.column_${name}`)));
  const head = el("div", { class: "st-row st-row-head", role: "row" }, ...names);
  return el("div", { class: "st-card st-table", role: "table" }, head, ...items.map(row));
}

/** @param {Run} run */
function row(run) {
  const share = run.total_steps ? Math.min(1, run.step / run.total_steps) : 0;
  const filling = el("i", { style: `width:${share * 100}%` });
  const figure = { role: "cell", class: "st-number" };
  return el(
    "a",
    { class: "st-row", role: "row", href: `?run=${run.id}` },
    el("span", { role: "cell", class: "st-name" }, titled(run), el("small", {}, run.dataset?.name ?? "")),
    el("span", { role: "cell" }, badge(run.state)),
    el(
      "span",
      figure,
      t("run.of", { step: whole(run.step), total: whole(run.total_steps) }),
      el("span", { class: "st-meter", "aria-hidden": "true" }, filling),
    ),
    el("span", figure, number(run.loss)),
    el("span", figure, when(run.created)),
  );
}

function nothing() {
  return el(
    "div",
    { class: "st-card st-empty" },
    picture(),
    el("h2", {}, t("runs.none_title")),
    el("p", {}, t("runs.none_text")),
    el("a", { class: "st-button st-primary", href: "?view=train" }, t("runs.none_action")),
  );
}

// @ts-check
// The page *Trash*: what was deleted, the way back, and its end.

import { attempt, button, bytes, call, confirm, el, t, toast, when, whole } from "../kit/kit.js";
import { picture, placeIn, refusal, waiting } from "../kit/pieces.js";
import { now, poll } from "../kit/poll.js";
import { follow } from "../kit/route.js";
import { restore, titled } from "./trashed.js";

/** @import { Deleted } from "../../types/api.js" */

const DAY = 86400; // seconds
const COLUMNS = ["name", "deleted", "left", "size"];

/** @param {Element} root */
export function mount(root) {
  const place = placeIn(root);
  let shown = false;
  follow(({ page }) => {
    const shows = page === "trash";
    if (shows && !shown) list(place);
    shown = shows;
  });
}

/** @param {HTMLElement} place */
function list(place) {
  const body = el("div", { id: "trash-list" }, waiting(t("runs.loading")));
  const title = el("div", { class: "st-title" }, el("h1", {}, t("trash.title")), el("p", {}, t("trash.lead")));
  place.replaceChildren(title, body);
  /** @type {string | null} */
  let tag = null;
  const next = async () => {
    const answer = await call("trash", { tag });
    if (answer.data) {
      tag = answer.tag;
      const { items, bytes: size } = answer.data;
      body.replaceChildren(...(items.length ? [head(size), table(items)] : [nothing()]));
    }
    return 10000;
  };
  poll(next, (error) => body.replaceChildren(refusal(error)));
}

/** @param {number} size in bytes */
function head(size) {
  const emptyIt = button(t("trash.empty"), { class: "st-button st-danger", id: "trash-empty", onclick: empty });
  return el(
    "div",
    { class: "st-run-head" },
    el("p", { class: "st-quiet", role: "status" }, t("trash.holds", { size: bytes(size) })),
    el("div", { class: "st-actions" }, emptyIt),
  );
}

/** @param {Deleted[]} items */
function table(items) {
  const names = COLUMNS.map((name) => el("span", { role: "columnheader" }, t(`trash.column_${name}`)));
  const ofActions = el("span", { role: "columnheader" });
  const head = el("div", { class: "st-row st-row-head", role: "row" }, ...names, ofActions);
  return el("div", { class: "st-card st-table st-trash", role: "table" }, head, ...items.map(row));
}

/** @param {Deleted} item */
function row(item) {
  const name = titled(item);
  const kind = t(`trash.kind_${item.kind}`, { name: item.subject });
  const figure = { role: "cell", class: "st-number" };
  const putBack = button(t("trash.restore"), {
    class: "st-button st-small",
    "aria-label": t("trash.restore_one", { name }),
    onclick: () => restore(item),
  });
  const forGood = button(t("trash.remove"), {
    class: "st-button st-small st-danger",
    "aria-label": t("trash.remove_one", { name }),
    onclick: () => remove(item),
  });
  const nowhere = el("small", { class: "st-quiet" }, t("trash.unknown_place"));
  return el(
    "div",
    { class: "st-row", role: "row", "data-id": item.id },
    el("span", { role: "cell", class: "st-name" }, name, el("small", {}, kind)),
    el("span", figure, when(item.deleted)),
    el("span", figure, left(item.gone_at)),
    el("span", figure, bytes(item.bytes)),
    el("span", { role: "cell", class: "st-actions" }, item.restorable ? putBack : nowhere, forGood),
  );
}

function nothing() {
  return el(
    "div",
    { class: "st-card st-empty" },
    picture(),
    el("h2", {}, t("trash.none_title")),
    el("p", {}, t("trash.none_text")),
  );
}

/** How long it stays, in whole days. @param {number} seconds when it is removed, since 1970 */
function left(seconds) {
  const days = (seconds - Date.now() / 1000) / DAY;
  return days < 1 ? t("trash.hours") : t("trash.days", { count: whole(Math.round(days)) });
}

/** @param {Deleted} item */
async function remove(item) {
  if (!(await confirm(t("trash.remove_sure", { name: titled(item) }), t("trash.remove"), t("trash.keep")))) return;
  if (await attempt(() => call(`trash/${item.id}`, { method: "DELETE" }))) now();
}

async function empty() {
  if (!(await confirm(t("trash.empty_sure"), t("trash.empty"), t("trash.keep")))) return;
  const answer = await attempt(() => call("trash/empty", { method: "POST", body: {} }));
  if (!answer) return;
  toast(t("trash.emptied", { size: bytes(answer.data.bytes) }));
  now();
}

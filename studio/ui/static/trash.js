// The page *Trash*: what was deleted, the way back, and its end.

import { follow } from "./app.js";
import { attempt, bytes, call, confirm, el, t, toast, when, whole } from "./kit.js";
import { refusal } from "./parts.js";
import { picture } from "./runs.js";
import { now, poll } from "./poll.js";
import { restore, titled } from "./trashed.js";

const DAY = 86400;

export function mount(root) {
  const place = root.querySelector(".st-live");
  let shown = false;
  follow(({ page }) => {
    if (page !== "trash") { shown = false; return; }
    if (!shown) list(place);
    shown = true;
  });
}

function list(place) {
  const body = el("div", { id: "trash-list" }, el("p", { class: "st-quiet" }, t("runs.loading")));
  place.replaceChildren(
    el("div", { class: "st-title" }, el("h1", {}, t("trash.title")), el("p", {}, t("trash.lead"))), body);
  let tag = null;
  poll(async () => {
    const answer = await call("trash", { tag });
    if (answer.data) {
      tag = answer.tag;
      const { items } = answer.data;
      body.replaceChildren(...(items.length ? [head(answer.data), table(items)] : [nothing()]));
    }
    return 10000;
  }, (error) => body.replaceChildren(refusal(error)));
}

function head(data) {
  return el("div", { class: "st-run-head" }, el("p", { class: "st-quiet", role: "status" }, t("trash.holds", { size: bytes(data.bytes) })),
    el("div", { class: "st-actions" },
      el("button", { type: "button", class: "st-button st-danger", id: "trash-empty", onclick: empty }, t("trash.empty"))));
}

function table(items) {
  const names = ["name", "deleted", "left", "size"];
  return el("div", { class: "st-card st-table st-trash", role: "table" },
    el("div", { class: "st-row st-row-head", role: "row" },
      names.map((name) => el("span", { role: "columnheader" }, t(`trash.column_${name}`))), el("span", { role: "columnheader" })),
    items.map(row));
}

function row(item) {
  const name = titled(item);
  return el("div", { class: "st-row", role: "row", "data-id": item.id },
    el("span", { role: "cell", class: "st-name" }, name, el("small", {}, t(`trash.kind_${item.kind}`, { name: item.subject }))),
    el("span", { role: "cell", class: "st-number" }, when(item.deleted)),
    el("span", { role: "cell", class: "st-number" }, left(item.gone_at)),
    el("span", { role: "cell", class: "st-number" }, bytes(item.bytes)),
    el("span", { role: "cell", class: "st-actions" },
      item.restorable ? el("button", { type: "button", class: "st-button st-small", "aria-label": t("trash.restore_one", { name }),
        onclick: () => restore(item) }, t("trash.restore")) : el("small", { class: "st-quiet" }, t("trash.unknown_place")),
      el("button", { type: "button", class: "st-button st-small st-danger", "aria-label": t("trash.remove_one", { name }),
        onclick: () => remove(item) }, t("trash.remove"))));
}

function nothing() {
  return el("div", { class: "st-card st-empty" }, picture(), el("h2", {}, t("trash.none_title")), el("p", {}, t("trash.none_text")));
}

/** How long it stays, in whole days. */
function left(seconds) {
  const days = (seconds - Date.now() / 1000) / DAY;
  return days < 1 ? t("trash.hours") : t("trash.days", { count: whole(Math.round(days)) });
}

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

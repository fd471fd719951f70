// @ts-check
// The room that one's things take, and may take; for an administrator everybody's, and emptying the trash.

import { attempt, button, bytes, call, confirm, el, t, toast, whole } from "../kit/kit.js";

/** @import { Room } from "../../types/api.js" */

const KINDS = ["datasets", "runs", "jobs", "bases"];

/** A line of figures, asked for once: they change with what a person does here, not by themselves. */
export function usage() {
  const place = el("section", { class: "st-usage", id: "usage", hidden: true });
  const load = async () => {
    const answer = await attempt(() => call("usage"));
    if (answer) show(place, answer.data, load);
  };
  load();
  return place;
}

/** @param {HTMLElement} place @param {Room} room @param {() => void} again */
function show(place, room, again) {
  const { limits, people, trash } = room;
  place.hidden = !room.bytes && !trash && !people?.length;
  /** @type {HTMLElement[]} */
  const lines = [el("p", { class: "st-quiet", id: "usage-own" }, usedIn(room))];
  if (limits) lines.push(meter(room.bytes, limits.bytes));
  if (people && limits) {
    lines.push(everybody(people, room.free_bytes));
    if (trash || people.some((one) => one.trash)) lines.push(emptying(again));
  }
  place.replaceChildren(...lines);
}

/** One's own figures as a sentence or two. @param {Room} room */
function usedIn({ bytes: size, trash, limits, waiting }) {
  const used = bytes(size);
  const parts = [limits ? t("usage.of", { used, limit: bytes(limits.bytes) }) : t("usage.used", { used })];
  if (trash) parts.push(t(limits ? "usage.trash_gives_way" : "usage.trash", { size: bytes(trash) }));
  if (limits && (waiting.runs || waiting.jobs)) {
    const runs = { runs: whole(waiting.runs), most_runs: whole(limits.runs) };
    parts.push(t("usage.waiting", { ...runs, jobs: whole(waiting.jobs), most_jobs: whole(limits.jobs) }));
  }
  return parts.join(" ");
}

/** @param {number} size @param {number} limit */
function meter(size, limit) {
  const share = Math.min(100, (100 * size) / limit);
  const values = { "aria-valuemin": 0, "aria-valuemax": limit, "aria-valuenow": size };
  return el(
    "div",
    { class: "st-meter", role: "meter", ...values, "aria-label": t("usage.share") },
    el("i", { style: `width:${share}%` }),
  );
}

/** What everybody's things take, the most first. @param {NonNullable<Room["people"]>} people
 * @param {number | null} free bytes of the disk */
function everybody(people, free) {
  const names = ["person", ...KINDS, "in_trash"];
  const head = names.map((name) => el("th", { scope: "col" }, t(`usage.${name}`)));
  const rows = people.map((one) => {
    const sizes = [...KINDS.map((kind) => one.kinds[kind]), one.trash];
    const cells = sizes.map((size) => el("td", { class: "st-number" }, size ? bytes(size) : "–"));
    return el("tr", {}, el("th", { scope: "row" }, one.name || one.id), ...cells);
  });
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  const words = t("usage.all", { people: whole(people.length), free: bytes(free ?? 0) });
  return el("details", { id: "usage-all" }, el("summary", {}, words), el("div", { class: "st-scroll" }, table));
}

/** @param {() => void} again */
function emptying(again) {
  const empty = async () => {
    if (!(await confirm(t("usage.empty_sure"), t("usage.empty"), t("run.keep")))) return;
    const answer = await attempt(() => call("trash/empty", { method: "POST", body: { everybody: true } }));
    if (!answer) return;
    toast(t("usage.emptied", { count: whole(answer.data.removed) }));
    again();
  };
  return button(t("usage.empty"), { class: "st-button st-small", id: "usage-empty", onclick: empty });
}

// The room that one's things take, and may take; for an administrator everybody's, and emptying the trash.

import { attempt, bytes, call, confirm, el, t, toast, whole } from "./kit.js";

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

function show(place, data, again) {
  place.hidden = !data.bytes && !data.trash && !data.people?.length;
  const { limits, people } = data;
  const lines = [el("p", { class: "st-quiet", id: "usage-own" }, own(data))];
  if (limits) lines.push(meter(data.bytes, limits.bytes));
  if (people && limits) lines.push(everybody(data));
  if (people && limits && (data.trash || people.some((one) => one.trash))) lines.push(emptying(again));
  place.replaceChildren(...lines);
}

/** One's own figures as a sentence or two. */
function own({ bytes: size, trash, limits, waiting }) {
  const parts = [limits ? t("usage.of", { used: bytes(size), limit: bytes(limits.bytes) }) : t("usage.used", { used: bytes(size) })];
  if (trash) parts.push(t(limits ? "usage.trash_gives_way" : "usage.trash", { size: bytes(trash) }));
  if (limits && (waiting.runs || waiting.jobs)) {
    parts.push(t("usage.waiting", { runs: whole(waiting.runs), most_runs: whole(limits.runs), jobs: whole(waiting.jobs), most_jobs: whole(limits.jobs) }));
  }
  return parts.join(" ");
}

function meter(size, limit) {
  const share = Math.min(100, (100 * size) / limit);
  return el("div", { class: "st-meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": limit, "aria-valuenow": size, "aria-label": t("usage.share") },
    el("i", { style: `width:${share}%` }));
}

/** What everybody's things take, the most first. */
function everybody({ people, free_bytes: free }) {
  const names = ["datasets", "runs", "jobs", "bases"];
  const head = ["person", ...names, "in_trash"].map((name) => el("th", { scope: "col" }, t(`usage.${name}`)));
  const rows = people.map((one) => el("tr", {}, el("th", { scope: "row" }, one.name || one.id),
    [...names.map((name) => one.kinds[name]), one.trash].map((size) => el("td", { class: "st-number" }, size ? bytes(size) : "–"))));
  return el("details", { id: "usage-all" }, el("summary", {}, t("usage.all", { people: whole(people.length), free: bytes(free) })),
    el("div", { class: "st-scroll" }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows))));
}

function emptying(again) {
  return el("button", { type: "button", class: "st-button st-small", id: "usage-empty", onclick: async () => {
    if (!(await confirm(t("usage.empty_sure"), t("usage.empty"), t("run.keep")))) return;
    const answer = await attempt(() => call("trash/empty", { method: "POST", body: { everybody: true } }));
    if (!answer) return;
    toast(t("usage.emptied", { count: whole(answer.data.removed) }));
    again();
  } }, t("usage.empty"));
}

// The import report: every file in exactly one of used, converted, left out, with the reason in words.

import { address, el, t, whole } from "./kit.js";

const SHOWN = 200;

/** The report of a data set as elements; empty before the first import. */
export function report({ id, report: found, state, splits: counts }) {
  const parts = [];
  if (state === "failed" || (state === "receiving" && found?.error)) {
    parts.push(el("p", { class: "st-note st-note-bad", role: "alert" }, found?.error ?? t("datasets.state_failed")));
  }
  if (state === "importing" && found?.total) parts.push(progress(found));
  if (!found || found.seen === undefined || found.seen === null || (state !== "importing" && !found.seen)) return parts;
  const skipped = found.skipped ?? [];
  const count = state === "importing" ? skipped.length : found.seen - found.used - found.converted;
  const words = t("datasets.report", { seen: whole(found.seen), used: whole(found.used), converted: whole(found.converted), skipped: whole(count) });
  parts.push(el("div", { class: "st-note", id: "import-report" },
    el("div", { class: "st-note-head" }, el("strong", {}, t("datasets.report_title")),
      state === "importing" ? null : el("a", { class: "st-link", href: address(`api/datasets/${id}/report.csv`), download: true },
        t("datasets.report_download"))),
    el("p", {}, words), splits(counts),
    found.notes?.length ? el("ul", {}, found.notes.map((note) => el("li", {}, note))) : null,
    skipped.length ? left(skipped, count) : null));
  return parts;
}

function progress({ done, total }) {
  const share = Math.min(100, Math.round((100 * done) / total));
  return el("div", { class: "st-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": share,
    "aria-label": t("datasets.import_progress") }, el("i", { style: `width:${share}%` }));
}

/** How many pictures each split has, where there is more than one. */
function splits(found) {
  const names = Object.keys(found ?? {});
  if (names.length < 2) return null;
  return el("p", {}, names.map((name) => el("span", { class: "st-tag" }, t("datasets.split", { name, count: whole(found[name]) }))),
    t("datasets.splits_help"));
}

function left(skipped, count) {
  return el("details", { open: count < 6 }, el("summary", {}, t("datasets.skipped_count", { count: whole(count) })),
    el("ul", {}, skipped.slice(0, SHOWN).map((one) => el("li", {}, t("datasets.skipped_one", one))),
      count > SHOWN ? el("li", {}, t("datasets.skipped_more", { count: whole(count - SHOWN) })) : null));
}

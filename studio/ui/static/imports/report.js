// @ts-check
// The import report: every file in exactly one of used, converted, left out, with the reason in words.

import { address, el, t, whole } from "../kit/kit.js";
import { badNote, listOf } from "../kit/pieces.js";

/** @import { Dataset, Report } from "../../types/api.js" */

const SHOWN = 200;
const FEW = 6; // files left out that are shown at once

/** The report of a data set as elements; empty before the first import. @param {Dataset} set */
export function report({ id, report, state, splits }) {
  const parts = [];
  if (state === "failed" || (state === "receiving" && report?.error)) {
    const problem = badNote(report?.error ?? t("datasets.state_failed"));
    problem.setAttribute("role", "alert");
    parts.push(problem);
  }
  const importing = state === "importing";
  if (importing && report?.total) parts.push(progress(report.done, report.total));
  const seen = report?.seen;
  if (!report || seen === undefined || seen === null || (!importing && !seen)) return parts;
  parts.push(verdicts(id, report, seen, splits ?? {}, importing));
  return parts;
}

/** What became of the files. @param {string} id @param {Report} report @param {number} seen
 * @param {Record<string, number>} splits @param {boolean} importing */
function verdicts(id, { used, converted, skipped = [], notes = [] }, seen, splits, importing) {
  const count = importing ? skipped.length : seen - used - converted;
  const counts = { seen: whole(seen), used: whole(used), converted: whole(converted), skipped: whole(count) };
  const file = { class: "st-link", href: address(`api/datasets/${id}/report.csv`), download: true };
  const download = importing ? null : el("a", file, t("datasets.report_download"));
  const head = el("div", { class: "st-note-head" }, el("strong", {}, t("datasets.report_title")), download);
  return el(
    "div",
    { class: "st-note", id: "import-report" },
    head,
    el("p", {}, t("datasets.report", counts)),
    ofSplits(splits),
    notes.length ? listOf(notes) : null,
    skipped.length ? leftOut(skipped, count) : null,
  );
}

/** @param {number} done @param {number} total */
function progress(done, total) {
  const share = Math.min(100, Math.round((100 * done) / total));
  const values = { "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": share };
  return el(
    "div",
    { class: "st-progress", role: "progressbar", ...values, "aria-label": t("datasets.import_progress") },
    el("i", { style: `width:${share}%` }),
  );
}

/** How many pictures each split has, where there is more than one. @param {Record<string, number>} splits */
function ofSplits(splits) {
  const names = Object.keys(splits);
  if (names.length < 2) return null;
  const tags = names.map((name) => t("datasets.split", { name, count: whole(splits[name]) }));
  return el("p", {}, ...tags.map((text) => el("span", { class: "st-tag" }, text)), t("datasets.splits_help"));
}

/** @param {NonNullable<Report["skipped"]>} skipped @param {number} count */
function leftOut(skipped, count) {
  const lines = skipped.slice(0, SHOWN).map((file) => t("datasets.skipped_one", file));
  if (count > SHOWN) lines.push(t("datasets.skipped_more", { count: whole(count - SHOWN) }));
  const title = el("summary", {}, t("datasets.skipped_count", { count: whole(count) }));
  return el("details", { open: count < FEW }, title, listOf(lines));
}

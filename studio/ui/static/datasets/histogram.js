// @ts-check
// Histograms as rows: a class, its share as a bar, its count.

import { el, number, t, whole } from "../kit/kit.js";

/** @import { Health, HistogramClass } from "../../types/api.js" */

/** @param {"short_side" | "aspect"} key @param {HistogramClass[]} classes */
export function histogram(key, classes) {
  const title = t(key === "aspect" ? "health.aspect_title" : `health.${key}`);
  const rows = classes.map((one) => ({ words: bounds(one), count: one.count }));
  return el("section", { class: "st-card" }, el("h2", {}, title), bars(rows));
}

/** How many pictures each bucket has. @param {Health["buckets"]} counts */
export function buckets(counts) {
  const rows = counts.map(({ width, height, count }) => ({ words: t("health.size", { width, height }), count }));
  const help = el("p", { class: "st-quiet st-small-text" }, t("health.buckets_help"));
  return el("section", { class: "st-card" }, el("h2", {}, t("health.buckets")), help, bars(rows));
}

/** A class in words. @param {HistogramClass} one */
function bounds({ from, to }) {
  if (to === null) return t("health.from", { from: number(from, 3) });
  if (from) return t("health.between", { from: number(from, 3), to: number(to, 3) });
  return t("health.below", { to: number(to, 3) });
}

/** @param {{ words: string, count: number }[]} rows */
function bars(rows) {
  const most = Math.max(1, ...rows.map(({ count }) => count));
  return el("dl", { class: "st-bars" }, ...rows.map(({ words, count }) => bar(words, count, most)));
}

/** @param {string} words @param {number} count @param {number} most */
function bar(words, count, most) {
  const filling = el("i", { style: `width:${(100 * count) / most}%` });
  return el("div", {}, el("dt", {}, words), el("dd", {}, filling, el("span", {}, whole(count))));
}

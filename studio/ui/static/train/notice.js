// @ts-check
// What is said under *Start training*: what is in the run's way, the run in a few words, and what it will take.

import { button, bytes, duration, el, number, t, whole } from "../kit/kit.js";
import { listOf } from "../kit/pieces.js";
import { jump } from "./jump.js";

/** @import { Problem } from "../../types/api.js" */
/**
 * @typedef {object} Facts
 * @property {string} method
 * @property {number | null} rank of a LoRA
 * @property {number} steps
 * @property {number} batch
 * @property {number} side
 * @property {number} lr
 * @property {string} precision
 */
/**
 * What a run will take, each figure with what it is taken from.
 * @typedef {object} Estimate
 * @property {number | null} seconds
 * @property {string} time_basis
 * @property {number | null} low_seconds
 * @property {number | null} high_seconds
 * @property {number | null} memory_bytes
 * @property {string} memory_basis
 * @property {number | null} disk_bytes
 * @property {{ name: string } | null} source
 */
/** @typedef {{ problems: Problem[], warnings: string[], facts: Facts | null, estimate: Estimate | null }} Notice */

/** @param {Notice} notice */
export function content({ problems, warnings, facts, estimate }) {
  const parts = [];
  if (problems.length) parts.push(inTheWay(problems));
  if (facts) parts.push(glance(facts));
  if (estimate) parts.push(estimated(estimate));
  if (warnings.length) {
    parts.push(el("div", { class: "st-note" }, el("strong", {}, t("train.warnings")), listOf(warnings)));
  }
  if (!problems.length) parts.push(el("p", { class: "st-quiet" }, t("train.ready")));
  return parts;
}

/** @param {Problem[]} problems */
function inTheWay(problems) {
  const count = problems.length;
  const title = count === 1 ? t("train.problems_one") : t("train.problems_many", { count });
  const attributes = { class: "st-note st-note-bad", role: "alert" };
  return el("div", attributes, el("strong", {}, title), el("ul", {}, ...problems.map(line)));
}

/** A problem with the way to its field. @param {Problem} problem */
function line({ field, message }) {
  if (!field) return el("li", {}, message);
  const way = button(t(`setting.${field}`), { class: "st-link", onclick: () => jump(field) });
  const offer = field === "data.dataset" ? [" ", importIt()] : [];
  return el("li", {}, way, `: ${message}`, ...offer);
}

/** The way to import the Hub data set that was written into the field, where it is one. */
function importIt() {
  /** @type {HTMLInputElement | null} */
  const field = document.querySelector("#field-data-dataset input");
  const name = field?.value.trim() ?? "";
  if (!/^[\w.-]+\/[\w.-]+$/.test(name)) return null;
  const href = `?${new URLSearchParams({ view: "datasets", hub: name })}`;
  return el("a", { href, id: "import-it", class: "st-link" }, t("train.import_it", { name }));
}

/** The run in a few words. @param {Facts} facts */
function glance({ method, rank, steps, batch, side, lr, precision }) {
  const rows = {
    method: t(`train.method_${method}`, { rank }),
    steps: whole(steps),
    batch: whole(batch),
    seen: whole(batch * steps),
    side: t("train.pixels", { side }),
    lr: number(lr),
    precision,
  };
  const cells = Object.entries(rows).map(([name, value]) =>
    el("div", {}, el("dt", {}, t(`train.fact_${name}`)), el("dd", {}, value)),
  );
  return el("dl", { class: "st-facts" }, ...cells);
}

/** A guess in no more digits than it is worth. @param {number | null} seconds */
function rough(seconds) {
  if (seconds === null) return "";
  const step = seconds < 60 ? 1 : 10;
  return duration(Math.round(seconds / step) * step);
}

/** @param {Estimate} estimate */
function estimated(estimate) {
  const { seconds, memory_bytes: memory, memory_basis: basis, disk_bytes: disk } = estimate;
  const [low, high] = [rough(estimate.low_seconds), rough(estimate.high_seconds)];
  const from = { name: estimate.source?.name ?? "", low, high };
  /** @param {string} name @param {string} value @param {string} note */
  const row = (name, value, note) => el("div", {}, el("dt", {}, t(name)), el("dd", {}, value, el("small", {}, note)));
  const written = estimate.time_basis === "shipped" ? rough(seconds) : duration(seconds);
  const time = seconds === null ? "–" : t("train.about", { value: written });
  const rows = [row("train.estimate_time", time, t(`train.estimate_time_${estimate.time_basis}`, from))];
  if (memory) {
    const words = basis === "weights" ? "train.at_least" : "train.about";
    const value = t(words, { value: bytes(memory) });
    rows.push(row("train.estimate_memory", value, t(`train.estimate_memory_${basis}`, from)));
  }
  if (disk) {
    rows.push(row("train.estimate_disk", t("train.up_to", { value: bytes(disk) }), t("train.estimate_disk_note")));
  }
  return el("dl", { class: "st-facts st-estimate", id: "estimate" }, ...rows);
}

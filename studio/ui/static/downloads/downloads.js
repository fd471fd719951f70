// @ts-check
// What a person can take home from a run: links by checkpoint, weights, kind and precision.

import { FACTS } from "../kit/facts.js";
import { address, button, bytes, el, has, listed, t, whole, within } from "../kit/kit.js";
import { bestOf, offerOf, rowsOf, stepsOf } from "./offers.js";

/** @import { Download } from "../../types/api.js" */

let precision = FACTS.precisions[0]; // of the links shown; chosen once for all checkpoints

/**
 * Links to everything a person can take away, newest checkpoint first; `branch` makes a new run from a step.
 * @param {HTMLElement} place
 * @param {string} id of the run
 * @param {Download[]} items
 * @param {(step: number) => void} branch
 */
export function downloads(place, id, items, branch) {
  const steps = stepsOf(items);
  const best = bestOf(items, steps[0], precision, FACTS);
  const config = items.find((item) => item.kind === "config");
  const again = () => {
    downloads(place, id, items, branch);
    within(place, "#download-precision").focus();
  };
  place.replaceChildren(
    el("div", { class: "st-card-head" }, el("h2", {}, t("run.downloads"))),
    best
      ? link(id, best, t(`run.file_best_${best.kind}`), "st-button st-primary st-wide", "download-model")
      : el("p", { class: "st-quiet" }, t("run.downloads_none")),
    steps.length ? precisions(again) : "",
    ...steps.map((step, place) => checkpoint(id, items, step, place === 0, branch)),
    ...helps(items, steps.length > 0).map((key) => el("p", { class: "st-quiet st-small-text" }, t(key))),
    config ? link(id, config, t("run.file_config"), "st-file") : "",
  );
}

/** The texts that explain what there is. @param {Download[]} items @param {boolean} any checkpoint */
function helps(items, any) {
  const kinds = new Set(items.map((item) => item.kind));
  const helps = [];
  if (any) helps.push("run.ema_help");
  if (kinds.has("single")) helps.push("run.single_help");
  if (FACTS.lora_kinds.some((kind) => kinds.has(kind))) helps.push("run.lora_help");
  return helps;
}

/** The choice of a precision. @param {() => void} changed */
function precisions(changed) {
  const options = FACTS.precisions.map((name) =>
    el("option", { value: name, selected: name === precision }, t(`run.precision_${name}`)),
  );
  const select = el(
    "select",
    {
      id: "download-precision",
      onchange: ({ currentTarget }) => {
        precision = currentTarget.value;
        changed();
      },
    },
    ...options,
  );
  return el("label", { class: "st-choice" }, el("span", {}, t("run.precision")), select);
}

/** The links of one checkpoint. @param {string} id @param {Download[]} items @param {number} step
 * @param {boolean} open @param {(step: number) => void} branch */
function checkpoint(id, items, step, open, branch) {
  const name = `checkpoint-${step}`;
  const links = rowsOf(items, FACTS).flatMap(({ kind, weights }) => {
    const item = offerOf(items, { kind, weights, step, precision });
    return item ? [link(id, item, called(item), "st-file")] : [];
  });
  const tryIt = { class: "st-button st-small", href: `?play=${id}&at=${name}` };
  const branchOff = {
    class: "st-button st-small",
    onclick: () => branch(step),
    "aria-label": t("branch.title", { checkpoint: name }),
  };
  return el(
    "details",
    { class: "st-files", open },
    el("summary", {}, t("run.checkpoint", { step: whole(step) })),
    ...links,
    el(
      "div",
      { class: "st-actions st-branch" },
      el("a", tryIt, t("run.try_at", { step: whole(step) })),
      button(t("branch.button"), branchOff),
    ),
  );
}

/** The name of a download, by its kind and the programs it is for; a part of a model without words of its own goes by
 * its name. @param {Download} item */
function called({ kind, weights, programs }) {
  const key = `run.file_${kind}_${weights}`;
  return has(key) ? t(key, { programs: listed(programs) }) : t(`run.file_part_${weights}`, { part: kind });
}

/** @param {string} id @param {Download} item @param {string} words @param {string} look @param {string} [name] */
function link(id, item, words, look, name) {
  const path = item.path.split("/").map(encodeURIComponent).join("/");
  const href = address(`api/runs/${id}/files/${path}`);
  return el(
    "a",
    { class: look, id: name, href, download: true, "data-path": item.path },
    el("span", {}, words),
    el("small", {}, bytes(item.size)),
  );
}

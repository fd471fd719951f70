// @ts-check
// Under a pasted command: what of it has no place here, and why.

import { el, t } from "../kit/kit.js";
import { placeIn } from "../kit/pieces.js";

/** @import { Problem } from "../../types/api.js" */
/** @import { Bridge } from "../../types/page.js" */
/**
 * @typedef {{ option: string, value: string | boolean | null, why: string }} Unplaced
 * @typedef {{ problems?: Problem[], unplaced: Unplaced[] }} Pasted
 */

/** @param {Element} root @param {Bridge<Pasted>} bridge */
export function mount(root, bridge) {
  const place = placeIn(root);
  place.setAttribute("aria-live", "polite");
  const draw = () => {
    const value = bridge.value();
    place.replaceChildren(value ? content(value) : "");
  };
  bridge.watch(draw);
  draw();
}

/** @param {Pasted} pasted */
function content({ problems, unplaced }) {
  if (problems) {
    const lines = problems.map((problem) => el("p", {}, problem.message));
    return el("div", { class: "st-note st-note-bad", role: "alert" }, ...lines);
  }
  if (!unplaced.length) return el("p", { class: "st-quiet" }, t("train.paste_all"));
  return el(
    "div",
    { class: "st-note", id: "unplaced-options" },
    el("strong", {}, t("train.paste_left")),
    el("ul", {}, ...unplaced.map(line)),
  );
}

/** @param {Unplaced} unplaced */
function line({ option, value, why }) {
  const words = typeof value === "boolean" || value === null ? option : `${option} ${value}`;
  return el("li", {}, el("code", {}, words), `: ${why}`);
}

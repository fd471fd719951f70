// @ts-check
// A field of a form with its label.

import { el, t } from "../kit/kit.js";

/** @param {string} key of its label @param {Record<string, unknown>} [attributes] */
export function field(key, attributes = {}) {
  const input = el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
  return { input, row: el("label", {}, t(`sources.${key}`), input) };
}

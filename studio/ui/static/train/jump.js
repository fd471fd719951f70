// @ts-check
// The way to a setting's field in the form.

import { FACTS } from "../kit/facts.js";

const TRIES = 60; // frames until a group that was opened has drawn its fields

/** A setting's field; null where it is not drawn. @param {string} path */
export const fieldOf = (path) => document.getElementById(`field-${path.replaceAll(".", "-")}`);

/** The closed group of the form that a setting stands in. @param {string} path */
const groupOf = (path) => (FACTS.expert_settings.includes(path) ? "expert" : path.split(".")[0]);

/** Open the group a field lies in and put the cursor there; a closed group's fields are drawn when it opens.
 * @param {string} path @param {number} [tries] */
export function jump(path, tries = TRIES) {
  const field = fieldOf(path);
  const hidden = !field?.offsetParent;
  /** @type {HTMLElement | null} */
  const opener = document.querySelector(`#group-${groupOf(path)} button.label-wrap`);
  if (hidden && opener && !opener.classList.contains("open")) opener.click();
  if (hidden && tries) {
    requestAnimationFrame(() => jump(path, tries - 1));
    return;
  }
  field?.scrollIntoView({ block: "center" });
  inputOf(field)?.focus({ preventScroll: true });
}

/** @param {Element | null} field @returns {HTMLInputElement | HTMLTextAreaElement | null} */
export const inputOf = (field) => field?.querySelector("input, textarea") ?? null;

// @ts-check
// Small pieces that several pages show: a run's name and state, a refusal, a link to the Hub, copying.

import { HUB, el, t, textOr, toast, wordsOf } from "./kit.js";

/** @import { Run, Warning } from "../../types/api.js" */

/** The name a run goes by. @param {Pick<Run, "id" | "name">} run */
export const titled = (run) => run.name || t("runs.unnamed", { id: run.id.slice(0, 6) });

/** A run's state as a word with a mark. @param {string} state */
export const badge = (state) => el("span", { class: `st-badge st-state-${state}` }, textOr(`state.${state}`, state));

/** Signed out, deleted, or somebody else's: in words. @param {unknown} error @param {string | null} [title] */
export function refusal(error, title = null) {
  return el(
    "div",
    { class: "st-card st-empty", role: "alert" },
    title ? el("h2", {}, title) : null,
    el("p", {}, wordsOf(error)),
    el("a", { class: "st-button", href: "?view=runs" }, t("runs.all")),
  );
}

/** An address of the Hub's as a link that opens beside the studio; anything else stays text. @param {string} address */
export function outward(address) {
  if (!address.startsWith(HUB)) return address;
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, address);
}

/** What warnings say. @param {Warning[]} warnings */
export const messagesOf = (warnings) => warnings.map((warning) => warning.message ?? "");

/** Texts as a list. @param {string[]} texts */
export const listOf = (texts) => el("ul", {}, ...texts.map((text) => el("li", {}, text)));

/** Put a text on the clipboard, and say so. @param {string} text */
export async function copy(text) {
  await navigator.clipboard.writeText(text);
  toast(t("app.copied"));
}

/** Three frames, the last one in colour: what an empty page shows. */
export const picture = () => el("div", { class: "st-frames", "aria-hidden": "true" }, el("i"), el("i"), el("i"));

/** The part of the page that a script fills. @param {Element} root */
export function placeIn(root) {
  const place = root.querySelector(".st-live");
  if (!(place instanceof HTMLElement)) throw new Error("there is no place to fill");
  return place;
}

/** A word that something is coming; until it has, the page shows its shape. @param {string} words */
export const waiting = (words) => el("p", { class: "st-quiet st-waiting" }, words);

/** A note of what went wrong. @param {string} words */
export const badNote = (words) => el("p", { class: "st-note st-note-bad" }, words);

/**
 * Run an action of a form with its button held; what goes wrong is said in the form.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} problem
 * @param {() => Promise<unknown>} action
 */
export async function hold(button, problem, action) {
  problem.replaceChildren();
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    problem.replaceChildren(badNote(wordsOf(error)));
  } finally {
    button.disabled = false;
  }
}

/**
 * A listener that keeps a form from being sent by the browser, and does `action` in its place.
 * @param {() => unknown} action
 * @returns {(event: SubmitEvent) => void}
 */
export const submitting = (action) => (event) => {
  event.preventDefault();
  action();
};

/** JSON that this browser keeps under a name, or `otherwise`: somebody else may have written there.
 * @template Value @param {string} name @param {Value} otherwise @returns {Value} */
export function remembered(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null") ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @param {HTMLElement} bar an element of role progressbar, whose child is its filling
 * @param {number} done @param {number} total */
export function fillBar(bar, done, total) {
  bar.setAttribute("aria-valuemax", String(total));
  bar.setAttribute("aria-valuenow", String(done));
  const filling = bar.firstElementChild;
  if (filling instanceof HTMLElement) filling.style.width = `${Math.min(100, (100 * done) / total)}%`;
}

// @ts-check
// The page's one poll loop. A page hands it a task; the task answers how many milliseconds to wait.

import { ApiError, t, toast } from "./kit.js";

const LONGEST_WAIT = 15000;

/**
 * @typedef {() => Promise<number | null | undefined>} Task
 * @typedef {(error: ApiError) => void} Refused
 */
/** @type {Task | null} */
let task = null;
/** @type {Refused | null} */
let refused = null;
let timer = 0;
let failures = 0;
let turn = 0;

/**
 * Run `next` now and again until another task (or null) takes its place. `next` returns milliseconds, or null to end.
 * `fault` is told when the studio refuses (signed out, deleted), which ends the loop.
 * @param {Task | null} next
 * @param {Refused | null} [fault]
 */
export function poll(next, fault = null) {
  task = next;
  refused = fault;
  failures = 0;
  turn += 1;
  clearTimeout(timer);
  if (task && !document.hidden) tick(task, turn);
}

/** Do the current task at once (after a button was pressed). */
export function now() {
  poll(task, refused);
}

/** @param {Task} current @param {number} mine */
async function tick(current, mine) {
  let wait;
  try {
    wait = await current();
    if (mine !== turn) return;
    if (failures) announce(false);
    failures = 0;
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof ApiError && error.status < 500 && error.status !== 429) {
      task = null;
      announce(false);
      refused?.(error);
      return;
    }
    failures += 1;
    announce(true);
    wait = Math.min(LONGEST_WAIT, 1000 * 1.7 ** failures);
  }
  if (wait !== null && wait !== undefined) timer = window.setTimeout(() => tick(current, mine), wait);
}

/** @param {boolean} away whether the studio does not answer */
function announce(away) {
  if (away) toast(t("app.reconnecting"), "away");
  else document.querySelectorAll(".st-toast-away").forEach((note) => note.remove());
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden) {
    turn += 1;
  } else if (task) {
    turn += 1;
    tick(task, turn);
  }
});

// The page's one poll loop. A page hands it a task; the task answers how many milliseconds to wait.

import { ApiError, t, toast } from "./kit.js";

let task = null;
let refused = null;
let timer = 0;
let failures = 0;
let turn = 0;

/**
 * Run `next` now and again until another task (or null) takes its place. `next` returns milliseconds, or null to end.
 * `fault` is told when the studio refuses (signed out, deleted), which ends the loop.
 */
export function poll(next, fault = null) {
  task = next;
  refused = fault;
  failures = 0;
  turn += 1;
  clearTimeout(timer);
  if (task && !document.hidden) tick(turn);
}

/** Do the current task at once (after a button was pressed). */
export function now() {
  poll(task, refused);
}

async function tick(mine) {
  let wait;
  try {
    wait = await task();
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
    wait = Math.min(15000, 1000 * 1.7 ** failures);
  }
  if (wait !== null && wait !== undefined) timer = setTimeout(() => tick(mine), wait);
}

function announce(away) {
  if (away) toast(t("app.reconnecting"), "away");
  else document.querySelectorAll(".st-toast-away").forEach((note) => note.remove());
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden) turn += 1;
  else if (task) { turn += 1; tick(turn); }
});

// @ts-check
// The studio's clock as seen from here: the browser's may be off by hours, and may be set while it is looked at.

const LONG = 60_000; // milliseconds after which the two clocks are compared anew

/** The best comparison: how far the studio's clock is ahead of `performance.now`, how exact that is, and since when.
 * @type {{ ahead: number, trip: number, at: number } | null} */
let best = null;

/**
 * Compare the clocks by an answer: `time` are the unix seconds at which it was made, somewhere between when it was
 * asked for and when it came.
 * @param {string | null} time
 * @param {number} sent
 * @param {number} came
 */
export function compare(time, sent, came) {
  const told = Number(time) * 1000;
  if (!time || !Number.isFinite(told)) return;
  const trip = came - sent;
  if (best && trip >= best.trip && came - best.at < LONG) return;
  best = { ahead: told - (sent + came) / 2, trip, at: came };
}

/** The studio's time now, in unix seconds. */
export const studioTime = () => (best ? performance.now() + best.ahead : Date.now()) / 1000;

// @ts-check
// What blind votes came to.

/** @import { Tally } from "../../types/api.js" */

/**
 * Of two columns the one that won more often first, with its share of the votes and the bounds of that.
 * @param {Pick<Tally, "columns" | "wins" | "share" | "low" | "high">} tally
 */
export function outcome({ columns, wins, share, low, high }) {
  const [a, b] = columns;
  const votes = wins[0] + wins[1];
  if (share === null || share >= 0.5) return { better: a, worse: b, won: wins[0], votes, share, low, high };
  return { better: b, worse: a, won: wins[1], votes, share: 1 - share, low: 1 - high, high: 1 - low };
}

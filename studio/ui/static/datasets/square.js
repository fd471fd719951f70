// @ts-check
// Squares in a picture, as [x, y, side] in its pixels.

/** @import { Square } from "../../types/api.js" */
/** @typedef {{ width: number, height: number }} Size */

/** The largest square in the middle. @param {Size} size @returns {Square} */
export function centre({ width, height }) {
  const side = Math.min(width, height);
  return [Math.floor((width - side) / 2), Math.floor((height - side) / 2), side];
}

/** A square moved and sized so that it lies in the picture, and is at least `least` wide where the picture is.
 * @param {Square} square @param {Size} size @param {number} least @returns {Square} */
export function inside([x, y, side], { width, height }, least) {
  const most = Math.min(width, height);
  const bounded = Math.round(Math.max(Math.min(least, most), Math.min(side, most)));
  return [within(x, width - bounded), within(y, height - bounded), bounded];
}

/** @param {number} value @param {number} most */
const within = (value, most) => Math.round(Math.max(0, Math.min(value, most)));

/** The square that a key makes of another, a step `by` from it; undefined for other keys.
 * @param {string} key @param {Square} square @param {number} by @param {Size} size @returns {Square | undefined} */
export function byKey(key, [x, y, side], by, size) {
  /** @type {Square} */
  const larger = [x - by, y - by, side + 2 * by];
  /** @type {Record<string, Square>} */
  const squares = {
    ArrowLeft: [x - by, y, side],
    ArrowRight: [x + by, y, side],
    ArrowUp: [x, y - by, side],
    ArrowDown: [x, y + by, side],
    "+": larger,
    "=": larger,
    "-": [x + by, y + by, side - 2 * by],
    Home: centre(size),
  };
  return squares[key];
}

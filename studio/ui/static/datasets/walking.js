// @ts-check
// The keyboard's way over pictures in rows and pages.

/**
 * A place on another page, or on this one.
 * @typedef {{ page: -1 | 1, at: number } | { at: number }} Step
 */

/**
 * Where a key leads from the picture at place `at`; undefined for other keys. Places below 0 count from the end.
 * @param {string} key
 * @param {number} at
 * @param {number} columns
 * @param {number} count of the pictures on the page
 * @returns {Step | undefined}
 */
export function stepBy(key, at, columns, count) {
  /** @type {Record<string, number>} */
  const arrows = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  if (key in arrows) return placeOrPage(at + arrows[key], count);
  if (key === "Home") return { at: 0 };
  if (key === "End") return { at: count - 1 };
  if (key === "PageDown") return { page: 1, at: 0 };
  return key === "PageUp" ? { page: -1, at: 0 } : undefined;
}

/** @param {number} to @param {number} count @returns {Step} */
function placeOrPage(to, count) {
  if (to < 0) return { page: -1, at: -1 };
  return to >= count ? { page: 1, at: 0 } : { at: to };
}

/** How many pictures are in a row, by how far from the top each lies. @param {number[]} tops */
export const columnsIn = (tops) => Math.max(1, tops.filter((top) => top === tops[0]).length);

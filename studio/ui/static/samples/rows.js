// @ts-check
// The sample pictures of a run, folded into rows: one for each prompt, by step.

/** @import { Sample, Weights } from "../../types/api.js" */

/**
 * The pictures of each prompt by step, in the weights chosen; before the first step both are the same.
 * @param {Sample[]} samples
 * @param {Weights} weights
 * @returns {Sample[][]}
 */
export function rowsOf(samples, weights) {
  /** @type {Map<string, Map<number, Sample>>} */
  const rows = new Map();
  for (const sample of samples) {
    if (sample.weights !== weights && sample.step !== 0) continue;
    const prompt = `${sample.prompt_index}\n${sample.prompt}`;
    const row = rows.get(prompt) ?? new Map();
    rows.set(prompt, row);
    if (!row.has(sample.step) || sample.weights === weights) row.set(sample.step, sample);
  }
  return [...rows.values()].map((row) => [...row.values()].sort((a, b) => a.step - b.step));
}

/**
 * Of each prompt the sample that says most of whether a run learns by heart: a copy, of the newest step, the nearest.
 * @template {{ prompt: string, copy: boolean, step: number, distance: number }} Compared
 * @param {Compared[]} samples
 */
export function tellingOf(samples) {
  const ordered = [...samples].sort(
    (a, b) => Number(b.copy) - Number(a.copy) || b.step - a.step || a.distance - b.distance,
  );
  /** @type {Map<string, Compared>} */
  const first = new Map();
  for (const sample of ordered) {
    if (!first.has(sample.prompt)) first.set(sample.prompt, sample);
  }
  return [...first.values()];
}

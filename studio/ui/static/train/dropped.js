// @ts-check
// What a file holds that is dropped on the form: settings, or somebody's preset.

/** @import { Config } from "../../types/api.js" */

export const PRESET = "studio_preset"; // what marks a preset's file, with the number of its layout
const LONGEST_HEAD = 100_000_000; // bytes of a weight file's header

/** The preset that a dropped file's text is, or null. @param {string} text
 * @returns {{ name: string, config: Config } | null} */
export function presetOf(text) {
  try {
    const data = JSON.parse(text);
    return PRESET in data ? { name: data.name, config: data.config } : null;
  } catch {
    return null; // no JSON, or none of an object: the form says what is wrong with it
  }
}

/**
 * The settings in a JSON file, or under `key` in the header of a weight file that was taken home; null when there are
 * none.
 * @param {File} file
 * @param {string} key
 * @returns {Promise<string | null>}
 */
export async function settingsOf(file, key) {
  if (/\.json$/i.test(file.name)) return file.text();
  if (!/\.safetensors$/i.test(file.name)) return null;
  const size = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
  if (size > LONGEST_HEAD) return null;
  const head = JSON.parse(await file.slice(8, 8 + size).text());
  return head.__metadata__?.[key] ?? null;
}

// @ts-check
// Settings of a config by their paths (`section.name`), and the partial configs that changes make.

/** @import { Config, Setting } from "../../types/api.js" */

/** The value a config has at a path. @param {Config} config @param {string} path @returns {Setting} */
export function settingAt(config, path) {
  const [section, name] = path.split(".");
  return config[section]?.[name];
}

/** A config with one more value.
 * @param {Config} config @param {string} path @param {Setting} value @returns {Config} */
export function withSetting(config, path, value) {
  const [section, name] = path.split(".");
  return { ...config, [section]: { ...config[section], [name]: value } };
}

/** A config with those of a partial config laid over it. @param {Config} config @param {Config} partial */
export function overlaid(config, partial) {
  const whole = { ...config };
  for (const [section, values] of Object.entries(partial)) whole[section] = { ...whole[section], ...values };
  return whole;
}

/**
 * The partial config of the values that are not a config's own.
 * @param {Config} config
 * @param {[path: string, value: Setting][]} values
 */
export function changesTo(config, values) {
  /** @type {Config} */
  let changes = {};
  for (const [path, value] of values) {
    const same = JSON.stringify(value) === JSON.stringify(settingAt(config, path) ?? null);
    if (!same) changes = withSetting(changes, path, value);
  }
  return changes;
}

/** The lines of a text that have words. @param {string} text */
export const linesOf = (text) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

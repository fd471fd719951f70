// @ts-check
// Which settings a word finds, the likeliest first.

/**
 * A setting with the words it can be found by.
 * @typedef {object} Findable
 * @property {string} label
 * @property {string} path
 * @property {string | null} reference its name in the reference script
 * @property {string} help
 */

/** How well a setting fits: 0 its name, 1 its path or reference name, 2 its help; -1 not at all.
 * @param {Findable} setting @param {string} word in small letters */
export function rank({ label, path, reference, help }, word) {
  const kinds = [[label], [path, reference], [help]];
  return kinds.findIndex((texts) => texts.some((text) => text?.toLowerCase().includes(word)));
}

/** The settings that a word finds, at most `most` of them.
 * @template {Findable} Setting @param {Setting[]} settings @param {string} word @param {number} most */
export function foundBy(settings, word, most) {
  return settings
    .map((setting) => ({ setting, rank: rank(setting, word) }))
    .filter((one) => one.rank >= 0)
    .sort((a, b) => a.rank - b.rank)
    .slice(0, most)
    .map((one) => one.setting);
}

// @ts-check
// Files for an upload: which of those chosen are sent, in which batches, and which have arrived already.

/** A file with its path below the folder that was chosen. @typedef {[path: string, file: File]} Entry */

const BATCH_FILES = 200;
const BATCH_BYTES = 64e6;
const LONGEST_MARK = 300;

/** Bytes of all files. @param {Entry[]} entries */
export const sizeOf = (entries) => entries.reduce((sum, [, file]) => sum + file.size, 0);

/** The files but those that systems hide. @param {Entry[]} entries */
export const visible = (entries) => entries.filter(([path]) => !/(^|\/)(\.|__MACOSX)/.test(path));

/** Files in batches that one request each can carry; one empty batch for none. @param {Entry[]} entries */
export function batches(entries) {
  /** @type {Entry[][]} */
  const parts = [[]];
  let size = 0;
  for (const entry of entries) {
    const last = parts[parts.length - 1];
    const bytes = entry[1].size;
    if (last.length && (last.length >= BATCH_FILES || size + bytes > BATCH_BYTES)) {
      parts.push([entry]);
      size = bytes;
    } else {
      last.push(entry);
      size += bytes;
    }
  }
  return parts;
}

/** Those of the files that have not arrived, told by size and by the letters and digits of their names: others may be
 * replaced. @param {Entry[]} entries @param {{ name: string, bytes: number }[]} arrived */
export function missing(entries, arrived) {
  const there = new Set(arrived.map(({ name, bytes }) => mark(name, bytes)));
  return entries.filter(([path, file]) => !there.has(mark(path, file.size)));
}

/** @param {string} name @param {number} size */
const mark = (name, size) => `${size} ${name.replace(/[^\p{L}\p{N}]+/gu, "").slice(-LONGEST_MARK)}`;

/** The name of the top folder that all files share, or of a file that came alone, without its ending; else nothing.
 * @param {Entry[]} entries */
export function nameFor(entries) {
  const tops = new Set(entries.map(([path]) => (path.includes("/") ? path.split("/")[0] : "")));
  const alone = entries.length === 1 ? entries[0][1].name.replace(/(\.tar)?\.\w+$/, "") : "";
  return tops.size === 1 ? [...tops][0] || alone : "";
}

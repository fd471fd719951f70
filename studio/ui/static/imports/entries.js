// @ts-check
// The files that a person chose or dropped, folders included, each with its path below them.

/** @import { Entry } from "./batches.js" */

/** The files of a field. @param {FileList | null} files @returns {Entry[]} */
export const listed = (files) => [...(files ?? [])].map((file) => [file.webkitRelativePath || file.name, file]);

/** Everything that was dropped. @param {DataTransfer} transfer @returns {Promise<Entry[]>} */
export async function dropped(transfer) {
  const roots = [...transfer.items]
    .map((item) => item.webkitGetAsEntry?.())
    .filter((entry) => entry !== null && entry !== undefined);
  if (!roots.length) return [...transfer.files].map((file) => [file.name, file]);
  /** @type {Entry[]} */
  const entries = [];
  for (const root of roots) await walk(root, "", entries);
  return entries;
}

/** @param {FileSystemEntry} entry @param {string} folder @param {Entry[]} entries */
async function walk(entry, folder, entries) {
  if (entry.isFile) {
    entries.push([folder + entry.name, await fileOf(/** @type {FileSystemFileEntry} */ (entry))]);
    return;
  }
  const children = await childrenOf(/** @type {FileSystemDirectoryEntry} */ (entry));
  for (const child of children) await walk(child, `${folder}${entry.name}/`, entries);
}

/** @param {FileSystemFileEntry} entry @returns {Promise<File>} */
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

/** What lies in a folder; a reader gives it in portions. @param {FileSystemDirectoryEntry} folder */
async function childrenOf(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const children = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!portion.length) return children;
    children.push(...portion);
  }
}

// @ts-check
// Files on their way to the studio, in batches that are imported together; what arrived before a break stays.

import { address, call, fault, t, wordsOf } from "../kit/kit.js";
import { batches, missing, sizeOf } from "./batches.js";

/** @import { Dataset } from "../../types/api.js" */
/** @import { Entry } from "./batches.js" */
/**
 * How pictures are to be read.
 * @typedef {Record<string, string>} Wishes
 * @typedef {(share: number) => void} Progress told the share that was sent, 1 when the import begins
 */
/**
 * @typedef {object} Upload
 * @property {string} [draft] the id of a data set that got a part of the files before
 * @property {string} name
 * @property {Entry[]} files
 * @property {Wishes} wishes
 */

const ALMOST = 0.999; // of the way, until the studio has all of it

/** An upload that broke off; what arrived waits in the data set `draft`. */
export class BrokenOff extends Error {
  /** @param {string} draft @param {unknown} cause */
  constructor(draft, cause) {
    super("the upload broke off", { cause });
    this.draft = draft;
  }
}

/** Why an upload did not arrive, in words. @param {unknown} error */
export const whyBroken = (error) =>
  wordsOf(error instanceof BrokenOff ? error.cause : error, t("datasets.upload_failed"));

let under = 0; // uploads under way in this page

window.addEventListener("beforeunload", (event) => {
  if (under) event.preventDefault(); // the browser asks in words of its own
});

/**
 * Send files and import them; resolves to the data set. With `draft` only the rest is sent. Rejects with BrokenOff
 * where what arrived waits; after `signal` nothing is kept.
 * @param {Upload} upload
 * @param {AbortSignal} signal
 * @param {Progress} progress
 */
export async function bring({ draft, name, files, wishes }, signal, progress) {
  under += 1;
  try {
    const parts = batches(files);
    if (!draft && parts.length === 1) return await post("datasets", parts[0], { name, ...wishes }, signal, progress);
    return await inParts(draft ?? (await emptySet(name)), Boolean(draft), files, wishes, signal, progress);
  } finally {
    under -= 1;
  }
}

/** @param {string} name */
async function emptySet(name) {
  const { data } = await call("datasets", { method: "POST", body: { name: name || t("datasets.unnamed") } });
  return data.id;
}

/**
 * @param {string} id of the data set
 * @param {boolean} begun whether a part arrived before
 * @param {Entry[]} files
 * @param {Wishes} wishes
 * @param {AbortSignal} signal
 * @param {Progress} progress
 */
async function inParts(id, begun, files, wishes, signal, progress) {
  try {
    const rest = begun ? missing(files, (await call(`datasets/${id}/arrived`)).data.items) : files;
    await sendTo(id, rest, signal, progress);
    return await commit(id, wishes);
  } catch (error) {
    if (!signal.aborted) throw new BrokenOff(id, error);
    await call(`datasets/${id}`, { method: "DELETE" }).catch(() => null); // the first fault is the one to tell
    throw error;
  }
}

/** Import what waits in a data set; resolves to it. @param {string} id @param {Wishes} [wishes] */
export async function commit(id, wishes = {}) {
  const { data } = await call(`datasets/${id}/commit`, { method: "POST", body: wishes });
  return data;
}

/** @param {string} id @param {Entry[]} files @param {AbortSignal} signal @param {Progress} progress */
async function sendTo(id, files, signal, progress) {
  const total = sizeOf(files) + 1;
  let sent = 0;
  for (const part of files.length ? batches(files) : []) {
    const size = sizeOf(part);
    /** @type {Progress} */
    const ofPart = (share) => progress(((sent + share * size) / total) * ALMOST);
    await post(`datasets/${id}/images?commit=false`, part, {}, signal, ofPart);
    sent += size;
  }
  progress(1);
}

/**
 * Send files with their relative paths. Rejects with an ApiError, or an Error when the line broke or `signal` came.
 * @param {string} path
 * @param {Entry[]} files
 * @param {Record<string, string>} fields
 * @param {AbortSignal} signal
 * @param {Progress} progress
 * @returns {Promise<Dataset>}
 */
function post(path, files, fields, signal, progress) {
  const form = new FormData();
  for (const [key, value] of Object.entries(fields)) form.append(key, value);
  for (const [name, file] of files) form.append("files", file, name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address(`api/${path}`) ?? "");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(fault(request.status, request.responseText));
    });
    request.addEventListener("error", () => reject(new Error("connection")));
    const end = () => {
      request.abort();
      reject(new Error("cancelled"));
    };
    if (signal.aborted) {
      end();
      return;
    }
    signal.addEventListener("abort", end, { once: true });
    request.send(form);
  });
}

// Files on their way to the studio, in batches that wait there and are imported together; what arrived before a break stays.

import { address, call, fault, t } from "./kit.js";

const BATCH_FILES = 200;
const BATCH_BYTES = 64e6;
let under = 0;  // uploads under way in this page

window.addEventListener("beforeunload", (event) => {
  if (under) event.preventDefault();  // the browser asks in words of its own
});

/** Send {name, files, wishes} and import it; resolves to the data set. With `draft`, the id of a data set that got a part of
 *  the files before, only the rest is sent. Rejects with an error that has `draft` where what arrived waits there; after
 *  `signal` nothing is kept. */
export async function bring({ draft, name, files, wishes }, signal, progress) {
  under += 1;
  try {
    const parts = batches(files);
    if (!draft && parts.length === 1) return await post("datasets", parts[0], { name, ...wishes }, signal, progress);
    const id = draft ?? (await call("datasets", { method: "POST", body: { name: name || t("datasets.unnamed") } })).data.id;
    try {
      await sendTo(id, draft ? await missing(id, files) : files, signal, progress);
      return await commit(id, wishes);
    } catch (error) {
      if (signal.aborted) await call(`datasets/${id}`, { method: "DELETE" }).catch(() => null);  // the first fault is the one to tell
      else error.draft = id;
      throw error;
    }
  } finally {
    under -= 1;
  }
}

/** Import what waits in a data set; resolves to it. */
export const commit = async (id, wishes = {}) => (await call(`datasets/${id}/commit`, { method: "POST", body: wishes })).data;

/** Those of the files that have not arrived, by size and by the letters and digits of their names: others may be replaced. */
async function missing(id, files) {
  const { data } = await call(`datasets/${id}/arrived`);
  const mark = (name, size) => `${size} ${name.replace(/[^\p{L}\p{N}]+/gu, "").slice(-300)}`;
  const there = new Set(data.items.map(({ name, bytes }) => mark(name, bytes)));
  return files.filter(([path, file]) => !there.has(mark(path, file.size)));
}

async function sendTo(id, files, signal, progress) {
  const total = files.reduce((sum, [, file]) => sum + file.size, 1);
  let sent = 0;
  for (const part of files.length ? batches(files) : []) {
    const size = part.reduce((sum, [, file]) => sum + file.size, 0);
    await post(`datasets/${id}/images?commit=false`, part, {}, signal, (share) => progress((sent + share * size) / total * 0.999));
    sent += size;
  }
  progress(1);
}

function batches(files) {
  const parts = [[]];
  let size = 0;
  for (const one of files) {
    const last = parts[parts.length - 1];
    if (last.length && (last.length >= BATCH_FILES || size + one[1].size > BATCH_BYTES)) { parts.push([]); size = 0; }
    parts[parts.length - 1].push(one);
    size += one[1].size;
  }
  return parts;
}

/** Send files with their relative paths. Rejects with an ApiError, or an Error when the line broke or `signal` came. */
function post(path, files, fields, signal, progress) {
  const form = new FormData();
  for (const [key, value] of Object.entries(fields)) form.append(key, value);
  for (const [name, file] of files) form.append("files", file, name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address(`api/${path}`));
    request.upload.addEventListener("progress", (e) => { if (e.lengthComputable) progress(e.loaded / e.total); });
    request.addEventListener("load", () => (request.status < 300 ? resolve(JSON.parse(request.responseText))
      : reject(fault(request.status, request.responseText))));
    request.addEventListener("error", () => reject(new Error("connection")));
    const end = () => { request.abort(); reject(new Error("cancelled")); };
    if (signal.aborted) { end(); return; }
    signal.addEventListener("abort", end, { once: true });
    request.send(form);
  });
}

// Pictures from this computer: dropped or chosen, folders with their paths, sent in batches and then imported together.

import { address, bytes, call, el, fault, say, t, whole } from "./kit.js";

const BATCH_FILES = 200;
const BATCH_BYTES = 64e6;

/** A form that uploads; `done` gets the new data set. */
export function uploader(done) {
  let files = [];
  let sending = null;
  const chosen = el("p", { class: "st-quiet", role: "status", "aria-live": "polite" });
  const bar = el("div", { class: "st-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-label": t("datasets.upload"), hidden: true }, el("i"));
  const problem = el("div", { role: "alert" });
  const input = el("input", { type: "file", multiple: true, id: "dataset-files", class: "st-sr",
    accept: "image/*,.zip,.tar,.txt,.caption,.json,.jsonl,.csv,.parquet", onchange: () => take(listed(input.files)) });
  const folder = el("input", { type: "file", webkitdirectory: true, id: "dataset-folder", class: "st-sr", tabindex: -1,
    "aria-label": t("datasets.choose_folder"), onchange: () => take(listed(folder.files)) });
  const name = el("input", { type: "text", id: "dataset-name", maxlength: 200, placeholder: t("datasets.name_empty"), autocomplete: "off" });
  const send = el("button", { type: "submit", class: "st-button st-primary", id: "dataset-upload" }, t("datasets.upload"));
  const stop = el("button", { type: "button", class: "st-button", id: "upload-cancel", hidden: true,
    onclick: () => sending?.abort() }, t("datasets.upload_cancel"));
  const wishes = options();
  const zone = el("label", { class: "st-drop", for: "dataset-files",
    ondragover: (e) => { e.preventDefault(); zone.classList.add("st-over"); },
    ondragleave: () => zone.classList.remove("st-over"),
    ondrop: async (e) => { e.preventDefault(); zone.classList.remove("st-over"); take(await dropped(e.dataTransfer)); } },
    el("strong", {}, t("datasets.drop")), el("span", { class: "st-button" }, t("datasets.choose")), chosen);
  const byFolder = el("button", { type: "button", class: "st-button", id: "choose-folder", onclick: () => folder.click() },
    t("datasets.choose_folder"));

  function take(found) {
    files = found.filter(([path]) => !/(^|\/)(\.|__MACOSX)/.test(path));
    const size = bytes(files.reduce((sum, [, file]) => sum + file.size, 0));
    say(chosen, files.length === 1 ? t("datasets.chosen_one", { name: files[0][0], size })
      : t("datasets.chosen", { count: whole(files.length), size }));
    problem.replaceChildren();
  }

  async function submit(event) {
    event.preventDefault();
    problem.replaceChildren();
    if (!files.length) { warn(t("datasets.pick_first")); return; }
    send.disabled = true;
    bar.hidden = stop.hidden = false;
    sending = new AbortController();
    try {
      done(await bring(name.value.trim() || guessed(files), files, wishes.value(), sending.signal, show));
    } catch (error) {
      if (sending.signal.aborted) say(chosen, t("datasets.upload_cancelled"));
      else warn(error.words ?? t("datasets.upload_failed"));
    } finally {
      send.disabled = false;
      bar.hidden = stop.hidden = true;
    }
  }

  function show(share) {
    const percent = Math.round(share * 100);
    bar.firstChild.style.width = `${percent}%`;
    bar.setAttribute("aria-valuenow", percent);
    say(chosen, percent < 100 ? t("datasets.uploading", { percent }) : t("datasets.importing"));
  }

  const warn = (words) => problem.replaceChildren(el("p", { class: "st-note st-note-bad" }, words));

  return el("form", { class: "st-upload", id: "upload", onsubmit: submit }, input, folder, zone, byFolder, bar, problem, wishes.node,
    el("div", { class: "st-inline-form" }, el("label", { for: "dataset-name" }, t("datasets.name"), name), stop, send));
}

/** How pictures are read: what lies under transparent parts, and what stands in for a missing caption. */
export function options() {
  const background = el("input", { type: "color", value: "#ffffff" });
  const from = el("select", {}, [["nothing", "nothing"], ["file name", "file"], ["folder name", "folder"]].map(([value, key]) =>
    el("option", { value }, t(`datasets.caption_from_${key}`))));
  const node = el("details", { class: "st-options" }, el("summary", {}, t("datasets.options")),
    el("label", {}, t("datasets.caption_from"), from), el("label", {}, t("datasets.background"), background));
  return { node, value: () => ({ background: background.value, caption_from: from.value }) };
}

/** The name of the top folder that all files share, or of a file that came alone, without its ending; else nothing. */
function guessed(files) {
  const tops = new Set(files.map(([path]) => (path.includes("/") ? path.split("/")[0] : "")));
  const alone = files.length === 1 ? files[0][1].name.replace(/(\.tar)?\.\w+$/, "") : "";
  return tops.size === 1 ? [...tops][0] || alone : "";
}

/** Send everything and import it; resolves to the data set. What was sent is removed when it breaks off. */
async function bring(name, files, wishes, signal, progress) {
  const parts = batches(files);
  if (parts.length === 1) return post("datasets", parts[0], { name, ...wishes }, signal, progress);
  const total = files.reduce((sum, [, file]) => sum + file.size, 1);
  const { data: draft } = await call("datasets", { method: "POST", body: { name: name || t("datasets.unnamed") } });
  try {
    let sent = 0;
    for (const part of parts) {
      const size = part.reduce((sum, [, file]) => sum + file.size, 0);
      await post(`datasets/${draft.id}/images?commit=false`, part, {}, signal, (share) => progress((sent + share * size) / total * 0.999));
      sent += size;
    }
    progress(1);
    return (await call(`datasets/${draft.id}/commit`, { method: "POST", body: wishes })).data;
  } catch (error) {
    await call(`datasets/${draft.id}`, { method: "DELETE" }).catch(() => null);  // the first fault is the one to tell
    throw error;
  }
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

/** The files of a field as [relative path, File]. */
const listed = (files) => [...files].map((file) => [file.webkitRelativePath || file.name, file]);

/** Everything that was dropped, folders included, as [relative path, File]. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => [file.name, file]);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

async function walk(entry, folder, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push([folder + entry.name, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {  // a reader gives a folder in portions
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!portion.length) return;
    for (const child of portion) await walk(child, `${folder}${entry.name}/`, found);
  }
}
